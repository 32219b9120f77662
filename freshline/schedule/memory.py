"""The schedule in plain dictionaries: for tests, and for a service that keeps nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from freshline.schedule.base import JOBS, PLANS, Full, Job, Plan, State

OPEN = (State.WAITING, State.RUNNING)


class MemorySchedule:
    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._plans: dict[str, Plan] = {}

    def close(self) -> None: ...

    def job(self, id_: str) -> Job | None:
        return self._jobs.get(id_)

    def jobs(self, account: str, site: int) -> Sequence[Job]:
        mine = [job for job in self._jobs.values() if (job.account, job.site) == (account, site)]
        return sorted(mine, key=lambda job: (job.created, job.id), reverse=True)

    def add_job(self, job: Job) -> None:
        if sum(other.account == job.account for other in self._jobs.values()) >= JOBS:
            raise Full
        self._jobs[job.id] = job

    def reset_job(self, id_: str) -> None:
        self._jobs[id_] = replace(self._jobs[id_], done=0, tasks=0, trouble="")

    def remove_job(self, id_: str) -> None:
        del self._jobs[id_]
        self._plans = {id_: plan for id_, plan in self._plans.items() if plan.job in self._jobs}

    def plan(self, id_: str) -> Plan | None:
        return self._plans.get(id_)

    def plans(self, job: str) -> Sequence[Plan]:
        return sorted(
            (plan for plan in self._plans.values() if plan.job == job), key=lambda plan: (plan.start, plan.id)
        )

    def due(self, now: float) -> Sequence[Plan]:
        found = (plan for plan in self._plans.values() if plan.status in OPEN and plan.due <= now)
        return sorted(found, key=lambda plan: (plan.due, plan.id))

    def add_plan(self, plan: Plan) -> None:
        if len(self.plans(plan.job)) >= PLANS:
            raise Full
        self._plans[plan.id] = plan

    def change_plan(self, plan: Plan) -> Plan:
        self._plans[plan.id] = plan
        return plan

    def remove_plan(self, id_: str) -> None:
        del self._plans[id_]

    def took(self, plan: Plan, count: int, tasks: int, *, last: bool) -> None:
        if (job := self._jobs.get(plan.job)) is not None:
            self._jobs[job.id] = replace(job, done=job.done + count, tasks=job.tasks + tasks)
        self._move(plan, State.FINISHED if last else State.RUNNING)

    def put_off(self, plan: Plan) -> None:
        self._move(plan, State.RUNNING)

    def failed(self, plan: Plan, trouble: str) -> None:
        if (job := self._jobs.get(plan.job)) is not None:
            self._jobs[job.id] = replace(job, trouble=trouble)
        self._move(plan, State.FAILED)

    def finished(self, plan: Plan) -> None:
        self._move(plan, State.FINISHED)

    def _move(self, plan: Plan, status: State) -> None:
        now = self._plans.get(plan.id)
        if now is not None and now.status in OPEN:
            self._plans[plan.id] = replace(now, status=status, due=plan.due + plan.interval_seconds)

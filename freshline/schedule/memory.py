"""The schedule in plain dictionaries: for tests, and for a service that keeps nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from freshline.schedule.base import JOBS, PLANS, Full, Job, Plan, Slice, State

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
        found = (plan for plan in self._plans.values() if plan.status in OPEN and _is_due(plan, int(now)))
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

    def took(self, taken: Slice) -> None:
        now, last = self._jobs.get(taken.job.id), False
        if now is not None and now.done == taken.job.done:
            self._jobs[now.id] = replace(now, done=now.done + taken.count, tasks=now.tasks + taken.tasks)
            last = taken.last
        self._move(taken.plan, State.FINISHED if last else State.RUNNING, taken.due)

    def put_off(self, plan: Plan, due: int) -> None:
        self._move(plan, State.RUNNING, due)

    def failed(self, plan: Plan, trouble: str) -> None:
        if (job := self._jobs.get(plan.job)) is not None:
            self._jobs[job.id] = replace(job, trouble=trouble)
        self._move(plan, State.FAILED, plan.due)

    def finished(self, plan: Plan) -> None:
        self._move(plan, State.FINISHED, plan.due)

    def _move(self, plan: Plan, status: State, due: int) -> None:
        now = self._plans.get(plan.id)
        if now is not None and now.status in OPEN and now.due == plan.due:
            self._plans[plan.id] = replace(now, status=status, due=due)


def _is_due(plan: Plan, now: int) -> bool:
    return plan.due <= now or (plan.status is State.RUNNING and plan.due > now + plan.interval_seconds)

"""What is planned: jobs, and the plans that work through them.

A **job** is a list of URLs and how far it has come. A **plan** (the API says execution) takes the next slice of its job
every interval, from its start to its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

URLS = 10_000  #: of one job
JOBS = 100  #: of one account
PLANS = 100  #: of one job


class State(StrEnum):
    """How far a plan has come (CONTRACT 1.6)."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Job:
    id: str
    account: str
    site: int
    name: str
    created: int  #: Unix seconds
    urls: tuple[str, ...]
    done: int = 0  #: URLs that became tasks
    tasks: int = 0
    trouble: str = ""  #: why a plan failed, in the contract's word

    @property
    def left(self) -> tuple[str, ...]:
        return self.urls[self.done :]


@dataclass(frozen=True, slots=True)
class Plan:
    id: str
    job: str
    start: int  #: Unix seconds
    end: int | None
    interval_seconds: int
    slice: int  #: URLs at a time
    status: State
    due: int  #: when the next slice is

    def after(self, now: float) -> int:
        """When the slice after one that is taken now is due. What was missed meanwhile is not made up for."""
        return self.due + ((int(now) - self.due) // self.interval_seconds + 1) * self.interval_seconds


@dataclass(frozen=True, slots=True)
class Slice:
    """URLs of a job that became tasks."""

    plan: Plan  #: as it was found
    due: int  #: when the next are
    job: Job  #: as it was before
    count: int
    tasks: int

    @property
    def last(self) -> bool:
        return self.job.done + self.count == len(self.job.urls)


class Full(ValueError):
    """There are as many as there may be."""


class Schedule(Protocol):
    """Every change is kept when the call returns."""

    def close(self) -> None: ...

    def job(self, id_: str) -> Job | None: ...

    def jobs(self, account: str, site: int) -> Sequence[Job]:
        """Newest first."""
        ...

    def add_job(self, job: Job) -> None:
        """:raises Full:"""
        ...

    def reset_job(self, id_: str) -> None:
        """Back to the first URL."""
        ...

    def remove_job(self, id_: str) -> None:
        """With its plans."""
        ...

    def plan(self, id_: str) -> Plan | None: ...

    def plans(self, job: str) -> Sequence[Plan]:
        """By their start."""
        ...

    def due(self, now: float) -> Sequence[Plan]:
        """The plans that have something to do.

        Also those that run and were put off for longer than their interval: by a clock that was set back since.
        """
        ...

    def add_plan(self, plan: Plan) -> None:
        """:raises Full:"""
        ...

    def change_plan(self, plan: Plan) -> Plan: ...

    def remove_plan(self, id_: str) -> None: ...

    # The four ways in which a slice ends. A plan is given as it was found: one that was stopped, changed or removed
    # meanwhile stays so.
    def took(self, taken: Slice) -> None:
        """A slice became tasks. A job that was reset meanwhile stays so, and the plan goes on."""
        ...

    def put_off(self, plan: Plan, due: int) -> None:
        """There was no room; it is tried again when the next is due."""
        ...

    def failed(self, plan: Plan, trouble: str) -> None: ...

    def finished(self, plan: Plan) -> None: ...

"""Jobs in a plain dictionary: for tests, and for a service that keeps nothing."""

from __future__ import annotations

from freshline.media.base import JOBS, MediaJob


class MemoryMediaJobs:
    def __init__(self) -> None:
        self._jobs: dict[str, MediaJob] = {}  # in the order they were made

    def close(self) -> None: ...

    def job(self, id_: str) -> MediaJob | None:
        return self._jobs.get(id_)

    def add(self, job: MediaJob, oldest: int) -> None:
        self._jobs = {id_: each for id_, each in self._jobs.items() if each.created >= oldest} | {job.id: job}
        mine = [id_ for id_, each in self._jobs.items() if each.account == job.account]
        for id_ in mine[:-JOBS]:
            del self._jobs[id_]

"""Tests that read as a conversation: ``>>`` tell the machine, ``<<`` it must answer, in this order and nothing else."""

from __future__ import annotations

import difflib

from freshline.delivery.events import Above, Command, Event, Origin, Settle, Stretch, Warm, When
from freshline.delivery.machine import EdgeDelivery
from freshline.delivery.pace import Pace
from freshline.domain.action import Command as GateCommand
from freshline.domain.action import Fetch
from freshline.domain.edge import Duty, Progress


class Script:
    """A log of rows that the machine reads, as many at a time as it is told."""

    def __init__(self, rows: list[GateCommand | Fetch], at_once: int = 100) -> None:
        self.rows, self.at_once = rows, at_once
        self.oldest = 1

    def stretch(self, after: int, upto: int) -> Stretch:
        end = min(upto, after + self.at_once)
        rows = self.rows[after:end]
        return Stretch(
            after,
            end,
            f"m{end}",
            tuple(row for row in rows if isinstance(row, GateCommand)),
            tuple(Warm(row.position, row.position, "1", row.host) for row in rows if isinstance(row, Fetch)),
            self.oldest,
        )

    def fetches(self, after: int, upto: int) -> list[Fetch]:
        return [row for row in self.rows[after:upto] if isinstance(row, Fetch)]


class Playbook:
    """Progress that is written down on the way is not part of the conversation; look at ``progress`` for it."""

    def __init__(
        self,
        rows: list[GateCommand | Fetch],
        *,
        progress: Progress | None = None,
        at_once: int = 100,
        above: Above | None = None,
        duty: Duty = Duty.ACTIVE,
        fetch_window: int = 16,
    ) -> None:
        pace = Pace(retry_first_seconds=1.0, retry_most_seconds=8.0, heartbeat_seconds=60.0, fetch_window=fetch_window)
        self.rows = Script(rows, at_once)
        self.machine = EdgeDelivery("e", "L", self.rows, progress or Progress(), pace, above or Origin(), duty)
        self.script: list[str] = []
        self.actual: list[str] = []
        self.clock = 0.0

    @property
    def progress(self) -> Progress:
        return self.machine.progress

    def at(self, clock: float) -> Playbook:
        self.clock = clock
        return self

    def __rshift__(self, event: Event) -> Playbook:
        self.script.append(f">> {event}")
        self.actual.append(f">> {event}")
        commands = self.machine.handle(event, When(self.clock, self.clock, dice=1.0))
        self.actual += [f"<< {command}" for command in commands if not isinstance(command, Settle)]
        return self

    def __lshift__(self, command: Command | None) -> Playbook:
        if command is not None:
            self.script.append(f"<< {command}")
        return self

    def __bool__(self) -> bool:
        if self.script != self.actual:
            raise AssertionError("\n" + "\n".join(difflib.ndiff(self.script, self.actual)))
        return True

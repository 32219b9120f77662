"""A clock that a test can stop and move."""

from __future__ import annotations

from freshline.ambient import Ambient

FURTHEST = 99 * 365 * 86_400  #: seconds ahead of the world's clock: callers stay in the present, and are not refused


class SandboxClock(Ambient):
    """Runs with the world's clock, some seconds away from it, until it is stopped."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._stopped: float | None = None

    def now(self) -> float:
        return (super().now() if self._stopped is None else self._stopped) + self._ahead

    def monotonic(self) -> float:
        """The same clock: a test that moves time means all of it."""
        return self.now()

    def advance(self, seconds: float) -> None:
        """Move on. Never back: nothing in a service's life does."""
        if isinstance(seconds, bool) or not 0 <= seconds <= super().now() + FURTHEST - self.now():
            said = str(seconds)[:40]
            raise ValueError(f"advance_seconds = {said}: must be 0 or more, and less than a century from today")
        self._ahead += seconds

    def stop(self) -> None:
        if self._stopped is None:
            self._stopped = super().now()

    def go_on(self) -> None:
        """Run again, from where it stopped."""
        if self._stopped is not None:
            self._ahead -= super().now() - self._stopped
            self._stopped = None

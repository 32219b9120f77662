"""A long list handed over to the service, at the pace that it allows, and taken up again where it was broken off."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from freshline.cli import urls
from freshline.cli.caller import Caller, Flag
from freshline.cli.output import as_json, fail

if TYPE_CHECKING:
    from freshline.cli.client import ApiError

#: What passes by itself, and how long it is left alone. An allowance of the day needs a night.
PAUSES = {
    "PreloadQueueFull": 1.0,
    "QuotaPerMinuteExceeded.Refresh": 5.0,
    "TooManyRequests": 1.0,
    "Throttling.User": 1.0,
    "QuotaExceeded.Preload": 60.0,
}
SILENCE_SECONDS = 60.0  #: nobody answers for so long: that ends it


@Parameter(name="*", group="Long lists")
@dataclass(frozen=True)
class Pacing:
    """How a list is handed over that is longer than one call may be."""

    pace: Flag = False
    """Wait where an allowance is spent or the queue is full, also for the next day's, instead of ending there."""

    skip: Annotated[int, Parameter(show_default=False)] = 0
    """Leave out so many lines, which were taken before; what was broken off says how many."""

    def check(self) -> None:
        if self.skip < 0:
            fail(f"--skip {self.skip}: must be 0 or more", 2)


UNPACED = Pacing()


def submit(caller: Caller, common: Mapping[str, str], wanted: Sequence[str], size: int, pacing: Pacing) -> list[str]:
    """Task ids, in the order of the calls. Whatever ends it early says how many lines were taken."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from freshline.cli.client import ApiError, NoService

    ordered = [line for part in urls.calls(wanted, size) for line in part]
    parts = list(urls.calls(ordered[pacing.skip :], size))
    if not parts:
        fail(f"--skip {pacing.skip}: the list has {len(ordered)} lines", 2)
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=len(parts) == 1 or not console.is_terminal,
    )
    ids: list[str] = []
    taken = pacing.skip
    try:
        with bar:
            shown = bar.add_task("lines taken", total=len(ordered), completed=taken)
            for part in parts:
                answer = _ask(caller, {**common, "ObjectPath": "\n".join(part)}, pacing)
                ids += answer["PushTaskId"].split(",")
                taken += len(part)
                bar.update(shown, completed=taken)
    except (ApiError, NoService, KeyboardInterrupt) as end:
        why = "" if isinstance(end, KeyboardInterrupt) else str(end)
        if ids:
            as_json({"TaskIds": ids}) if caller.json else print("\n".join(ids))
            taken_so_far = f"{taken} of {len(ordered)} lines were taken before that"
            why = "; ".join(filter(None, [why, taken_so_far, f"--skip {taken} goes on with {ordered[taken]}"]))
        print(f"freshline: {why or 'no line was taken'}", file=sys.stderr)
        raise SystemExit(130 if isinstance(end, KeyboardInterrupt) else 1) from None
    return ids


def _ask(caller: Caller, params: Mapping[str, str], pacing: Pacing) -> Mapping[str, str]:
    from freshline.cli.client import ApiError, NoService

    said = ""
    silent_since = time.monotonic()
    while True:
        try:
            answer: Mapping[str, str] = caller.ask("PushObjectCache", params)
            return answer
        except ApiError as error:
            pause = _pause(error)
            if not pacing.pace or pause is None:
                raise
            if error.code != said:
                print(f"freshline: {error.code}: waiting", file=sys.stderr)
            said, silent_since = error.code, time.monotonic()
        except NoService:
            if not pacing.pace or time.monotonic() - silent_since > SILENCE_SECONDS:
                raise
            pause = 1.0
        time.sleep(pause)


def _pause(error: ApiError) -> float | None:
    if error.retry_after_seconds is not None:
        return error.retry_after_seconds
    return 1.0 if error.status >= 500 else PAUSES.get(error.code)

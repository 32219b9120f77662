"""A warm list of a hundred thousand objects, with the service killed on the way. Long: ``make soak``."""

from __future__ import annotations

import time
from pathlib import Path

from tests.scenario.long_list import RoomyNginx, check, warm
from tests.scenario.test_warming import serving
from tests.servers.origin import Origin

COUNT, KILLS = 100_000, 3
MOST_BYTES = 160 << 20  #: of memory; the service alone has 60 MB


def test_a_hundred_thousand_objects(tmp_path: Path, origin: Origin) -> None:
    """Memory does not grow with the list, progress is right, and a kill costs no second fetch."""
    cache = RoomyNginx(tmp_path, origin)
    with serving(tmp_path, [cache]) as stack:
        begun = time.monotonic()
        seen = warm(stack, cache, origin, COUNT, KILLS)
        took = time.monotonic() - begun
        print(
            f"\n{COUNT:,} objects in {took:.0f} s, {KILLS} kills, {len(origin.log) - COUNT} fetched twice, "
            f"at most {seen.most_bytes / 1e6:.0f} MB of the service, the bar seen {len(seen.shown)} times"
        )

        check(seen, cache, origin, COUNT, KILLS)
        assert seen.most_bytes < MOST_BYTES

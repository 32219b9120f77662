"""Thousands of objects in one go; the hundred thousand are in tests/soak."""

from __future__ import annotations

from pathlib import Path

from tests.scenario.long_list import RoomyNginx, check, warm
from tests.scenario.test_warming import serving
from tests.servers.origin import Origin

COUNT, KILLS = 3_000, 1


def test_a_list_goes_on_where_the_service_was_killed(tmp_path: Path, origin: Origin) -> None:
    """Nothing that was stored is fetched again; the bar and the evidence say objects and bytes as they are."""
    cache = RoomyNginx(tmp_path, origin)
    with serving(tmp_path, [cache]) as stack:
        seen = warm(stack, cache, origin, COUNT, KILLS)

        check(seen, cache, origin, COUNT, KILLS)

"""A log that was thrown away, or put back from before an edge joined: its tasks wait for that edge all the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from freshline.config import load
from freshline.domain.edge import Edge
from freshline.inventory.sqlite import SqliteInventory
from freshline.wiring import service


async def test_an_edge_answers_for_a_log_that_is_younger_than_it(tmp_path: Path) -> None:
    """It joined at a position that the log no longer reaches; what that log is given from now on is its business."""
    inventory = SqliteInventory.open(tmp_path / "inventory.db")
    inventory.roster.add(Edge("e1", "nginx", "eu", "127.0.0.1:9", "127.0.0.1:10", "0123456789abcdef", joined=7))
    inventory.close()
    settings = load(None)
    settings = replace(settings, service=replace(settings.service, data_dir=str(tmp_path)))

    async with service(settings):
        pass

    inventory = SqliteInventory.open(tmp_path / "inventory.db")
    joined = [edge.joined for edge in inventory.edges()]
    inventory.close()
    assert joined == [0]

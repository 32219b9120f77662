"""``freshline gate trafficserver``: what it writes works in a real server, wherever it was built."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from freshline.drivers.base import Gate
from freshline.drivers.trafficserver import TrafficServerDriver
from freshline.gates import trafficserver as gates
from freshline.inventory.sqlite import SqliteInventory
from tests.scenario import test_cli_gates
from tests.scenario.test_cli_gates import Cli, modes
from tests.servers.base import free_port
from tests.servers.origin import Origin
from tests.servers.trafficserver import Trafficserver

cli, place = test_cli_gates.cli, test_cli_gates.place  # the fixtures


@pytest.fixture
def declared(cli: Cli) -> Cli:
    gate, site = (f"127.0.0.1:{free_port()}" for _ in range(2))
    cli("edge", "add", "t1", "--kind", "trafficserver", "--gate", gate, "--site", site).fine()
    return cli


@pytest.mark.parametrize("built", ["here", "there"])
async def test_what_is_written_works(declared: Cli, place: Path, tmp_path: Path, origin: Origin, built: str) -> None:
    """The line that is printed loads the plugin, and its gate answers to the secret in the inventory."""
    there = place / "gate"
    journal = place / "state" / "journal"
    here = ["--no-build"] if built == "there" else []
    said = declared("gate", "trafficserver", "t1", *here, "--journal", journal, "--to", there).fine().out
    journal.parent.mkdir()
    journal.parent.chmod(0o777)
    if built == "there":
        assert set(modes(there)) == {gates.CONF, *gates.sources()}
        _run("sh", there / gates.SCRIPT)
    line = next(line for line in said.splitlines() if "last line of plugin.config" in line).split(":", 1)[1].strip()
    inventory = SqliteInventory.open(tmp_path / "data" / "inventory.db")
    edge = inventory.edge("t1")
    inventory.close()
    assert edge is not None
    server = Trafficserver(tmp_path, origin, edge=edge, plugin=line)
    try:
        server.start()
        driver = TrafficServerDriver(edge)
        status = await driver.status()
        await driver.close()
    finally:
        server.discard()

    assert isinstance(status, Gate) and status.log is None
    assert modes(there)[gates.CONF] in (0o600, 0o640)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [(["--journal", "here"], "journal"), (["--fetch-seconds", "0"], "fetch_seconds"), (["--lapse", "never"], "lapse")],
)
def test_settings_that_are_none_are_refused(declared: Cli, tmp_path: Path, wrong: list[str], named: str) -> None:
    """Nothing is built or written."""
    declared("gate", "trafficserver", "t1", *wrong, "--to", tmp_path / "gate").refused(2, named)

    assert not (tmp_path / "gate").exists()


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=120)

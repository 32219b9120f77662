"""Building the Traffic Server gate's plugin and filling in its configuration."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from freshline.gates import trafficserver as gate

GOOD = {"secret": "0123456789abcdef", "gate": "10.0.0.7:9101", "journal": "/var/lib/freshline-gate/journal"}
PLUGIN, CONF = Path("/etc/trafficserver/freshline/freshline.so"), Path("/etc/trafficserver/freshline/freshline.conf")


def test_a_plugin_is_built_once(tmp_path: Path) -> None:
    """The same source and headers give the same file, built the first time only."""
    first = gate.build(tmp_path / "lib")
    made = first.stat().st_mtime_ns

    assert gate.build(tmp_path / "lib") == first
    assert first.stat().st_mtime_ns == made
    assert list(first.parent.iterdir()) == [first]


def test_the_bundle_builds_by_itself(tmp_path: Path) -> None:
    """What is sent to a cache machine is all that it takes there."""
    for name, text in gate.sources().items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / gate.CONF).write_text("")
    done = subprocess.run(["sh", tmp_path / gate.SCRIPT], capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / gate.PROGRAM).exists()
    assert not list(tmp_path.glob("build.*/"))


def test_every_value_finds_its_place() -> None:
    """Nothing of the template is left in what is rendered."""
    settings = gate.Settings(**GOOD, lapse="refuse", rules=7, age_seconds=60, fetch_seconds=5)
    lines = gate.render(settings, PLUGIN, CONF).splitlines()

    assert [line for line in lines if line and not line.startswith("#")] == [
        "gate 10.0.0.7:9101",
        "secret 0123456789abcdef",
        "journal /var/lib/freshline-gate/journal",
        "lapse refuse",
        "rules 7",
        "age_seconds 60",
        "fetch_seconds 5",
    ]
    assert f"#     {PLUGIN} {CONF}" in lines


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"secret": "short"}, "secret"),
        ({"secret": "has a space in it, which ends it"}, "secret"),
        ({"secret": "line\n0123456789abcdef"}, "secret"),
        ({"gate": "10.0.0.7"}, "gate"),
        ({"gate": "10.0.0.7:0"}, "gate"),
        ({"gate": "10.0.0.7:9101 evil"}, "gate"),
        ({"journal": "relative"}, "journal"),
        ({"journal": "/a b"}, "journal"),
        ({"journal": "/a\nlapse serve"}, "journal"),
        ({"lapse": "sometimes"}, "lapse"),
        ({"rules": 0}, "rules"),
        ({"age_seconds": 0}, "age_seconds"),
        ({"fetch_seconds": 0}, "fetch_seconds"),
    ],
)
def test_a_setting_that_is_none_is_named(wrong: dict[str, Any], named: str) -> None:
    """Whatever could break out of its line, or the plugin would not take, is refused."""
    with pytest.raises(ValueError, match=named):
        gate.render(gate.Settings(**{**GOOD, **wrong}), PLUGIN, CONF)

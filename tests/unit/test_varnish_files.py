"""Building the Varnish gate's library and filling in its VCL."""

from __future__ import annotations

from pathlib import Path

import pytest

from freshline.gates import varnish as gate
from freshline.gates.build import CannotBuild

SECRET = "0123456789abcdef"


def test_a_library_is_built_once(tmp_path: Path) -> None:
    """The same source and Varnish give the same file, built the first time only."""
    first = gate.build(tmp_path / "lib")
    made = first.stat().st_mtime_ns

    assert gate.build(tmp_path / "lib") == first
    assert first.stat().st_mtime_ns == made
    assert list(first.parent.iterdir()) == [first]


def _path_with(tmp_path: Path, **programs: str) -> str:
    for name, script in programs.items():
        program = tmp_path / name.replace("_", "-")
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    return str(tmp_path)


@pytest.mark.parametrize(
    ("programs", "package"),
    [
        ({}, "pkg-config"),
        ({"pkg_config": "exit 1"}, "libvarnishapi-dev"),
        ({"pkg_config": "echo 7.1.1"}, "gcc"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs, package) -> None:
    """Who lacks a compiler or the headers is told which Debian package holds them."""
    monkeypatch.setenv("PATH", _path_with(tmp_path, **programs))

    with pytest.raises(CannotBuild, match=f"apt install {package}"):
        gate.build(tmp_path / "lib")


def test_a_compiler_that_objects_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler's own words come through, and nothing half-made is left."""
    flags = (*gate.FLAGS, "-fno-such-flag")
    monkeypatch.setattr(gate, "FLAGS", flags)

    with pytest.raises(CannotBuild, match="no-such-flag"):
        gate.build(tmp_path / "lib")
    assert list((tmp_path / "lib").iterdir()) == []


def test_every_value_finds_its_place() -> None:
    """Nothing of the template is left in what is rendered."""
    text = gate.render(Path("/var/lib/freshline/gate.so"), SECRET, rules=7, age_seconds=60, lapse="refuse")

    assert "@" not in text
    assert '"/var/lib/freshline/gate.so"' in text
    assert f'"{SECRET}"' in text
    assert "freshline.bounds(7, 60s);" in text
    assert "freshline.lapse(refuse);" in text


def test_a_value_that_looks_like_a_place_stays() -> None:
    """What a secret says is not filled in."""
    assert '"@RULES@0123456789"' in gate.render(Path("/gate.so"), "@RULES@0123456789")


@pytest.mark.parametrize(
    "secret", ["", "short", 'quoted"0123456789', "spaced 0123456789", "line\n0123456789abc", "ä" * 20]
)
def test_a_secret_that_vcl_cannot_hold_is_refused(secret: str) -> None:
    """A secret is a VCL string as it stands, and long enough to be one."""
    with pytest.raises(ValueError, match="secret"):
        gate.render(Path("/gate.so"), secret)


@pytest.mark.parametrize(
    "wrong",
    [{"library": Path("gate.so")}, {"library": Path('/a"b.so')}, {"rules": 0}, {"age_seconds": 0}, {"lapse": "no"}],
)
def test_other_values_are_held_to_what_vcl_takes(wrong) -> None:
    """No path, count or age gets into the VCL that would not load."""
    with pytest.raises(ValueError):
        gate.render(**{"library": Path("/gate.so"), "secret": SECRET, **wrong})

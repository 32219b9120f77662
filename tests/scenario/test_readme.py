"""The README is run as it stands: every command in it, in order, with the output it shows."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.base import free_port, until

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```(console|python)\n(.*?)```", re.S)

#: What differs from run to run.
CHANGES = (
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
    (r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", "UUID"),
    (r"[0-9a-f]{32}", "LOG"),
    (r" +", " "),
)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[dict[str, str]]:
    """``make run``, elsewhere; the places that the README names, and where they are here."""
    port, run_dir = free_port(6), tmp_path / "run"
    bin_ = Path(sys.executable).parent
    command = ["make", "-s", "run", f"PORT={port}", f"RUN_DIR={run_dir}", f"VENV={bin_.parent}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    until(lambda: process.poll() is not None or (run_dir / "demo.json").exists(), seconds=120)
    assert process.poll() is None
    assert process.stdout is not None
    lines = (line for line in process.stdout if not line.startswith("setup:"))  # what is missing differs
    said = "".join(itertools.islice(lines, 7))
    yield {".run": str(run_dir), **{str(8080 + at): str(port + at) for at in range(6)}, "said": said}
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=30)


def test_the_readme_is_true(running: dict[str, str]) -> None:
    """Whoever types what it says sees what it shows."""
    said = running.pop("said")
    script, shown = [], []
    for language, text in BLOCK.findall((ROOT / "README.md").read_text()):
        if language == "python":
            script.append(f"{sys.executable} - <<'END' | tail -n 1\n{text}END\n")
            shown.append("Complete 100%\n")
            continue
        for step in re.split(r"^\$ ", text, flags=re.M)[1:]:
            command, _, output = step.partition("\n")
            if command == "make run":
                assert masked(localised(output, running)) == masked(said)
                continue
            script.append(command + "\n")
            shown.append(output)
    mark = "--- next ---\n"
    steps = "".join(f"{localised(step, running)}echo '{mark.strip()}'\n" for step in script)
    done = subprocess.run(["bash", "-e"], input=steps, cwd=ROOT, capture_output=True, text=True, timeout=100)

    assert done.returncode == 0, done.stdout + done.stderr
    for command, expected, got in zip(script, shown, done.stdout.split(mark), strict=False):
        assert masked(localised(expected, running)) == masked(got), command


def localised(text: str, places: dict[str, str]) -> str:
    for there, here in places.items():
        text = re.sub(rf"(?<![\w/]){re.escape(there)}(?!\w)", here, text)
    return text


def masked(text: str) -> list[str]:
    for pattern, name in CHANGES:
        text = re.sub(pattern, name, text)
    return [line.strip() for line in text.splitlines() if line.strip()]

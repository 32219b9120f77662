"""``freshline gate squid``: what it writes works in a real server, built where it was copied to."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.servers.base import SECRET, free_port, listens, until
from tests.servers.origin import Origin
from tests.servers.squid import Squid


def test_the_squid_gate_stands_on_its_own(tmp_path: Path, origin: Origin) -> None:
    """Built by its own script where it was copied to, by a shell and gcc alone, it answers for a Squid."""
    root = Path(tempfile.mkdtemp(prefix="fg-"))
    root.chmod(0o755)
    data = {
        "FRESHLINE_SERVICE_DATA_DIR": str(tmp_path / "data"),
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
    }
    gate, site, door = (f"127.0.0.1:{free_port()}" for _ in range(3))

    def cli(*arguments: object) -> str:
        command = [sys.executable, "-m", "freshline", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=data, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    server = Squid(tmp_path, origin)
    try:
        secret = tmp_path / "secret"
        secret.write_text(SECRET)
        secret.chmod(0o600)
        cli("account", "add", "shop")
        cli("domain", "add", "www.test", "--account", "shop")
        cli("edge", "add", "s1", "--kind", "squid", "--gate", gate, "--site", site, "--secret-file", secret)
        there = root / "gate"
        more = ["--journal", server.home / "journal", "--door", door]
        said = cli("gate", "squid", "s1", "--no-build", "--to", tmp_path / "made", "--installed-at", there, *more)
        shutil.copytree(tmp_path / "made", there)
        open_to_all = {path.name for path in there.iterdir() if path.stat().st_mode & 0o004}
        assert open_to_all == {"build.sh", "refused.html", "src"}
        built = subprocess.run(["sh", there / "build.sh"], capture_output=True, text=True, timeout=120, check=False)
        assert built.returncode == 0, built.stderr
        assert f"include {there}/squid.conf" in said

        server.runs_from(there, site, gate)
        server.start()
        until(lambda: listens(gate))
        origin.serves("/a", "v1")
        checked = cli("edge", "check", "s1", "--url", "http://www.test/a")
        assert checked.count("ok ") == 4 and "not tried" in checked, checked
    finally:
        server.close()
        shutil.rmtree(root)

"""A real varnishd with the gate in it, on free ports, in a directory of its own."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from freshline.domain.edge import Edge
from freshline.drivers.base import Driver
from freshline.drivers.varnish import VarnishDriver
from freshline.gates import varnish as gate
from tests.servers.base import SECRET, SITE, Seen, free_port, get, listens, until
from tests.servers.upstream import Upstream

STOP_SECONDS = 20
GUARD = "freshline.guard();"  #: what judges each lookup

READ_TIMEOUT_SECONDS = 60
OPERATOR = """
backend default {
    .host = "127.0.0.1"; .port = "%(port)d";
    .connect_timeout = 2s; .first_byte_timeout = %(seconds)ds; .between_bytes_timeout = %(seconds)ds;
}
sub vcl_deliver {
    if (obj.hits > 0) { set resp.http.x-cache = "HIT"; } else { set resp.http.x-cache = "MISS"; }
}
"""


@functools.cache
def library() -> Path:
    """Built once for a run of the tests."""
    return gate.build(Path(tempfile.gettempdir()) / f"freshline-tests-{os.getuid()}")


class Varnish:
    """``guarded=False`` has no gate; ``blind=True`` has one that answers all it is told, and guards no lookup. Of the
    operator's VCL, ``before`` stands before the gate's."""

    kind = "varnish"

    def __init__(
        self,
        tmp_path: Path,
        origin: Upstream,
        *,
        before: str = "",
        operator: str = "",
        guarded: bool = True,
        blind: bool = False,
        rules: int = gate.RULES,
        lapse: str = "serve",
        read_timeout_seconds: int = READ_TIMEOUT_SECONDS,
        parameters: Mapping[str, str] | None = None,
        storage: str = "malloc,64m",
    ) -> None:
        self.name = "varnish-1"
        self._site, self._gate = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self.edge = Edge(self.name, self.kind, "default", self._gate, self._site, SECRET)
        self._home = Path(tempfile.mkdtemp(prefix="vd-"))  # short: a socket's path has its limit
        self._log = tmp_path / "varnishd.log"
        self._guarded, self._blind, self._rules, self.lapse = guarded, blind, rules, lapse
        self.read_timeout_seconds = read_timeout_seconds
        self._origin, self._before, self._operator = origin, before, operator
        self._parameters, self._storage = dict(parameters or {}), storage
        self._loads = 0
        self.environment: Mapping[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the manager."""
        assert self._process is not None
        return self._process.pid

    @property
    def home(self) -> Path:
        """What ``varnishadm -n`` and ``varnishlog -n`` want."""
        return self._home

    def start(self) -> None:
        self._home.mkdir(exist_ok=True)
        arguments = ["-a", self._site, "-a", f"freshline={self._gate},HTTP", "-f", str(self._vcl())]
        arguments += ["-n", str(self._home), "-s", self._storage, "-p", "thread_pool_min=20"]
        arguments += [part for name, value in self._parameters.items() for part in ("-p", f"{name}={value}")]
        if os.getuid() == 0:
            arguments += ["-j", "none"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["varnishd", "-F", *arguments], stdout=log, stderr=log, env={**os.environ, **self.environment}
            )
        until(self._up)

    def _up(self) -> bool:
        assert self._process is not None and self._process.poll() is None, self._log.read_text()
        return listens(self._site) and listens(self._gate)

    def stop(self) -> None:
        self._end(signal.SIGTERM)
        shutil.rmtree(self._home, ignore_errors=True)

    def kill(self) -> None:
        """The manager first, or it would start another child."""
        child = self.child()
        self._end(signal.SIGKILL)
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            return
        until(lambda: not Path(f"/proc/{child}").exists() or not listens(self._site))

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(STOP_SECONDS)
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def reload(self) -> None:
        """Load the VCL anew, use it and throw the old one away."""
        listed = [line.split() for line in self.admin("vcl.list").splitlines()]
        old = next(words[-1] for words in listed if words and words[0] == "active")
        self._loads += 1
        self.admin("vcl.load", f"again{self._loads}", str(self._vcl()))
        self.admin("vcl.use", f"again{self._loads}")
        self.admin("vcl.discard", old)

    def child(self) -> int:
        """Process id of the cache itself."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return int(children[0])

    def admin(self, *command: str) -> str:
        asked = ["varnishadm", "-n", str(self._home), *command]
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=STOP_SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def counter(self, name: str) -> int:
        asked = ["varnishstat", "-n", str(self._home), "-1", "-f", name]
        done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=STOP_SECONDS)
        return int(done.stdout.split()[1])

    def get(self, path: str, host: str = SITE, headers: Mapping[str, str] | None = None) -> Seen:
        return get(self._site, path, host, headers)

    def driver(self) -> Driver:
        return VarnishDriver(self.edge)

    def _vcl(self) -> Path:
        text = f"vcl 4.1;\n{self._before}\n"
        if self._guarded:
            vcl = gate.render(library(), SECRET, rules=self._rules, lapse=self.lapse)
            if self._blind:
                assert GUARD in vcl
                vcl = vcl.replace(GUARD, "")
            (self._home / "freshline.vcl").write_text(vcl)
            text += f'include "{self._home}/freshline.vcl";\n'
        path = self._home / "site.vcl"
        backend = OPERATOR % {"port": self._origin.port, "seconds": self.read_timeout_seconds}
        path.write_text(text + backend + self._operator)
        return path

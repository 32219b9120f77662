"""A real Squid with the gate's helper, on free ports, in a directory of its own."""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path

from freshline.domain.edge import Edge
from freshline.drivers.base import Driver
from freshline.drivers.squid import SquidDriver
from freshline.gates import squid as gate
from tests.servers.base import SECRET, SITE, Seen, free_port, get, listens, until
from tests.servers.upstream import Upstream

STOP_SECONDS = 20
READ_TIMEOUT_SECONDS = 60
USER = "proxy"

CONF = """
{gate}
http_port {site} accel vhost
cache_peer 127.0.0.1 parent {origin} 0 no-query no-digest originserver name=origin
http_access allow all
{store}
cache_mem 32 MB
read_timeout {read_timeout} seconds
connect_timeout 2 seconds
shutdown_lifetime 0 seconds
access_log none
cache_log {home}/cache.log
cache_store_log none
logfile_rotate 0
pid_filename {home}/squid.pid
coredump_dir {home}
visible_hostname cache.test
pinger_enable off
{user}
{operator}
"""
UFS = "cache_dir ufs {home}/cache 200 1 1"
ROCK = "cache_dir rock {home}/cache 64"
MEMORY = ""

#: In the helper's place, and given it and its settings.
WITHOUT_EPOCHS = """#!/bin/sh
"$@" | sed -u 's/#[0-9a-f]*[.][0-9]*"/"/'
"""


@functools.cache
def helper() -> Path:
    """Built once for a run of the tests, where Squid's user can reach it."""
    return gate.build(Path(tempfile.gettempdir()) / f"freshline-tests-{os.getuid()}")


class Squid:
    """``blind=True`` takes the epoch off every key: Squid as it would be without us, but told all the same."""

    kind = "squid"

    def __init__(
        self,
        tmp_path: Path,
        origin: Upstream,
        *,
        store: str = UFS,
        operator: str = "",
        settings: Mapping[str, object] | None = None,
        blind: bool = False,
        file_bytes: int = 0,
        lapse: str = "serve",
        read_timeout_seconds: int = READ_TIMEOUT_SECONDS,
    ) -> None:
        self.name = "squid-1"
        first = free_port(3)
        self._gate, self._door, self._site = (f"127.0.0.1:{first + at}" for at in range(3))
        self._service = f"fl{first}"  # names its shared memory
        self.edge = Edge(self.name, self.kind, "default", self._gate, self._site, SECRET)
        self.home = Path(tempfile.mkdtemp(prefix="sq-"))  # tmp_path is closed to Squid's user
        self.read_timeout_seconds, self.lapse = read_timeout_seconds, lapse
        self.settings = dict(settings or {})
        self.waits_for_gate = True  # false: it will not have one
        self._origin, self._store, self._operator, self._blind = origin, store, operator, blind
        self._gate_dir = self.home
        self._broken, self._file_bytes = "", file_bytes
        self.environment: Mapping[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def journal(self) -> Path:
        return self.home / "journal"

    @property
    def errors(self) -> str:
        log = self.home / "cache.log"
        return log.read_text("utf-8", "replace") if log.exists() else ""

    def configure(self) -> None:
        base = gate.Settings(SECRET, self._gate, str(self.home), str(helper()), str(self.journal), self._door)
        fields = {name: getattr(base, name) for name in base.__slots__}
        files = gate.render(gate.Settings(**{**fields, "lapse": self.lapse, **self.settings}))
        program = str(helper())
        if self._blind:
            without = self.home / "freshline-without-epochs"
            without.write_text(WITHOUT_EPOCHS)
            without.chmod(0o755)
            program = f"{without} {program}"
        for name, text in files.items():
            (self.home / name).write_text(text.replace(f"{helper()} ", f"{program} ", 1).lstrip())
        with (self.home / "gate.conf").open("a") as told:
            told.write(self._broken)
        text = CONF.format(
            gate=f"include {self._gate_dir}/squid.conf",
            site=self._site,
            origin=self._origin.port,
            store=self._store.format(home=self.home),
            read_timeout=self.read_timeout_seconds,
            home=self.home,
            user=f"cache_effective_user {USER}" if os.geteuid() == 0 else "",
            operator=self._operator,
        )
        (self.home / "site.conf").write_text(text)

    def start(self) -> None:
        self.configure()
        if self._store.endswith(UFS):
            (self.home / "cache/00/00").mkdir(parents=True, exist_ok=True)
        elif self._store == ROCK and not (self.home / "cache").exists():
            self._own()
            subprocess.run([*self._command(), "-z"], check=True, capture_output=True, timeout=STOP_SECONDS)
        self._own()
        with (self.home / "out").open("ab") as out:
            self._process = subprocess.Popen(
                self._command(), stdout=out, stderr=out, env={**os.environ, **self.environment}
            )
        until(self._up)

    def _own(self) -> None:
        if os.geteuid() == 0:
            user = pwd.getpwnam(USER)
            for path in (self.home, *self.home.rglob("*")):
                with suppress(FileNotFoundError):
                    os.chown(path, user.pw_uid, user.pw_gid)

    def _command(self) -> list[str]:
        limit = ["prlimit", f"--fsize={self._file_bytes}:unlimited"] if self._file_bytes else []
        return [*limit, "squid", "-N", "-n", self._service, "-f", str(self.home / "site.conf")]

    def _up(self) -> bool:
        assert self._process is not None and self._process.poll() is None, self.errors
        return self.ready()

    def ready(self) -> bool:
        return listens(self._site) and (listens(self._gate) or not self.waits_for_gate)

    @property
    def door(self) -> str:
        return self._door

    def runs_from(self, gate_dir: Path, site: str, gate_address: str) -> None:
        """Include the gate's files from there, and listen as they say."""
        self._gate_dir, self._site, self._gate = gate_dir, site, gate_address

    def restart_with(self, settings: str) -> None:
        """Stop, and start with something that the helper will not understand."""
        self.stop()
        self._broken = settings
        self.start()

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def close(self) -> None:
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.home, ignore_errors=True)
        for segment in Path("/dev/shm").glob(f"{self._service}-*"):
            segment.unlink(missing_ok=True)

    def kill(self) -> None:
        helpers = self.helpers()
        self._end(signal.SIGKILL)
        for pid in helpers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not any(alive(pid) for pid in helpers))

    def kill_helper(self) -> None:
        """Squid starts another one, or ends itself and is started again, as its master process or systemd would.

        5.7 may write once more to a helper that is gone, which it asserts it never does, and it gives up where one dies
        that has answered nothing yet.
        """
        old = self.helpers()
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        until(lambda: self._ended() or (self._replaced(old) and self._answers() and self.ready()))
        if self._ended():
            self.start()

    def _ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _answers(self) -> bool:
        """Whether a visit gets through, which leaves the origin alone."""
        try:
            return self.get("/", headers={"Cache-Control": "only-if-cached"}).status == 504
        except (OSError, HTTPException):
            return False

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            helpers = children(process.pid)
            process.send_signal(how)
            process.wait(STOP_SECONDS)
            until(lambda: how is signal.SIGKILL or not any(alive(pid) for pid in helpers))

    def restart(self) -> None:
        self.stop()
        self.start()

    def reload(self) -> None:
        """Return once another helper is on duty."""
        self.configure()
        self._own()
        self.signal(signal.SIGHUP)

    def rotate(self) -> None:
        self.signal(signal.SIGUSR1)

    def signal(self, how: signal.Signals) -> None:
        assert self._process is not None
        old = self.helpers()
        self._process.send_signal(how)
        self._until_replaced(old)

    def _until_replaced(self, old: list[int]) -> None:
        until(lambda: self._up() and self._replaced(old))

    def _replaced(self, old: list[int]) -> bool:
        now = self.helpers()
        return bool(now) and not set(old) & set(now)

    def helpers(self) -> list[int]:
        assert self._process is not None
        return children(self._process.pid)

    def get(self, path: str, host: str = SITE, headers: Mapping[str, str] | None = None) -> Seen:
        seen = get(self._site, path, host, headers)
        return replace(seen, cache=(seen.cache or "").partition(" ")[0])  # "HIT from cache.test"

    def driver(self) -> Driver:
        return SquidDriver(self.edge)


def children(pid: int) -> list[int]:
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [int(child) for child in listed if b"freshline" in _command_line(int(child)) and alive(int(child))]


def alive(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _command_line(pid: int) -> bytes:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""

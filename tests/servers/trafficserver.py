"""A real Traffic Server with the gate in it, on free ports, in a directory of its own, as the user it is in life."""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from freshline.domain.edge import Edge
from freshline.drivers.base import Driver
from freshline.drivers.trafficserver import TrafficServerDriver
from freshline.gates import trafficserver as gate
from tests.servers.base import SECRET, SITE, Seen, free_port, get, listens, until
from tests.servers.upstream import Upstream

STOP_SECONDS = 20
BUILD_SECONDS = 120
JUDGED = "if (rules_none_newer(stamp))"
DIRECTORY = (16_384, 140_000)  #: where in a disk of 32 MB its two copies lie
USER = "trafficserver"  #: what a server started by root becomes

READ_TIMEOUT_SECONDS = 60
MODULES = Path("/usr/lib/trafficserver/modules")
ETC = Path("/etc/trafficserver")
COPIED = ("ip_allow.yaml", "logging.yaml", "sni.yaml", "strategies.yaml")
EMPTY = ("ssl_multicert.config", "parent.config", "hosting.config", "volume.config", "cache.config", "splitdns.config")
RECORDS: Mapping[str, str | int] = {
    "exec_thread.autoconfig": 0,
    "exec_thread.limit": 2,
    "accept_threads": 1,
    "task_threads": 1,
    "cache.threads_per_disk": 2,
    "cache.ram_cache.size": "8M",
    "http.insert_response_via_str": 0,
    "http.connect_attempts_max_retries": 0,
    "http.connect_attempts_max_retries_dead_server": 0,
    "http.connect_attempts_timeout": 2,
    "http.down_server.cache_time": 0,
    "http.wait_for_cache": 2,
    "http.cache.required_headers": 1,
    "url_remap.pristine_host_hdr": 1,
    "diags.debug.enabled": 0,
    "log.logging_enabled": 0,
    "crash_log_helper": "NULL",
}


@functools.cache
def library() -> Path:
    """Built once for a run of the tests."""
    return gate.build(Path(tempfile.gettempdir()) / f"freshline-tests-{os.getuid()}")


def blind_library(home: Path) -> Path:
    """The same but for the first thing that it looks at when it judges: it finds nothing newer, ever."""
    for name, text in gate.sources().items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text.replace(JUDGED, "if (1)"))
    assert "if (1)" in (home / "src/plugin.c").read_text()
    (home / gate.CONF).touch()
    subprocess.run(["sh", gate.SCRIPT], cwd=home, check=True, capture_output=True, timeout=BUILD_SECONDS)
    return home / gate.PROGRAM


class Trafficserver:
    kind = "trafficserver"

    def __init__(
        self,
        tmp_path: Path,
        origin: Upstream,
        *,
        guarded: bool = True,
        blind: bool = False,
        managed: bool = False,
        lapse: str = "serve",
        rules: int = gate.RULES,
        fetch_seconds: int = 600,
        read_timeout_seconds: int = READ_TIMEOUT_SECONDS,
        records: Mapping[str, str | int] | None = None,
        remap: str | None = None,
        cache_size: str = "32M",
        tls: tuple[int, Path, Path] | None = None,
        edge: Edge | None = None,
        plugin: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """
        :param plugin: a line of plugin.config for the gate of that edge, where it is not ours to make
        :param guarded: with the gate
        :param blind: with one that answers all it is told, and takes every object for fresh
        :param managed: under traffic_manager, which a reload needs and which takes its time
        :param records: of records.config, without ``proxy.config.``
        :param tls: a port where it is spoken as well, the certificate and its key
        """
        self.name = "trafficserver-1"
        gate_at, site_at = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self.edge = edge or Edge(self.name, self.kind, "default", gate_at, site_at, SECRET)
        self._site, self._gate, self._plugin = self.edge.site, self.edge.gate, plugin
        self._home = Path(tempfile.mkdtemp(prefix="ts-"))  # short: a socket's path has its limit
        self._guarded, self._blind, self._managed = guarded, blind, managed
        self._rules, self.lapse, self._fetch_seconds = rules, lapse, fetch_seconds
        self.read_timeout_seconds = read_timeout_seconds
        self._records = dict(records or {})
        self._remap = remap or f"map / http://{origin.address}/\n"
        self._cache_size, self._tls = cache_size, tls
        self.environment: Mapping[str, str] = environment or {}
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("etc", "run", "log", "cache", "gate"):
            (self._home / name).mkdir()

    @property
    def home(self) -> Path:
        return self._home

    def directory(self) -> bytes:
        """What the disk knows of the cache's objects: it is written from time to time."""
        with (self._home / "cache" / "cache.db").open("rb") as disk:
            disk.seek(DIRECTORY[0])
            return disk.read(DIRECTORY[1] - DIRECTORY[0])

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def sockets(self) -> list[str]:
        """What it has open of those, each by a name that does not come again."""
        links = [path.readlink() for path in Path(f"/proc/{self.pid}/fd").iterdir() if path.is_symlink()]
        return [str(link) for link in links if str(link).startswith("socket:")]

    @property
    def journal(self) -> Path:
        return self._home / "gate" / "journal"

    def start(self) -> None:
        self._configure()
        program = "traffic_manager" if self._managed else "traffic_server"
        with (self._home / "log" / "out").open("ab") as log:
            self._process = subprocess.Popen(
                [program, f"--run-root={self._home}"],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **self.environment},
            )
        until(self._up)

    def _up(self) -> bool:
        assert self._process is not None and self._process.poll() is None, self.said()
        initialized = not self._managed or "fully initialized" in self.said()
        return initialized and listens(self._site) and (not self._guarded or listens(self._gate))

    def said(self) -> str:
        logs = [self._home / "log" / name for name in ("out", "diags.log", "manager.log")]
        return "\n".join(path.read_text() for path in logs if path.exists())

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def discard(self) -> None:
        """It ends, and nobody starts it again."""
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        """The manager and its server are a session of their own."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            if how is signal.SIGKILL:
                os.killpg(process.pid, how)
            else:
                process.send_signal(how)
        process.wait(STOP_SECONDS)
        until(lambda: not listens(self._site) and not listens(self._gate))

    def restart(self) -> None:
        self.stop()
        self.start()

    def reload(self) -> None:
        """As traffic_ctl has it, if it is managed; of the gate alone if not. Returns once that has been told."""
        before = self.said().count("settings taken up")
        self._configure()
        if not self._managed:
            os.utime(self._home / "etc" / gate.CONF)
            until(lambda: self.said().count("settings taken up") > before)
            return
        asked = ["traffic_ctl", "--run-root=" + str(self._home), "config", "reload"]

        def told() -> bool:
            done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=STOP_SECONDS)
            assert done.returncode == 0, done.stdout + done.stderr
            time.sleep(0.2)  # a server that the manager does not know yet is not told: then it is told again
            return self.said().count("settings taken up") > before

        until(told)

    def get(self, path: str, host: str = SITE, headers: Mapping[str, str] | None = None) -> Seen:
        seen = get(self._site, path, host, {"X-Debug": "X-Cache", **(headers or {})})
        return replace(seen, cache={"hit-fresh": "HIT", "miss": "MISS"}.get(seen.cache or "", seen.cache))

    def driver(self) -> Driver:
        return TrafficServerDriver(self.edge)

    def _configure(self) -> None:
        home, etc = self._home, self._home / "etc"
        layout = {
            "prefix": "/usr", "exec_prefix": "/usr", "bindir": "/usr/bin", "sbindir": "/usr/bin",
            "includedir": "/usr/include", "libdir": "/usr/lib/trafficserver", "sysconfdir": etc,
            "libexecdir": MODULES, "localstatedir": home, "runtimedir": home / "run",
            "logdir": home / "log", "datadir": home / "cache", "cachedir": home / "cache",
        }  # fmt: skip
        _put(home / "runroot.yaml", "".join(f"{name}: {path}\n" for name, path in layout.items()))
        for name in COPIED:
            _put(etc / name, (ETC / name).read_text())
        for name in EMPTY:
            _put(etc / name, "")
        if self._tls:
            for name, path in zip(("site.pem", "site.key"), self._tls[1:], strict=True):
                shutil.copy(path, etc / name)
            line = f"dest_ip=* ssl_cert_name={etc}/site.pem ssl_key_name={etc}/site.key\n"
            _put(etc / "ssl_multicert.config", line)
        shutil.copytree(ETC / "body_factory", etc / "body_factory", dirs_exist_ok=True)
        seconds = self.read_timeout_seconds
        records = {
            **RECORDS,
            "http.server_ports": self._site.rpartition(":")[2] + (f" {self._tls[0]}:ssl" if self._tls else ""),
            "http.transaction_no_activity_timeout_out": seconds,
            "admin.user_id": USER if os.getuid() == 0 else "#-1",
            **self._records,
        }
        _put(
            etc / "records.config",
            "".join(
                f"CONFIG proxy.config.{name} {'INT' if isinstance(value, int) else 'STRING'} {value}\n"
                for name, value in records.items()
            ),
        )
        _put(etc / "storage.config", f"{home / 'cache'} {self._cache_size}\n")
        _put(etc / "remap.config", self._remap)
        plugins = f"{MODULES}/xdebug.so --enable=x-cache\n"
        if self._plugin:
            plugins += f"{self._plugin}\n"
        elif self._guarded:
            conf = etc / "freshline.conf"
            settings = gate.Settings(
                SECRET,
                self._gate,
                str(self.journal),
                self.lapse,
                rules=self._rules,
                fetch_seconds=self._fetch_seconds,
            )
            plugin = blind_library(home / "blind") if self._blind else library()
            _put(conf, gate.render(settings, plugin, conf))
            plugins += f"{plugin} {conf}\n"
        _put(etc / "plugin.config", plugins)
        if os.getuid() == 0:
            owner = pwd.getpwnam(USER)
            for path in (home, *home.rglob("*")):
                if path.owner() != USER:
                    os.chown(path, owner.pw_uid, owner.pw_gid)


def _put(path: Path, text: str) -> None:
    """Left alone if it says so already, so that a reload reloads what has changed."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)

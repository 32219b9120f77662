"""A real nginx with the gate in it, on free ports, under a directory of the test's."""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from freshline.domain.edge import Edge
from freshline.drivers.nginx import NginxDriver
from freshline.gates.build import own_cache
from freshline.gates.nginx import Settings, build, render
from tests.servers.base import SECRET, SITE, Seen, free_port, get, listens, until
from tests.servers.upstream import Upstream

WORKERS = 4
MODULES = Path("/usr/lib/nginx/modules")
READ_TIMEOUT_SECONDS = 60
OBJECT = re.compile("[0-9a-f]{32}")

CONF = """
daemon off;
env FAKETIME_TIMESTAMP_FILE; env FAKETIME_NO_CACHE; env FAKETIME_DONT_FAKE_MONOTONIC; env NO_FAKE_STAT;
pid {root}/nginx.pid;
error_log {root}/error.log notice;
worker_processes {workers};
worker_shutdown_timeout 30s;
{user}
load_module {modules}/ndk_http_module.so;
load_module {modules}/ngx_http_lua_module.so;
{load}
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/temp;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    proxy_cache_path {root}/cache levels=1:2 keys_zone=pages:8m inactive=1d max_size=200m use_temp_path=off;
    {http}
    server {{
        listen {site};
        {tls}
        {server}
        location / {{
            proxy_pass http://{origin};
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Connection "";
            proxy_cache pages;
            proxy_read_timeout {read_timeout}s;
            proxy_next_upstream off;
            add_header x-cache $upstream_cache_status always;
            {location}
        }}
    }}
    {gate}
}}
"""


@functools.cache
def module() -> Path:
    """Built once; the demo uses it as well."""
    return build(own_cache())


class Nginx:
    """``gated=False`` is the same nginx with its usual key and no gate: what tests are held against.

    ``blind=True`` has a gate that answers all it is told, and a cache whose key holds nothing of it.
    """

    kind = "nginx"

    def __init__(
        self,
        tmp_path: Path,
        origin: Upstream,
        *,
        gated: bool = True,
        blind: bool = False,
        settings: Mapping[str, object] | None = None,
        location: str = "",
        lapse: str = "serve",
        read_timeout_seconds: int = READ_TIMEOUT_SECONDS,
    ) -> None:
        self.name = f"nginx-{free_port()}"
        self.root = tmp_path / self.name
        self.root.mkdir()
        self.root.chmod(0o755)
        self.read_timeout_seconds = read_timeout_seconds
        self.settings: dict[str, object] = dict(settings or {})
        self.lapse = lapse
        self._origin, self._gated, self._location = origin, gated, location
        if blind:
            self._location += "proxy_cache_key $scheme://$host$request_uri;"
        self.site, self.gate = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self.edge = Edge(self.name, self.kind, "group", self.gate, self.site, SECRET)
        self._tls = ""
        self.environment: Mapping[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the master."""
        assert self._process is not None
        return self._process.pid

    @property
    def journal(self) -> Path:
        return self.root / "journal"

    @property
    def errors(self) -> str:
        return (self.root / "error.log").read_text("utf-8", "replace")

    def configure(self) -> None:
        files = {
            "load.conf": "",
            "http.conf": "",
            "site.conf": "proxy_cache_key $scheme://$host$request_uri;",
            "gate.conf": "",
        }
        if self._gated:
            base = Settings(
                *(SECRET, self.gate, self.site, str(self.root / "cache"), str(self.journal), str(module())),
                rules_size="16m",
            )
            fields = {name: getattr(base, name) for name in base.__slots__}
            files = render(Settings(**{**fields, "lapse": self.lapse, **self.settings}))
        text = CONF.format(
            root=self.root,
            workers=WORKERS,
            user="user root;" if os.geteuid() == 0 else "",
            modules=MODULES,
            site=self.site,
            origin=self._origin.address,
            read_timeout=self.read_timeout_seconds,
            location=self._location,
            load=files["load.conf"],
            http=files["http.conf"],
            tls=self._tls,
            server=files["site.conf"],
            gate=files["gate.conf"],
        )
        (self.root / "nginx.conf").write_text(text)

    def listens_for_tls(self, certificate: Path, key: Path) -> str:
        """From its next start on. Its address for that."""
        address = f"127.0.0.1:{free_port()}"
        self._tls = f"listen {address} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};"
        return address

    def start(self) -> None:
        self.configure()
        self._process = subprocess.Popen(
            self._command(), start_new_session=True, env={**os.environ, **self.environment}
        )
        until(lambda: self._alive() and listens(self.site))
        if self._gated:
            until(lambda: listens(self.gate))

    @contextmanager
    def daemon(self) -> Iterator[int]:
        """Started as a service is, for only such an nginx changes its program on the fly. The master's pid."""
        self.configure()
        path = self.root / "nginx.conf"
        path.write_text(path.read_text().replace("daemon off;", "daemon on;"))
        command = [shutil.which("nginx") or "nginx", *self._command()[1:]]  # it looks for the next one nowhere else
        subprocess.run(command, check=True, timeout=30)
        pid_file = self.root / "nginx.pid"
        pid = int(until(lambda: pid_file.exists() and pid_file.read_text()))
        try:
            yield pid
        finally:
            os.kill(pid, signal.SIGTERM)
            until(lambda: not children(pid) and not listens(self.site))

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def reload(self) -> None:
        """Return once the old workers are gone."""
        assert self._process is not None
        self.configure()
        old = self.workers()
        self._process.send_signal(signal.SIGHUP)
        until(lambda: not set(old) & set(self.workers()) and self.workers())

    def purge(self) -> None:
        """Unlink every object in its place, as a purge does. What is still being fetched is not in its place."""
        for file in (self.root / "cache").rglob("*"):
            if OBJECT.fullmatch(file.name):
                file.unlink()

    def get(self, path: str, host: str = SITE, headers: Mapping[str, str] | None = None) -> Seen:
        return get(self.site, path, host, headers)

    def driver(self) -> NginxDriver:
        return NginxDriver(self.edge)

    def _command(self) -> list[str]:
        return ["nginx", "-e", str(self.root / "error.log"), "-p", str(self.root), "-c", str(self.root / "nginx.conf")]

    def _alive(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.errors
        return True

    def workers(self) -> list[int]:
        return children(self.pid)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if how is signal.SIGKILL:
            os.killpg(process.pid, how)  # its workers too: they are of its session
        else:
            process.send_signal(how)
        process.wait(30)
        until(lambda: not listens(self.site))


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []

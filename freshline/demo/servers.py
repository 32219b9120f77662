"""The servers around the demo: what each is started with, and that each ends with us."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from freshline.domain.edge import Edge
from freshline.gates import nginx, varnish
from freshline.gates.build import own_cache
from freshline.wiring import CannotStart

MODULES = Path("/usr/lib/nginx/modules")
START_SECONDS = 15.0
STOP_SECONDS = 8.0

ORIGIN = """
daemon off;
pid {home}/nginx.pid;
error_log {home}/error.log warn;
worker_processes 1;
{user}
events {{ worker_connections 512; }}
http {{
    include /etc/nginx/mime.types;
    access_log {home}/access.log;
    client_body_temp_path {home}/tmp; proxy_temp_path {home}/tmp; fastcgi_temp_path {home}/tmp;
    uwsgi_temp_path {home}/tmp; scgi_temp_path {home}/tmp;
    map $uri $tag {{ ~^/news/ "news"; default "pages"; }}
    server {{
        listen {listen};
        server_name {names};
        root {root}/$host;
        add_header Cache-Control "public, max-age=86400";
        add_header Cache-Tag $tag;
    }}
}}
"""

NGINX_EDGE = """
daemon off;
pid {home}/nginx.pid;
error_log {home}/error.log warn;
worker_processes 2;
{user}
load_module {modules}/ndk_http_module.so;
load_module {modules}/ngx_http_lua_module.so;
include {home}/load.conf;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {home}/tmp; proxy_temp_path {home}/tmp; fastcgi_temp_path {home}/tmp;
    uwsgi_temp_path {home}/tmp; scgi_temp_path {home}/tmp;
    proxy_cache_path {home}/cache levels=1:2 keys_zone=site:10m inactive=7d max_size=1g use_temp_path=off;
    include {home}/http.conf;
    include {home}/gate.conf;
    server {{
        listen {site};
        include {home}/site.conf;
        location / {{
            proxy_pass http://{origin};
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Connection "";
            proxy_cache site;
            add_header X-Cache $upstream_cache_status always;
        }}
    }}
}}
"""

VARNISH_EDGE = """vcl 4.1;
include "{home}/freshline.vcl";
backend default {{ .host = "{host}"; .port = "{port}"; }}
sub vcl_deliver {{
    if (obj.hits > 0) {{ set resp.http.X-Cache = "HIT"; }} else {{ set resp.http.X-Cache = "MISS"; }}
}}
"""


class Server:
    """One server process (and its children), ended when we end, however that comes about."""

    def __init__(self, name: str, command: Sequence[str], addresses: Sequence[str], log: Path) -> None:
        self.name, self._command, self._addresses, self._log = name, command, addresses, log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """:raises CannotStart: it ended at once, or does not listen in time"""
        for address in self._addresses:
            if listens(address):
                raise CannotStart(f"{self.name} wants {address}, where something listens already")
        with self._log.open("ab") as out:
            # The kernel ends it should we be killed; a session of its own keeps Ctrl-C for us.
            command = ["setpriv", "--pdeathsig", "TERM", *self._command]
            self._process = await asyncio.create_subprocess_exec(
                *command, stdout=out, stderr=out, start_new_session=True
            )
        for _ in range(int(START_SECONDS / 0.05)):
            if all(listens(address) for address in self._addresses):
                return
            if self._process.returncode is not None:
                break
            await asyncio.sleep(0.05)
        tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-5:])
        raise CannotStart(f"{self.name} did not start; see {self._log}\n{tail}")

    async def stop(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()


def origin(home: Path, listen: str, root: Path, names: Sequence[str]) -> Server:
    home.mkdir(parents=True, exist_ok=True)
    text = ORIGIN.format(home=home, listen=listen, root=root, names=" ".join(names), user=_user())
    return _nginx("origin", home, text, [listen])


def nginx_edge(home: Path, edge: Edge, origin_address: str) -> Server:
    """:raises CannotBuild: the gate's module cannot be built here"""
    (home / "cache").mkdir(parents=True, exist_ok=True)
    settings = nginx.Settings(
        secret=edge.secret,
        gate=edge.gate,
        site=edge.site,
        cache_path=str(home / "cache"),
        journal=str(home / "gate.journal"),
        module=str(nginx.build(own_cache())),
    )
    for name, text in nginx.render(settings).items():
        (home / name).touch(mode=0o600)
        (home / name).write_text(text)
    text = NGINX_EDGE.format(home=home, modules=MODULES, site=edge.site, origin=origin_address, user=_user())
    return _nginx(edge.name, home, text, [edge.site, edge.gate])


def varnish_edge(home: Path, edge: Edge, origin_address: str) -> Server:
    """:raises CannotBuild: the gate's library cannot be built here"""
    home.mkdir(parents=True, exist_ok=True)
    (home / "freshline.vcl").touch(mode=0o600)
    (home / "freshline.vcl").write_text(varnish.render(varnish.build(home / "lib"), edge.secret))
    host, _, port = origin_address.rpartition(":")
    (home / "site.vcl").write_text(VARNISH_EDGE.format(home=home, host=host, port=port))
    work = home / "work"
    shutil.rmtree(work, ignore_errors=True)
    command = ["varnishd", "-F", "-n", str(work), "-f", str(home / "site.vcl"), "-s", "malloc,64m"]
    command += ["-a", edge.site, "-a", f"freshline={edge.gate},HTTP"]
    if os.geteuid() == 0:
        command += ["-j", "none"]
    return Server(edge.name, command, [edge.site, edge.gate], home / "varnishd.log")


def listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as sock:
        sock.settimeout(0.5)
        return sock.connect_ex((host, int(port))) == 0


def _nginx(name: str, home: Path, text: str, addresses: Sequence[str]) -> Server:
    (home / "nginx.conf").write_text(text)
    command = ["nginx", "-e", str(home / "error.log"), "-p", str(home), "-c", str(home / "nginx.conf")]
    return Server(name, command, addresses, home / "error.log")


def _user() -> str:
    """As root, the workers stay root: the directory belongs to whoever runs the demo."""
    return "user root;" if os.geteuid() == 0 else ""

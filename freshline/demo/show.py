"""The main job with its embedded defaults: everything started, everything told, everything ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shlex
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from freshline import datafile, serving, wiring
from freshline.config import Settings, load
from freshline.demo.servers import Server, nginx_edge, origin, varnish_edge
from freshline.domain.edge import Edge
from freshline.inventory.base import AccessKey
from freshline.inventory.sqlite import SqliteInventory

DOMAINS = ("www.demo.test", "img.demo.test")
GROUP = "demo"
PAGES = {"index.html": "welcome, version 1\n", "news/today.html": "news, version 1\n", "a.txt": "a, version 1\n"}


async def show(port: int, run_dir: Path) -> None:
    """Run until SIGINT or SIGTERM.

    :raises CannotStart: a port is taken, or a server does not start
    :raises InUse: a demo runs there already
    """
    _claim(run_dir)
    try:
        await _show(port, run_dir)
    except datafile.WrongVersion as wrong:
        raise wiring.CannotStart(f"{wrong}. The demo keeps nothing of value: rm -r {run_dir}") from None


async def _show(port: int, run_dir: Path) -> None:
    address = f"127.0.0.1:{port}"
    settings = load(None)
    service = replace(settings.service, listen=address, data_dir=str(run_dir / "data"))
    settings = replace(settings, service=service)
    sock = serving.listen(settings)
    ports = {
        name: f"127.0.0.1:{port + at}" for at, name in enumerate(("site1", "site2", "origin", "gate1", "gate2"), 1)
    }
    _write_pages(run_dir / "origin" / "pages")
    with contextlib.closing(wiring.open_inventory(settings)) as inventory:
        key = _account(inventory)
        edges = _edges(inventory, ports, settings)
    root = run_dir / "origin" / "pages"
    fleet = [
        origin(run_dir / "origin", ports["origin"], root, DOMAINS),
        nginx_edge(run_dir / "nginx", edges[0], ports["origin"]),
        await asyncio.to_thread(varnish_edge, run_dir / "varnish", edges[1], ports["origin"]),
    ]
    described = {
        "endpoint": f"http://{address}",
        "access_key_id": key.id,
        "access_key_secret": key.secret,
        "domains": list(DOMAINS),
        "origin": {"address": ports["origin"], "root": str(root)},
        "edges": [{"name": edge.name, "kind": edge.kind, "address": edge.site} for edge in edges],
    }
    async with _running(fleet):
        await serving.serve(settings, sock, lambda: _tell(described, run_dir))
    print("stopped: the service, the edges and the origin", flush=True)


def _claim(run_dir: Path) -> None:
    """Ours alone, before anything of a running demo is written over."""
    run_dir.mkdir(parents=True, exist_ok=True)
    datafile.lock(run_dir / "demo", "demo")


@contextlib.asynccontextmanager
async def _running(fleet: list[Server]) -> AsyncIterator[None]:
    try:
        for server in fleet:
            await server.start()
        yield
    finally:
        await asyncio.gather(*(server.stop() for server in fleet))


def _account(inventory: SqliteInventory) -> AccessKey:
    """The demo's account, made the first time and found again after."""
    account = next((each for each in inventory.accounts() if each.name == "demo"), None)
    if account is None:
        account = inventory.add_account("demo")
        inventory.add_access_key(account.id)
    for name in DOMAINS:
        if inventory.domain(name) is None:
            inventory.add_domain(name, account.id, GROUP)
    return next(iter(inventory.access_keys(account.id)), None) or inventory.add_access_key(account.id)


def _edges(inventory: SqliteInventory, ports: dict[str, str], settings: Settings) -> list[Edge]:
    """The two edges. One whose address moved is declared anew under the same name, and keeps its secret."""
    edges = []
    for at, kind in enumerate(("nginx", "varnish"), 1):
        name, gate, site = f"{kind}-1", ports[f"gate{at}"], ports[f"site{at}"]
        known = inventory.edge(name)
        if known is None or (known.gate, known.site) != (gate, site):
            secret = known.secret if known else secrets.token_urlsafe(32)
            joined = known.joined if known else 0
            if known:
                inventory.roster.remove(name)
            known = Edge(name, kind, GROUP, gate, site, secret, joined)
            inventory.roster.add(known)
        edges.append(known)
    return edges


def _write_pages(root: Path) -> None:
    """Pages to look at; what is there already stays as it is."""
    for domain in DOMAINS:
        for name, text in PAGES.items():
            path = root / domain / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_text(f"{domain}: {text}")


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and for our eyes only."""
    new = path.with_name(path.name + ".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)
    new.replace(path)


def _command(run_dir: Path) -> Path:
    """A directory with nothing but our command: whoever puts it on the PATH keeps a Python of their own."""
    bin_ = run_dir / "bin"
    bin_.mkdir(exist_ok=True)
    new = bin_ / "freshline.new"
    new.unlink(missing_ok=True)
    new.symlink_to(Path(sys.executable).absolute().parent / "freshline")
    new.replace(bin_ / "freshline")
    return bin_


def _tell(described: dict[str, Any], run_dir: Path) -> None:
    endpoint, key, secret = (described[name] for name in ("endpoint", "access_key_id", "access_key_secret"))
    environment = {
        "FRESHLINE_ENDPOINT": endpoint,
        "ALIBABA_CLOUD_ACCESS_KEY_ID": key,
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": secret,
        "FRESHLINE_SERVICE_DATA_DIR": str(run_dir / "data"),
    }
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()]
    lines.append(f'export PATH={shlex.quote(str(_command(run_dir)))}:"$PATH"\n')
    _write(run_dir / "env", "".join(lines))
    path = run_dir / "demo.json"
    _write(path, json.dumps(described, indent=2))
    host = endpoint.removeprefix("http://")
    edges = "\n".join(f"  {edge['name']:10} {edge['address']}   ({edge['kind']})" for edge in described["edges"])
    first = described["edges"][0]["address"]
    page = f"{described['origin']['root']}/www.demo.test/a.txt"
    print(
        f"""freshline is running; Ctrl-C ends everything.

  API        {endpoint}
  origin     {described["origin"]["address"]}   pages: {described["origin"]["root"]}
{edges}
  all of it  {path}

Look at an object through an edge, change it at the origin, refresh it:

  curl -i -H 'Host: www.demo.test' http://{first}/a.txt
  echo 'version 2' > {page}

with the command line:

  . {run_dir}/env
  freshline refresh http://www.demo.test/a.txt --wait

with the official Python SDK (pip install alibabacloud_cdn20180510, in a venv of your own):

  from alibabacloud_cdn20180510 import client, models
  from alibabacloud_tea_openapi.models import Config
  cdn = client.Client(Config(access_key_id='{key}', access_key_secret='{secret}',
                             endpoint='{host}', protocol='http'))
  task = cdn.refresh_object_caches(models.RefreshObjectCachesRequest(object_path='http://www.demo.test/a.txt'))
  print(cdn.describe_refresh_task_by_id(models.DescribeRefreshTaskByIdRequest(task_id=task.body.refresh_task_id)))

with curl:

  curl "$(freshline sign RefreshObjectCaches ObjectPath=http://www.demo.test/a.txt)"
""",
        flush=True,
    )

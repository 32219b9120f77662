"""The floor of every call: the same server, with the same settings, and a handler that gives the same bytes.

python -m bench.bare PORT FILE: FILE holds the answer's headers, an empty line, and its body
"""

from __future__ import annotations

import socket
import sys
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from freshline.api.connection import Connection
from freshline.serving import BACKLOG


def application(answer: bytes) -> Any:
    head, _, body = answer.partition(b"\n\n")
    headers = [tuple(line.split(b": ", 1)) for line in head.split(b"\n")]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body", False):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def _refuse(*_: Any, **__: Any) -> Any:
    return 400, [(b"content-length", b"0")], b""


async def main(port: int, answer: bytes) -> None:
    config = uvicorn.Config(
        application(answer),
        http=partial(Connection, reject=_refuse),  # type: ignore[arg-type]
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=75,
    )
    sock = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    await uvicorn.Server(config).serve(sockets=[sock])


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), Path(sys.argv[2]).read_bytes()))

"""The floor of every call: uvicorn with the service's settings, and a handler that gives the same bytes.

The protocol class is uvicorn's own: the service's does more, and takes a shorter way where it can.

python -m bench.bare PORT FILE: FILE holds the answer's headers, an empty line, and its body
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

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


def settings(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=75,
    )


async def main(port: int, answer: bytes) -> None:
    sock = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    await uvicorn.Server(settings(application(answer))).serve(sockets=[sock])


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), Path(sys.argv[2]).read_bytes()))

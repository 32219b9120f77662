"""The service as callers meet it: behind a real web server, on a port of its own, over a log in memory."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from freshline.access.limits import Limits
from freshline.ambient import Ambient
from freshline.api.app import App
from freshline.api.connection import connections
from freshline.log.memory import MemoryLog
from freshline.spec import model
from tests.service import UNTHROTTLED, Books, books


@dataclass(frozen=True)
class Running:
    address: str  #: ``127.0.0.1:12345``
    app: App
    log: MemoryLog
    books: Books


@contextmanager
def running(limits: Limits = UNTHROTTLED, keep_alive_seconds: int = 5) -> Iterator[Running]:
    log, inventory = MemoryLog(), books()
    app = App(model.load(), log, inventory, Ambient(), limits=limits)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # from here on callers wait for the server instead of being turned away
        config = uvicorn.Config(
            app,
            http=connections(app),
            loop="uvloop",
            log_level="error",
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=keep_alive_seconds,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        try:
            yield Running(f"127.0.0.1:{listener.getsockname()[1]}", app, log, inventory)
        finally:
            server.should_exit = True
            thread.join()

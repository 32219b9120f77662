"""The service as a process: it listens, ends calls under way when it is asked to stop, and reloads its certificate."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import uvicorn

from freshline.api.asgi import ASGIApp
from freshline.api.connection import InTurn, connections
from freshline.api.control import NAME as CONTROL
from freshline.api.control import control
from freshline.api.control import listen as listen_for_orders
from freshline.api.tls import BadCertificate, Certificate
from freshline.config import Settings, split_address
from freshline.delivery.fleet import Fleet
from freshline.wiring import CannotStart, home, service

logger = logging.getLogger("freshline")

STOP_SECONDS = 10  #: what a call under way has to end in when the service stops
ORDER_SECONDS = 1  #: likewise an order, which is carried out at once; what takes longer is somebody who does not read
BACKLOG = 2048  #: connections the kernel holds for us


async def serve(
    settings: Settings, sock: socket.socket | None = None, started: Callable[[], None] | None = None
) -> None:
    """Run the service until SIGINT or SIGTERM; calls under way are finished, then it ends.

    :param sock: where to listen, from :func:`listen`; made here if there is none
    :param started: called once calls are taken and every edge has been brought up to date
    :raises CannotStart: the address is taken, the data directory is not ours, or the certificate is none
    """
    certificate = _certificate(settings)
    sock = sock or listen(settings)
    try:
        async with service(settings) as (app, fleet):
            server = _Server(
                uvicorn.Config(
                    app,
                    http=connections(app),
                    loop="none",
                    lifespan="off",
                    log_config=None,
                    access_log=False,
                    server_header=False,
                    date_header=True,
                    proxy_headers=False,  # uvicorn would believe anybody on this machine; see api/peer.py
                    timeout_keep_alive=75,
                    timeout_graceful_shutdown=STOP_SECONDS,
                    ssl_context_factory=(lambda *_: certificate.context) if certificate else None,
                )
            )
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, server.stop)
            beside = [loop.create_task(_tell_when_fresh(fleet, started))] if started is not None else []
            if certificate is not None:
                loop.add_signal_handler(signal.SIGHUP, certificate.reload)  # what the system does else is end us
                beside.append(loop.create_task(certificate.watch()))
            else:
                loop.add_signal_handler(signal.SIGHUP, logger.info, "SIGHUP: without TLS there is nothing to reload")
            logger.info("listening on %s:%d%s", *sock.getsockname()[:2], " with TLS" if certificate else "")
            # What is there now stays. A full collection that looked at all of it would hold every call up for as long
            # as it takes to answer a hundred.
            gc.collect()
            gc.freeze()
            async with _orders(settings, control(fleet, app.desk.log.task)):
                await server.serve(sockets=[sock])
            for task in beside:
                task.cancel()
    finally:
        sock.close()


@contextlib.asynccontextmanager
async def _orders(settings: Settings, app: ASGIApp) -> AsyncIterator[None]:
    """The operator's socket beside the API. A service without it is a service all the same."""
    try:
        sock = listen_for_orders(home(settings))
    except OSError as error:
        logger.warning("takes no orders: %s", error)
        yield
        return
    server = _Server(
        uvicorn.Config(
            app,
            http=InTurn,
            loop="none",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_graceful_shutdown=ORDER_SECONDS,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[sock]), name="orders")
    try:
        yield
    finally:
        server.stop()
        await serving
        sock.close()
        (Path(settings.service.data_dir) / CONTROL).unlink(missing_ok=True)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: they would end the process before the log is closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        self.force_exit = self.should_exit  # asked twice: now
        self.should_exit = True


def _certificate(settings: Settings) -> Certificate | None:
    certificate, key = settings.service.tls_certificate, settings.service.tls_key
    if not certificate:
        if key:
            raise CannotStart("service.tls_key needs service.tls_certificate")
        return None
    try:
        return Certificate(Path(certificate), Path(key) if key else None)
    except BadCertificate as bad:
        raise CannotStart(f"service.tls_certificate: {bad}") from None


async def _tell_when_fresh(fleet: Fleet, started: Callable[[], None]) -> None:
    while True:
        if fleet.begun and all(runner.fresh for runner in fleet.runners.values()):
            started()
            return
        await asyncio.sleep(0.02)


def listen(settings: Settings) -> socket.socket:
    """:raises CannotStart: the address is taken or not ours"""
    address = settings.service.listen
    host, port = split_address(address)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise CannotStart(f"service.listen = {address!r}: {error.strerror or error}") from None

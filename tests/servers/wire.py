"""The network between the service and one gate, and what can become of it.

wire = Wire("127.0.0.1:9101").start()
wire.refuses()                  # nobody listens
wire.holds("to"), wire.drops()  # connections stand, bytes wait or are lost: towards the gate, "from" it, or "both" ways
wire.slow(2.0)                  # answers take their time
wire.cuts(20)                   # answers break off after so many bytes
wire.says(b"HTTP/1.1 200 ...")  # something else answers
wire.leads("127.0.0.1:9102")    # to another gate
wire.passes()                   # all is well again; what waited arrives, and what lost bytes is broken off
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from tests.servers.base import free_port, until

Way = Literal["to", "from", "both"]


@dataclass(slots=True)
class _Weather:
    holds: frozenset[str] = frozenset()
    drops: frozenset[str] = frozenset()
    slow_seconds: float = 0.0
    cut_after: int | None = None
    says: bytes | None = None
    over: threading.Event = field(default_factory=threading.Event)


def _ways(way: Way) -> frozenset[str]:
    return frozenset(("to", "from") if way == "both" else (way,))


class Wire:
    def __init__(self, target: str) -> None:
        self.target = self._target = target  #: the gate it belongs to, and the one that it leads to
        self.port = free_port()
        self._weather = _Weather()
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._lossy: set[socket.socket] = set()  #: they lost bytes, so nothing of use can follow

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> Wire:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def stop(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept
            listener.close()
        self._change(_Weather())
        for sock in list(self._open):
            _end(sock)

    # -- the weather ----------------------------------------------------------
    def passes(self) -> None:
        for sock in list(self._lossy if self._target == self.target else self._open):
            _end(sock)
        self._target = self.target
        self._lossy.clear()
        self._change(_Weather())
        if self._listener is None:
            self.start()

    def refuses(self) -> None:
        self.stop()

    def holds(self, way: Way = "both") -> None:
        self._change(_Weather(holds=_ways(way)))

    def drops(self, way: Way = "both") -> None:
        self._change(_Weather(drops=_ways(way)))

    def slow(self, seconds: float) -> None:
        self._change(_Weather(slow_seconds=seconds))

    def cuts(self, after: int) -> None:
        self._change(_Weather(cut_after=after))

    def says(self, answer: bytes) -> None:
        self._change(_Weather(says=answer))

    def leads(self, target: str) -> None:
        self._target = target
        for sock in list(self._open):
            _end(sock)

    def _change(self, weather: _Weather) -> None:
        before, self._weather = self._weather, weather
        before.over.set()

    # -- bytes ----------------------------------------------------------------
    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        host, _, port = self._target.rpartition(":")
        try:
            far = socket.create_connection((host, int(port)), timeout=5)
        except OSError:
            _end(near)
            return
        far.settimeout(None)
        self._open |= {near, far}
        other = threading.Thread(target=self._pump, args=(far, near, "from"), daemon=True)
        other.start()
        self._pump(near, far, "to")
        other.join()
        self._open -= {near, far}
        near.close()
        far.close()

    def _pump(self, source: socket.socket, sink: socket.socket, way: str) -> None:
        passed = 0
        with suppress(OSError):
            while part := source.recv(65536):
                while way in self._weather.holds:
                    self._weather.over.wait()
                weather = self._weather
                if way in weather.drops:
                    self._lossy |= {source, sink}
                    continue
                if way == "to" and weather.says is not None:
                    source.sendall(weather.says)
                    continue
                if way == "from" and weather.slow_seconds:
                    time.sleep(weather.slow_seconds)
                if way == "from" and weather.cut_after is not None:
                    sink.sendall(part[: max(0, weather.cut_after - passed)])
                    passed += len(part)
                    if passed >= weather.cut_after:
                        break
                    continue
                sink.sendall(part)
        _end(source)
        _end(sink)

    def until_silent(self) -> None:
        """No connection is left from before."""
        until(lambda: not self._open)


def _end(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)

"""Visitors in threads of their own, who go on asking whatever happens to the server."""

from __future__ import annotations

import random
import threading
from abc import ABC, abstractmethod
from http.client import HTTPException
from typing import Self


class Reading(ABC):
    """Within ``with`` each thread visits again and again; a connection that breaks is no news."""

    def __init__(self, threads: int) -> None:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._keep_on, args=(random.Random(seed),)) for seed in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _keep_on(self, dice: random.Random) -> None:
        while not self._stop.is_set():
            try:
                self.visit(dice)
            except (OSError, HTTPException):  # it is being killed, or started
                continue

    @abstractmethod
    def visit(self, dice: random.Random) -> None: ...

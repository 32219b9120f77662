"""kill -9 the service, again and again, under load; then look for every id that was answered."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

from freshline.cli.client import ApiError, Client, NoService
from freshline.cli.credentials import Credentials
from tests.scenario.stack import Asked, Stack

CALLERS = 4
SILENCE_SECONDS = (0.005, 0.4)  #: between a start and the next kill


def survive(stack: Stack, kills: int, seed: int) -> int:
    """Kill the service ``kills`` times while callers keep asking. How many ids were answered.

    :raises AssertionError: one of them is lost, or never ends
    """
    dice = random.Random(seed)
    answered: list[str] = []
    enough = threading.Event()

    def keep_asking(caller: int) -> None:
        client = Client(f"http://{stack.address}", Credentials(stack.key.id, stack.key.secret))
        mine = random.Random(seed * 100 + caller)
        while not enough.is_set():
            paths = "\n".join(f"http://www.test/{caller}/{mine.random()}" for _ in range(mine.choice((1, 1, 5, 200))))
            try:
                if mine.random() < 0.05:
                    answered.append(client.call("PushObjectCache", {"ObjectPath": paths.split()[0]})["PushTaskId"])
                else:
                    answered.append(client.call("RefreshObjectCaches", {"ObjectPath": paths})["RefreshTaskId"])
            except NoService:
                enough.wait(0.02)
            except ApiError as error:
                assert error.status == 503, error  # it was stopping: nothing was promised

    with ThreadPoolExecutor(CALLERS) as pool:
        callers = [pool.submit(keep_asking, caller) for caller in range(CALLERS)]
        try:
            for _ in range(kills):
                enough.wait(dice.uniform(*SILENCE_SECONDS))
                stack.kill()
                stack.start()
        finally:
            enough.set()
        for caller in callers:
            caller.result()
    for at in range(0, len(answered), 10):
        ids = answered[at : at + 10]
        asked = Asked(stack, ",".join(ids))
        found = {row["TaskId"] for row in asked.rows()}
        assert found == set(ids), f"lost: {set(ids) - found}"
        asked.until_complete()
    return len(answered)

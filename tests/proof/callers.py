"""Callers: each wishes something from the dice, over the vendor's SDK, and one watches how far all of it has come.

What a caller is about to have refreshed is made new at the origin first, so that whoever still has the old one is
caught by its version.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from alibabacloud_cdn20180510 import models
from alibabacloud_cdn20180510.client import Client
from alibabacloud_tea_openapi.models import Config

from freshline.cli.client import ApiError, NoService
from tests.proof.origin import Origin
from tests.proof.recorder import Recorder
from tests.proof.service import Service, rows
from tests.proof.universe import DIRECTORIES, HOSTS, QUERIES, TAGS, Page

ASKED_AT_ONCE = 10  #: ids in one question, as many as the API takes
LOOK_SECONDS = 0.02
AGAIN_SECONDS = 0.5  #: after a call that nobody answered
ANSWER_MS = 10_000

WEIGHTS = {"File": 8, "Directory": 4, "Regex": 3, "IgnoreParams": 1, "ExQuery": 1, "Tag": 3, "Prefetch": 3}
WARMED = 0.3  #: of the refreshes of files, a prefetch of the same follows at once
PATTERNS = (r"/a/f[0-2]\.html", r"/.*deep", r"/q\?n=.", r"/[ab]/f\d\.html$", r"/f4")


@dataclass(frozen=True, slots=True)
class Wish:
    kind: str  #: an ObjectType, ``Tag`` or ``Prefetch``
    lines: tuple[str, ...]  #: of ObjectPath; the tags of a tag refresh
    host: str
    force: bool
    renews: tuple[int, ...]  #: pages that are made new at the origin before it is asked for


def wish(dice: random.Random, pages: Sequence[Page]) -> Wish:
    kind = dice.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    host, force = dice.choice(HOSTS), dice.random() < 0.5

    def where(condition: Callable[[Page], Any]) -> tuple[int, ...]:
        return tuple(page.id for page in pages if page.host == host and condition(page))

    match kind:
        case "File" | "Prefetch":
            chosen = dice.sample(pages, dice.choice((1, 1, 2, 5)))
            lines = tuple(spelled(dice, page) if kind == "File" else page.url for page in chosen)
            return Wish(kind, lines, "", force, tuple(page.id for page in chosen) if kind == "File" else ())
        case "Directory":
            below = dice.choice(DIRECTORIES)
            return Wish(kind, (f"http://{host}{below}",), host, force, where(lambda page: page.path.startswith(below)))
        case "Regex":
            pattern = dice.choice(PATTERNS)
            found = where(lambda page: re.match(pattern, page.path + ("?" + page.query if page.query else "")))
            return Wish(kind, (f"http://{host}{pattern}",), host, force, found)
        case "IgnoreParams" | "ExQuery":
            return Wish(kind, (f"http://{host}/q",), host, force, where(lambda page: page.path == "/q"))
        case _:
            tags = tuple(dice.sample(TAGS, dice.choice((1, 1, 2))))
            return Wish(kind, tags, host, force, where(lambda page: set(tags) & set(page.tags)))


def spelled(dice: random.Random, page: Page) -> str:
    """Its URL, now and then in another spelling of the same."""
    url = page.url
    if dice.random() < 0.15 and not page.query:
        url = f"http://{page.host.upper()}{page.path.replace('/f', '/%66')}"
    elif page.query and dice.random() < 0.3:
        url = f"http://{page.host}/x/..//q?{QUERIES[QUERIES.index(page.query)]}"
    return url


class Callers:
    def __init__(
        self,
        service: Service,
        origin: Origin,
        recorder: Recorder,
        pages: Sequence[Page],
        seed: int,
        count: int,
        pause_seconds: float,
    ) -> None:
        self._service, self._origin, self._recorder, self._pages = service, origin, recorder, pages
        self._seed, self._count, self._pause_seconds = seed, count, pause_seconds
        self._calls = 0
        self._open: dict[str, list[list[str]]] = {}  #: tasks that have not come to their end, as they were last seen
        self._working = 0
        self._silent = False
        self._turned = asyncio.Condition()
        self.answered: dict[str, int] = {}  #: when, by id
        self.ended = 0
        self.enough = False

    # -- asking ---------------------------------------------------------------
    async def ask(self) -> None:
        """Until there is enough."""
        await asyncio.gather(*(self._caller(number) for number in range(self._count)))

    async def _caller(self, number: int) -> None:
        dice = random.Random(f"{self._seed} caller {number}")
        client = self._client()
        while not self.enough:
            wanted = wish(dice, self._pages)
            heard = await self._one(client, wanted)
            if heard and wanted.kind == "File" and dice.random() < WARMED:
                urls = tuple(self._pages[page].url for page in wanted.renews)
                heard = await self._one(client, Wish("Prefetch", urls, "", False, ()))
            await asyncio.sleep(dice.uniform(0, 2 * self._pause_seconds) if heard else AGAIN_SECONDS)

    async def warm(self, count: int) -> None:
        """Refresh some pages, and prefetch them at once."""
        client = self._client()
        chosen = random.Random(f"{self._seed} warm").sample(self._pages, count)
        pages, urls = tuple(page.id for page in chosen), tuple(page.url for page in chosen)
        for wanted in (Wish("File", urls, "", False, pages), Wish("Prefetch", urls, "", False, ())):
            while not await self._one(client, wanted):
                await asyncio.sleep(AGAIN_SECONDS)

    def _client(self) -> Client:
        return Client(
            Config(
                access_key_id=self._service.key.id,
                access_key_secret=self._service.key.secret,
                endpoint=self._service.address,
                protocol="http",
                connect_timeout=ANSWER_MS,
                read_timeout=ANSWER_MS,
            )
        )

    async def _one(self, client: Client, wanted: Wish) -> bool:
        """Whether there was an answer."""
        async with self._at_work():
            return await self._call(client, wanted)

    async def _call(self, client: Client, wanted: Wish) -> bool:
        if wanted.renews:
            self._origin.bump(wanted.renews)
        self._calls += 1
        call = self._calls
        asked = {"kind": wanted.kind, "lines": wanted.lines, "host": wanted.host, "force": wanted.force}
        self._recorder.note("asked", call=call, **asked)
        try:
            ids = await asyncio.to_thread(_send, client, wanted)
        except Exception as error:  # the SDK's own, of many kinds
            status = getattr(error, "statusCode", None) or getattr(error, "status_code", None)
            self._recorder.note("unanswered", call=call, status=status, why=f"{type(error).__name__}: {error}"[:300])
            return False
        at = self._recorder.note("answered", call=call, ids=ids)
        for id_ in ids:
            self._open[id_] = []
            self.answered[id_] = at
        return True

    # -- being still ----------------------------------------------------------
    @asynccontextmanager
    async def _at_work(self) -> AsyncIterator[None]:
        async with self._turned:
            await self._turned.wait_for(lambda: not self._silent)
            self._working += 1
        try:
            yield
        finally:
            async with self._turned:
                self._working -= 1
                self._turned.notify_all()

    @asynccontextmanager
    async def silent(self) -> AsyncIterator[None]:
        """Nothing that anybody asked is under way, and nobody asks anything."""
        async with self._turned:
            self._silent = True
            await self._turned.wait_for(lambda: not self._working)
        try:
            yield
        finally:
            async with self._turned:
                self._silent = False
                self._turned.notify_all()

    def forget(self, since: int) -> None:
        """What was answered since that moment is not there any more."""
        for id_ in [id_ for id_, at in self.answered.items() if at >= since]:
            del self.answered[id_]
            self._open.pop(id_, None)

    # -- watching -------------------------------------------------------------
    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            async with self._at_work():
                waiting = list(self._open)
                for at in range(0, len(waiting), ASKED_AT_ONCE):
                    await self._look(waiting[at : at + ASKED_AT_ONCE])
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self, ids: Sequence[str]) -> None:
        if (found := await self._describe(ids)) is None:
            return
        now = time.monotonic_ns()
        for id_, there in found.items():
            if there != self._open[id_]:
                self._open[id_] = there
                self._recorder.note("seen", t=now, id=id_, rows=there)
            if all(status in ("Complete", "Failed") for _, status, _ in there):
                del self._open[id_]
                self.ended += 1

    async def _describe(self, ids: Sequence[str]) -> dict[str, list[list[str]]] | None:
        """``None``: nobody answered."""
        try:
            asked = {"TaskId": ",".join(ids)}
            return rows(await asyncio.to_thread(self._service.client.call, "DescribeRefreshTaskById", asked))
        except (NoService, ApiError) as error:
            if isinstance(error, ApiError) and error.status < 500:
                raise
            return None

    @property
    def waiting(self) -> int:
        return len(self._open)

    async def audit(self) -> None:
        """Look for every id that was ever answered, and write down what is there."""
        async with self._at_work():
            await self._audit()

    async def _audit(self) -> None:
        ids = list(self.answered)
        found: dict[str, list[list[str]]] = {}
        began = time.monotonic_ns()
        for at in range(0, len(ids), ASKED_AT_ONCE):
            while (there := await self._describe(ids[at : at + ASKED_AT_ONCE])) is None:
                await asyncio.sleep(0.1)
            found |= there
        self._recorder.note("audit", t=began, rows={id_: [row[0] for row in there] for id_, there in found.items()})


def _send(client: Client, wanted: Wish) -> list[str]:
    lines = "\n".join(wanted.lines)
    if wanted.kind == "Prefetch":
        answer = client.push_object_cache(models.PushObjectCacheRequest(object_path=lines))
        return str(answer.body.push_task_id).split(",")
    if wanted.kind == "Tag":
        tags = ",".join(wanted.lines)
        answer = client.refresh_object_cache_by_cache_tag(
            models.RefreshObjectCacheByCacheTagRequest(domain_name=wanted.host, cache_tag=tags, force=wanted.force)
        )
    else:
        answer = client.refresh_object_caches(
            models.RefreshObjectCachesRequest(object_path=lines, object_type=wanted.kind, force=wanted.force)
        )
    return str(answer.body.refresh_task_id).split(",")

"""The only file that names concrete backends: which log, which inventory, which driver for which kind of edge."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from freshline.access.burnt import Burnt
from freshline.access.nonces import Nonces
from freshline.ambient import Ambient
from freshline.api import probes
from freshline.api.app import App
from freshline.api.app import Settings as AppSettings
from freshline.api.trail import Trail
from freshline.audit import Audit
from freshline.config import Settings
from freshline.delivery.ages import Ages
from freshline.delivery.feed import Feed
from freshline.delivery.fleet import Fleet, Post
from freshline.delivery.lateness import Lateness
from freshline.delivery.origins import OriginSlots
from freshline.delivery.runner import EdgeRunner, lag
from freshline.domain.edge import Edge, Progress
from freshline.drivers.base import Driver
from freshline.drivers.nginx import NginxDriver
from freshline.drivers.patience import USUAL, Patience
from freshline.drivers.plain import BanDriver, PurgeDriver
from freshline.drivers.squid import SquidDriver
from freshline.drivers.trafficserver import TrafficServerDriver
from freshline.drivers.varnish import VarnishDriver
from freshline.inventory.sqlite import SqliteInventory
from freshline.log.reading import ReadOnlyLog
from freshline.log.sqlite import SqliteLog
from freshline.media.sqlite import SqliteMediaJobs
from freshline.operations.census import rows_by_status
from freshline.operations.desk import Desk
from freshline.operations.schedule import run_due
from freshline.schedule.sqlite import SqliteSchedule
from freshline.setting import split_networks
from freshline.spec import model
from freshline.wire.render import Format

logger = logging.getLogger("freshline")

DRIVERS: dict[str, Callable[[Edge, Patience], Driver]] = {
    "nginx": NginxDriver,
    "varnish": VarnishDriver,
    "squid": SquidDriver,
    "trafficserver": TrafficServerDriver,
    "plain-purge": PurgeDriver,
    "plain-ban": BanDriver,
}

DAY_SECONDS = 86_400
LOOK_SECONDS = 1.0  #: how often it is asked which scheduled prefetches are due, and whether all is well
DROP_EVERY_SECONDS = 600.0  #: how often whole days that are past are dropped
CALLS = 2048  #: under way at once; beyond, callers are told to come back
AUDIT = "audit"  #: in data_dir
ROWS_SECONDS = 5.0  #: how long the counts of rows by status are good for a monitor


class CannotStart(Exception):
    """``args[0]`` says what is in the way."""


class Broken(Exception):
    """A part without which the service is none has ended; the service ends too, and says so with its exit code."""


class Lately:
    """What somebody counted, for as long as it is good enough."""

    def __init__(self, count: Callable[[], dict[str, int]], seconds: float, ambient: Ambient) -> None:
        self._count, self._seconds, self._ambient = count, seconds, ambient
        self._known: dict[str, int] = {}
        self._until = float("-inf")

    def __call__(self) -> dict[str, int]:
        now = self._ambient.monotonic()
        if now >= self._until:
            self._known = self._count()
            # Counting that takes long is done the more seldom.
            self._until = now + max(self._seconds, 50 * (self._ambient.monotonic() - now))
        return self._known


def open_inventory(settings: Settings, *, new: bool = True) -> SqliteInventory:
    """Accounts, domains and edges, for reading and changing; several processes may.

    :param new: make it where there is none
    :raises FileNotFoundError: there is none, and none is to be made
    """
    path = Path(settings.service.data_dir) / "inventory.db"
    if not new and not path.exists():
        raise FileNotFoundError(f"there is no inventory at {path}; the first account or edge makes it")
    return SqliteInventory.open(home(settings) / path.name, key_file=settings.service.key_file or None)


def read_log(settings: Settings) -> ReadOnlyLog:
    """The log as it is, beside a service that may be writing it.

    :raises FileNotFoundError: there is none yet
    """
    return SqliteLog.reader(home(settings) / "log.db")


def driver(edge: Edge, patience: Patience = USUAL) -> Driver:
    return DRIVERS[edge.kind](edge, patience)


def _standing(made: Driver, edge: Edge, log: SqliteLog) -> Driver:
    """A server without a gate cannot say where it stands; it is where we left it, if that is still known."""
    if isinstance(made, PurgeDriver):
        cursor = (log.progress(edge.name) or Progress(cursor=edge.joined)).cursor
        if (mark := log.mark(cursor)) is not None:
            made.stand(log.id, cursor, mark)
    return made


@contextlib.asynccontextmanager
async def service(settings: Settings, ambient: Ambient | None = None) -> AsyncIterator[tuple[App, Fleet]]:
    """The API and delivery, for as long as the context lasts."""
    ambient = ambient or Ambient()
    inventory = open_inventory(settings)
    log = SqliteLog.open(home(settings) / "log.db")
    inventory.roster.rejoin(log.head)
    schedule = SqliteSchedule.open(home(settings) / "schedule.db")
    media = SqliteMediaJobs.open(home(settings) / "media.db")
    window_seconds = settings.limits.window_seconds
    burnt = Burnt(
        home(settings),
        2 * window_seconds,
        now=ambient.now(),
        monotonic=ambient.monotonic(),
        known=log.head > 0,
    )
    audit = Audit(home(settings) / AUDIT)
    feed, origins = Feed(log), OriginSlots(settings.gates.fetches_per_domain)
    lateness = Lateness(log, ambient, Ages(log, ambient), settings.deadlines)

    def runner(post: Post) -> EdgeRunner:
        return EdgeRunner(
            post.edge,
            _standing(driver(post.edge, settings.gates), post.edge, log),
            log,
            feed,
            ambient,
            scope=post.scope,
            above=post.above,
            moved=post.moved,
            alarms=post.alarms,
            settling=post.settling,
            pace=settings.delivery,
            lateness=lateness,
            origins=origins,
            follow=settings.gates.follow_redirects,
            observe=lambda name, seconds: metrics.delivered(name, seconds),
        )

    fleet = Fleet(inventory, log, runner)

    def lags() -> Iterable[probes.EdgeLag]:
        for name, each in sorted(fleet.runners.items()):
            entries, seconds = lag(each, log)
            yield probes.EdgeLag(name, each.edge.kind, each.fresh, entries, seconds)

    def rows() -> dict[str, int]:
        accounts = [account.id for account in inventory.accounts()]
        return {str(status): count for status, count in rows_by_status(desk, accounts).items()}

    desk = Desk(log, inventory, settings.limits)

    def fresh(name: str) -> bool | None:
        runner = fleet.runners.get(name)
        return None if runner is None else runner.serves_fresh

    sight = probes.Sight(lambda: log.trouble, Lately(rows, ROWS_SECONDS, ambient), lags, lambda: log.head, fresh)
    metrics = probes.Metrics(sight)
    app = App(
        model.load(),
        log,
        inventory,
        ambient,
        limits=settings.limits,
        settings=AppSettings(
            default_format=Format[settings.service.default_format],
            recommend=settings.service.recommend,
            enforce_protocols=settings.service.enforce_protocols,
            say_retry_after=settings.service.say_retry_after,
            forbidden_status=settings.service.forbidden_status,
            trusted_proxies=split_networks(settings.service.trusted_proxies),
        ),
        routes=probes.Probes(sight, metrics),
        observe=metrics.answered,
        schedule=schedule,
        media=media,
        nonces=Nonces(window_seconds, settings.limits.nonces, burnt),
        calls=CALLS,
        trail=Trail(audit) if settings.service.audit_days else None,
    )
    beside = [
        asyncio.create_task(fleet.run(), name="fleet"),
        asyncio.create_task(_drop_days(log, audit, settings, ambient), name="drop days"),
        asyncio.create_task(_run_due(app.desk), name="scheduled prefetches"),
        asyncio.create_task(_tell_trouble(log), name="trouble"),
    ]
    for task in beside:
        task.add_done_callback(_must_not_end)
    try:
        yield app, fleet
        if broken := [task for task in beside if task.done()]:
            raise Broken(f"{broken[0].get_name()} ended")
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await log.close()
        burnt.close()
        schedule.close()
        media.close()
        inventory.close()


def home(settings: Settings) -> Path:
    """The data directory, made if need be.

    :raises CannotStart: it can't be
    """
    path = Path(settings.service.data_dir)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotStart(f"service.data_dir = {str(path)!r}: {error.strerror or error}") from None
    return path


async def _run_due(desk: Desk) -> None:
    while True:
        try:
            await run_due(desk, lambda: asyncio.sleep(0))
        except Exception:
            logger.exception("scheduled prefetches failed; trying again in %g s", LOOK_SECONDS)
        await asyncio.sleep(LOOK_SECONDS)


async def _tell_trouble(log: SqliteLog) -> None:
    """What keeps tasks from being taken is said once when it comes, and once when it has gone."""
    said = ""
    while True:
        if (trouble := log.trouble) != said:
            if trouble:
                logger.critical("tasks are refused: %s", trouble)
            else:
                logger.warning("tasks are taken again")
            said = trouble
        await asyncio.sleep(LOOK_SECONDS)


async def _drop_days(log: SqliteLog, audit: Audit, settings: Settings, ambient: Ambient) -> None:
    while True:
        try:
            newest = log.read(log.head - 1, 1)
            # A clock that jumps ahead, perhaps for a second, must not drop what was asked for today.
            sure = min(ambient.now(), newest[0].created + DAY_SECONDS) if newest else ambient.now()
            await log.drop_before(int(sure) - settings.limits.kept_seconds)
            audit.drop(sure, settings.service.audit_days)
        except Exception:
            logger.exception("could not drop past days; trying again in %g s", DROP_EVERY_SECONDS)
        await asyncio.sleep(DROP_EVERY_SECONDS)


def _must_not_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("%s ended: %r", task.get_name(), error)
        signal.raise_signal(signal.SIGTERM)

"""The handlers by name, and the tables checked against them.

A table that names a handler there is not, leaves out what it needs, or has no row for what it may raise is found at
start, not by the first caller who meets it. So is a row that nothing can ever provoke.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from freshline.domain.errors import Fault
from freshline.operations import domains, inspect, media, quota, roles, schedule, sites, submit
from freshline.operations.desk import Call, Desk
from freshline.operations.selection import Filter
from freshline.spec.model import GATEWAY, Operation, Spec, SpecError
from freshline.wire.params import Reader
from freshline.wire.request import Request


@dataclass(frozen=True, slots=True)
class Handler:
    run: Callable[[Desk, Call, Any], dict[str, Any] | Awaitable[dict[str, Any]]]  #: awaited where it has to wait
    args: type[msgspec.Struct]
    raises: frozenset[Fault] = frozenset()


HANDLERS = {
    "refresh": Handler(submit.refresh, submit.RefreshArgs, submit.REFRESHES),
    "refresh_routine": Handler(submit.refresh_routine, submit.RoutineArgs, submit.TAGS),
    "prefetch": Handler(submit.prefetch, submit.PrefetchArgs, submit.PREFETCHES),
    "refresh_by_tag": Handler(submit.refresh_by_tag, submit.TagArgs, submit.TAGS),
    "tasks": Handler(inspect.tasks, inspect.TasksArgs, inspect.TASKS),
    "tasks_by_id": Handler(inspect.tasks_by_id, Filter, inspect.TASKS),
    "preload_detail": Handler(inspect.preload_detail, inspect.DetailArgs, inspect.DETAILS),
    "refresh_media": Handler(media.refresh_media, media.RefreshMediaArgs),
    "media_jobs": Handler(media.media_jobs, media.MediaJobArgs),
    "quota": Handler(quota.quota, quota.QuotaArgs),
    "purge": Handler(sites.purge, sites.PurgeArgs, sites.PURGES),
    "preload": Handler(sites.preload, sites.PreloadArgs, sites.PRELOADS),
    "site_tasks": Handler(sites.site_tasks, sites.SiteTasksArgs, sites.LISTS),
    "create_job": Handler(schedule.create_job, schedule.CreateJobArgs, schedule.CREATES),
    "job": Handler(schedule.job, schedule.IdArgs, schedule.KNOWN),
    "jobs": Handler(schedule.jobs, schedule.JobsArgs, sites.SITE),
    "reset_job": Handler(schedule.reset_job, schedule.IdArgs, schedule.KNOWN),
    "remove_job": Handler(schedule.remove_job, schedule.IdArgs, schedule.KNOWN),
    "create_plans": Handler(schedule.create_plans, schedule.CreatePlansArgs, schedule.KNOWN),
    "plans": Handler(schedule.plans, schedule.IdArgs, schedule.KNOWN),
    "start_plan": Handler(schedule.start_plan, schedule.IdArgs, schedule.SWITCHES),
    "stop_plan": Handler(schedule.stop_plan, schedule.IdArgs, schedule.SWITCHES),
    "change_plan": Handler(schedule.change_plan, schedule.UpdateArgs, schedule.UPDATES),
    "remove_plan": Handler(schedule.remove_plan, schedule.IdArgs, schedule.KNOWN),
    "site_quota": Handler(sites.site_quota, sites.SiteQuotaArgs, sites.SITE),
    "assume_role": Handler(roles.assume_role, roles.AssumeArgs, roles.ASSUMES),
    "caller_identity": Handler(roles.caller_identity, roles.IdentityArgs),
    "domains": Handler(domains.domains, domains.DomainsArgs),
    "domain": Handler(domains.domain, domains.DomainArgs, domains.OWNED),
    "account_service": Handler(domains.account_service, domains.ServiceArgs),
    "add_domain": Handler(domains.add_domain, domains.AddArgs, domains.ADDS),
    "change_domain": Handler(domains.change_domain, domains.ChangeArgs, domains.CHANGES),
    "switch_domains": Handler(domains.switch_domains, domains.SwitchArgs, domains.OWNED),
    "remove_domain": Handler(domains.remove_domain, domains.DomainArgs, domains.OWNED),
}


@dataclass(frozen=True, slots=True)
class Bound:
    """An operation, what reads its arguments and what carries it out."""

    operation: Operation
    handler: Handler
    reader: Reader

    def arguments(self, request: Request) -> msgspec.Struct:
        """What the handler is asked, made once of the same bytes.

        :raises Refused: as the operation's table says
        """
        made = request.asked.values.get(self.reader)
        if made is None:
            made = request.asked.values[self.reader] = self.handler.args(**self.reader.read(request))
        return made


def bind(spec: Spec) -> dict[tuple[str, str], Bound]:
    """Every operation by version and action.

    :raises SpecError: tables and handlers do not fit
    """
    return {(op.product.version, op.action): Bound(op, _handler_of(op), Reader(op)) for op in spec}


def _handler_of(op: Operation) -> Handler:
    where = f"{op.product.name} {op.product.version} {op.action}"
    handler = HANDLERS.get(op.handler)
    if handler is None:
        raise SpecError(f"{where}: there is no handler {op.handler!r}")
    known = {field.name: field for field in msgspec.structs.fields(handler.args)}
    given = {param.to for param in op.params.values()} | op.set.keys()
    sure = {param.to for param in op.params.values() if param.required or param.default is not None} | op.set.keys()
    if unknown := given - known.keys():
        raise SpecError(f"{where}: {op.handler} takes no {', '.join(sorted(unknown))}")
    if missing := {name for name, field in known.items() if field.required} - sure:
        raise SpecError(f"{where}: {op.handler} needs {', '.join(sorted(missing))}")
    if undeclared := handler.raises - op.faults.keys():
        raise SpecError(f"{where}: {op.handler} may raise {', '.join(sorted(undeclared))}, which has no row")
    possible = handler.raises.union(GATEWAY, *(param.faults() for param in op.params.values()))
    if idle := op.own_faults - possible:
        raise SpecError(f"{where}: nothing provokes {', '.join(sorted(idle))}")
    return handler

"""``policy test``: what policies say to a call, without a service, and what is odd about them."""

from __future__ import annotations

import json as jsons
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from freshline.cli.local import HERE, AsJson, Place
from freshline.cli.output import as_json, fail

if TYPE_CHECKING:
    from freshline.access.policy import Policy

ACTION = re.compile(r"[A-Za-z0-9-]+:[A-Za-z0-9_]+\Z")
RESOURCE = re.compile(r"acs:[^:]*:[^:]*:[^:]*:.+\Z")


Document = Annotated[Path, Parameter(allow_leading_hyphen=True)]


def test(
    *files: Document,
    action: str,
    resource: str | None = None,
    condition: list[str] | None = None,
    account: str | None = None,
    user: str | None = None,
    role: str | None = None,
    json: AsJson = False,
    place: Place = HERE,
) -> None:
    """Say whether policies allow a call, and which statement decided. Exit 0: allowed, 1: not.

    ```
    freshline policy test --action cdn:RefreshObjectCaches refreshers.json
    freshline policy test --action cdn:StopCdnDomain --account shop --user anna
    freshline policy test --action sts:AssumeRole --account shop --role deploy
    ```

    Parameters
    ----------
    files
        Policies; - reads standard input.
    action
        As policies name it: cdn:RefreshObjectCaches.
    resource
        What the call touches, as acs:cdn:*:*:domain/img.example.com; without, everything of the service.
    condition
        What is known of the call, KEY=VALUE. Without: acs:CurrentTime is now, acs:SecureTransport and acs:MFAPresent
        are false, acs:SourceIp is unknown.
    account
        With --user or --role: the account's id or name.
    user
        A user whose policies count, too.
    role
        A role whose policies count, too.
    """
    from freshline.access.policy import Ask, decide

    if not ACTION.match(action):
        fail(f"--action {action!r} must be service:Operation, as in cdn:RefreshObjectCaches", 2)
    resource = resource or f"acs:{action.partition(':')[0]}:*:*:*"
    if not RESOURCE.match(resource):
        fail(f"--resource {resource!r} must be acs:service:region:account:relative-id", 2)
    policies = [*map(_policy, files), *_attached(account, user, role, place)]
    verdict = decide(policies, Ask(action, resource, _context(condition or [])))
    source = None
    if verdict.policy is not None and verdict.statement is not None:
        source = verdict.policy.statements[verdict.statement - 1].source
    if json:
        as_json(
            {
                "verdict": "Allow" if verdict.allowed else "ExplicitDeny" if verdict.explicit else "ImplicitDeny",
                "policy": verdict.policy.name if verdict.policy else None,
                "statement": verdict.statement,
                "source": source,
            }
        )
    elif source is None or verdict.policy is None:
        print(f"denied: none of {len(policies)} policies allows it")
    else:
        print(f"{'allowed' if verdict.allowed else 'denied'} by statement {verdict.statement} of {verdict.policy.name}")
        print(jsons.dumps(source, indent=2, ensure_ascii=False))
    sys.stdout.flush()
    if not verdict.allowed:
        sys.exit(1)


def read(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8-sig")
    except OSError as error:
        fail(f"{file}: {error.strerror or error}", 2)
    except UnicodeDecodeError:
        fail(f"{file}: must be UTF-8", 2)


def check(document: str, name: str) -> list[str]:
    """What is right but odd: actions of our own services that no operation has.

    A policy with mistakes ends the command.
    """
    from freshline.access import wildcard
    from freshline.access.policy import BadPolicy, parse
    from freshline.spec import model

    try:
        policy = parse(document, name)
    except BadPolicy as wrong:
        fail(f"{name} has mistakes\n{wrong}", 2)
    actions = {f"{op.product.service}:{op.action}".lower() for op in model.load()}
    services = {action.partition(":")[0] for action in actions}
    written = dict.fromkeys(each for statement in policy.statements for each in _actions(statement.source))
    return [
        f"{each} is no operation here"
        for each in written
        if each.partition(":")[0].lower() in services and not any(map(wildcard.compile(each.lower()), actions))
    ]


def _actions(source: dict[str, Any]) -> Iterator[str]:
    for name in ("Action", "NotAction"):
        value = source.get(name, [])
        yield from value if isinstance(value, list) else [value]


def _policy(file: Path) -> Policy:
    from freshline.access.policy import BadPolicy, parse

    try:
        return parse(read(file), "standard input" if str(file) == "-" else str(file))
    except BadPolicy as wrong:
        fail(f"{file} has mistakes\n{wrong}", 2)


def _attached(account: str | None, user: str | None, role: str | None, place: Place) -> list[Policy]:
    if user is None and role is None:
        return []
    if account is None:
        fail("--user and --role need --account", 2)
    from freshline.cli.people import account_id

    with place.inventory() as inventory:
        id_ = account_id(inventory, account)
        principals = inventory.principals
        found: list[Policy] = []
        for which, name, one in (
            ("user", user, principals.user(id_, user or "")),
            ("role", role, principals.role(id_, role or "")),
        ):
            if name is not None and one is None:
                raise ValueError(f"{which} {name!r} of account {id_!r} is unknown")
            if one is not None:
                found += principals.policies_of(one)
        return found


def _context(given: list[str]) -> dict[str, str]:
    from freshline.access import condition
    from freshline.ambient import Ambient
    from freshline.wire import times

    context = {
        condition.CURRENT_TIME: times.write(int(Ambient().now())),
        condition.SECURE_TRANSPORT: "false",
        condition.MFA_PRESENT: "false",
    }
    for each in given:
        key, equals, value = each.partition("=")
        if not equals or not condition.is_key(key):
            fail(f"--condition {each!r} must be KEY=VALUE{condition.instead(key, condition.KEYS)}", 2)
        context[key] = value
    return context

"""The RAM policy language (CONTRACT 5; alibabacloud.com/help/doc-detail/93739.htm): reading, and deciding.

A policy is read once, and every mistake in it is told. The decision is the documented one: a Deny that matches wins,
else an Allow that matches, else the call is not allowed. Names of actions and resources are compared without regard to
case: host names have none (RFC 4343), and the inventory keeps no two names apart by case alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

from freshline.access import wildcard
from freshline.access.condition import Condition, Context, instead, read

DOCUMENT_LIMIT = 6144  #: characters of one policy, as the vendor has it
PARSED = 64  #: policies of sessions kept parsed; those of the inventory it keeps itself

_ELEMENTS = ("Effect", "Action", "NotAction", "Resource", "NotResource", "Condition")
_ACTION = re.compile(r"\*\Z|[A-Za-z0-9*?-]{1,64}:[!-~]{1,128}\Z")
_RESOURCE = re.compile(r"\*\Z|acs:[^:]*:[^:]*:[^:]*:[^:].*\Z", re.DOTALL)

Matcher = Callable[[str], bool]


class BadPolicy(ValueError):
    """``args[0]`` lists every mistake, one a line: where, and what must be there."""


class Effect(StrEnum):
    ALLOW = "Allow"
    DENY = "Deny"


@dataclass(frozen=True, slots=True)
class Ask:
    """One action on one resource, and what is known of the call."""

    action: str  #: ``cdn:RefreshObjectCaches``
    resource: str  #: ``acs:cdn:*:1234567890123456:domain/img.example.com``
    context: Context


@dataclass(frozen=True, slots=True)
class Statement:
    effect: Effect
    actions: tuple[Matcher, ...]
    but_actions: bool  #: all actions but these
    resources: tuple[Matcher, ...]
    but_resources: bool  #: all resources but these
    conditions: tuple[Condition, ...]
    source: dict[str, Any] = field(compare=False)  #: as it was written

    def matches(self, ask: Ask) -> bool:
        action, resource = ask.action.lower(), ask.resource.lower()
        return (
            any(test(action) for test in self.actions) is not self.but_actions
            and any(test(resource) for test in self.resources) is not self.but_resources
            and all(condition.holds(ask.context) for condition in self.conditions)
        )


@dataclass(frozen=True, slots=True)
class Policy:
    name: str
    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided, and by which statement; an implicit denial is nobody's."""

    allowed: bool
    policy: Policy | None = None
    statement: int | None = None  #: its number in the policy, from 1

    @property
    def explicit(self) -> bool:
        return self.statement is not None


def decide(policies: Iterable[Policy], ask: Ask) -> Verdict:
    """An explicit Deny, else an explicit Allow, else an implicit denial."""
    verdict = Verdict(False)
    for policy in policies:
        for number, statement in enumerate(policy.statements, 1):
            if (statement.effect is Effect.DENY or not verdict.allowed) and statement.matches(ask):
                verdict = Verdict(statement.effect is Effect.ALLOW, policy, number)
                if statement.effect is Effect.DENY:
                    return verdict
    return verdict


def parse(document: str, name: str = "policy", limit: int = DOCUMENT_LIMIT) -> Policy:
    """Read a policy.

    :raises BadPolicy: with every mistake there is
    """
    mistakes: list[str] = []
    if len(document) > limit:
        raise BadPolicy(f"longer than {limit} characters")
    try:
        raw = json.loads(document, object_pairs_hook=_unrepeated, parse_constant=_no_number)
        json.dumps(raw, ensure_ascii=False).encode()  # an escaped half of a surrogate pair is no text
    except RecursionError:
        raise BadPolicy("nested too deeply") from None
    except ValueError as wrong:
        raise BadPolicy(f"must be JSON: {wrong}") from None
    if not isinstance(raw, dict):
        raise BadPolicy('must be an object: {"Version": "1", "Statement": [...]}')
    mistakes += [f"{key}: no such element" for key in raw if key not in ("Version", "Statement")]
    if raw.get("Version") != "1":
        mistakes.append('Version: must be "1"')
    statements = raw.get("Statement")
    if isinstance(statements, dict):
        statements = [statements]  # "single values are equivalent to lists of one"
    if not isinstance(statements, list) or not statements:
        mistakes.append("Statement: must be a list of statements")
        statements = []
    read_ = [_statement(each, f"Statement[{number}]", mistakes) for number, each in enumerate(statements, 1)]
    if mistakes:
        raise BadPolicy("\n".join(mistakes))
    return Policy(name, tuple(read_))


@lru_cache(PARSED)
def of_session(document: str) -> Policy:
    """The policy that a session was begun with, which was right then."""
    return parse(document, "the session's policy", len(document))


def _statement(raw: Any, where: str, mistakes: list[str]) -> Statement:
    if not isinstance(raw, dict):
        mistakes.append(f"{where}: must be an object")
        raw = {"Effect": "Deny", "Action": "*", "Resource": "*"}
    elements = dict.fromkeys(_ELEMENTS)
    mistakes += [f"{where}.{key}: no such element{instead(key, elements)}" for key in raw if key not in elements]
    effect = raw.get("Effect")
    if effect not in ("Allow", "Deny"):
        mistakes.append(f"{where}.Effect: must be Allow or Deny")
        effect = "Deny"
    but_actions, actions = _either(raw, "Action", _ACTION, "service:Operation or *", where, mistakes)
    but_resources, resources = _either(
        raw, "Resource", _RESOURCE, "acs:service:region:account:relative-id or *", where, mistakes
    )
    conditions = tuple(read(raw["Condition"], f"{where}.Condition", mistakes)) if "Condition" in raw else ()
    return Statement(
        Effect(effect),
        tuple(wildcard.compile(text.lower()) for text in actions),
        but_actions,
        tuple(resource(text.lower()) for text in resources),
        but_resources,
        conditions,
        raw,
    )


def _either(
    raw: dict[str, Any], name: str, form: re.Pattern[str], words: str, where: str, mistakes: list[str]
) -> tuple[bool, Sequence[str]]:
    """``Action`` or ``NotAction``, ``Resource`` or ``NotResource``: one of the two, one text or several."""
    but = f"Not{name}" in raw
    if but is (name in raw):
        mistakes.append(f"{where}: must have either {name} or Not{name}")
        return but, []
    value = raw[f"Not{name}" if but else name]
    where = f"{where}.{'Not' * but}{name}"
    values = value if isinstance(value, list) else [value]
    if not values:
        mistakes.append(f"{where}: must not be empty")
    wrong = [each for each in values if not isinstance(each, str) or not form.match(each)]
    mistakes += [f"{where}: {json.dumps(each)} must be {words}" for each in wrong]
    return but, [each for each in values if each not in wrong]


def resource(pattern: str) -> Matcher:
    """Resources are compared part by part, so that a ``*`` stays in its part. A part left out, as the region in
    ``acs:ram::1234567890123456:role/x``, can be anything."""
    if pattern == "*":
        return wildcard.compile(pattern)
    tests = [wildcard.compile(part or "*") for part in pattern.split(":", 4)]

    def matches(text: str) -> bool:
        parts = text.split(":", 4)
        return len(parts) == len(tests) and all(test(part) for test, part in zip(tests, parts, strict=True))

    return matches


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """RFC 8259 lets a name come twice; nobody can say which is meant."""
    out = dict(pairs)
    if len(out) != len(pairs):
        twice = next(name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1)
        raise ValueError(f"{twice} is there twice")
    return out


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")

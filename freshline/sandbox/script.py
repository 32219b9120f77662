"""What shall become of a task: the first rule that matches its URL says.

    {"match": "*/slow/*", "outcome": "complete", "after_ms": 5000}
    {"match": "*.iso", "outcome": "stuck", "at": "99.37%"}
    {"match": "*/gone", "outcome": "failed", "description": "Origin Timeout", "after_ms": 100}
    {"match": "*", "refuse": "quota"}

A rule can hold for a while or for so many rows: ``"times": 3`` is spent after three rows, and the next rule decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from freshline.domain.errors import Fault
from freshline.domain.task import Reason

OUTCOMES = ("complete", "stuck", "failed")
REFUSALS = {
    "quota": Fault.QUOTA_SPENT,
    "minute": Fault.MINUTE_SPENT,
    "throttled": Fault.RATE,
    "unavailable": Fault.UNAVAILABLE,
    "internal": Fault.INTERNAL,
}
KEYS = ("match", "outcome", "after_ms", "at", "description", "refuse", "times")
DESCRIPTIONS = tuple(str(reason) for reason in Reason)


class BadScript(ValueError):
    """``args[0]`` names every mistake, one a line."""


@dataclass(slots=True)
class Rule:
    """One line of the script."""

    match: str = "*"
    outcome: str = "complete"
    after_ms: float = 0.0  #: from acceptance to the end (or to where it sticks)
    at: float = 0.0  #: the share of edges that a stuck or failed row reaches
    description: Reason = Reason.INTERNAL
    refuse: Fault | None = None
    times: int | None = field(default=None, compare=False)  #: rows it is good for; none: all

    def fits(self, path: str) -> bool:
        return self.times != 0 and fnmatchcase(path, self.match)


#: What the URL says when nobody has said anything else, so that a test without any set-up can have every outcome.
BUILT_IN = (
    Rule("*sandbox-stuck*", "stuck", 0.0, 0.9937),
    Rule("*sandbox-slow*", "complete", 5000.0),
    Rule("*sandbox-failed-timeout*", "failed", 100.0, description=Reason.ORIGIN_TIMEOUT),
    Rule("*sandbox-failed-5xx*", "failed", 100.0, description=Reason.ORIGIN_STATUS),
    Rule("*sandbox-failed*", "failed", 100.0),
    Rule("*sandbox-quota*", refuse=Fault.QUOTA_SPENT),
    Rule("*sandbox-throttled*", refuse=Fault.RATE),
    Rule("*", "complete", 100.0),
)


class Script:
    """The rules of now. Those of the test come before the built-in ones."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []

    def replace(self, rules: Sequence[Rule]) -> None:
        self._rules = list(rules)

    def rule_for(self, path: str) -> Rule:
        """The rule for one more row; a rule with ``times`` has one less left."""
        rule = next(rule for rule in (*self._rules, *BUILT_IN) if rule.fits(path))
        if rule.times is not None:
            rule.times -= 1
        return rule


def read(value: Any) -> list[Rule]:
    """Rules from JSON.

    :raises BadScript: with every mistake there is
    """
    if not isinstance(value, list):
        raise BadScript("a script is a list of rules")
    mistakes: list[str] = []
    rules = [_rule(f"rule {at}", each, mistakes) for at, each in enumerate(value, 1)]
    if mistakes:
        raise BadScript("\n".join(mistakes))
    return rules


def _rule(where: str, given: Any, mistakes: list[str]) -> Rule:
    rule = Rule()
    if not isinstance(given, dict):
        mistakes.append(f"{where}: must be an object with the keys {', '.join(KEYS)}")
        return rule
    for key, value in given.items():
        wrong = ""
        match key:
            case "match" if isinstance(value, str) and value:
                rule.match = value
            case "outcome" if value in OUTCOMES:
                rule.outcome = value
            case "after_ms" if _is_number(value) and 0 <= value <= 86_400_000:
                rule.after_ms = float(value)
            case "at" if (share := _share(value)) is not None:
                rule.at = share
            case "description" if value in DESCRIPTIONS:
                rule.description = Reason(value)
            case "refuse" if isinstance(value, str) and value in REFUSALS:
                rule.refuse = REFUSALS[value]
            case "times" if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                rule.times = value
            case _:
                wrong = _allowed(key)
        if wrong:
            mistakes.append(f"{where}: {key} = {value!r}: {wrong}")
    return rule


def _allowed(key: str) -> str:
    return {
        "match": "must be a pattern such as */img/*",
        "outcome": f"must be one of {', '.join(OUTCOMES)}",
        "after_ms": "must lie between 0 and 86400000",
        "at": "must be a percentage such as 99.37%",
        "description": f"must be one of {', '.join(DESCRIPTIONS)}",
        "refuse": f"must be one of {', '.join(REFUSALS)}",
        "times": "must be a whole number above 0",
    }.get(key, f"no such key; there are {', '.join(KEYS)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _share(value: Any) -> float | None:
    try:
        share = float(str(value).removesuffix("%")) / 100
    except ValueError:
        return None
    return share if 0 <= share <= 1 and str(value).endswith("%") else None

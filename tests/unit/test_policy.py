"""Policies: every mistake is told, and every decision is the one the documents describe."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freshline.access import wildcard
from freshline.access.condition import KEYS, OPERATORS
from freshline.access.policy import Ask, BadPolicy, Policy, Verdict, decide, parse

CONTEXT = {
    "acs:SourceIp": "10.1.2.3",
    "acs:CurrentTime": "2026-11-21T12:00:00Z",
    "acs:SecureTransport": "false",
    "acs:MFAPresent": "false",
}


def written(*statements: Any, **elements: Any) -> str:
    return json.dumps({"Version": "1", "Statement": list(statements), **elements})


def allow(action: Any = "*", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: Any = "*", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {**allow(action, resource, **more), "Effect": "Deny"}


def ask(
    action: str = "cdn:RefreshObjectCaches",
    resource: str = "acs:cdn:*:1:domain/img.test",
    context: Mapping[str, str] = CONTEXT,
) -> Ask:
    return Ask(action, resource, context)


def allowed(*statements: Any, **of: Any) -> bool:
    return decide([parse(written(*statements))], ask(**of)).allowed


# -- deciding ------------------------------------------------------------------------
def test_deny_wins() -> None:
    """An explicit Deny, else an explicit Allow, else no; and which statement it was."""
    first, second = parse(written(allow("cdn:*"), deny("cdn:Push*")), "a"), parse(written(allow()), "b")

    assert decide([first, second], ask()) == Verdict(True, first, 1)
    assert decide([second, first], ask("cdn:PushObjectCache")) == Verdict(False, first, 2)
    assert decide([first], ask("dcdn:Anything")) == Verdict(False)
    assert not decide([first], ask("dcdn:Anything")).explicit


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("cdn:RefreshObjectCaches", ["cdn:refreshobjectcaches", "CDN:RefreshObjectCaches"], ["cdn:RefreshObjectCache"]),
        ("cdn:Describe*", ["cdn:DescribeRefreshQuota", "cdn:Describe"], ["cdn:describ", "dcdn:DescribeX"]),
        ("cdn:?ushObjectCache", ["cdn:PushObjectCache"], ["cdn:ushObjectCache"]),
        ("*:Describe*", ["cdn:DescribeX", "dcdn:DescribeX"], ["cdn:X"]),
        (["a:B", "c:D"], ["a:B", "c:d"], ["a:D"]),
        ("*", ["a:B"], []),
    ],
)
def test_actions(pattern: Any, fits: list[str], fits_not: list[str]) -> None:
    """Wildcards, and no regard to case; NotAction is the opposite."""
    for action, expected in [*((each, True) for each in fits), *((each, False) for each in fits_not)]:
        assert allowed(allow(pattern), action=action) is expected
        assert allowed({"Effect": "Allow", "NotAction": pattern, "Resource": "*"}, action=action) is not expected


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("acs:cdn:*:1:domain/img.test", ["acs:cdn:*:1:domain/img.test"], ["acs:cdn:*:2:domain/img.test"]),
        ("acs:cdn:*:*:domain/*.test", ["acs:cdn:*:1:domain/img.test"], ["acs:cdn:*:1:domain/img.example"]),
        ("acs:cdn:*:*:*", ["acs:cdn:*:1:*", "acs:cdn:*:1:domain/x"], ["acs:dcdn:*:1:*"]),
        ("acs:cdn:*:*:domain/IMG.test", ["acs:cdn:*:1:domain/img.test"], []),
        ("acs:ram::1:role/x", ["acs:ram:*:1:role/x", "acs:ram::1:role/x"], ["acs:ram:*:2:role/x"]),
        ("acs:c*:*:1:x", [], ["acs:cdn:*:2:a:1:x", "acs:c:*:*:1:x"]),
        ("acs:cdn:*:*:a:b", ["acs:cdn:*:1:a:b"], ["acs:cdn:*:1:a"]),
        ("*", ["acs:cdn:*:1:*"], []),
    ],
)
def test_resources(pattern: str, fits: list[str], fits_not: list[str]) -> None:
    """Compared part by part; NotResource is the opposite."""
    for resource, expected in [*((each, True) for each in fits), *((each, False) for each in fits_not)]:
        assert allowed(allow(resource=pattern), resource=resource) is expected
        assert allowed({"Effect": "Allow", "Action": "*", "NotResource": pattern}, resource=resource) is not expected


HELD = [
    ("StringEquals", "acs:SourceIp", "10.1.2.3", True),
    ("StringEquals", "acs:SourceIp", ["x", "10.1.2.3"], True),
    ("StringNotEquals", "acs:SourceIp", ["x", "10.1.2.3"], False),
    ("StringNotEquals", "acs:SourceIp", ["x", "y"], True),
    ("StringEquals", "acs:SecureTransport", "False", False),
    ("StringEqualsIgnoreCase", "acs:SecureTransport", "FALSE", True),
    ("StringNotEqualsIgnoreCase", "acs:SecureTransport", "FALSE", False),
    ("StringLike", "acs:SourceIp", "10.?.*", True),
    ("StringNotLike", "acs:SourceIp", ["10.*", "x"], False),
    ("IpAddress", "acs:SourceIp", ["192.168.0.0/16", "10.0.0.0/8"], True),
    ("IpAddress", "acs:SourceIp", "10.1.2.3", True),
    ("IpAddress", "acs:SourceIp", "10.9.9.9/8", True),
    ("IpAddress", "acs:SourceIp", "::ffff:10.0.0.0/104", True),
    ("IpAddress", "acs:SourceIp", "2001:db8::/32", False),
    ("NotIpAddress", "acs:SourceIp", ["192.168.0.0/16", "10.0.0.0/8"], False),
    ("NotIpAddress", "acs:SourceIp", "11.0.0.0/8", True),
    ("DateLessThan", "acs:CurrentTime", "2026-11-21T20:00:01+08:00", True),
    ("DateLessThan", "acs:CurrentTime", "2026-11-21T20:00:00+08:00", False),
    ("DateLessThanEquals", "acs:CurrentTime", "2026-11-21T20:00:00+08:00", True),
    ("DateEquals", "acs:CurrentTime", "2026-11-21T12:00Z", True),
    ("DateNotEquals", "acs:CurrentTime", "2026-11-21T12:00Z", False),
    ("DateGreaterThan", "acs:CurrentTime", "2026-11-21T11:59:59.999Z", True),
    ("DateGreaterThanEquals", "acs:CurrentTime", "2027-01-01T00:00:00Z", False),
    ("Bool", "acs:SecureTransport", "false", True),
    ("Bool", "acs:SecureTransport", False, True),
    ("Bool", "acs:SecureTransport", ["true", "false"], True),
    ("Bool", "acs:MFAPresent", True, False),
    ("NumericEquals", "x:Size", 5, True),
    ("NumericEquals", "x:Size", "5.0", True),
    ("NumericNotEquals", "x:Size", [4, 5], False),
    ("NumericLessThan", "x:Size", 5, False),
    ("NumericLessThanEquals", "x:Size", 5, True),
    ("NumericGreaterThan", "x:Size", "-4", True),
    ("NumericGreaterThanEquals", "x:Size", 5.5, False),
    ("NumericEquals", "x:Word", 5, False),
    ("NumericNotEquals", "x:Word", 5, True),
    ("DateEquals", "x:Word", "2026-11-21T12:00Z", False),
    ("IpAddress", "x:Word", "10.0.0.0/8", False),
    ("StringEquals", "x:Absent", "", False),
    ("StringNotEquals", "x:Absent", "a", True),
    ("NotIpAddress", "x:Absent", "10.0.0.0/8", True),
]


@pytest.mark.parametrize(("operator", "key", "values", "expected"), HELD)
def test_conditions(operator: str, key: str, values: Any, expected: bool) -> None:
    """Every operator; of several values one is enough, and for the negated none may fit."""
    context = {**CONTEXT, "x:Size": "5", "x:Word": "five"}

    assert allowed(allow(Condition={operator: {key: values}}), context=context) is expected


def test_every_operator_is_tried() -> None:
    """Nothing in the table above is forgotten."""
    assert {operator for operator, *_ in HELD} == OPERATORS.keys()


def test_conditions_are_all_needed() -> None:
    """All operators, and all keys of each."""
    both = {"IpAddress": {"acs:SourceIp": "10.0.0.0/8"}, "Bool": {"acs:SecureTransport": "true"}}
    keys = {"Bool": {"acs:SecureTransport": "false", "acs:MFAPresent": "true"}}

    assert not allowed(allow(Condition=both))
    assert not allowed(allow(Condition=keys))
    assert allowed(allow(Condition=both), context={**CONTEXT, "acs:SecureTransport": "true"})
    assert allowed(allow(Condition={}))


def test_addresses_of_both_families() -> None:
    """An IPv4 caller on an IPv6 socket is still an IPv4 caller."""
    inside = {"IpAddress": {"acs:SourceIp": ["10.0.0.0/8", "2001:db8::/32"]}}

    assert allowed(allow(Condition=inside), context={"acs:SourceIp": "::ffff:10.1.1.1"})
    assert allowed(allow(Condition=inside), context={"acs:SourceIp": "2001:db8::1"})
    assert not allowed(allow(Condition=inside), context={"acs:SourceIp": "2001:db9::1"})


# -- reading -------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("", ["must be JSON: "]),
        ("[]", ["must be an object"]),
        ("[" * 6000, ["nested too deeply"]),
        (" " * 6145, ["longer than 6144 characters"]),
        ('{"Version": "1", "Version": "1"}', ["Version is there twice"]),
        ('{"Version": "1", "Statement": NaN}', ["NaN is no JSON"]),
        ('{"Version": "1", "Statement": "\\ud800"}', ["must be JSON"]),
        ("{}", ['Version: must be "1"', "Statement: must be a list"]),
        (written(Version=1), ['Version: must be "1"', "Statement: must be a list"]),
        (written(allow(), Id="x"), ["Id: no such element"]),
        (written(3), ["Statement[1]: must be an object"]),
        (written(allow(), {**allow(), "Effect": "allow"}), ["Statement[2].Effect: must be Allow or Deny"]),
        (written({"Effect": "Allow"}), ["either Action or NotAction", "either Resource or NotResource"]),
        (written(allow(NotAction="*", NotResource="*")), ["either Action or NotAction", "either Resource or NotRes"]),
        (written(allow(Actions="*")), ["Statement[1].Actions: no such element; did you mean Action?"]),
        (written(allow([])), ["Statement[1].Action: must not be empty"]),
        (written(allow(["cdn:A", "cdn", 5])), ['Action: "cdn" must be service:Operation', "Action: 5 must be"]),
        (written(allow("cdn:A B")), ['Action: "cdn:A B" must be']),
        (written(allow(resource="domain/x")), ['Resource: "domain/x" must be acs:service:region:account:relative-id']),
        (written(allow(resource="acs:cdn:*:*:")), ["Resource: "]),
        (written({"Effect": "Deny", "Action": "*", "NotResource": {}}), ["Statement[1].NotResource: {} must be"]),
        (written(allow(Condition=[])), ["Condition: must be an object"]),
        (written(allow(Condition={"IpAdress": {}})), ["'IpAdress' is no operator; did you mean IpAddress?"]),
        (written(allow(Condition={"stringequals": {}})), ["did you mean StringEquals?"]),
        (written(allow(Condition={"Bool": {}})), ["Condition.Bool: must be an object"]),
        (written(allow(Condition={"Bool": {"acs:SourceIP": 1}})), ["no such key; did you mean acs:SourceIp?"]),
        (written(allow(Condition={"Bool": {"acs:x/y": 1}})), ["no such key; known: acs:SourceIp, acs:CurrentTime"]),
        (written(allow(Condition={"Bool": {"nothing": 1}})), ["no such key"]),
        (written(allow(Condition={"Bool": {"acs:SourceIp": True}})), ["Bool does not go with acs:SourceIp; these do"]),
        (written(allow(Condition={"IpAddress": {"acs:SourceIp": []}})), ["must have a value"]),
        (written(allow(Condition={"IpAddress": {"acs:SourceIp": None}})), ["must be text, a number, true or false"]),
        (written(allow(Condition={"IpAddress": {"acs:SourceIp": "10.0.0"}})), ["'10.0.0' must be an address"]),
        (written(allow(Condition={"Bool": {"acs:MFAPresent": "yes"}})), ["'yes' must be true or false"]),
        (written(allow(Condition={"DateEquals": {"acs:CurrentTime": "now"}})), ["'now' must be a time with its zone"]),
        (written(allow(Condition={"DateEquals": {"acs:CurrentTime": "2026-02-30T00:00:00Z"}})), ["must be a time"]),
        (written(allow(Condition={"DateEquals": {"acs:CurrentTime": "2026-02-03T00:00:00"}})), ["must be a time"]),
        (written(allow(Condition={"NumericEquals": {"x:Y": ["1e3", "٣"]}})), ["'1e3' must be a decimal", "'٣' must"]),
    ],
)
def test_every_mistake_is_told(document: str, told: list[str]) -> None:
    """Where it is and what must be there, one a line, all at once."""
    with pytest.raises(BadPolicy) as wrong:
        parse(document)
    lines = str(wrong.value).splitlines()

    assert len(lines) == len(told)
    assert all(words in line for words, line in zip(told, lines, strict=True)), lines


def test_as_documented() -> None:
    """The vendor's own sample (CONTRACT 5), and single values in place of lists."""
    sample = written(
        allow(["cdn:PushObjectCache", "cdn:RefreshObjectCaches", "cdn:DescribeRefreshQuota"], "acs:cdn:*:*:*")
    )
    single = json.dumps(
        {"Version": "1", "Statement": allow("oss:Get*", Condition={"StringLike": {"oss:Prefix": "a*"}})}
    )

    assert decide([parse(sample)], ask()).allowed
    assert not decide([parse(sample)], ask("cdn:DescribeRefreshTaskById", "acs:cdn:*:1:*")).allowed
    assert not decide([parse(single)], ask("oss:GetObject", "acs:oss:*:1:x")).allowed


ELEMENTS = st.sampled_from(["Version", "Statement", "Effect", "Action", "Resource", "Condition", "Bool"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ELEMENTS, inner, max_size=3),
)


@given(ANYTHING)
def test_nothing_else_goes_wrong(raw: Any) -> None:
    """Whatever is written, the answer is a policy or its mistakes."""
    for document in (json.dumps(raw), written(raw), written(allow(Condition=raw)), written(allow(raw, raw))):
        try:
            assert isinstance(parse(document), Policy)
        except BadPolicy as wrong:
            assert str(wrong)


# -- wildcards -----------------------------------------------------------------------
def slowly(pattern: str, text: str) -> bool:
    """By the definition, and in exponential time."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return slowly(pattern[1:], text) or (bool(text) and slowly(pattern, text[1:]))
    return bool(text) and pattern[0] in ("?", text[0]) and slowly(pattern[1:], text[1:])


FEW = st.text(alphabet="ab*?.\\[\n\0é😀", max_size=8)


@given(FEW, FEW)
@settings(max_examples=500)
def test_wildcards(pattern: str, text: str) -> None:
    """``*`` and ``?`` mean what they mean, and nothing else means anything."""
    assert wildcard.compile(pattern)(text) is slowly(pattern, text)


@pytest.mark.parametrize("pattern", ["a*" * 3000 + "b", "*a" * 3000, "?" * 6000, "*" * 6000 + "b", "é*" * 2000 + "?"])
def test_hostile_patterns(pattern: str) -> None:
    """No pattern that fits into a policy takes long on any resource there can be."""
    matches = wildcard.compile(pattern)
    began = time.process_time()
    matches("a" * 300)

    assert time.process_time() - began < 0.5  # tenths of a millisecond to some milliseconds; a backtracker takes years


# -- against a slow and obvious evaluator ----------------------------------------------
def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def one(operator: str, value: str, wanted: Any) -> bool:
    """One value of a condition, by its description."""
    wanted = str(wanted).lower() if isinstance(wanted, bool) else str(wanted)
    try:
        match re.sub("^(String|Numeric|Date)", "", operator):
            case "EqualsIgnoreCase":
                return value.lower() == wanted.lower()
            case "Like":
                return slowly(wanted, value)
            case "Bool":
                return value.lower() == wanted.lower()
            case "IpAddress":
                return ip_address(value) in ip_network(wanted, strict=False)
            case "Equals" if operator == "StringEquals":
                return value == wanted
            case comparison:
                left, right = (
                    (float(value), float(wanted))
                    if operator.startswith("Numeric")
                    else (datetime.fromisoformat(value).timestamp(), datetime.fromisoformat(wanted).timestamp())
                )
                return {
                    "Equals": left == right,
                    "LessThan": left < right,
                    "LessThanEquals": left <= right,
                    "GreaterThan": left > right,
                    "GreaterThanEquals": left >= right,
                }[comparison]
    except ValueError:
        return False


def holds(operator: str, key: str, values: Any, context: Mapping[str, str]) -> bool:
    if "Not" in operator:
        return not holds(operator.replace("Not", ""), key, values, context)
    return key in context and any(one(operator, context[key], each) for each in as_list(values))


def matching(statement: dict[str, Any], asked: Ask) -> bool:
    def action(pattern: str) -> bool:
        return slowly(pattern.lower(), asked.action.lower())

    def resource(pattern: str) -> bool:
        if pattern == "*":
            return True
        parts = asked.resource.lower().split(":", 4)
        patterns = [part or "*" for part in pattern.lower().split(":", 4)]
        return all(slowly(each, part) for each, part in zip(patterns, parts, strict=True))

    return (
        (any(map(action, as_list(statement["Action"]))) if "Action" in statement
         else not any(map(action, as_list(statement["NotAction"]))))
        and (any(map(resource, as_list(statement["Resource"]))) if "Resource" in statement
             else not any(map(resource, as_list(statement["NotResource"]))))
        and all(
            holds(operator, key, values, asked.context)
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        )
    )  # fmt: skip


def obviously(statements: list[dict[str, Any]], asked: Ask) -> str:
    effects = {statement["Effect"] for statement in statements if matching(statement, asked)}
    return "explicit" if "Deny" in effects else "allowed" if "Allow" in effects else "implicit"


def some(values: list[Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from(values) | st.lists(st.sampled_from(values), min_size=1, max_size=3)


ACTIONS = ["cdn:RefreshObjectCaches", "cdn:refresh*", "cdn:*", "*", "cdn:Push?bjectCache", "*:Describe*", "dcdn:*"]
RESOURCES = [
    "*",
    "acs:cdn:*:1:domain/img.test",
    "acs:cdn:*:*:domain/*",
    "acs:cdn::2:*",
    "acs:*:*:?:*",
    "acs:c?n:*:1:*i*",
]
VALUES: dict[str, list[Any]] = {
    "text": ["10.1.2.3", "10.*", "?*", "false", "False", "2026-11-21T12:00:00Z", "5", ""],
    "number": [5, "5", -1, "6.5"],
    "date": ["2026-11-21T12:00:00Z", "2026-11-21T12:00:00+08:00", "2030-01-01T00:00:00Z"],
    "truth": [True, False, "true", "FALSE"],
    "address": ["10.0.0.0/8", "10.1.2.3", "2001:db8::/32", "0.0.0.0/0"],
}


@st.composite
def conditions(draw: Any) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    for operator in draw(st.lists(st.sampled_from(sorted(OPERATORS)), max_size=2, unique=True)):
        kind = OPERATORS[operator][0]
        keys = [*(key for key in KEYS if kind in ("text", KEYS[key])), "x:Size", "x:Absent"]
        names = draw(st.lists(st.sampled_from(keys), min_size=1, max_size=2, unique=True))
        out[operator] = {name: draw(some(VALUES[kind])) for name in names}
    return out


@st.composite
def statements(draw: Any) -> dict[str, Any]:
    out = {"Effect": draw(st.sampled_from(["Allow", "Deny"]))}
    out[draw(st.sampled_from(["Action", "Action", "NotAction"]))] = draw(some(ACTIONS))
    out[draw(st.sampled_from(["Resource", "Resource", "NotResource"]))] = draw(some(RESOURCES))
    if draw(st.booleans()):
        out["Condition"] = draw(conditions())
    return out


ASKS = st.builds(
    Ask,
    st.sampled_from(["cdn:RefreshObjectCaches", "cdn:PushObjectCache", "CDN:DescribeRefreshTasks", "dcdn:X", "ecs:Y"]),
    st.sampled_from(["acs:cdn:*:1:domain/img.test", "acs:cdn:*:2:domain/x", "acs:cdn:*:1:*", "acs:dcdn:*:1:domain/a"]),
    st.fixed_dictionaries(
        {
            "acs:SourceIp": st.sampled_from(["10.1.2.3", "192.168.1.1", "2001:db8::1"]),
            "acs:CurrentTime": st.sampled_from(["2026-11-21T12:00:00Z", "2031-01-01T00:00:00Z"]),
            "acs:SecureTransport": st.sampled_from(["true", "false"]),
            "acs:MFAPresent": st.just("false"),
        },
        optional={"x:Size": st.sampled_from(["5", "6", "many"])},
    ),
)


@given(st.lists(st.lists(statements(), min_size=1, max_size=3), max_size=3), ASKS)
@settings(max_examples=300, deadline=None)
def test_decides_as_described(policies: list[list[dict[str, Any]]], asked: Ask) -> None:
    """Whatever the policies and the call, the verdict is the documents', and the statement named has that effect."""
    verdict = decide([parse(written(*each)) for each in policies], asked)
    expected = obviously([statement for policy in policies for statement in policy], asked)

    assert ("allowed" if verdict.allowed else "explicit" if verdict.explicit else "implicit") == expected
    if verdict.policy is not None and verdict.statement is not None:
        statement = verdict.policy.statements[verdict.statement - 1]
        assert matching(statement.source, asked)
        assert (statement.effect == "Allow") is verdict.allowed


def test_time_is_utc() -> None:
    """What the reference reads as a time is one."""
    assert datetime.fromisoformat(CONTEXT["acs:CurrentTime"]) == datetime(2026, 11, 21, 12, tzinfo=UTC)

"""Every operation × parameter × bound × declared error × format, of every product, made from the tables.

``tests/ways.py`` knows one way to provoke each error; a row without a way fails here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest

from freshline.domain.errors import Fault
from freshline.spec.model import Operation, Param, Shape
from freshline.wire import times
from tests.service import NOON, Answer, Service
from tests.ways import GENEROUS, LEAST, OPERATIONS, WAYS, declared, enough, has, least, resigned, spelled

FORMATS = ["JSON", "XML"]
ROWS = [(name, fault) for name, op in OPERATIONS.items() for fault in sorted(declared(op))]


def said(answer: Answer, format_: str) -> tuple[int, str, str]:
    """Status, code and message."""
    if format_ == "JSON":
        return answer.error
    root = answer.xml
    assert [child.tag for child in root] == ["RequestId", "HostId", "Code", "Message", "Recommend"]
    return answer.status, root.findtext("Code") or "", root.findtext("Message") or ""


def filled(op: Operation, fault: Fault, name: str = "") -> tuple[int, str, str]:
    row = op.faults[fault]
    words = {"param": name, "title": op.product.title}
    return row.status, row.code.format_map(words), row.message.format_map(words)


# -- what is declared ---------------------------------------------------------------
@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize(("name", "fault"), ROWS)
async def test_fault(name: str, fault: Fault, format_: str) -> None:
    """Status, code and message are the table's."""
    op = OPERATIONS[name]
    answer = await WAYS[fault](op, format_)

    assert said(answer, format_) == filled(op, fault, "X" if fault is Fault.PARAMETERS_GARBLED else "")


# -- what is well ---------------------------------------------------------------------
@pytest.mark.parametrize("signing", ["v3", "v1"])
@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", OPERATIONS)
async def test_success(name: str, format_: str, signing: str) -> None:
    """The least an operation takes is answered with the table's fields, all of them, in its order."""
    op = OPERATIONS[name]
    for method in sorted(op.methods):
        service = Service()
        if signing == "v3":
            params = {"version": op.product.version, "method": method, **least(op), "Format": format_}
            signed = service.signed(op.action, **params)
        else:
            signed = service.signed_v1(
                method, Version=op.product.version, Action=op.action, Format=format_, **least(op)
            )
        answer = await service.send(signed)

        assert answer.status == 200, answer.content
        if format_ == "JSON":
            assert list(answer.json) == [field.name for field in op.result.fields]
        else:
            assert answer.xml.tag == f"{op.action}Response"
            assert list(dict.fromkeys(child.tag for child in answer.xml)) == _tags(op.result, answer.xml)


def _tags(shape: Shape, root: ElementTree.Element) -> list[str]:
    """The children an answer has. A list without an element around it has none where it is empty."""
    bare = {"FailedMessages"}  # a list of texts
    return [
        field.name
        for field in shape.xml
        if (field.shape is None and field.name not in bare)
        or field.single
        or field.node is not None
        or root.find(field.name) is not None
    ]


@pytest.mark.parametrize("name", [name for name, op in OPERATIONS.items() if op.methods != {"GET", "POST"}])
async def test_method(name: str) -> None:
    """An operation that is declared for one method refuses the other."""
    op, service = OPERATIONS[name], Service()
    (other,) = {"GET", "POST"} - op.methods
    answer = await service.send(service.signed(op.action, version=op.product.version, method=other, **least(op)))

    assert answer.error == filled(op, Fault.HTTP_METHOD)


# -- parameters -----------------------------------------------------------------------
WRONG = {  # what a parameter of each type may never be
    "flag": ["1", "yes", "True "],
    "number": ["-1", "1.0", " 5", "1_0", "٣", "1e2", "9" * 30, "x"],
    "choice": ["nothing-of-the-kind", "file\x00"],
    "ids": ["x", "1.0", " 5", "1_0", "٣", "-1", "0", "007", "1,", ",", "1,x", "9" * 19],
    "time": ["now", "2026-11-21", "2026-11-21T12:00:00+08:00", "１"],
    "domain": ["no domain", "a/b", "http://a", "-", "x" * 254],
    "domains": ["no domain", "a,,b", "a/b"],
    "headers": ["{", "[]", '"x"', '{"a b": "x"}', '{"A": "x\\ny"}', '{"Host": "x"}', '{"A": 1}', '{"Range": "x"}',
                "[" * 9999],
    "words": ["a b", "a\x00", "\x7f"],
    "choices": ["nothing-of-the-kind", "HD,,SD", "HD,x", ","],
    "document": [],  # read by whoever it is for
    "tags": ["a b", "a\x00", "\x7f"],
    "text": ["a\x00b", "a\nb", "\x1b"],
    "line": ["e.com/a\x00b", "e.com/a\nb", "\x1b", "e.com/\x85"],
    "lines": [],  # see test_submit
    "strings": ["x", "{}", "[1]", '["a', "[" * 9999, '"a"'],
    "slots": ["x", "{}", "[]", "[1]", '[{"Interval":60}]', '[{"Interval":"x","SliceLen":1}]',
              '[{"Interval":60,"SliceLen":1,"StartTime":"soon"}]', "[" * 9999],
    "content": ["x", "[]", '{"Files":1}', '{"Files":[1]}', '{"CacheKeys":["a"]}', "{" * 9999],
    "sources": ["x", "{}", "[]", "[1]", '[{"type":"ipaddr"}]', '[{"content":"a b"}]', '[{"content":"a","port":0}]',
                '[{"content":"a","port":65536}]', '[{"content":"a","type":"x"}]', '[{"content":"a/b"}]',
                '[{"content":"a","weight":"x"}]', "[" + ",".join(['{"content":"a"}'] * 21) + "]", "[" * 9999],
}  # fmt: skip
PARAMS = [(name, param) for name, op in OPERATIONS.items() for param in op.params]


@pytest.mark.parametrize(("name", "param"), PARAMS)
async def test_wrong_parameter(name: str, param: str) -> None:
    """A value that is not of its parameter's type is refused by the table's code, and never guessed at."""
    op, service = OPERATIONS[name], Service()
    allowed = [filled(op, fault, param) for fault in op.params[param].faults()]
    for value in WRONG[op.params[param].type]:
        answer = await service.ask(op, **{**least(op), param: value})
        assert answer.error in allowed, value
    byte = await resigned(
        service,
        op,
        {**least(op), param: "BYTE", "Format": "JSON"},
        lambda target: target.replace(f"{param}=BYTE", f"{param}=%FF"),
    )

    assert byte.error in allowed
    assert service.log.head == 0


@pytest.mark.parametrize(
    ("name", "param"), [(name, param) for name, param in PARAMS if OPERATIONS[name].params[param].required]
)
@pytest.mark.parametrize("value", [None, ""])
async def test_missing_parameter(name: str, param: str, value: str | None) -> None:
    """What must be there and is not is asked for by name; empty is not there."""
    op = OPERATIONS[name]
    params = {key: text for key, text in least(op).items() if key != param}
    answer = await Service().ask(op, **params, **({} if value is None else {param: value}))

    assert answer.error == filled(op, Fault.PARAMETER_MISSING, param)


def right(op: Operation, param: Param) -> Iterator[str]:
    """Values at the edges of what is allowed."""
    match param.type:
        case "number" if param.to == "site_id":
            yield LEAST["site_id"]
        case "number":
            yield from (str(bound) for bound in (param.min, param.max) if bound is not None)
        case "choices":
            yield ",".join(param.values)
            yield ",".join(param.values).upper()
        case "choice":
            yield from param.values
            yield from (value.upper() for value in param.values)
        case "flag":
            yield from ("true", "True", "false")
        case "time":
            yield times.write(int(NOON) - 60 if param.to == "start" else int(NOON))
        case "headers":
            yield from ('{"A": "b"}', '{"A": ["b", "c"]}', "{}")
        case "sources":
            yield '[{"content":"o.test"},{"content":"192.0.2.1","port":"8080","priority":"30"}]'
        case "ids" | "domains" | "tags" | "words" if param.most:
            yield from (items(param, count) for count in (1, param.most))


def items(param: Param, count: int) -> str:
    return ",".join(
        {"ids": str(n), "domains": f"d{n % 12}.test", "tags": f"t{n}", "words": f"w{n}"}[param.type]
        for n in range(1, count + 1)
    )


@pytest.mark.parametrize(("name", "param"), PARAMS)
async def test_right_parameter(name: str, param: str) -> None:
    """Every value up to the bounds is taken, whatever its capitals."""
    op = OPERATIONS[name]
    for value in right(op, op.params[param]):
        answer = await Service(GENEROUS).ask(op, **beside(op, param), **{param: value})
        assert answer.status == 200, (value, answer.content)


OF_EVERY_TYPE = {
    "Files": ["http://e.com/a", {"Url": "http://e.com/b"}],
    "CacheKeys": [{"Url": "http://e.com/a", "Headers": {"UserGeo": "cn"}}],
    "CacheTags": ["red"],
    "Directories": ["http://e.com/a/"],
    "IgnoreParams": ["http://e.com/a"],
    "Hostnames": ["e.com"],
    "PurgeAll": True,
}


def beside(op: Operation, param: str) -> dict[str, str]:
    """What has to go with a parameter, so that it alone is tried."""
    out = least(op)
    to = op.params[param].to
    if to in ("domains", "status") and has(op, "kind"):
        ((name, _),) = spelled(op, {"kind": ""}).items()
        out[name] = enough(op.params[name])
    if to == "kind" and has(op, "lines"):
        out |= spelled(op, {"lines": "http://img.test/a/"})  # right for every kind
    if to == "type" and has(op, "content"):
        out |= spelled(op, {"content": json.dumps(OF_EVERY_TYPE)})
    if to in ("start", "end") and op.params[param].type == "time":
        out |= spelled(op, {"start": times.write(int(NOON) - 3600), "end": times.write(int(NOON))})
    out.pop(param, None)
    return out


@pytest.mark.parametrize(("name", "param"), PARAMS)
async def test_bounds(name: str, param: str) -> None:
    """One more than the most, or one less than the least, is refused."""
    op, service = OPERATIONS[name], Service(GENEROUS)
    it = op.params[param]
    beyond: list[tuple[str, Fault]] = []
    if it.type == "number":
        beyond += [(str(it.min - 1), it.wrong)] if it.min is not None else []
        beyond += [(str(it.max + 1), it.wrong)] if it.max is not None else []
    if it.most is not None:
        beyond.append((items(it, it.most + 1), it.over or it.wrong))
    if it.longest is not None:
        beyond.append(("x" * (it.longest + 1), it.long or it.wrong))
    for value, fault in beyond:
        answer = await service.ask(op, **beside(op, param), **{param: value})
        assert answer.error == filled(op, fault, param), value


async def test_unknown_parameters_are_ignored() -> None:
    """Clients send more than an operation declares (CONTRACT 1)."""
    extra: dict[str, Any] = {"OwnerId": "1", "RegionId": "cn-hangzhou", "SomethingNew": "\x00"}
    for op in OPERATIONS.values():
        assert (await Service().ask(op, **least(op), **extra)).status == 200

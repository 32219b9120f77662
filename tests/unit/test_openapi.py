"""The specification for programs, and calls made of it: whatever is sent, the answer is one that it declares.

Calls are drawn from the document itself, each operation by itself: right ones, and ones with a parameter that is
anything at all, left out, or sent twice.
"""

from __future__ import annotations

import asyncio
import json
from copy import deepcopy
from functools import cache
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from freshline.api.app import App
from freshline.cli.caller import Product
from freshline.cli.main import app
from freshline.reference import openapi, samples
from freshline.spec import model
from freshline.spec.model import PRODUCTS, Operation, Param
from freshline.wire import signature
from tests.service import HOST, JOB, NOON, PLAN, UNTHROTTLED, Answer, Service
from tests.unit.test_roles import DEPLOY, house
from tests.ways import LEAST, least

DOCUMENTS = openapi.documents()
ALL = {f"{op.product.version}.{op.action}": op for op in model.load()}
OF_ROLES = {"AssumeRole": {"RoleArn": DEPLOY, "RoleSessionName": "ci"}, "GetCallerIdentity": {}}
WORDS = st.sampled_from(["http://img.test/a", "http://e.com/a/", "img.test", "e.com", "film", "job-1", "plan-1", "1,2"])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


# -- the document -------------------------------------------------------------------
@pytest.mark.parametrize("version", DOCUMENTS)
def test_it_is_openapi(version: str) -> None:
    """By the rules of OpenAPI 3.1, every operation of the product by every method it takes, and no other."""
    document = DOCUMENTS[version]
    validate(deepcopy(document))

    said = {
        (path.removeprefix("/#Action="), method.upper())
        for path, methods in document["paths"].items()
        for method in methods
    }
    assert said == {
        (op.action, method) for op in model.load().products[version].operations.values() for method in op.methods
    }


def test_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    """`freshline spec openapi` knows every product by its table's name."""
    assert set(get_args(Product)) == set(PRODUCTS)
    for version, name in samples.names(model.load()).items():
        app(
            ["spec", "openapi", "--product", name], exit_on_error=False, print_error=False, result_action="return_value"
        )
        assert json.loads(capsys.readouterr().out) == DOCUMENTS[version]


# -- calls made of it -----------------------------------------------------------------
def declared(op: Operation) -> dict[str, Any]:
    document = DOCUMENTS[op.product.version]
    operation: dict[str, Any] = document["paths"][f"/#Action={op.action}"][max(op.methods).lower()]
    return operation


@cache
def validators(name: str) -> dict[int, Draft202012Validator]:
    """Of each status's answers."""
    op = ALL[name]
    components = DOCUMENTS[op.product.version]["components"]
    return {
        int(status): Draft202012Validator({**answer["content"]["application/json"]["schema"], "components": components})
        for status, answer in declared(op)["responses"].items()
    }


def schemas(op: Operation) -> dict[str, dict[str, Any]]:
    operation = declared(op)
    if "requestBody" in operation:
        (content,) = operation["requestBody"]["content"].values()
        found: dict[str, dict[str, Any]] = content["schema"]["properties"]
        return found
    return {it["name"]: it["schema"] for it in operation["parameters"] if "const" not in it["schema"]}


def fitting(op: Operation, name: str, schema: dict[str, Any]) -> st.SearchStrategy[str]:
    """Values that a schema allows. A text can be anything, so what is there in the service is among them."""
    param = op.params[name]
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema["type"] == "integer":
        numbers = st.integers(schema.get("minimum", 0), min(schema.get("maximum", 10**9), 10**18 - 1)).map(str)
        return st.just(LEAST[param.to]) | numbers if param.to in LEAST else numbers
    if "pattern" in schema and schema["type"] == "string":
        return st.from_regex(schema["pattern"], fullmatch=True).filter(lambda text: "\n" not in text)
    if param.to == "id":
        return st.sampled_from([JOB.id, PLAN.id, "nothing"]) | TEXT
    ours = st.just(LEAST[param.to]) if param.to in LEAST and param.type != "strings" else WORDS
    return ours | WORDS | TEXT | st.sampled_from(_examples(param))


def _examples(param: Param) -> list[str]:
    return {
        "headers": ['{"Accept-Encoding":["gzip"]}', "{}"],
        "strings": ['["http://e.com/a"]', "[]"],
        "content": ['{"Files":["http://e.com/a"],"CacheTags":["x"]}', '{"PurgeAll":true}'],
        "slots": ['[{"Interval":60,"SliceLen":10},{"Interval":0,"SliceLen":10}]'],
        "domains": ["img.test,e.com", "d1.test"],
        "document": ["{}"],
    }.get(param.type, [""])


@st.composite
def calls(draw: st.DrawFn, op: Operation) -> list[tuple[str, str]]:
    """Mostly the least that an operation takes, some more of what fits, and at times something that does not."""
    found = schemas(op)
    pairs = dict(OF_ROLES.get(op.action) or least(op)) if draw(st.booleans()) else {}
    for name in draw(st.lists(st.sampled_from(sorted(found)), max_size=4, unique=True)) if found else []:
        pairs[name] = draw(fitting(op, name, found[name]))
    out = list(pairs.items())
    match draw(st.integers(0, 5)):
        case 0 if found:  # anything
            out.append((draw(st.sampled_from(sorted(found))), draw(TEXT)))
        case 1 if out:  # one is missing
            out.pop(draw(st.integers(0, len(out) - 1)))
        case 2 if out:  # one stands twice
            out.append((out[0][0], draw(TEXT)))
        case 3:
            out.append((draw(TEXT), draw(TEXT)))
    return out


class Pairs(dict[str, str]):
    """Parameters of which some stand twice."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        super().__init__(pairs)
        self._pairs = pairs

    def items(self) -> Any:
        return self._pairs


async def answer(service: Service, op: Operation, pairs: list[tuple[str, str]], method: str, form: bool) -> Answer:
    key, secret = ("anna", "annasecret") if op.product.service == "sts" else ("testid", "testsecret")
    signed = signature.sign_v3(
        method, HOST, op.action, op.product.version, Pairs([] if form else pairs), key_id=key, secret=secret,
        now=service.clock.now(), nonce=service.clock.nonce(), form=Pairs(pairs) if form else None,
    )  # fmt: skip
    return await service.send(signed)


def state(service: Service) -> Any:
    """All that calls can change."""
    books, schedule = service.books, service.schedule
    used = service.log.used("1", service.app.desk.limits.day(NOON))
    jobs = [(job, schedule.plans(job.id)) for job in schedule.jobs("1", 123)]
    return service.log.head, dict(used), dict(books.names), jobs


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_answer_is_declared(name: str, data: st.DataObject) -> None:
    """Status, code and form are the document's; nothing breaks; and what is refused changes nothing."""
    op, service = ALL[name], serving(name)
    pairs = data.draw(calls(op))
    method = data.draw(st.sampled_from(sorted(op.methods)))
    holds(name, service, pairs, method, form=method == "POST" and data.draw(st.booleans()))


@pytest.mark.parametrize("name", [name for name, op in ALL.items() if op.params])
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_parameter(name: str, data: st.DataObject) -> None:
    """The same of each parameter by itself, beside the least that goes with it."""
    op, service = ALL[name], serving(name)
    for param, schema in schemas(op).items():
        value = data.draw(TEXT | fitting(op, param, schema), label=param)
        pairs = {**(OF_ROLES.get(op.action) or least(op)), param: value}
        holds(name, service, list(pairs.items()), max(op.methods))


def holds(name: str, service: Service, pairs: list[tuple[str, str]], method: str, form: bool = False) -> None:
    before = state(service)
    got = asyncio.run(answer(service, ALL[name], pairs, method, form))

    assert got.status < 500, got.content
    assert got.status in validators(name), (got.status, got.content)
    validators(name)[got.status].validate(got.json)
    if got.status != 200:
        assert state(service) == before


@cache
def serving(name: str) -> Service:
    """One for each operation: what its calls leave behind is part of what the next ones meet."""
    service = house()
    service.app = App(
        model.load(), service.log, service.books, service.clock, limits=UNTHROTTLED, schedule=service.schedule
    )
    return service

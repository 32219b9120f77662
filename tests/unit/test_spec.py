"""The tables say what the contract says, and a table that is wrong is found at load."""

from __future__ import annotations

import copy
import json
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from freshline.domain.errors import Fault
from freshline.operations import registry
from freshline.spec import model
from freshline.spec.model import Product, SpecError
from freshline.wire.params import Reader

SPEC = model.load()
CDN = SPEC.products["2018-05-10"]
CONTRACT = json.loads((Path(__file__).parent.parent / "golden" / "operations.json").read_text())
TABLE = tomllib.loads((Path(model.__file__).parent / "cdn.toml").read_text())


def test_nothing_is_forgotten() -> None:
    """Every operation of the contract is in a table."""
    ours = {(op.product.version, op.action) for op in SPEC}

    assert {name for name, it in CONTRACT.items() if (it["version"], it["op"]) not in ours} == set()


@pytest.mark.parametrize("name", sorted(CONTRACT))
def test_as_the_contract_has_it(name: str) -> None:
    """Parameters, protocols and every error of the vendor's metadata are in the table, word for word."""
    theirs = CONTRACT[name]
    ours = SPEC.products[theirs["version"]].operations[theirs["op"]]

    for param in theirs["params"]:
        assert ours.params[param["name"]].required == param["required"]
    assert ours.protocols == set(theirs["protocol"].lower().split("|"))
    assert ours.methods >= set(theirs["method"].split("|"))
    rows = {ours.faults[fault] for fault in ours.own_faults}
    assert rows >= {(error["http"], error["code"], error["message"]) for error in theirs.get("errors", [])}


def product(table: dict[str, Any]) -> Product:
    return model._product(table, SPEC.gateway, "test")


def altered(**delta: Any) -> dict[str, Any]:
    """A product that leans on the base table."""
    head = {"product": "Other", "title": "Other", "service": "other", "version": "2020-01-01", "endpoint": "o.test"}
    return model.derive({**head, "family": "cdn", "op": delta}, lambda _: copy.deepcopy(TABLE), "other")


def test_like() -> None:
    """Another product is a few lines: what it leaves out, renames and bounds otherwise."""
    other = product(
        altered(
            Push={
                "like": "PushObjectCache",
                "without": ["Area", "WithHeader", "headers_wrong"],
                "rename": {"PushTaskId": "PreloadTaskId"},
            },
            Tasks={
                "like": "DescribeRefreshTasks",
                "params": {"PageSize": {"max": 50}},
                "result": {"Tasks": {"node": "Task"}},
                "faults": {"task_id_malformed": [400, "InvalidTaskId.Malformed", "Specified TaskId is malformed."]},
            },
        )
    )
    push, tasks = other.operations["Push"], other.operations["Tasks"]

    assert [field.name for field in push.result.fields] == ["PreloadTaskId", "RequestId"]
    assert "Area" not in push.params and "L2Preload" in push.params
    assert tasks.params["PageSize"].max == 50 and tasks.params["PageSize"].default == "20"
    assert tasks.result.fields[-1].node == "Task"
    assert tasks.faults[Fault.TASK_ID_MALFORMED].message == "Specified TaskId is malformed."
    assert CDN.operations["DescribeRefreshTasks"].params["PageSize"].max == 100
    registry._handler_of(push)
    registry._handler_of(tasks)


def test_a_renamed_parameter() -> None:
    """A handler keeps its word for a parameter, whatever a product calls it."""
    params = product(
        altered(
            Tag={"like": "RefreshObjectCacheByCacheTag", "rename": {"DomainName": "Domain"}},
            Tasks={"like": "DescribeRefreshTasks", "params": {"ObjectType": {"type": "text", "to": "kind"}}},
        )
    ).operations

    assert params["Tag"].params["Domain"].to == "domain_name"
    assert params["Tasks"].params["ObjectType"].values == {}


def test_spelling() -> None:
    """A product may have its own word for a kind."""
    shape = {"Task": {"fields": {"ObjectType": {"from": "kind", "spell": {"directory": "path"}}}}}
    table = altered(Tasks={"like": "DescribeRefreshTasks"})
    table["shape"] = {**table["shape"], **shape}
    inner = product(table).operations["Tasks"].result.fields[-1].shape

    assert inner is not None and inner.fields[0].spell == {"directory": "path"}


@pytest.mark.parametrize(
    ("delta", "trouble"),
    [
        ({"like": "Nothing"}, "is like Nothing"),
        ({"like": "PushObjectCache", "without": ["Colour"]}, "nothing to leave out: Colour"),
        ({"like": "PushObjectCache", "rename": {"A": "B"}}, "nothing to rename: A"),
        ({"like": "PushObjectCache", "params": {"Area": {"kind": "x"}}}, "unknown field"),
        ({"like": "PushObjectCache", "params": {"Area": {"wrong": "oops"}}}, "oops"),
        ({"like": "PushObjectCache", "params": {"Area": {"wrong": "status_wrong"}}}, "status_wrong"),
        ({"like": "DescribeRefreshQuota", "xml": ["RequestId"]}, "xml"),
        ({"like": "DescribeRefreshTasks", "result": {"Tasks": {"shape": "Nothing"}}}, "no shape"),
    ],
)
def test_a_wrong_table(delta: dict[str, Any], trouble: str) -> None:
    """The place and the mistake are named."""
    with pytest.raises(SpecError, match=trouble):
        product(altered(Op=delta))


@pytest.mark.parametrize(
    ("delta", "trouble"),
    [
        ({"like": "PushObjectCache", "handler": "conjure"}, "no handler 'conjure'"),
        ({"like": "PushObjectCache", "without": ["ObjectPath"]}, "needs lines"),
        ({"like": "PushObjectCache", "set": {"colour": 1}}, "takes no colour"),
        ({"like": "PushObjectCache", "without": ["quota_spent"]}, "may raise quota_spent"),
        ({"like": "PushObjectCache", "faults": {"task_id_count": [400, "A", "B"]}}, "nothing provokes task_id_count"),
    ],
)
def test_a_table_that_does_not_fit_its_handler(delta: dict[str, Any], trouble: str) -> None:
    """Neither may ask of the other what it does not have."""
    operation = product(altered(Op=delta)).operations["Op"]
    with pytest.raises(SpecError, match=trouble):
        registry._handler_of(operation)


def test_a_default_that_is_none() -> None:
    """A default must pass what a caller's value must pass."""
    table = altered(Op={"like": "DescribeRefreshTasks", "params": {"PageSize": {"default": "101"}}})
    with pytest.raises(SpecError, match="PageSize cannot be '101'"):
        Reader(product(table).operations["Op"])


def test_every_handler_is_named() -> None:
    """No handler is left that no table leads to, and each takes a struct."""
    assert {op.handler for op in SPEC} == registry.HANDLERS.keys()
    assert all(issubclass(handler.args, msgspec.Struct) for handler in registry.HANDLERS.values())

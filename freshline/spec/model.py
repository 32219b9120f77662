"""The tables, read and checked: what each operation takes, answers and refuses. No product name appears in Python.

A product may lean on another: ``family`` names its base table, and an operation that is ``like`` one of the base's
copies it, leaves out (``without``), renames (``rename``) and overrides; a parameter that comes with its ``type``
takes the place of the base's whole. Mistakes in a table are found at load, all at once, not by the first caller who
meets them.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Literal, NamedTuple

import msgspec

from freshline.domain.errors import Fault

PRODUCTS = ("cdn", "cdn2014", "dcdn", "esa", "scdn", "vod", "sts")  #: the tables that are served

Type = Literal[
    "text", "line", "flag", "number", "choice", "lines", "ids", "time", "domain", "domains", "tags", "headers",
    "sources", "document", "strings", "content", "slots", "words", "choices",
]  # fmt: skip


class SpecError(Exception):
    """A table contradicts itself. The text names the place."""


class FaultRow(NamedTuple):
    status: int
    code: str
    message: str


class Param(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One parameter, as a caller may send it. The word ``to`` is the handler's name for it."""

    type: Type
    to: str = ""
    required: bool = False
    default: str | None = None  #: as a caller would write it
    min: int | None = None
    max: int | None = None
    most: int | None = None  #: items in a list
    longest: int | None = None  #: bytes
    values: dict[str, str] = {}  #: what a caller may write, and what it means
    wrong: Fault = Fault.PARAMETER_WRONG
    over: Fault | None = None
    long: Fault | None = None
    unreal: Fault | None = None  #: a well-formed time that never is

    def faults(self) -> set[Fault]:
        needed = {Fault.PARAMETER_MISSING} if self.required else set()
        return needed | {fault for fault in (self.wrong, self.over, self.long, self.unreal) if fault is not None}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an answer: where its value comes from and how it is printed."""

    name: str
    source: str
    text: bool = False  #: numbers are printed as strings
    spell: Mapping[str, str] = field(default_factory=dict)  #: our word -> the product's
    shape: Shape | None = None  #: a list, each item of this shape
    node: str | None = None  #: the list sits inside one more element
    single: bool = False  #: one item, of the same values, instead of a list


@dataclass(frozen=True, slots=True)
class Shape:
    fields: tuple[Field, ...]  #: in JSON order
    xml: tuple[Field, ...]  #: in XML order
    plain: tuple[tuple[str, str], ...] | None = field(init=False)
    """Names and sources in JSON order, where every value is written as it is."""

    def __post_init__(self) -> None:
        plain = not any(each.single or each.shape is not None or each.text or each.spell for each in self.fields)
        object.__setattr__(self, "plain", tuple((each.name, each.source) for each in self.fields) if plain else None)


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    action: str
    product: Product
    handler: str
    params: Mapping[str, Param]
    result: Shape
    faults: Mapping[Fault, FaultRow]  #: its own, then the product's, then the gateway's
    own_faults: frozenset[Fault]
    rate: float | None  #: calls a second and account
    methods: frozenset[str]
    protocols: frozenset[str]
    set: Mapping[str, Any]  #: constants for the handler
    resource: str  #: what policies must allow; ``{Param}`` stands for what that parameter names


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    name: str  #: as error answers print it
    title: str  #: as messages print it
    service: str  #: as policies print it
    version: str
    endpoint: str
    operations: dict[str, Operation] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Spec:
    gateway: Mapping[Fault, FaultRow]
    products: Mapping[str, Product]  #: by version

    def __iter__(self) -> Iterator[Operation]:
        for product in self.products.values():
            yield from product.operations.values()


@cache
def load(names: tuple[str, ...] = PRODUCTS) -> Spec:
    """Read the packaged tables.

    :raises SpecError: a table is wrong
    """
    tables = {name: _resolve(name) for name in names}
    gateway = _faults(_read("gateway")["fault"], "gateway")
    if missing := [fault for fault in GATEWAY if fault not in gateway]:
        raise SpecError(f"gateway.toml lacks {', '.join(missing)}")
    products: dict[str, Product] = {}
    for name, table in tables.items():
        product = _product(table, gateway, name)
        if product.version in products:
            raise SpecError(f"{name}: version {product.version} is served twice")
        products[product.version] = product
    return Spec(gateway, products)


#: What can happen to a call before its operation is known, or to any operation: the first part of Fault.
GATEWAY = tuple(Fault)[: tuple(Fault).index(Fault.INTERNAL) + 1]


class _Operation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An ``[op.…]`` table with every ``like`` resolved."""

    handler: str
    result: dict[str, str | _Field]
    params: dict[str, Param] = {}
    faults: dict[Fault, FaultRow] = {}
    rate: float | None = None
    methods: tuple[str, ...] = ("GET", "POST")
    protocols: tuple[str, ...] = ("http", "https")
    numbers: Literal["number", "text"] = "number"
    xml: list[str] = []
    set: dict[str, Any] = {}
    resource: str = "acs:{service}:*:{account}:*"


class _Field(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"source": "from"}):
    source: str = ""
    each: str = ""
    one: bool = False
    text: bool = False
    shape: str = ""
    node: str | None = None
    spell: dict[str, str] = {}


class _Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    fields: dict[str, str | _Field]
    xml: list[str] = []


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(resources.files(__package__).joinpath(f"{name}.toml").read_text("utf-8"))


def _resolve(name: str) -> dict[str, Any]:
    """A product's table with its family's rows filled in."""
    return derive(_read(name), _resolve, name)


def derive(table: dict[str, Any], base_of: Any, name: str = "table") -> dict[str, Any]:
    """Fill in what a table takes from its family.

    :param base_of: gives the (derived) table of a family
    :raises SpecError: something to copy, leave out or rename is not there
    """
    if "family" not in table:
        return table
    base = base_of(table["family"])
    operations = {}
    for action, delta in table["op"].items():
        like = delta.get("like")
        if like is not None and like not in base["op"]:
            raise SpecError(f"{name}: {action} is like {like}, which is not there")
        operations[action] = _alter(base["op"][like], delta, f"{name}: {action}") if like else delta
    shapes = base.get("shape", {}) | table.get("shape", {})
    faults = base.get("fault", {}) | table.get("fault", {})
    return {**table, "shape": shapes, "fault": faults, "op": operations}


def _alter(base: dict[str, Any], delta: dict[str, Any], where: str) -> dict[str, Any]:
    out: dict[str, Any] = copy.deepcopy(base)
    delta = {key: value for key, value in delta.items() if key != "like"}
    parts = [out.setdefault("params", {}), out["result"], out.setdefault("faults", {})]
    for gone in delta.pop("without", []):
        if not [part.pop(gone) for part in parts if gone in part]:
            raise SpecError(f"{where}: nothing to leave out: {gone}")
    for old, new in delta.pop("rename", {}).items():
        if not any(old in part for part in parts):
            raise SpecError(f"{where}: nothing to rename: {old}")
        if old in out["params"]:
            out["params"][old].setdefault("to", _word(old))  # the handler's word stays
        if "resource" in out:
            out["resource"] = out["resource"].replace(f"{{{old}}}", f"{{{new}}}")
        for key in ("params", "result"):
            out[key] = {(new if name == old else name): value for name, value in out[key].items()}
    return _merge(out, delta)


def _merge(into: dict[str, Any], delta: dict[str, Any]) -> dict[str, Any]:
    for key, value in delta.items():
        mends = isinstance(value, dict) and isinstance(into.get(key), dict) and "type" not in value
        into[key] = _merge(into[key], value) if mends else value
    return into


def _product(table: dict[str, Any], gateway: Mapping[Fault, FaultRow], where: str) -> Product:
    try:
        product = Product(*(table[key] for key in ("product", "title", "service", "version", "endpoint")))
    except KeyError as missing:
        raise SpecError(f"{where}: {missing} is missing") from None
    shared = _faults(table.get("fault", {}), where)
    shapes = {name: _convert(raw, _Shape, f"{where}: shape {name}") for name, raw in table.get("shape", {}).items()}
    for action, raw in table["op"].items():
        at = f"{where}: {action}"
        op = _convert(raw, _Operation, at)
        faults = {**gateway, **shared, **op.faults}
        for name, param in op.params.items():
            if undeclared := param.faults() - faults.keys():
                raise SpecError(f"{at}: {name} can be {', '.join(undeclared)}, which has no row")
            if param.type in ("choice", "choices") and not param.values:
                raise SpecError(f"{at}: {name} is a choice of nothing")
        product.operations[action] = Operation(
            action=action,
            product=product,
            handler=op.handler,
            params={name: _with_word(name, param) for name, param in op.params.items()},
            result=_shape(op.result, op.xml, shapes, op.numbers == "text", at),
            faults=faults,
            own_faults=frozenset(op.faults),
            rate=op.rate,
            methods=frozenset(op.methods),
            protocols=frozenset(op.protocols),
            set=op.set,
            resource=op.resource,
        )
    return product


def _faults(raw: dict[str, Any], where: str) -> dict[Fault, FaultRow]:
    rows: dict[Fault, FaultRow] = _convert(raw, dict[Fault, FaultRow], f"{where}: fault")
    return rows


def _convert(raw: Any, type_: Any, where: str) -> Any:
    try:
        return msgspec.convert(raw, type_)
    except msgspec.ValidationError as wrong:
        raise SpecError(f"{where}: {wrong}") from None


def _with_word(name: str, param: Param) -> Param:
    return param if param.to else msgspec.structs.replace(param, to=_word(name))


def _word(name: str) -> str:
    """``PageNumber`` is ``page_number`` to a handler, unless the table says otherwise."""
    return "".join(f"_{ch.lower()}" if ch.isupper() else ch for ch in name).lstrip("_")


def _shape(
    raw: Mapping[str, str | _Field], xml: list[str], shapes: Mapping[str, _Shape], text: bool, where: str
) -> Shape:
    fields = {name: _field(name, value, shapes, text, where) for name, value in raw.items()}
    if xml and set(xml) != set(fields):
        raise SpecError(f"{where}: xml names other fields than the result")
    return Shape(tuple(fields.values()), tuple(fields[name] for name in xml or fields))


def _field(name: str, raw: str | _Field, shapes: Mapping[str, _Shape], text: bool, where: str) -> Field:
    if isinstance(raw, str):
        return Field(name, raw, text=text)
    if not raw.each and not raw.one:
        return Field(name, raw.source, text=text or raw.text, spell=raw.spell)
    if raw.shape not in shapes:
        raise SpecError(f"{where}: {name} has no shape {raw.shape!r}")
    inner = shapes[raw.shape]
    shape = _shape(inner.fields, inner.xml, shapes, text, where)
    return Field(name, raw.each, shape=shape, node=raw.node, single=raw.one)

"""The sentences of freshline/spec/words.toml, by what they are about.

:raises KeyError: there is no word for something; a test asks for all of them
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

from freshline.spec.model import Field, Operation, Param

Kind = Literal["string", "integer", "array"]


class Told(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    means: str
    type: Kind = "string"


class Sdk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The vendor's packages for one version; empty: there is none."""

    python: str = ""
    legacy: str = ""
    node: str = ""
    config: str = ""  #: an expression of Node
    python_without: tuple[str, ...] = ()  #: actions it does not have
    legacy_without: tuple[str, ...] = ()
    node_without: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()  #: actions that take no request


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sdk: dict[str, Sdk]
    does: dict[str, str]
    param: dict[str, str]
    param_of: dict[str, dict[str, str]]
    result: dict[str, str | Told]
    result_of: dict[str, dict[str, str | Told]]
    sample: dict[str, dict[str, str]]

    def of_operation(self, op: Operation) -> str:
        """Where several operations share a handler, what is set for it tells them apart."""
        for value in op.set.values():
            said = self.does.get(f"{op.handler} {value[0] if isinstance(value, list) else value}")
            if said is not None:
                return said
        return self.does[op.handler]

    def of_param(self, op: Operation, param: Param) -> str:
        return self.param_of.get(op.handler, {}).get(param.to) or self.param[param.to]

    def of_result(self, op: Operation, field: Field) -> Told:
        word = field.source or field.name
        said = self.result_of.get(op.handler, {}).get(word) or self.result[word]
        return said if isinstance(said, Told) else Told(said)


@cache
def load() -> Words:
    text = resources.files("freshline.spec").joinpath("words.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), Words)

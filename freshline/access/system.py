"""The policies that every account has without writing them: ``system.toml``, as policies."""

from __future__ import annotations

import json
import tomllib
from functools import cache
from importlib import resources

from freshline.access.policy import Policy, parse


@cache
def documents() -> dict[str, str]:
    """Policy documents by name."""
    table = tomllib.loads(resources.files(__package__).joinpath("system.toml").read_text("utf-8"))
    return {name: _document(actions) for name, actions in table.items()}


@cache
def policies() -> dict[str, Policy]:
    """The same, read."""
    return {name: parse(document, name) for name, document in documents().items()}


def _document(actions: list[str]) -> str:
    return json.dumps(
        {"Version": "1", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}, indent=2
    )

"""One call of each operation, as people would write it: with curl, Python and Node.

A sample goes on where its page's beginning left off. ``tests/scenario/test_reference.py`` runs them as they stand.
"""

from __future__ import annotations

import json
import keyword
import re
import shlex
from dataclasses import dataclass
from typing import Any

from freshline.reference.words import Sdk, Words
from freshline.spec.model import PRODUCTS, Operation, Product, Spec, load

LINE = 118  #: characters
PYTHON, LEGACY, NODE, NODE_ANY = "Python", "Python, legacy SDK", "Node", "Node, any operation"


@dataclass(frozen=True)
class Sample:
    title: str
    language: str  #: as a code block names it
    text: str
    begins: str  #: which beginning it goes on from


def names(spec: Spec) -> dict[str, str]:
    """The command line's word for each version: that of its table."""
    return {product.version: name for product, name in zip(spec.products.values(), PRODUCTS, strict=True)}


# -- beginnings ---------------------------------------------------------------------
def beginnings(product: Product, words: Words) -> list[Sample]:
    sdk = words.sdk[product.version]
    out = []
    if sdk.python:
        out.append(Sample(PYTHON, "python", _python_client(sdk), "python"))
    if sdk.legacy or not sdk.python or sdk.python_without:
        out.append(Sample(LEGACY, "python", _legacy_client(), "legacy"))
    if sdk.node:
        out.append(Sample(NODE, "js", _node_client(sdk), "node"))
    if not sdk.node or sdk.node_without:
        out.append(Sample(NODE_ANY, "js", _pop_client(product), "pop"))
    return out


def _python_client(sdk: Sdk) -> str:
    return f"""\
import os

from {sdk.python} import models
from {sdk.python}.client import Client
from alibabacloud_tea_openapi.models import Config

client = Client(
    Config(
        access_key_id=os.environ["ALIBABA_CLOUD_ACCESS_KEY_ID"],
        access_key_secret=os.environ["ALIBABA_CLOUD_ACCESS_KEY_SECRET"],
        endpoint=os.environ["FRESHLINE_ENDPOINT"].removeprefix("http://"),
        protocol="http",
    )
)
"""


def _legacy_client() -> str:
    return """\
import os

from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.request import CommonRequest

legacy = AcsClient(
    os.environ["ALIBABA_CLOUD_ACCESS_KEY_ID"], os.environ["ALIBABA_CLOUD_ACCESS_KEY_SECRET"], "cn-hangzhou"
)
endpoint = os.environ["FRESHLINE_ENDPOINT"].removeprefix("http://")
"""


NODE_KEYS = """\
  accessKeyId: process.env.ALIBABA_CLOUD_ACCESS_KEY_ID,
  accessKeySecret: process.env.ALIBABA_CLOUD_ACCESS_KEY_SECRET,
"""


def _node_client(sdk: Sdk) -> str:
    return f"""\
const sdk = require('{sdk.node}')
const {{ Config }} = {sdk.config}

const client = new sdk.default(new Config({{
{NODE_KEYS}\
  endpoint: process.env.FRESHLINE_ENDPOINT.replace('http://', ''),
  protocol: 'http',
}}))
"""


def _pop_client(product: Product) -> str:
    return f"""\
const {{ RPCClient }} = require('@alicloud/pop-core')

const any = new RPCClient({{
{NODE_KEYS}\
  endpoint: process.env.FRESHLINE_ENDPOINT,
  apiVersion: '{product.version}',
}})
"""


# -- samples ------------------------------------------------------------------------
def samples(op: Operation, words: Words) -> list[Sample]:
    sdk = words.sdk[op.product.version]
    given = arguments(op, words)
    out = [Sample("curl", "sh", _curl(op, given), "")]
    has_python = sdk.python and op.action not in sdk.python_without
    if has_python:
        out.append(Sample(PYTHON, "python", _python(op, given, sdk), "python"))
    if sdk.legacy and op.action not in sdk.legacy_without:
        out.append(Sample(LEGACY, "python", _legacy(op, given, sdk), "legacy"))
    elif not has_python:
        out.append(Sample(LEGACY, "python", _common(op, given), "legacy"))
    if sdk.node and op.action not in sdk.node_without:
        out.append(Sample(NODE, "js", _node(op, given, sdk), "node"))
    else:
        out.append(Sample(NODE_ANY, "js", _pop(op, given), "pop"))
    return out


def arguments(op: Operation, words: Words) -> dict[str, str]:
    """What a sample sends, in the order of the table."""
    said = words.sample[op.handler]
    out = {}
    for name, param in op.params.items():
        value = said.get(param.to)
        if value is not None:
            out[name] = json.dumps(value.split("\n")) if param.type == "strings" else value
        elif param.required and param.type == "choice":
            out[name] = next(iter(param.values))
    return out


def _curl(op: Operation, given: dict[str, str]) -> str:
    product = names(load())[op.product.version]
    parts = ["freshline sign", op.action, *([] if product == "cdn" else [f"--product {product}"])]
    parts += [_shell(f"{name}={value}") for name, value in given.items()]
    post = "" if "GET" in op.methods else "-X POST "
    line = f'curl -sS --fail-with-body {post}"$({" ".join(parts)})"\n'
    if len(line) <= LINE:
        return line
    inner = " \\\n    ".join([" ".join(parts[: len(parts) - len(given)]), *parts[len(parts) - len(given) :]])
    return f'curl -sS --fail-with-body {post}"$({inner})"\n'


def _shell(word: str) -> str:
    return "$'" + word.replace("\n", "\\n") + "'" if "\n" in word else shlex.quote(word)


def _python(op: Operation, given: dict[str, str], sdk: Sdk) -> str:
    method = snake(op.action)
    if op.action in sdk.bare:
        return f"print(client.{method}().body.to_map())\n"
    request = f"models.{op.action}Request"
    pairs = [f"{snake(name)}={_python_value(op, name, value)}" for name, value in given.items()]
    return f"{_python_call('request = ' + request, pairs)}print(client.{method}(request).body.to_map())\n"


def _python_value(op: Operation, name: str, value: str) -> str:
    match op.params[name].type:
        case "number":
            return value
        case "flag":
            return value.title()
        case "strings":
            return _python_literal(json.loads(value))
        case "content":
            return f"models.{op.action}Request{name}({_python_words(json.loads(value))})"
        case "slots":
            each = [f"models.{op.action}Request{name}({_python_words(slot)})" for slot in json.loads(value)]
            return f"[{', '.join(each)}]"
    return _python_literal(value)


def _python_words(values: dict[str, Any]) -> str:
    return ", ".join(f"{snake(name)}={_python_literal(value)}" for name, value in values.items())


def _python_literal(value: Any) -> str:
    """With double quotes, unless the text has some."""
    if isinstance(value, list):
        return f"[{', '.join(map(_python_literal, value))}]"
    if not isinstance(value, str):
        return repr(value)
    if "\n" in value:
        return '"' + value.replace("\n", "\\n") + '"'
    return repr(value) if '"' in value else f'"{value}"'


def _python_call(head: str, pairs: list[str]) -> str:
    line = f"{head}({', '.join(pairs)})\n"
    return line if len(line) <= LINE else "\n".join([f"{head}(", *(f"    {pair}," for pair in pairs), ")\n"])


def _legacy(op: Operation, given: dict[str, str], sdk: Sdk) -> str:
    name = f"{op.action}Request"
    lines = [
        f"from {sdk.legacy}.{name} import {name}",
        "",
        f"request = {name}()",
        "request.set_endpoint(endpoint)",
        *(f"request.set_{param}({_python_literal(value)})" for param, value in given.items()),
        "print(legacy.do_action_with_exception(request).decode())",
    ]
    return "\n".join(lines) + "\n"


def _common(op: Operation, given: dict[str, str]) -> str:
    pairs = ["domain=endpoint", f'version="{op.product.version}"', f'action_name="{op.action}"']
    lines = [
        _python_call("request = CommonRequest", pairs).rstrip("\n"),
        'request.set_protocol_type("http")',
        *(f'request.add_query_param("{param}", {_python_literal(value)})' for param, value in given.items()),
        "print(legacy.do_action_with_exception(request).decode())",
    ]
    return "\n".join(lines) + "\n"


def _node(op: Operation, given: dict[str, str], sdk: Sdk) -> str:
    method = op.action[0].lower() + op.action[1:]
    if op.action in sdk.bare:
        return f"console.log((await client.{method}()).body)\n"
    pairs = {name[0].lower() + name[1:]: _node_value(op, name, value) for name, value in given.items()}
    request = _node_call(f"const request = new sdk.{op.action}Request(", pairs)
    return f"{request}console.log((await client.{method}(request)).body)\n"


def _node_value(op: Operation, name: str, value: str) -> str:
    match op.params[name].type:
        case "number" | "flag":
            return value
        case "strings":
            return _node_literal(json.loads(value))
        case "content":
            return _node_part(op, name, json.loads(value))
        case "slots":
            return f"[{', '.join(_node_part(op, name, slot) for slot in json.loads(value))}]"
    return _node_literal(value)


def _node_part(op: Operation, name: str, values: dict[str, Any]) -> str:
    inner = ", ".join(f"{key[0].lower() + key[1:]}: {_node_literal(value)}" for key, value in values.items())
    return f"new sdk.{op.action}Request{name}({{ {inner} }})"


def _node_literal(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_node_literal, value))}]"
    if not isinstance(value, str):
        return json.dumps(value)
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


def _node_call(head: str, pairs: dict[str, str]) -> str:
    if not pairs:
        return f"{head}{{}})\n"
    line = f"{head}{{ {', '.join(f'{name}: {value}' for name, value in pairs.items())} }})\n"
    if len(line) <= LINE:
        return line
    return "\n".join([head + "{", *(f"  {name}: {value}," for name, value in pairs.items()), "})\n"])


def _pop(op: Operation, given: dict[str, str]) -> str:
    pairs = {name: _node_literal(value) for name, value in given.items()}
    how = ", { method: 'POST' }" if op.methods >= {"POST"} else ""
    params = _node_call("const params = (", pairs).replace("= (", "= ").rstrip(")\n") + "\n"
    return f"{params}console.log(await any.request('{op.action}', params{how}))\n"


def snake(name: str) -> str:
    """``L2Preload`` is ``l_2preload`` to the SDK."""
    out = re.sub(r"[A-Z0-9]", lambda found: "_" + found[0].lower(), name).lstrip("_")
    out = re.sub(r"(?<=[0-9])_(?=[a-z])", "", out)
    assert not keyword.iskeyword(out), out
    return out

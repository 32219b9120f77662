"""docs/reference: a page for each product, and an index. ``freshline spec pages --to docs/reference`` writes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from freshline.reference import rows, samples, words
from freshline.reference.words import Words
from freshline.spec import model
from freshline.spec.model import FaultRow, Field, Operation, Param, Product, Shape

INDEX = "README.md"
SANDBOX = "sandbox.json"

HEAD = """\
# Operations

Written by `freshline spec pages --to docs/reference` from the tables that the service itself runs on
(`freshline/spec`); a test fails when these pages say something else, and another runs every sample in them. For
programs: `freshline spec openapi --product cdn > cdn.json` prints OpenAPI 3.1.

A call is a GET or POST of `/`, its parameters in the query or in a form, signed with an access key in one of the
vendor's two ways: V3 (`Authorization: ACS3-HMAC-SHA256 …`, the operation in `x-acs-action` and `x-acs-version`) or V1
(`Action`, `Version` and `Signature` among the parameters). The official SDKs do that, and so does `freshline sign`,
which the samples use with curl. `Format=JSON` or `XML` chooses the form of the answer.

The samples take key and endpoint from the environment:

    export ALIBABA_CLOUD_ACCESS_KEY_ID=testid ALIBABA_CLOUD_ACCESS_KEY_SECRET=testsecret
    export FRESHLINE_ENDPOINT=http://127.0.0.1:8080

The sandbox has what they name when it begins with the file beside this page: the site 5001, the role `deploy`, and the
user `anna` for the samples of STS, who calls with the key `anna` and the secret `annasecret`.

    freshline sandbox --rules docs/reference/sandbox.json

Ids that a call makes (a task's, `job-1`, `plan-1`) stand for what you were answered. Where the vendor's documents are
silent, [contract-choices.md](../contract-choices.md) says what is done.
"""

PEOPLE = {  # what samples name, for a sandbox
    "accounts": [
        {
            "name": "sandbox",
            "id": "1000000000000001",
            "sites": {"www.example.com": 5001},
            "users": [
                {
                    "name": "anna",
                    "policies": ["AliyunSTSAssumeRoleAccess"],
                    "keys": [{"id": "anna", "secret": "annasecret"}],
                }
            ],
            "roles": [{"name": "deploy", "policies": ["AliyunCDNFullAccess"]}],
        }
    ]
}

TYPES = {  # how a value is written
    "text": "text",
    "document": "text",
    "flag": "`true` or `false`",
    "number": "number",
    "choice": "one of its values, in any case",
    "choices": "values, joined by commas",
    "words": "words, joined by commas",
    "tags": "words, joined by commas",
    "line": "text",
    "lines": "lines",
    "strings": "JSON array of texts",
    "ids": "numbers, joined by commas",
    "time": "`yyyy-MM-ddTHH:mm:ssZ`",
    "domain": "host name",
    "domains": "host names, joined by commas",
    "headers": "JSON object",
    "sources": "JSON array of objects",
    "content": "JSON object",
    "slots": "JSON array of objects",
}


def pages() -> dict[str, str]:
    """Every page by the name of its file."""
    spec, said = model.load(), words.load()
    names = samples.names(spec)
    out = {INDEX: _index(names)}
    for product in spec.products.values():
        out[f"{names[product.version]}.md"] = _page(product, said)
    out[SANDBOX] = json.dumps(PEOPLE, indent=2) + "\n"
    return out


def _index(names: dict[str, str]) -> str:
    spec = model.load()
    lines = [HEAD, "\n| Product | Version | Endpoint of the vendor | Operations |\n|---|---|---|---|\n"]
    for product in spec.products.values():
        name = names[product.version]
        links = ", ".join(f"[{action}]({name}.md#{action.lower()})" for action in product.operations)
        lines.append(f"| [{product.title}]({name}.md) | {product.version} | {product.endpoint} | {links} |\n")
    lines.append("\n## Errors that every operation can answer with\n\n")
    lines.append("A product may have its own words for some; its page then has the row. `{…}` is filled in.\n\n")
    lines += _errors(rows.gateway(spec))
    return "".join(lines)


def _page(product: Product, said: Words) -> str:
    parts = [
        f"# {product.title} {product.version}\n\n",
        "[All products, and errors that every operation can answer with](README.md). `freshline sign` signs for this "
        f"product with `--product {samples.names(model.load())[product.version]}`.\n",
        "\n## Before the samples\n",
    ]
    for each in samples.beginnings(product, said):
        parts.append(f"\n{each.title}{_inside(each.language)}:\n\n```{each.language}\n{each.text}```\n")
    if found := rows.in_its_words(product, model.load()):
        parts += ["\n## Errors of every operation, in this product's words\n\n", *_errors(found)]
    for op in product.operations.values():
        parts += _operation(op, said)
    return "".join(parts)


def _inside(language: str) -> str:
    return " (in an async function)" if language == "js" else ""


def _operation(op: Operation, said: Words) -> Iterator[str]:
    yield f"\n## {op.action}\n\n{said.of_operation(op)}\n\n"
    methods = " or ".join(sorted(op.methods))
    rate = f"{op.rate:g} calls a second and account" if op.rate else "no limit of its own"
    tls = "" if "http" in op.protocols else " Meant for https; http is taken unless `enforce_protocols` is set."
    yield f"{methods}; {rate}.{tls}\n"
    if op.params:
        yield "\n| Parameter | Type | Default | Meaning |\n|---|---|---|---|\n"
        for name, param in op.params.items():
            yield _param(name, param, said.of_param(op, param))
    yield "\n| Answer | Type | Meaning |\n|---|---|---|\n"
    yield from _fields(op, op.result, said, "")
    yield "\nErrors of its own:\n\n"
    own = rows.own(op)
    yield from _errors(own) if own else ["None.\n"]
    for each in samples.samples(op, said):
        yield f"\n{each.title}:\n\n```{each.language}\n{each.text}```\n"


def _param(name: str, param: Param, means: str) -> str:
    bounds = []
    if param.min is not None or param.max is not None:
        bounds.append(f"{param.min} to {param.max}")
    if param.most is not None:
        bounds.append(f"at most {param.most}")
    if param.longest is not None:
        bounds.append(f"at most {param.longest} bytes")
    if param.values:
        bounds.append(", ".join(f"`{value}`" for value in param.values))
    kind = ": ".join([TYPES[param.type], *([", ".join(bounds)] if bounds else [])])
    default = "**required**" if param.required else f"`{param.default}`" if param.default is not None else ""
    return f"| `{name}` | {_cell(kind)} | {_cell(default)} | {_cell(means)} |\n"


def _fields(op: Operation, shape: Shape, said: Words, indent: str) -> Iterator[str]:
    for field in shape.fields:
        told = said.of_result(op, field)
        yield f"| {indent}`{_path(field)}` | {_kind(field, told.type)} | {_cell(told.means)} |\n"
        if field.shape is not None:
            yield from _fields(op, field.shape, said, f"{indent}`{_path(field)}` ")


def _path(field: Field) -> str:
    return f"{field.name}.{field.node}" if field.node else field.name


def _kind(field: Field, type_: str) -> str:
    if field.shape is not None:
        return "object" if field.single else "array of objects"
    if field.text:
        return "text"
    return {"string": "text", "integer": "number", "array": "array of texts"}[type_]


def _errors(found: Iterable[FaultRow]) -> Iterator[str]:
    yield "| HTTP | Code | Message |\n|---|---|---|\n"
    for row in found:
        yield f"| {row.status} | `{row.code}` | {_cell(row.message)} |\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")

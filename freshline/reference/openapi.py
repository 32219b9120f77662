"""One product as an OpenAPI 3.1 document.

All operations share one path, and OpenAPI tells operations apart by path alone. So each has a path with a fragment,
``/#Action=…``, which is not sent (https://apis.guru describes the like of these services so); what is sent are the
parameters ``Action`` and ``Version``, which have one value each.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

from freshline import __version__
from freshline.reference import rows, words
from freshline.reference.page import TYPES
from freshline.reference.words import Words
from freshline.spec import model
from freshline.spec.model import FaultRow, Field, Operation, Param, Product, Shape

JSON_TYPE = "application/json"
FORM_TYPE = "application/x-www-form-urlencoded"

#: What each type looks like on the wire. What a pattern cannot say the service still refuses.
SCHEMAS: dict[str, dict[str, Any]] = {
    "flag": {"type": "string", "pattern": "^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee])$"},
    "ids": {"type": "string", "pattern": "^[1-9][0-9]{0,17}(,[1-9][0-9]{0,17})*$"},
    "time": {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$"},
    "number": {"type": "integer"},
    "headers": {"type": "string", "contentMediaType": JSON_TYPE},
    "sources": {"type": "string", "contentMediaType": JSON_TYPE},
    "content": {"type": "string", "contentMediaType": JSON_TYPE},
    "strings": {"type": "string", "contentMediaType": JSON_TYPE},
    "slots": {"type": "string", "contentMediaType": JSON_TYPE},
}

ERROR = {
    "type": "object",
    "required": ["RequestId", "HostId", "Code", "Message", "Recommend"],
    "properties": {
        "RequestId": {"type": "string"},
        "HostId": {"type": "string"},
        "Code": {"type": "string"},
        "Message": {"type": "string"},
        "Recommend": {"type": "string"},
        "AccessDeniedDetail": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "additionalProperties": False,
}


def document(product: Product) -> dict[str, Any]:
    said = words.load()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"freshline: {product.title}",
            "version": product.version,
            "description": f"Refresh and prefetch tasks as {product.title} {product.version} has them, by freshline "
            f"{__version__}. All operations are calls of `/`; the fragment in a path is not sent. Calls are signed.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:8080"}, {"url": f"https://{product.endpoint}"}],
        "security": [{"signature": []}],
        "paths": {f"/#Action={op.action}": _path(op, said) for op in product.operations.values()},
        "components": {
            "securitySchemes": {
                "signature": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "ACS3-HMAC-SHA256 Credential=…,SignedHeaders=…,Signature=…; or, without the "
                    "header, Signature, SignatureNonce, Timestamp and the rest of V1 among the parameters.",
                }
            },
            "schemas": {"Error": ERROR},
        },
    }


def _path(op: Operation, said: Words) -> dict[str, Any]:
    return {method.lower(): _operation(op, method, said) for method in sorted(op.methods)}


def _operation(op: Operation, method: str, said: Words) -> dict[str, Any]:
    fixed = {"Action": op.action, "Version": op.product.version}
    properties = {name: {**schema(param), "description": said.of_param(op, param)} for name, param in op.params.items()}
    out: dict[str, Any] = {
        "operationId": op.action if len(op.methods) == 1 else f"{op.action}By{method.title()}",
        "summary": said.of_operation(op),
        "parameters": [
            {"name": name, "in": "query", "required": True, "schema": {"const": value}} for name, value in fixed.items()
        ],
        "responses": _responses(op, said),
    }
    if op.rate is not None:
        out["x-rate"] = op.rate
    if method == "GET" or not properties:
        out["parameters"] += [
            {
                "name": name,
                "in": "query",
                "required": op.params[name].required,
                "description": value.pop("description"),
                "schema": value,
            }
            for name, value in properties.items()
        ]
    else:  # in the query as well, but a form is what SDKs send
        form: dict[str, Any] = {"type": "object", "properties": properties}
        if required := [name for name, param in op.params.items() if param.required]:
            form["required"] = required
        out["requestBody"] = {"required": bool(required), "content": {FORM_TYPE: {"schema": form}}}
    return out


def schema(param: Param) -> dict[str, Any]:
    """A parameter as it is written."""
    out: dict[str, Any] = dict(SCHEMAS.get(param.type, {"type": "string"}))
    match param.type:
        case "choice":
            out["enum"] = list(param.values)
        case "choices":
            one = "|".join(map(re.escape, param.values))
            out["pattern"] = f"^({one})(,({one}))*$"
        case "number":
            out |= {
                word: bound for word, bound in (("minimum", param.min), ("maximum", param.max)) if bound is not None
            }
    if param.longest is not None:
        out["maxLength"] = param.longest
    if param.default is not None:
        out["default"] = int(param.default) if param.type == "number" else param.default
    out["x-written-as"] = TYPES[param.type].replace("`", "")
    if param.most is not None:
        out["x-at-most"] = param.most
    return out


def _responses(op: Operation, said: Words) -> dict[str, Any]:
    by_status: dict[int, list[FaultRow]] = defaultdict(list)
    for row in [*rows.own(op), *rows.shared(op)]:
        by_status[row.status].append(row)
    return {
        "200": {
            "description": "What was asked for.",
            "content": {JSON_TYPE: {"schema": result(op, op.result, said)}},
        }
    } | {str(status): _refusal(found) for status, found in sorted(by_status.items())}


def _refusal(found: list[FaultRow]) -> dict[str, Any]:
    codes = sorted({row.code for row in found})
    lines = dict.fromkeys(f"`{row.code}`: {row.message}" for row in found)
    of_codes = {"properties": {"Code": {"enum": codes}}}
    return {
        "description": "\n".join(lines),
        "content": {JSON_TYPE: {"schema": {"allOf": [{"$ref": "#/components/schemas/Error"}, of_codes]}}},
    }


def result(op: Operation, shape: Shape, said: Words) -> dict[str, Any]:
    """An answer in JSON: every field is always there, and no other."""
    return {
        "type": "object",
        "required": [field.name for field in shape.fields],
        "properties": {field.name: _field(op, field, said) for field in shape.fields},
        "additionalProperties": False,
    }


def _field(op: Operation, field: Field, said: Words) -> dict[str, Any]:
    told = said.of_result(op, field)
    out: dict[str, Any]
    if field.shape is not None:
        out = result(op, field.shape, said)
        if not field.single:
            out = {"type": "array", "items": out}
        if field.node is not None:
            inner = {field.node: out}
            out = {"type": "object", "required": [field.node], "properties": inner, "additionalProperties": False}
    elif told.type == "array":
        out = {"type": "array", "items": {"type": "string"}}
    else:
        out = {"type": "string" if field.text else told.type}
    return out | {"description": told.means}


def documents() -> dict[str, dict[str, Any]]:
    """Every product's, by version."""
    return {product.version: document(product) for product in model.load().products.values()}

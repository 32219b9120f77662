"""Requests that real SDKs sent, as they were on the wire (keys testid / testsecret)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from freshline.wire.request import Request, merge_headers

HERE = Path(__file__).parent / "captures"
NAMES = sorted(path.stem for path in HERE.glob("*.http"))


@dataclass(frozen=True)
class Capture:
    name: str
    request: Request
    lines: list[tuple[bytes, bytes]]  #: header lines, names in lower case
    target: bytes


def load(name: str) -> Capture:
    head, _, body = (HERE / f"{name}.http").read_bytes().partition(b"\r\n\r\n")
    first, *rest = head.split(b"\r\n")
    method, target, _ = first.split(b" ")
    lines = [(key.lower(), value.strip()) for key, _, value in (line.partition(b":") for line in rest)]
    headers = merge_headers(lines)
    if headers.get(b"transfer-encoding") == b"chunked":
        body = _dechunk(body)
    return Capture(name, Request(method.decode(), target.partition(b"?")[2], headers, body), lines, target)


def _dechunk(raw: bytes) -> bytes:
    out = b""
    while raw:
        size, _, raw = raw.partition(b"\r\n")
        out, raw = out + raw[: int(size, 16)], raw[int(size, 16) + 2 :]
    return out

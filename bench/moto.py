"""moto's server as it is shipped: AWS's API for the same thing, in Python, kept in memory."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import boto3

from bench.process import Process
from tests.servers.base import free_port, listens

NOBODYS = "bench"  #: key and secret, which moto does not look at
DISTRIBUTION = {
    "CallerReference": "bench",
    "Origins": {
        "Quantity": 1,
        "Items": [
            {"Id": "o", "DomainName": "o.s3.amazonaws.com", "S3OriginConfig": {"OriginAccessIdentity": ""}},
        ],
    },
    "DefaultCacheBehavior": {
        "TargetOriginId": "o",
        "ViewerProtocolPolicy": "allow-all",
        "MinTTL": 0,
        "ForwardedValues": {"QueryString": False, "Cookies": {"Forward": "none"}},
    },
    "Comment": "",
    "Enabled": True,
}


class Moto(AbstractContextManager["Moto"]):
    """``create`` and ``get`` are requests as boto3 sends them; moto looks at no signature, so they can be repeated."""

    def __init__(self, home: Path) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        program = Path(sys.executable).with_name("moto_server")
        command: list[str | Path] = [program, "-H", "127.0.0.1", "-p", self.address.rpartition(":")[2]]
        self.process = Process(command, up=lambda: listens(self.address), log=home / "moto.log")
        self.create = self.get = b""

    @property
    def pid(self) -> int:
        return self.process.pid

    def __enter__(self) -> Moto:
        self.process.__enter__()
        sent: list[Any] = []
        client = boto3.client(
            "cloudfront",
            endpoint_url=f"http://{self.address}",
            region_name="us-east-1",
            aws_access_key_id=NOBODYS,
            aws_secret_access_key=NOBODYS,
        )
        client.meta.events.register("before-send.cloudfront.*", lambda request, **_: sent.append(request))
        made = client.create_distribution(DistributionConfig=DISTRIBUTION)["Distribution"]["Id"]
        batch = {"Paths": {"Quantity": 1, "Items": ["/assets/a.jpg"]}, "CallerReference": "bench"}
        done = client.create_invalidation(DistributionId=made, InvalidationBatch=batch)["Invalidation"]["Id"]
        client.get_invalidation(DistributionId=made, Id=done)
        self.create, self.get = (_raw(request, self.address) for request in sent[-2:])
        return self

    def __exit__(self, *_: object) -> None:
        self.process.__exit__()


def _raw(request: Any, address: str) -> bytes:
    headers = {name: _text(value) for name, value in request.headers.items() if name.lower() != "expect"}
    headers = {"Host": address, **headers}
    target = request.url.partition(address)[2]
    lines = [f"{request.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    body = request.body or b""
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + (body if isinstance(body, bytes) else body.encode())


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value

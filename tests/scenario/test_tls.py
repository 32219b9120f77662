"""https on the service itself: under the vendor's own host names, and while certificates are renewed."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alibabacloud_cdn20180510 import models
from alibabacloud_cdn20180510.client import Client
from alibabacloud_tea_openapi.exceptions import ClientException
from alibabacloud_tea_openapi.models import Config
from cryptography import x509
from darabonba.runtime import RuntimeOptions

from freshline.api.tls import BadCertificate, Certificate
from freshline.inventory.base import AccessKey
from freshline.inventory.sqlite import SqliteInventory
from tests.servers.authority import Authority
from tests.servers.base import free_port, until

HOSTS = ["cdn.aliyuncs.com", "dcdn.aliyuncs.com", "vod.cn-shanghai.aliyuncs.com", "freshline.test"]


class Served:
    """The service as a process, with a certificate for the vendor's host names."""

    def __init__(self, home: Path) -> None:
        self.home, self.port = home, free_port()
        self.authority = Authority(home)
        self.certificate, self.private = home / "service.pem", home / "service.key"
        self.serial = self.renew()
        inventory = SqliteInventory.open(home / "inventory.db")
        self.key: AccessKey = inventory.add_access_key(inventory.add_account("tests").id)
        inventory.close()
        self.trust = ssl.create_default_context(cafile=str(self.authority.file))
        command = [
            sys.executable,
            "-m",
            "freshline",
            "serve",
            "--data-dir",
            str(home),
            "--listen",
            f"127.0.0.1:{self.port}",
        ]
        names = {
            "FRESHLINE_SERVICE_TLS_CERTIFICATE": str(self.certificate),
            "FRESHLINE_SERVICE_TLS_KEY": str(self.private),
            "FRESHLINE_LIMITS_RATES": "{DescribeRefreshQuota = 1e6}",
        }
        self.log = home / "service.log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **names})
        until(self._up)

    def _up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.shown() == self.serial
        except OSError:
            return False

    def renew(self) -> int:
        """Other files, each put in its place whole, one after the other."""
        serial, certificate, private = self.authority.issue(*HOSTS)
        for file, content in ((self.certificate, certificate), (self.private, private)):
            draft = file.with_suffix(".new")
            draft.write_bytes(content)
            draft.rename(file)
        return serial

    def connect(self, host: str = "freshline.test") -> ssl.SSLSocket:
        return self.trust.wrap_socket(socket.create_connection(("127.0.0.1", self.port)), server_hostname=host)

    def shown(self, host: str = "freshline.test") -> int:
        """The serial number of the certificate that a new connection gets."""
        with self.connect(host) as connection:
            return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"").serial_number

    def client(self, host: str, signing: str = "v3") -> Client:
        config = Config(
            access_key_id=self.key.id,
            access_key_secret=self.key.secret,
            endpoint=f"{host}:{self.port}",
            protocol="https",
        )
        if signing == "v1":
            config.signature_algorithm = "v2"
        return Client(config)

    def asked(self, client: Client) -> Any:
        trusting = RuntimeOptions(ca=str(self.authority.file))
        return client.describe_refresh_quota_with_options(models.DescribeRefreshQuotaRequest(), trusting).body


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """The service, and names that lead to it, as a private zone would have them."""
    real = socket.getaddrinfo

    def resolve(host: Any, *rest: Any, **more: Any) -> Any:
        return real("127.0.0.1" if host in HOSTS else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    service = Served(tmp_path)
    yield service
    service.process.send_signal(signal.SIGTERM)
    service.process.wait(30)
    assert "Traceback" not in service.log.read_text()


@pytest.mark.parametrize("signing", ["v3", "v1"])
def test_under_the_vendors_names(served: Served, signing: str) -> None:
    """An SDK with a hard-coded https endpoint is answered, and errors name the host it called."""
    for host in HOSTS:
        client = served.client(host, signing)
        assert served.asked(client).url_quota == "10000"
        with pytest.raises(ClientException) as wrong:
            client.describe_refresh_task_by_id_with_options(
                models.DescribeRefreshTaskByIdRequest(task_id="x"), RuntimeOptions(ca=str(served.authority.file))
            )
        assert wrong.value.data["HostId"] == f"{host}:{served.port}"
    strangers = ssl.create_default_context()
    with pytest.raises(ssl.SSLCertVerificationError), socket.create_connection(("127.0.0.1", served.port)) as plain:
        strangers.wrap_socket(plain, server_hostname="cdn.aliyuncs.com")


def test_renewed_under_load(served: Served) -> None:
    """No call fails while certificates are renewed, and open connections go on."""
    done, trouble, ended = [0, 0], list[BaseException](), threading.Event()

    def load(number: int) -> None:
        client = served.client("cdn.aliyuncs.com")
        try:
            while not ended.is_set():
                served.asked(client)
                done[number] += 1
        except BaseException as error:
            trouble.append(error)

    def shows(serial: Any) -> bool:
        return bool(served.shown() == serial)

    def went_on(since: list[int]) -> bool:
        return bool(trouble) or all(now > then for now, then in zip(done, since, strict=True))

    kept = http.client.HTTPSConnection("freshline.test", served.port, context=served.trust)
    kept.request("GET", "/healthz")
    assert kept.getresponse().read() == b"ok\n"
    before = kept.sock
    threads = [threading.Thread(target=load, args=(number,)) for number in range(len(done))]
    for thread in threads:
        thread.start()
    for how in ("looking", "SIGHUP", "looking"):
        serial, counted = served.renew(), list(done)
        if how == "SIGHUP":
            served.process.send_signal(signal.SIGHUP)
        until(partial(shows, serial))
        until(partial(went_on, counted))
    ended.set()
    for thread in threads:
        thread.join()
    kept.request("GET", "/healthz")

    assert not trouble
    assert kept.getresponse().read() == b"ok\n" and kept.sock is before
    kept.close()


def test_half_a_renewal(served: Served) -> None:
    """Files that do not fit together are told once and not taken; when they do fit, they are."""
    serial, certificate, private = served.authority.issue(*HOSTS)
    served.certificate.write_bytes(certificate)
    until(lambda: "the old certificate stays" in served.log.read_text())
    served.process.send_signal(signal.SIGHUP)

    assert served.shown() == served.serial
    served.private.write_bytes(b"")
    served.private.unlink()
    assert served.shown() == served.serial
    served.private.write_bytes(private)
    until(lambda: served.shown() == serial)


def test_callers_who_name_no_host(served: Served) -> None:
    """The new certificate is for them, too."""
    serial = served.renew()
    nameless = ssl.create_default_context(cafile=str(served.authority.file))
    nameless.check_hostname = False

    def shown() -> int:
        with nameless.wrap_socket(socket.create_connection(("127.0.0.1", served.port))) as connection:
            return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"").serial_number

    until(lambda: shown() == serial)


def test_what_is_no_certificate(tmp_path: Path) -> None:
    """Every file that will not do is named, with the reason."""
    authority = Authority(tmp_path)
    _, certificate, private = authority.issue("a.test")
    _, _, other = authority.issue("a.test")
    files = {"both": certificate + private, "certificate": certificate, "key": private, "other": other, "empty": b""}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)

    def trouble(certificate: str, key: str | None) -> str:
        with pytest.raises(BadCertificate) as bad:
            Certificate(tmp_path / certificate, tmp_path / key if key else None)
        return str(bad.value)

    assert Certificate(tmp_path / "both").reload() is False
    assert "nothing: No such file" in trouble("nothing", None)
    assert "nothing: No such file" in trouble("certificate", "nothing")
    assert "KEY_VALUES_MISMATCH" in trouble("certificate", "other")
    assert str(tmp_path / "empty") in trouble("empty", "key")
    assert str(tmp_path / "certificate") in trouble("certificate", None)

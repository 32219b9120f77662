"""The API from the caller's side: the same signatures the service checks, made instead of checked."""

from __future__ import annotations

import http.client
import json
import re
import ssl
from collections.abc import Mapping
from typing import Any

from freshline.ambient import Ambient
from freshline.cli.credentials import Credentials
from freshline.wire.signature import Signed, sign_v1, sign_v3

VERSION = "2018-05-10"
ANSWER_SECONDS = 30.0
RETRY_AFTER = "x-acs-retry-after"  # milliseconds

_LABEL = r"[A-Za-z0-9_-]{1,63}"
_ENDPOINT = re.compile(
    rf"(?:(?P<scheme>https?)://)?(?P<host>{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{{1,5}}))?/?\Z",
    re.IGNORECASE,
)


class ApiError(Exception):
    """The service refused. ``status``, ``code``, ``message`` and ``request_id`` are its words.

    ``retry_after_seconds`` is set where the call was only put off.
    """

    def __init__(
        self, status: int, code: str, message: str, request_id: str, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(f"{code}: {' '.join(message.split())} (HTTP {status}, request {request_id})")
        self.status, self.code, self.message, self.request_id = status, code, message, request_id
        self.retry_after_seconds = retry_after_seconds


class NoService(Exception):
    """Nothing that speaks the API answered there."""


class Client:
    def __init__(self, endpoint: str, credentials: Credentials, ambient: Ambient | None = None) -> None:
        found = _ENDPOINT.match(endpoint)
        if not found or (found["port"] and not 0 < int(found["port"]) < 65536):
            raise NoService(f"{endpoint!r} is no endpoint, such as http://127.0.0.1:8080")
        self._endpoint, self._tls = endpoint, (found["scheme"] or "http").lower() == "https"
        self._host = found["host"] + (f":{found['port']}" if found["port"] else "")
        self._address = (found["host"].strip("[]"), int(found["port"] or (443 if self._tls else 80)))
        self._credentials, self._ambient = credentials, ambient or Ambient()

    def call(self, action: str, params: Mapping[str, str]) -> dict[str, Any]:
        """One operation.

        :raises ApiError: the service refused
        :raises NoService: no connection, or the answer is not the API's
        """
        request = self.sign(action, params)
        status, headers, body = self._send(request.method, request.target, request.headers, request.body)
        try:
            answer = json.loads(body)
        except ValueError:
            raise NoService(f"{self._endpoint} answered {status}, and not with JSON: is it freshline?") from None
        if status >= 400 or not isinstance(answer, dict):
            known = answer if isinstance(answer, dict) else {}
            later = headers.get(RETRY_AFTER, "")
            code, message, request_id = (str(known.get(name, "?")) for name in ("Code", "Message", "RequestId"))
            wait = int(later) / 1000 if later.isascii() and later.isdigit() else None
            raise ApiError(status, code, message, request_id, wait)
        return answer

    def sign(self, action: str, params: Mapping[str, str]) -> Signed:
        """The call as it goes out: parameters in the form body, where long lists have room."""
        return sign_v3(
            "POST",
            self._host,
            action,
            VERSION,
            {},
            key_id=self._credentials.access_key_id,
            secret=self._credentials.access_key_secret,
            now=self._ambient.now(),
            nonce=self._ambient.token(16),
            form=params,
            token=self._credentials.security_token,
        )

    def signed_url(self, action: str, params: Mapping[str, str], version: str = VERSION, method: str = "GET") -> str:
        """An address that carries out one operation when it is fetched, once and within minutes (V1)."""
        token = self._credentials.security_token
        common = {"Action": action, "Version": version, "Format": "JSON"} | ({"SecurityToken": token} if token else {})
        request = sign_v1(
            method,
            self._host,
            {**common, **params},
            key_id=self._credentials.access_key_id,
            secret=self._credentials.access_key_secret,
            now=self._ambient.now(),
            nonce=self._ambient.token(16),
        )
        return f"{'https' if self._tls else 'http'}://{self._host}{request.target}"

    def _send(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection: http.client.HTTPConnection
        if self._tls:
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(*self._address, timeout=ANSWER_SECONDS, context=context)
        else:
            connection = http.client.HTTPConnection(*self._address, timeout=ANSWER_SECONDS)
        try:
            connection.request(method, target, body=body, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise NoService(f"{self._endpoint}: no answer: {why}") from None
        finally:
            connection.close()

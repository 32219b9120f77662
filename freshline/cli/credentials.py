"""Which keys to sign with, and where to send: flags, then the environment, then a profile of the cloud's own CLI."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

DEFAULT_ENDPOINT = "http://127.0.0.1:8080"
PROFILES = "~/.aliyun/config.json"  # written by `aliyun configure`
PREFIXES = ("ALIBABA_CLOUD", "ALIBABACLOUD", "ALICLOUD")  # the cloud's own tools have changed their minds

_KEY = re.compile(r"[!-~]+\Z")  #: what fits into a header


class NoCredentials(Exception):
    """``args[0]`` says what was looked for and where."""


@dataclass(frozen=True)
class Credentials:
    access_key_id: str
    access_key_secret: str = field(repr=False)
    security_token: str = field(default="", repr=False)  #: of a temporary key


def find(
    access_key_id: str | None,
    access_key_secret: str | None,
    profile: str | None,
    environ: Mapping[str, str] = os.environ,
) -> Credentials:
    """The first complete pair of: flags, environment, profile.

    :raises NoCredentials: none is complete, half a pair is given, or the profile cannot be read
    """
    if access_key_id or access_key_secret:
        return _pair("--access-key-id", access_key_id, "--access-key-secret", access_key_secret)
    if profile is None:
        for prefix in PREFIXES:
            names = f"{prefix}_ACCESS_KEY_ID", f"{prefix}_ACCESS_KEY_SECRET"
            key, secret = map(environ.get, names)
            if key or secret:
                return _with_token(
                    _pair(names[0], key, names[1], secret),
                    f"{prefix}_SECURITY_TOKEN",
                    environ.get(f"{prefix}_SECURITY_TOKEN"),
                )
    return _from_profile(profile or environ.get("ALIBABA_CLOUD_PROFILE"), environ)


def _pair(name: str, key: str | None, secret_name: str, secret: str | None) -> Credentials:
    if not (key and secret):
        there, missing = (name, secret_name) if key else (secret_name, name)
        raise NoCredentials(f"{there} is set and {missing} is not: they go together")
    for what, value in ((name, key), (secret_name, secret)):
        if not _KEY.match(value):
            raise NoCredentials(f"{what}: printable ASCII characters without spaces")  # the value is not for logs
    return Credentials(key, secret)


def _with_token(pair: Credentials, name: str, token: str | None) -> Credentials:
    """The pair of a session, where there is a token to it."""
    if not token:
        return pair
    if not _KEY.match(token):
        raise NoCredentials(f"{name}: printable ASCII characters without spaces")
    return replace(pair, security_token=token)


def _from_profile(name: str | None, environ: Mapping[str, str]) -> Credentials:
    file = environ.get("ALIBABA_CLOUD_CONFIG_FILE") or PROFILES
    try:
        path = Path(file).expanduser()
        table = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise NoCredentials(
            "no access key: give --access-key-id and --access-key-secret, or set ALIBABA_CLOUD_ACCESS_KEY_ID and "
            f"ALIBABA_CLOUD_ACCESS_KEY_SECRET, or write a profile to {file}"
        ) from None
    except (ValueError, RecursionError):
        raise NoCredentials(f"{file} is not JSON") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: nobody knows where home is
        raise NoCredentials(f"{file}: {getattr(error, 'strerror', None) or error}") from None
    name = name or _text(table, "current") or "default"
    profiles = table.get("profiles") if isinstance(table, dict) else None
    found = next((each for each in _listed(profiles) if _text(each, "name") == name), None)
    if found is None:
        raise NoCredentials(f"{file} has no profile {name!r}")
    where = f"{file}: access_key_id of profile {name!r}"
    secret_where = f"{file}: access_key_secret of profile {name!r}"
    key, secret = _text(found, "access_key_id"), _text(found, "access_key_secret")
    if not (key or secret):
        raise NoCredentials(f"{file}: profile {name!r} has no access key")
    found_pair = _pair(where, key, secret_where, secret)
    return _with_token(found_pair, f"{file}: sts_token of profile {name!r}", _text(found, "sts_token"))


def _text(table: Any, key: str) -> str | None:
    value = table.get(key) if isinstance(table, dict) else None
    return value if isinstance(value, str) else None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

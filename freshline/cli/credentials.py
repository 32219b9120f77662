"""Which keys to sign with, and where to send: flags, then the environment, then a profile of the cloud's own CLI."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_ENDPOINT = "http://127.0.0.1:8080"
PROFILES = "~/.aliyun/config.json"  # written by `aliyun configure`


class NoCredentials(Exception):
    """``args[0]`` says what was looked for and where."""


@dataclass(frozen=True)
class Credentials:
    access_key_id: str
    access_key_secret: str = field(repr=False)


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
        if not (access_key_id and access_key_secret):
            raise NoCredentials("--access-key-id and --access-key-secret go together")
        return Credentials(access_key_id, access_key_secret)
    if profile is None:
        for prefix in ("ALIBABA_CLOUD", "ALIBABACLOUD", "ALICLOUD"):
            key, secret = environ.get(f"{prefix}_ACCESS_KEY_ID"), environ.get(f"{prefix}_ACCESS_KEY_SECRET")
            if key and secret:
                return Credentials(key, secret)
    return _from_profile(profile or environ.get("ALIBABA_CLOUD_PROFILE"), environ)


def _from_profile(name: str | None, environ: Mapping[str, str]) -> Credentials:
    path = Path(environ.get("ALIBABA_CLOUD_CONFIG_FILE", PROFILES)).expanduser()
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        name = name or table.get("current", "default")
        found = next(each for each in table.get("profiles", []) if each.get("name") == name)
        key, secret = found["access_key_id"], found["access_key_secret"]
    except FileNotFoundError:
        raise NoCredentials(
            "no access key: give --access-key-id and --access-key-secret, or set ALIBABA_CLOUD_ACCESS_KEY_ID and "
            f"ALIBABA_CLOUD_ACCESS_KEY_SECRET, or write a profile to {path}"
        ) from None
    except StopIteration:
        raise NoCredentials(f"{path} has no profile {name!r}") from None
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise NoCredentials(f"{path}: profile {name!r} has no usable access key ({error})") from None
    return Credentials(key, secret)

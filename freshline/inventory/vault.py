"""Secrets at rest: encrypted under one key that lies outside the file they are in.

Each is bound to its place: a ciphertext moved to another row does not open.
"""

from __future__ import annotations

import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

KEY_BYTES = 32
NONCE_BYTES = 12


class WrongKey(Exception):
    """The key is not the one the secrets were encrypted with, or is no key."""


class Vault:
    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise WrongKey(f"a key has {KEY_BYTES} bytes, not {len(key)}")
        from cryptography.exceptions import InvalidTag  # late: a sandbox starts faster without
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._key = key
        self._cipher = AESGCM(key)
        self._invalid = InvalidTag

    def aside(self, purpose: str) -> Vault:
        """A vault under a key of its own that this one's gives: what many callers are handed is not under the key that
        the secrets at rest are under."""
        return Vault(hmac.digest(self._key, purpose.encode(), "sha256"))

    def lock(self, secret: str, place: str) -> bytes:
        """:param place: what row this is for, and nothing else will ever be"""
        return self.lock_bytes(secret.encode(), place)

    def unlock(self, blob: bytes, place: str) -> str:
        return self.unlock_bytes(blob, place).decode()

    def lock_bytes(self, secret: bytes, place: str) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, place.encode())

    def unlock_bytes(self, blob: bytes, place: str) -> bytes:
        """:raises WrongKey: it was not locked with this key, for this place"""
        try:
            return self._cipher.decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], place.encode())
        except (self._invalid, ValueError):  # ValueError: too short for a nonce
            raise WrongKey(f"the key does not open {place}") from None


def key_from(file: Path, *, create: bool) -> bytes:
    """Read a key file; if there is none and ``create``, make one that only its owner can read.

    :raises WrongKey: there is none, or it holds something else
    """
    if create and not file.exists():
        _create(file)
    try:
        text = file.read_text().strip()
        return bytes.fromhex(text)
    except FileNotFoundError:
        raise WrongKey(f"the key file {file} is missing; without it the secrets cannot be read") from None
    except ValueError:
        raise WrongKey(f"{file} is no key file: it should hold {2 * KEY_BYTES} hexadecimal digits") from None


def _create(file: Path) -> None:
    # Linked into place whole: two processes that start at once end up with one key, and none reads half of it.
    draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as out:
            out.write(secrets.token_hex(KEY_BYTES) + "\n")
            out.flush()
            os.fsync(out.fileno())
        with suppress(FileExistsError):
            os.link(draft, file)
    finally:
        draft.unlink()

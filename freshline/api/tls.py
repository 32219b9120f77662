"""The certificate the service shows, taken up anew when its files change.

Connections that are open keep what they agreed on; new ones get the new certificate. New files are read whole into a
context of their own, and only when they fit together does it take the old one's place: half a renewal harms nobody.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

LOOK_SECONDS = 1.0  #: how often the files are looked at

LOGGER = logging.getLogger(__name__)

Stamp = tuple[tuple[int, int, int], ...]


class BadCertificate(Exception):
    """``args[0]`` says which file, and what is wrong with it."""


class Certificate:
    """What ``context`` is for: hand it to the server once; every handshake gets the certificate of the day.

    :param key: empty: it is in the certificate's file
    :raises BadCertificate: the files cannot be read, or do not fit together
    """

    def __init__(self, certificate: Path, key: Path | None = None) -> None:
        self._certificate, self._key = certificate, key
        self._stamp = self._look()
        self.context = self._current = self._read()
        self.context.sni_callback = self._choose  # asked in every handshake, also by callers that name no host

    def reload(self) -> bool:
        """Take up the files if they have changed. What is wrong with them is logged, and the old ones stay.

        :return: whether there is a new certificate
        """
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return False
            self._stamp = stamp  # also of files that are wrong: they are told once
            self._current = self._read()
        except BadCertificate as bad:
            LOGGER.error("the old certificate stays: %s", bad)
            return False
        LOGGER.info("took up the certificate in %s", self._certificate)
        return True

    async def watch(self) -> None:
        """Reload for as long as this runs."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.reload()

    def _choose(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        connection.context = self._current

    def _look(self) -> Stamp:
        """Changes when a file does."""
        files = [self._certificate, *([self._key] if self._key else [])]
        try:
            found = [file.stat() for file in files]
        except OSError as trouble:
            raise BadCertificate(f"{trouble.filename}: {trouble.strerror}") from None
        return tuple((each.st_ino, each.st_size, each.st_mtime_ns) for each in found)

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except OSError as trouble:  # ssl.SSLError is one, too
            why = trouble.strerror if not isinstance(trouble, ssl.SSLError) else trouble.reason or "no PEM"
            files = f"{self._certificate}" + (f" and {self._key}" if self._key else "")
            raise BadCertificate(f"{files}: {why or trouble}") from None
        return context


def _no_password() -> str:
    """Without this, OpenSSL would ask the terminal."""
    return ""

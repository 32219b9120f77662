"""Who calls the API from the command line, and how patiently."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from freshline.cli.credentials import DEFAULT_ENDPOINT, NoCredentials, find
from freshline.cli.output import fail

if TYPE_CHECKING:  # brings TLS along
    from freshline.cli.client import Client

THROTTLED_SECONDS = 90.0  #: a call that is put off is tried again for so long; a quota by the minute needs one

Product = Literal["cdn", "cdn2014", "dcdn", "esa", "scdn", "vod", "sts"]
Flag = Annotated[bool, Parameter(negative="", show_default=False)]


@Parameter(name="*", group="Service")
@dataclass(frozen=True)
class Caller:
    """Who calls, where, and how the answer is shown."""

    endpoint: Annotated[str, Parameter(env_var="FRESHLINE_ENDPOINT")] = DEFAULT_ENDPOINT
    """Where the service listens."""

    access_key_id: str | None = None
    """Also ALIBABA_CLOUD_ACCESS_KEY_ID."""

    access_key_secret: str | None = None
    """Also ALIBABA_CLOUD_ACCESS_KEY_SECRET; others on this machine can read command lines."""

    profile: str | None = None
    """A profile of ~/.aliyun/config.json, or of the file that ALIBABA_CLOUD_CONFIG_FILE names."""

    json: Flag = False
    """Print JSON."""

    @cached_property
    def client(self) -> Client:
        from freshline.cli.client import Client, NoService

        try:
            return Client(self.endpoint, find(self.access_key_id, self.access_key_secret, self.profile))
        except (NoCredentials, NoService) as error:
            fail(str(error), 2)

    def call(self, action: str, params: Mapping[str, str]) -> dict[str, Any]:
        """One operation; a refusal is printed and ends the command."""
        from freshline.cli.client import ApiError, NoService

        try:
            return self.ask(action, params)
        except (ApiError, NoService) as error:
            fail(str(error))

    def ask(self, action: str, params: Mapping[str, str]) -> dict[str, Any]:
        """One operation, again if it is put off.

        :raises ApiError: it is refused
        :raises NoService: nobody answers
        """
        from freshline.cli.client import ApiError

        until, told = time.monotonic() + THROTTLED_SECONDS, False
        while True:
            try:
                return self.client.call(action, params)
            except ApiError as error:
                wait = error.retry_after_seconds
                if wait is None or time.monotonic() + wait > until:
                    raise
                if not told:
                    told = True
                    print(f"put off: {error.code}; trying again for {THROTTLED_SECONDS:g} s", file=sys.stderr)
                time.sleep(wait)


NOBODY = Caller()

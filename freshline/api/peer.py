"""From where a call comes, and whether the way was encrypted, as policies ask it (``acs:SourceIp``).

Anybody can write ``X-Forwarded-For``. It is believed as far as proxies wrote it that the settings trust: from the
right, up to the first address that is no such proxy's.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from freshline.api.asgi import Scope

Network = IPv4Network | IPv6Network

LONGEST = 64  #: characters of an address and the blanks around it; what is known of thousands is kept


class Peers:
    def __init__(self, proxies: tuple[Network, ...] = ()) -> None:
        self._proxies = proxies

    def source(self, scope: Scope, headers: Mapping[bytes, bytes]) -> str:
        """The address a call comes from; empty where the server does not know."""
        peer = _plain((scope.get("client") or ("",))[0])
        if not self._proxies:
            return peer
        if not self._trusted(peer):
            return peer
        hops = headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")
        for hop in reversed(hops):
            address = _plain(hop.strip()) if len(hop) <= LONGEST else ""
            if not address:
                break
            peer = address
            if not self._trusted(peer):
                break
        return peer

    def secure(self, scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
        """Whether it came over TLS, to us or to a proxy that says so."""
        if scope.get("scheme") == "https":
            return True
        if not self._proxies:
            return False
        said = headers.get(b"x-forwarded-proto", b"").strip().lower() == b"https"
        return said and self._trusted(_plain((scope.get("client") or ("",))[0]))

    def _trusted(self, address: str) -> bool:
        return bool(self._proxies and address) and any(ip_address(address) in network for network in self._proxies)


@lru_cache(4096)
def _plain(text: str) -> str:
    """An address in its one spelling, or nothing. An IPv4 caller on an IPv6 socket is an IPv4 caller."""
    try:
        address: IPv4Address | IPv6Address = ip_address(text)
    except ValueError:
        return ""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)

"""Where a domain's content comes from, as its owner says. Caches have origins of their own; here it is only kept."""

from __future__ import annotations

from dataclasses import dataclass

TYPES = ("ipaddr", "domain", "oss", "fc_domain")  #: help.aliyun.com/document_detail/91176.html
MOST = 20  #: origins of one domain


@dataclass(frozen=True, slots=True)
class Source:
    content: str  #: an address or a host name
    type: str = "ipaddr"
    port: int = 80
    priority: str = "20"  #: 20 first, 30 when those fail
    weight: str = "10"

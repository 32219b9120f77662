"""What the gates written in C share: the protocol, the rules, one spelling for names. No server's headers in them.

Each gate compiles these files into itself, together with its own.
"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
SOURCES = tuple(HERE / name for name in ("gate.c", "lease.c", "flights.c", "rules.c", "canonical.c"))
HEADERS = tuple(HERE / name for name in ("gate.h", "lease.h", "flights.h", "rules.h", "canonical.h", "siphash.h"))

"""What the gates written in C share: the protocol, the rules, one spelling for names. No server's headers in them.

Each gate compiles these files into itself, together with its own.
"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
SOURCES = tuple(HERE / name for name in ("gate.c", "lease.c", "flights.c", "rules.c", "canonical.c"))
HEADERS = tuple(HERE / name for name in ("gate.h", "lease.h", "flights.h", "rules.h", "canonical.h", "siphash.h"))

#: A memory on disk, where the server's cache is.
JOURNAL_SOURCES = (HERE / "record.c", HERE / "journal.c")
JOURNAL_HEADERS = (HERE / "record.h", HERE / "journal.h")
DISK_SOURCES = (HERE / "disk.c", *JOURNAL_SOURCES)
DISK_HEADERS = (HERE / "disk.h", *JOURNAL_HEADERS)

#: What it is asked about objects, in lines.
ERRAND_SOURCES = (HERE / "errand.c",)
ERRAND_HEADERS = (HERE / "errand.h",)

#: A listener of the gate's own, where the server lends it none.
DOOR_SOURCES = (HERE / "door.c", *ERRAND_SOURCES)
DOOR_HEADERS = (HERE / "door.h", *ERRAND_HEADERS)

#: Patterns by PCRE2, where the server lends the gate none. Links with pcre2-8.
PATTERN_SOURCES = (HERE / "pattern.c",)
PATTERN_HEADERS = (HERE / "pattern.h",)

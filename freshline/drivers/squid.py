"""One Squid with our helper beside it (freshline/gates/squid)."""

from __future__ import annotations

from freshline.drivers.errand import ErrandDriver


class SquidDriver(ErrandDriver):
    """Refreshes by batches; the helper asks Squid for objects as a visitor would, at a door of its own."""

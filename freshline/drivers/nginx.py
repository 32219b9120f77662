"""One nginx with our Lua gate in it (freshline/gates/nginx)."""

from __future__ import annotations

from freshline.drivers.errand import ErrandDriver


class NginxDriver(ErrandDriver):
    """Refreshes by batches, probes the disk cache, and lets nginx fetch through its own front door."""

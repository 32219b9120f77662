"""One Traffic Server with our plugin in it (freshline/gates/trafficserver)."""

from __future__ import annotations

from freshline.drivers.errand import ErrandDriver


class TrafficServerDriver(ErrandDriver):
    """Its gate looks and fetches by transactions inside the server, which no socket is needed for."""

"""How long a gate is waited for."""

from __future__ import annotations

from dataclasses import dataclass

from freshline.setting import setting


@dataclass(frozen=True)
class Patience:
    """Seconds for one request, connecting included."""

    status_seconds: float = setting(5.0, "for a gate to say where it stands", least=0.1, most=600)
    batch_seconds: float = setting(
        30.0, "for a gate to apply some thousand refreshes, or to be flushed", least=0.1, most=600
    )
    probe_seconds: float = setting(10.0, "for a gate to say whether an object is there", least=0.1, most=600)
    fetch_seconds: float = setting(
        1800.0,
        "for a prefetched object, however large, to be whole; an origin that says nothing is given up sooner, by the"
        " cache's own timeouts",
        least=0.1,
        most=86_400,
    )


USUAL = Patience()

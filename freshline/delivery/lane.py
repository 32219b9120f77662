"""What the one conversation with a gate is about."""

from __future__ import annotations

from enum import Enum, auto


class Lane(Enum):
    LOST = auto()  #: we do not know where it stands
    ASKING = auto()
    CHECKING = auto()  #: a heartbeat: it stood where we thought, and we ask again
    STANDING = auto()  #: it stands where we think, nothing is under way
    SENDING = auto()
    FLUSHING = auto()


WARMING = (Lane.STANDING, Lane.SENDING, Lane.CHECKING)  #: prefetches go on

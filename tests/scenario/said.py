"""What a command of ours left behind."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def fine(self) -> Said:
        assert self.code == 0, self
        return self

    def refused(self, code: int, *words: str) -> Said:
        """One line says what is wrong, and nothing of how it was found."""
        assert self.code == code, self
        assert self.err.count("\n") == 1 and self.err.startswith("freshline: "), self
        assert all(word in self.err for word in words), self
        return self

"""``*`` and ``?`` in policies: any text, any one character.

Whoever writes policies is not trusted with our time: the patterns run on RE2, which needs time in proportion to the
text, whatever the pattern (https://github.com/google/re2/wiki/WhyRE2).
"""

from __future__ import annotations

import re
from collections.abc import Callable

import re2

MEMORY = 1 << 20  #: bytes RE2 may take for one pattern; the longest a policy has room for fits

_OPTIONS = re2.Options()
_OPTIONS.max_mem = MEMORY
_OPTIONS.log_errors = False
_OPTIONS.dot_nl = True


def compile(pattern: str) -> Callable[[str], bool]:
    """What tells whether a text, as a whole, is what the pattern means."""
    if "*" not in pattern and "?" not in pattern:
        return pattern.__eq__
    if not pattern.strip("*"):
        return _anything
    pattern = re.sub(r"\*{2,}", "*", pattern)  # they mean one, and cost many
    parts = (".*" if ch == "*" else "." if ch == "?" else re2.escape(ch) for ch in pattern)
    compiled = re2.compile("".join(parts), _OPTIONS)
    return lambda text: compiled.fullmatch(text) is not None


def _anything(_: str) -> bool:
    return True

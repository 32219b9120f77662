"""The files that go into each cache server, and what fills them in."""

import re
from collections.abc import Mapping

LAPSES = ("serve", "bypass", "refuse")  #: what visitors may get of a gate that holds no lease (docs/gates.md)


def fill(text: str, values: Mapping[str, object]) -> str:
    """Each ``@NAME@`` of a text becomes its value, in one go: a value that looks like a name stays as it is.

    :raises KeyError: a name that has no value
    """
    return re.sub(r"@([A-Z_]+)@", lambda found: str(values[found[1]]), text)

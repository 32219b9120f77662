"""The files that go into each cache server, and what fills them in."""

LAPSES = ("serve", "bypass", "refuse")  #: what visitors may get of a gate that holds no lease (docs/gates.md)

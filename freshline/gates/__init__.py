"""The files that go into each cache server, and what fills them in."""

from tests.scenario.conftest import caches, make_stack, stack

__all__ = ["caches", "make_stack", "stack"]

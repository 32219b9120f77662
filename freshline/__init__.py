"""freshline keeps a fleet of caches fresh, and proves it."""

__version__ = "0.1.0"

"""Prefetches that begin later: what shall be fetched, when, and how far it came."""

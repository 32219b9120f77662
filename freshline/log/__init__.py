"""The one truth: what was asked for, in order, and how far every edge has come."""

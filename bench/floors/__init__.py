"""What the floors in docs/performance.md are made of."""

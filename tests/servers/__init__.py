"""Real servers for tests: a scripted origin, and caches with our gates in them."""

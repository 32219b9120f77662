"""Plain values: what the service talks about, free of wire, store and network."""

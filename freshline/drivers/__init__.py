"""How one edge is spoken to. A driver knows its server; it knows nothing of tasks, accounts or products."""

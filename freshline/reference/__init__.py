"""What the tables say, for people (docs/reference) and for programs (OpenAPI)."""

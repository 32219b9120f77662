"""The API as data: one table per product."""

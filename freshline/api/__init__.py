"""The service's face to callers."""

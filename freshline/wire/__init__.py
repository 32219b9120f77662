"""Bytes to values and back. No I/O: the service and the command line client use the same code in both directions."""

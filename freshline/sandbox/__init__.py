"""The API over scripted edges: nothing to set up, and every outcome can be had when a test wants it."""

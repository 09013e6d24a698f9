"""Intervals and tests; nothing here knows where scores came from."""

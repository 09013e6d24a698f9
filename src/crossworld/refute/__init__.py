"""Attempts to break an answer before it is believed."""

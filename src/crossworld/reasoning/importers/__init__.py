"""Readouts that other tools collected, as the columns of a cell table."""

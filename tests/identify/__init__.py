"""Graphs and what they identify."""

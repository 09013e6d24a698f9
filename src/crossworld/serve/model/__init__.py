"""Exported models: how they are made, kept in a folder, checked and run."""

"""Reasoning studies without replay: the text as a mediator or a covariate in a table."""

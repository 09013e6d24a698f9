"""Beside the answer: naive comparisons, and the same effect under other choices."""

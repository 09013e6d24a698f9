"""Checks that the options of several methods share."""

from __future__ import annotations

from collections.abc import Mapping

from crossworld.errors import SpecError


def check_whole(options: object, least: Mapping[str, int]) -> None:
    """Refuse options that are no whole numbers, or too small.

    Parameters
    ----------
    options
        What holds them.
    least
        Name of an option -> the least it may be.

    Raises
    ------
    SpecError
        Naming the option, its least value and what was given.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> check_whole(SimpleNamespace(batch_size=8, seed=0), {"batch_size": 1, "seed": 0})
    """
    for name, low in least.items():
        value = getattr(options, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise SpecError(f"{name} is a whole number of at least {low}, got {value!r}")

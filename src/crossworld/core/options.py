"""Checks that the options of many methods share."""

from __future__ import annotations

from collections.abc import Mapping

from crossworld.errors import SpecError


def check_whole(name: str, value: object, least: int) -> None:
    """Refuse a number that is not whole, or too small.

    Parameters
    ----------
    name
        What the option is called.
    value
        What was given.
    least
        The least it may be.

    Raises
    ------
    SpecError
        Naming the option, its least value and what was given.

    Examples
    --------
    >>> check_whole("draws", 0, 1)
    Traceback (most recent call last):
    crossworld.errors.SpecError: draws is a whole number of at least 1, got 0
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SpecError(f"{name} is a whole number of at least {least}, got {value!r}")


def check_whole_fields(options: object, least: Mapping[str, int]) -> None:
    """Refuse fields of ``options`` that are not whole numbers, or too small.

    Parameters
    ----------
    options
        What holds them.
    least
        Name of a field -> the least it may be.

    Raises
    ------
    SpecError
        As `check_whole`, for the first field that is wrong.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> check_whole_fields(SimpleNamespace(batch_size=8, seed=0), {"batch_size": 1, "seed": 0})
    """
    for name, low in least.items():
        check_whole(name, getattr(options, name), low)

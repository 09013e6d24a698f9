"""Find every estimator by walking the front ends; there is no registry to edit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pkgutil import walk_packages

from crossworld.errors import SpecError

FRONT_ENDS = ("tables", "reasoning", "internals")


def estimators(front_end: str) -> Iterator[type]:
    """Yield the estimator classes that `crossworld.<front_end>` defines, by name of their module.

    An estimator is a public dataclass with a ``scores`` method.

    Parameters
    ----------
    front_end
        ``tables``, ``reasoning`` or ``internals``; one that is not installed yields nothing.

    Examples
    --------
    >>> "Regression" in {found.__name__ for found in estimators("tables")}
    True
    """
    if front_end not in FRONT_ENDS:
        raise SpecError.unknown("front end", front_end, FRONT_ENDS)
    if find_spec(f"crossworld.{front_end}") is None:
        return
    for found in _classes(f"crossworld.{front_end}", "scores"):
        # the protocol's method takes a study and cells; others score edges, circuits or attention
        if "cells" in signature(found.scores).parameters:  # type: ignore[attr-defined]
            yield found


def inferences() -> Iterator[type]:
    """Yield the ways of measuring uncertainty that `crossworld.infer` defines.

    Examples
    --------
    >>> sorted(found.__name__ for found in inferences())
    ['Bootstrap', 'Multiplier', 'Simulation', 'Wald']
    """
    yield from _classes("crossworld.infer", "infer")


def refuters() -> Iterator[type]:
    """Yield the attempts to break an answer that `crossworld.refute` defines.

    A refuter is a public dataclass with a ``refute`` method and its name in a spec as ``key``.
    """
    yield from _classes("crossworld.refute", "refute")


def _classes(package_name: str, method: str) -> Iterator[type]:
    """Public dataclasses with a method, from every module of a package."""
    package = import_module(package_name)
    for info in walk_packages(package.__path__, f"{package.__name__}."):
        module = import_module(info.name)
        yield from (
            thing
            for name, thing in vars(module).items()
            if isinstance(thing, type)
            and thing.__module__ == module.__name__
            and not name.startswith("_")
            and is_dataclass(thing)
            and callable(getattr(thing, method, None))
        )

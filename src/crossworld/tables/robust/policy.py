"""What a treatment regime does to the rows: a level that is set, or a shift of what was observed.

A route's stage ``r`` evaluates its regression where the regime puts the treatment. Under levels a
regression is fitted in one arm, so it does not see the treatment at all; under a shift it is
fitted on every row with the treatment as its first column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError
from crossworld.tables.robust.data import Arrays, Route
from crossworld.tables.robust.nuisance import Extra, Fold, Key, outcome_keys
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]
Nuisances = Mapping[Key, Array]


class Policy(Protocol):
    """How regimes act on rows."""

    @property
    def extra(self) -> Mapping[str, Extra]:
        """Nuisances beside the nested regressions of arms."""

    def route(self, path: Route) -> Route:
        """Write a route in the numbers that the policy works with."""

    def keys(self, path: Route) -> list[Key]:
        """Regressions of a cell."""

    def values(
        self, found: Nuisances, data: Arrays, path: Route
    ) -> tuple[list[Array], list[Array]]:
        """Regressions where the regime puts the treatment (then Y), and where it was observed."""

    def places(self, data: Arrays, path: Route) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Columns observed and moved for a route's last stage, and the rows that count."""


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """The treatment is set to a level; stage ``r`` lives in the arm of its level."""

    extra: Mapping[str, Extra] = field(default_factory=dict)

    def route(self, path: Route) -> Route:
        """Return the route as it is: its numbers are values of the treatment."""
        return path

    def keys(self, path: Route) -> list[Key]:
        """Nested regressions."""
        return outcome_keys(path)

    def values(
        self, found: Nuisances, data: Arrays, path: Route
    ) -> tuple[list[Array], list[Array]]:
        """Regressions under the level: rows of other arms have weight 0."""
        stages = [found[key] for key in reversed(outcome_keys(path))]
        return [*stages, data.y], stages

    def places(self, data: Arrays, path: Route) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Columns without the treatment, and the rows of the arm."""
        x = data.given(path.ends[-1])
        return x, x, data.arm == path.levels[-1]


@dataclass(frozen=True, slots=True, eq=False)
class Shift:
    """Level 0 leaves the treatment as observed, level 1 adds ``size`` to it.

    Parameters
    ----------
    size
        What is added, in the treatment's unit.
    levels
        The study's two levels, by which a route names them.
    """

    size: float
    levels: tuple[float, float]

    @property
    def extra(self) -> Mapping[str, Extra]:
        """Nested regressions that see the treatment."""
        return {"observed": _observed, "moved": _moved}

    def route(self, path: Route) -> Route:
        """Replace levels by what is added to the treatment."""
        added = dict(zip(self.levels, (0.0, self.size), strict=True))
        strange = [level for level in path.levels if level not in added]
        if strange:
            raise DesignError(
                f"under a shift, 0 is the treatment as observed and 1 the treatment plus "
                f"{self.size:g}; there is no level {strange[0]:g}"
            )
        return Route(tuple(added[level] for level in path.levels), path.ends)

    def keys(self, path: Route) -> list[Key]:
        """Regressions where the treatment was observed and where it is moved to."""
        found: list[Key] = []
        for r, step in enumerate(_steps(path.levels)):
            later, ends = _steps(path.levels)[r + 1 :], path.ends[r:]
            found += [("observed", later, ends), ("moved", step, later, ends)]
        return found

    def values(
        self, found: Nuisances, data: Arrays, path: Route
    ) -> tuple[list[Array], list[Array]]:
        """Each regression at the moved and at the observed treatment."""
        named = [found[key] for key in self.keys(path)]
        return [*named[1::2], data.y], named[::2]

    def places(self, data: Arrays, path: Route) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Columns with the treatment first, observed and moved; every row counts."""
        x = data.given(path.ends[-1])
        return x, _added(x, _steps(path.levels)[-1]), np.ones(len(x), dtype=bool)


def with_treatment(data: Arrays) -> Arrays:
    """Put the treatment before the covariates."""
    x = np.ascontiguousarray(np.column_stack([data.arm, data.x]))
    return replace(data, x=x, width=tuple(w + 1 for w in data.width))


def shift_of(study: TableStudy, size: float) -> Shift:
    """Return the shift of a study.

    Raises
    ------
    DesignError
        If the treatment is text.
    """
    if study.treatment.is_text:
        raise DesignError(
            f"shift adds a number to the treatment, but {study.path.treatment!r} is text; leave "
            "shift=None to contrast two of its levels"
        )
    return Shift(size, study.levels)


def _steps(levels: tuple[float, ...]) -> tuple[float, ...]:
    """How far each stage moves the treatment from where the stage before evaluates it."""
    return tuple(b - a for a, b in pairwise((0.0, *levels)))


def _added(x: Array, step: float) -> Array:
    if step == 0.0:
        return x
    moved = x.copy()
    moved[:, 0] += step
    return moved


def _observed(fold: Fold, key: Key) -> Array:
    _, later, ends = key
    return _regression(fold, later, ends)(fold.data.given(ends[0])[fold.test])


def _moved(fold: Fold, key: Key) -> Array:
    _, step, later, ends = key
    return _regression(fold, later, ends)(_added(fold.data.given(ends[0])[fold.test], step))


def _regression(
    fold: Fold, later: tuple[float, ...], ends: tuple[int, ...]
) -> Callable[[Array], Array]:
    """Regress the next stage, where the regime puts it, on treatment and first blocks."""
    name = ("shifted regression", later, ends)
    if name not in fold.held:
        nested = len(later) > 0
        target = fold.data.y[fold.train]
        if nested:
            x = _added(fold.data.given(ends[1])[fold.train], later[0])
            target = _regression(fold, later[1:], ends[1:])(x)
        fold.held[name] = fold.regression(fold.train, target, ends[0], nested=nested)
        fold.fits.append(f"outcome | shifts {later}, blocks {ends}")
    found: Callable[[Array], Array] = fold.held[name]
    return found

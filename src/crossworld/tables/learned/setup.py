"""A table study as the arrays that learned models are fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crossworld.core.expression import Cell
from crossworld.errors import DesignError, SpecError
from crossworld.tables.robust.data import arrays, route
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]
Matrix = tuple[tuple[float, ...], ...]
Pair = tuple[int, int]  # positions of the outcome's and of the mediator's level


class Options(Protocol):
    """What the models need to know of their estimator."""

    @property
    def mediator(self) -> str: ...
    @property
    def outcome(self) -> str: ...
    @property
    def interaction(self) -> bool: ...
    @property
    def components(self) -> int | Matrix | None: ...
    @property
    def hidden(self) -> int: ...
    @property
    def penalty(self) -> float: ...
    @property
    def batch_size(self) -> int | None: ...
    @property
    def seed(self) -> int: ...


@dataclass(frozen=True, slots=True, eq=False)
class Setup:
    """Arrays of one study.

    Parameters
    ----------
    arms
        Indicators of every treatment level but the first, (n, k).
    x
        Covariates, (n, p); text as indicators of all but its first category.
    m
        Mediators after the projection, (n, d).
    y
        Outcome, (n,).
    weights
        Row weights, (n,); ones where the study has none.
    weighted
        Whether the study has row weights.
    levels
        The k + 1 treatment values.
    logit
        Whether the outcome model is a logit.
    projection
        Shape (columns, d), or None where the mediators are used as they are.
    """

    arms: Array
    x: Array
    m: Array
    y: Array
    weights: Array
    weighted: bool
    levels: Array
    logit: bool
    projection: Array | None

    def arm(self, at: int) -> Array:
        """Indicators of one level, (k,)."""
        return np.asarray(np.arange(1, len(self.levels)) == at, dtype=np.float64)


def set_up(options: Options, study: TableStudy) -> Setup:
    """Lay out a study.

    Raises
    ------
    DesignError
        If the treatment is continuous or there are intermediate confounders.
    SpecError
        If the projection does not fit the mediators, or the outcome model the outcome.
    """
    data = arrays(study, "LearnedMediator")
    block = data.x[:, data.width[0] :]
    projection = directions(options.components, block.shape[1], options.seed)
    return Setup(
        np.asarray(data.arm[:, None] == data.levels[1:], dtype=np.float64),
        data.given(0),
        block if projection is None else block @ projection,
        data.y,
        np.ones(len(study)) if data.weights is None else data.weights,
        data.weights is not None,
        data.levels,
        _logit(options.outcome, data.y),
        projection,
    )


def _logit(outcome: str, y: Array) -> bool:
    if outcome == "auto":
        return bool(np.isin(y, (0.0, 1.0)).all())
    if outcome == "logistic" and not ((y >= 0.0) & (y <= 1.0)).all():
        raise SpecError(
            f"a logistic outcome model needs an outcome within 0 and 1, but it runs from "
            f"{y.min():.4g} to {y.max():.4g}; try outcome='linear'"
        )
    return outcome == "logistic"


def directions(components: int | Matrix | None, width: int, seed: int) -> Array | None:
    """Return the fixed projection of ``width`` mediator columns, shape (width, d), or None.

    A number asks for that many orthonormal directions, drawn from the seed alone: no row of the
    study is looked at.

    Raises
    ------
    SpecError
        If there are fewer columns than directions, or a matrix has another number of rows.
    """
    if components is None:
        return None
    if isinstance(components, int):
        if components > width:
            raise SpecError(
                f"components={components} of {width} mediator columns; ask for at most {width}, or "
                "None to use the columns as they are"
            )
        drawn = np.random.default_rng(seed).standard_normal((width, components))
        return np.asarray(np.linalg.qr(drawn)[0])
    given = np.array(components, dtype=np.float64)
    if given.shape[0] != width:
        raise SpecError(
            f"components is a matrix of {given.shape[0]} rows, but the study has {width} mediator "
            "columns (text columns count one for each category but the first)"
        )
    return given


def checked(components: Any) -> int | Matrix | None:
    """Return ``components`` as a count, a matrix of plain numbers, or None.

    Raises
    ------
    SpecError
        If it is none of them.
    """
    if components is None:
        return None
    if isinstance(components, int) and not isinstance(components, bool):
        if components < 1:
            raise SpecError(f"components is at least 1, got {components}")
        return components
    try:
        matrix = np.array(components, dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.ndim != 2 or matrix.size == 0 or not np.isfinite(matrix).all():
        raise SpecError(
            "components is a whole number, or a matrix of finite numbers with one row for each "
            f"mediator column, got {str(components)[:80]}"
        )
    return tuple(tuple(float(v) for v in row) for row in matrix)


def pairs(study: TableStudy, cells: Sequence[Cell], levels: Array) -> list[Pair]:
    """Positions of the levels of each cell ``Y(a, M(b))``.

    Raises
    ------
    DesignError
        If a cell puts mediators under different levels, fixes one or asks for no mean.
    """
    found, at = [], {float(v): j for j, v in enumerate(levels)}
    for cell in cells:
        path = route(study, cell, "LearnedMediator")
        regimes = [cell.regime(name) for name in study.path.mediators]
        if any(r != regimes[0] for r in regimes):
            raise DesignError(
                f"LearnedMediator takes all mediators as one vector, but {cell} puts them under "
                "different levels; use MultiplyRobust or Regression for paths through some of them"
            )
        found.append((at[path.levels[-1]], at[path.levels[0]]))
    return found

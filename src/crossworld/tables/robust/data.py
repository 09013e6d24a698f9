"""A table study as arrays for learners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossworld.core.expression import MEAN, Cell
from crossworld.core.regime import Draw
from crossworld.errors import DesignError
from crossworld.tables.roles import DISCRETE
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Arrays:
    """Covariates and mediators in one matrix, so that a conditioning set is a view of it.

    Parameters
    ----------
    x
        Shape (n, p): covariates, then the mediator blocks in causal order.
    width
        Columns of ``x`` before each block ends: ``width[0]`` covariates, ``width[k]`` with the
        first k blocks.
    arm
        Treatment values, (n,).
    y
        Outcome, (n,).
    weights
        Row weights, or None.
    levels
        All treatment values.
    """

    x: Array
    width: tuple[int, ...]
    arm: Array
    y: Array
    weights: Array | None
    levels: Array

    @property
    def binary(self) -> bool:
        """Whether the outcome is 0/1."""
        return bool(np.isin(self.y, (0.0, 1.0)).all())

    def given(self, blocks: int) -> Array:
        """Covariates and the first ``blocks`` mediator blocks: a view."""
        return self.x[:, : self.width[blocks]]


def arrays(study: TableStudy, method: str, *, discrete: bool = True) -> Arrays:
    """Lay out a study; text columns become indicators of all but their first category.

    Raises
    ------
    DesignError
        If the treatment is continuous, unless ``discrete`` is False, or the study has
        intermediate confounders.
    """
    if not isinstance(study, TableStudy):
        raise DesignError(f"{method} needs a TableStudy, got {type(study).__name__}")
    values = np.array(study.treatment.distinct())
    if discrete and len(values) > DISCRETE:
        raise DesignError(
            f"{method} contrasts two levels of a discrete treatment, but {study.path.treatment!r} "
            f"has {len(values)} values; use Regression, or cut it into groups"
        )
    parts, width = [_coded(study, study.adjust)], []
    if study.intermediate:
        raise DesignError(
            f"{method} has no effects with intermediate confounders; name them as an earlier "
            "mediator block, or use Regression"
        )
    width.append(parts[0].shape[1])
    for block in study.blocks:
        parts.append(_coded(study, block))
        width.append(width[-1] + parts[-1].shape[1])
    return Arrays(
        np.ascontiguousarray(np.concatenate(parts, axis=1)),
        tuple(width),
        study.treatment.values,
        study.outcome,
        study.weights,
        values,
    )


def _coded(study: TableStudy, names: Sequence[str]) -> Array:
    columns: list[Array] = []
    for name in names:
        column = study.table[name]
        if column.labels is None:
            columns.append(column.values)
        else:
            codes = range(1, len(column.labels))
            columns += [(column.values == code).astype(np.float64) for code in codes]
    return np.column_stack(columns) if columns else np.empty((len(study), 0))


@dataclass(frozen=True, slots=True)
class Route:
    """A cell as runs of equal levels along the causal order, ending with the outcome's.

    ``levels[r]`` is the level of run r and ``ends[r]`` how many mediator blocks stand before the
    next run, so that stage r regresses on the covariates and the first ``ends[r]`` blocks.
    """

    levels: tuple[float, ...]
    ends: tuple[int, ...]

    @property
    def runs(self) -> int:
        """Number of runs."""
        return len(self.levels)


def route(study: TableStudy, cell: Cell, method: str) -> Route:
    """Write a cell as runs: ``Y(1, M(0))`` is ``(0, 1)``, ``Y(1)`` is ``(1,)``.

    Raises
    ------
    DesignError
        If the cell fixes a mediator, or asks for another functional than the mean.
    """
    if cell.functional != MEAN:
        raise DesignError(f"{method} estimates means; {cell} asks for another functional")
    sequence: list[float] = []
    for block in study.blocks:
        regime = cell.regime(block[0])
        if not isinstance(regime, Draw) and not _same_as_draw(study, cell):
            raise DesignError(
                f"{method} estimates cells with mediators drawn under a level; {cell} does not"
            )
        level = getattr(regime, "level", None)
        if level is None:
            raise DesignError(f"{method} does not fix mediators; use Regression for {cell}")
        sequence.append(study.level(level))
    sequence.append(study.level(cell.treatment))
    levels, ends = [sequence[0]], [0]
    for k, level in enumerate(sequence[1:], start=1):
        if level != levels[-1]:
            levels.append(level)
            ends.append(k)
    return Route(tuple(levels), tuple(ends))


def _same_as_draw(study: TableStudy, cell: Cell) -> bool:
    """Whether random draws have the law of natural ones: one draw of all mediators jointly."""
    return not study.intermediate and cell.is_joint

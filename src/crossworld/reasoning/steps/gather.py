"""From long tables of readouts to scores: one per question and cell, or one per rollout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crossworld.core.analysis import contrast
from crossworld.core.estimand import Estimand
from crossworld.core.expression import Cell
from crossworld.core.protocols import Array, Inference
from crossworld.core.scores import Scores
from crossworld.core.table import EffectTable
from crossworld.errors import DesignError, EstimationError

Codes = NDArray[np.int64]
Unit = Literal["question", "rollout"]
FEW = 10


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Scores and the questions they answer; the inference is chosen when effects are asked for.

    Parameters
    ----------
    scores
        One row per independent unit. ``diagnostics`` holds the null floors and what was left out.
    estimands
        The effects, steps in order.
    """

    scores: Scores
    estimands: tuple[Estimand, ...]

    def effects(
        self, inference: Inference, *, only: str | None = None, level: float = 0.95
    ) -> EffectTable:
        """Compute the effects.

        Parameters
        ----------
        inference
            ``Multiplier()`` for bands that hold for all steps at once; ``Wald()`` for one step
            that was named before the data were seen.
        only
            Keep the effects whose name starts so, such as ``"share"``: the family of the band.
        level
            Confidence level, of the whole family with a simultaneous band.

        Raises
        ------
        DesignError
            If no effect is named so.
        """
        asked = [e for e in self.estimands if only is None or e.name.startswith(only)]
        if not asked:
            names = ", ".join(e.name for e in self.estimands[:6])
            raise DesignError(f"no effect here is named {only!r}...; there are {names}, ...")
        return contrast(self.scores, asked, inference=inference, level=level)


def column(table: Any, name: str, role: str) -> NDArray[Any]:
    """Return a column of any frame or mapping of columns as an array."""
    names = [str(c) for c in (table.columns if hasattr(table, "columns") else table)]
    if name not in names:
        raise DesignError.missing_column(name, role, names)
    return np.asarray(table[name])


def numeric(table: Any, name: str, role: str) -> Array:
    """Return a column of finite numbers."""
    held = column(table, name, role)
    try:
        values = held.astype(np.float64)
    except (TypeError, ValueError):
        raise DesignError(f"{role} column {name!r} holds text such as {held[0]!r}") from None
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise DesignError(
            f"{role} column {name!r} lacks {bad} of {values.size} values; give unparsable answers "
            "the value they are to count as, or leave their rows out and say so"
        )
    return values


def coded(values: NDArray[Any]) -> tuple[Codes, tuple[str, ...]]:
    """Return codes 0..J-1 and their labels."""
    labels, codes = np.unique(values.astype(str), return_inverse=True)
    return codes.astype(np.int64), tuple(map(str, labels))


def cell_means(question: Codes, cell: Codes, outcome: Array, shape: tuple[int, int]) -> Array:
    """Mean outcome of every question in every cell, shape (questions, cells), NaN where none is."""
    flat = question * shape[1] + cell
    size = shape[0] * shape[1]
    count = np.bincount(flat, minlength=size).astype(np.float64)
    total = np.bincount(flat, weights=outcome, minlength=size)
    found = np.full(size, np.nan)
    np.divide(total, count, out=found, where=count > 0)
    return found.reshape(shape)


def question_scores(
    values: Array, cells: Sequence[Cell], diagnostics: Mapping[str, Any] | None = None
) -> Scores:
    r"""Scores of questions that need not be in every cell.

    With :math:`Q_k` of :math:`Q` questions in cell :math:`k`, a question in it scores
    :math:`\bar y_k + c_k (y_{qk} - \bar y_k)` and one that is not scores :math:`\bar y_k`, where
    :math:`c_k^2 = (Q / Q_k) (Q - 1) / (Q_k - 1)`: the mean is that of the questions in the cell
    and its squared standard error their variance over :math:`Q_k`. Every question is a cluster.

    Parameters
    ----------
    values
        Shape (questions, cells), NaN where a question is not in a cell.
    cells
        The cells.
    diagnostics
        What is to be told with the result.

    Raises
    ------
    EstimationError
        If fewer than two questions are in a cell.

    Examples
    --------
    >>> from crossworld.core.expression import Y
    >>> s = question_scores(np.array([[1.0, 2.0], [3.0, np.nan], [2.0, 4.0]]), (Y(1), Y(0)))
    >>> s.mean(Y(0)).value, round(s.mean(Y(0)).std_error, 6)
    (3.0, 1.0)
    """
    there = np.isfinite(values)
    count = there.sum(axis=0)
    if values.shape[0] < 2 or (count < 2).any():
        which = ", ".join(str(cells[int(k)]) for k in np.flatnonzero(count < 2)[:4])
        raise EstimationError(
            f"an interval needs at least 2 questions in every cell; too few are in {which}"
        )
    total = values.shape[0]
    mean = np.where(there, values, 0.0).sum(axis=0) / count
    stretch = np.sqrt(total / count * (total - 1) / (count - 1))
    scores = np.where(there, mean + stretch * (values - mean), mean)
    told = dict(diagnostics or {})
    few = [str(cells[int(k)]) for k in np.flatnonzero((count < FEW) & (count < total))]
    if few:
        text = f"fewer than {FEW} questions stand behind {len(few)} cells, such as {few[0]}"
        told["warnings"] = [*told.get("warnings", ()), text]
    return Scores(scores, tuple(cells), np.arange(total, dtype=np.int64), diagnostics=told)


def rollout_scores(
    entries: tuple[Codes, Codes, Codes],
    outcome: Array,
    *,
    cells: Sequence[Cell],
    diagnostics: Mapping[str, Any] | None = None,
) -> Scores:
    r"""Scores of independent rollouts, for the questions at hand and no others.

    The mean of cell :math:`k` is the plain mean over its :math:`Q_k` questions of the mean of
    their rollouts; its squared standard error is
    :math:`Q_k^{-2} \sum_q s_{qk}^2 / n_{qk}` with :math:`s_{qk}^2` the variance of the
    :math:`n_{qk}` rollouts of a question. A rollout may stand in several cells and is one row of
    the scores, so their covariance is there. Nothing is claimed beyond these questions.

    Parameters
    ----------
    entries
        Row (rollout), question and cell of every entry, each of shape (e,).
    outcome
        Outcome of every row, shape (n,).
    cells
        The k cells.
    diagnostics
        What is to be told with the result.

    Raises
    ------
    EstimationError
        If a question has a single rollout in a cell.
    """
    row, question, cell = entries
    shape, n = (int(question.max()) + 1, len(cells)), outcome.size
    count = np.bincount(question * shape[1] + cell, minlength=shape[0] * shape[1]).reshape(shape)
    if (count == 1).any():
        q, k = np.argwhere(count == 1)[0]
        raise EstimationError(
            f"question {q} has one rollout in {cells[int(k)]}; with unit='rollout' the spread "
            "within every question is needed, so give at least 2"
        )
    means = cell_means(question, cell, outcome[row], shape)
    questions, size = (count > 0).sum(axis=0), count[question, cell]
    stretch = n / (questions[cell] * size) * np.sqrt(size / (size - 1))
    scores = np.tile(np.nanmean(means, axis=0), (n, 1))
    scores[row, cell] += stretch * (outcome[row] - means[question, cell])
    return Scores(scores, tuple(cells), diagnostics=dict(diagnostics or {}))

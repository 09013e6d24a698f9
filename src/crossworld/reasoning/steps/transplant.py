"""The transplant curve: reasoning of one prompt, shown piece by piece under the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from crossworld.core.estimand import Estimand
from crossworld.core.expression import Cell, Y
from crossworld.core.protocols import Array
from crossworld.core.regime import M
from crossworld.errors import DesignError, SpecError
from crossworld.reasoning.steps.gather import (
    Measured,
    cell_means,
    coded,
    column,
    numeric,
    question_scores,
)

TENTHS = tuple(round(0.1 * i, 1) for i in range(11))


def first(share: float) -> Cell:
    """Return ``Y(0, M(1, "first s"))``: the first share of the active prompt's reasoning."""
    return Y(0, M(1, f"first {share:g}"))


def transplant(
    table: Any, *, question: str, position: str, outcome: str, grid: Sequence[float] = TENTHS
) -> Measured:
    r"""How the answer follows the active prompt's reasoning as more of it is transplanted.

    .. math:: g(s) = E[Y(0, M(1)_{\le s})], \qquad
              \text{rise}(s, t) = g(t) - g(s), \qquad
              \text{share}(s, t) = \text{rise}(s, t) / \text{rise}(s_0, s_1)

    The model answers under the reference prompt after the first share s of the reasoning sampled
    under the active one, and goes on by itself. From nothing to all of it the curve rises by the
    indirect effect ``Y(0, M(1)) - Y(0)``; the shares of its pieces add up to 1, so that "this
    tenth carries 31 % of the effect" has a meaning for all tenths at once.

    Parameters
    ----------
    table
        One row per readout, or per question and position with their mean.
    question, position, outcome
        Names of the columns. Positions count steps; a question's first position becomes share
        0 and its last share 1, with straight lines between the positions it has.
    grid
        Increasing shares of the reasoning, in [0, 1].

    Returns
    -------
    Measured
        ``curve(s)`` for every share, ``rise(s, t)`` and ``share(s, t)`` of every piece, and the
        rise of the whole. Questions are the clusters.

    Raises
    ------
    SpecError
        If the grid does not increase within [0, 1].
    DesignError
        If a question has one position only.

    Notes
    -----
    Traces that were selected because the hint worked, and that end in the answer, rise to almost 1
    by selection: the end of such a curve is not the effect in all questions.

    References
    ----------
    Macar, Bogdan, Rajamanoharan and Nanda (2025). Thought Branches. arXiv:2510.27484.

    Examples
    --------
    >>> from crossworld.infer.wald import Wald
    >>> rows = {"q": list("abcdefghij") * 3, "at": [0] * 10 + [1] * 10 + [2] * 10}
    >>> rows["y"] = [0.1, 0.2] * 5 + [0.3, 0.6] * 5 + [0.9, 1.0] * 5
    >>> held = transplant(rows, question="q", position="at", outcome="y", grid=(0, 0.5, 1))
    >>> table = held.effects(Wald(), only="share")
    >>> round(table["share(0, 0.5)"].estimate, 3), round(table["share(0.5, 1)"].estimate, 3)
    (0.375, 0.625)
    """
    shares = [float(s) for s in grid]
    increasing = all(s < t for s, t in pairwise(shares))
    if len(shares) < 2 or not increasing or shares[0] < 0.0 or shares[-1] > 1.0:
        raise SpecError(f"the grid increases within [0, 1], got {tuple(grid)!r}")
    curves = _curves(table, question, position, outcome=outcome, grid=np.array(shares))
    cells = [first(s) for s in shares]
    total = cells[-1] - cells[0]
    pieces = [(f"{s:g}, {t:g}", first(t) - first(s)) for s, t in pairwise(shares)]
    asked = [Estimand(f"curve({s:g})", first(s)) for s in shares]
    asked += [Estimand(f"rise({name})", piece) for name, piece in pieces]
    if len(pieces) > 1:
        asked.append(Estimand(f"rise({shares[0]:g}, {shares[-1]:g})", total))
        asked += [Estimand(f"share({name})", piece / total) for name, piece in pieces]
    return Measured(question_scores(curves, cells), tuple(asked))


def _curves(table: Any, question: str, position: str, *, outcome: str, grid: Array) -> Array:
    """Curve of every question at the shares of the grid, (questions, grid)."""
    codes, labels = coded(column(table, question, "question"))
    where, place = np.unique(numeric(table, position, "position"), return_inverse=True)
    means = cell_means(
        codes, place.astype(np.int64), numeric(table, outcome, "outcome"), (len(labels), where.size)
    )
    found = np.empty((len(labels), grid.size))
    for q, row in enumerate(means):
        at = where[np.isfinite(row)]
        if at.size < 2:
            raise DesignError(
                f"question {labels[q]!r} has one position ({at[0]:g}); a curve needs at least two"
            )
        found[q] = np.interp(grid, (at - at[0]) / (at[-1] - at[0]), row[np.isfinite(row)])
    return found

"""Cells paired within questions: scores, and standard errors clustered in two ways."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crossworld.core.estimate import Codes, Estimate
from crossworld.core.expression import Cell, Expr
from crossworld.core.scores import Scores
from crossworld.core.student import critical, two_sided
from crossworld.reasoning.cells import Array, Coded, Index, Mask, row_weights, unit_means

if TYPE_CHECKING:
    from crossworld.reasoning.study import ReasoningStudy

LEVEL = 0.95
DIGITS = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Paired:
    """Question means of the cells, for the questions that have them all.

    Parameters
    ----------
    values
        Shape (n, k).
    kept
        Shape (n,), positions in the study's units.
    absent
        Shape (units, k): which units of the study lack which cell.
    cluster
        Codes 0..J-1 of independent units, shape (n,).
    weights
        Shape (n,), or None; with several groups a question counts once, however many it is in.
    """

    values: Array
    kept: Index
    absent: Mask
    cluster: Codes
    weights: Array | None

    def as_scores(self, cells: Sequence[Cell]) -> Scores:
        """Return them as scores."""
        return Scores(self.values, tuple(cells), self.cluster, self.weights)


def pair(study: ReasoningStudy, masks: Sequence[Mask], outcome: Array) -> Paired:
    """Average the readouts of every cell within a question and keep the complete questions."""
    table = study.table
    means = np.column_stack([unit_means(table, mask, outcome) for mask in masks])[study.units]
    absent = np.isnan(means)
    kept = np.flatnonzero(~absent.any(axis=1))
    _, questions, groups = table.units()
    chosen = study.units[kept]
    weights = None
    code = kept  # every copy of a question in a resample is a question of its own
    if groups is not None and table.crossed:
        code = questions[chosen]
        count = np.bincount(code, minlength=questions.max() + 1)[code]
        weights = None if (count == count[:1]).all() else count.mean() / count
    elif groups is not None and study.by_group:
        code = groups[chosen]
    cluster = np.unique(code, return_inverse=True)[1].astype(np.int64)
    return Paired(means[kept], kept, absent, cluster, weights)


def estimate_of(expr: Expr, scores: Scores) -> Estimate:
    """Estimate of an expression over the cells of scores."""
    found = expr.evaluate(scores.mean)
    assert isinstance(found, Estimate)
    return found


def told(estimate: Estimate, n: int) -> dict[str, float | int | None]:
    """An estimate with its interval, as a result tells it; no limits from fewer than 2 clusters."""
    groups = 0 if estimate.cluster is None else int(estimate.cluster.max()) + 1
    low, high = estimate.interval(LEVEL) if groups > 1 else (None, None)
    return {"estimate": estimate.value, "conf_low": low, "conf_high": high, "questions": n}


def two_way(
    study: ReasoningStudy,
    masks: Sequence[Mask],
    outcome: Array,
    *,
    weights: Mapping[int, float],
    second: Coded,
) -> dict[str, float | int | None]:
    r"""Standard error of a contrast that generalises over questions and a second cluster.

    With :math:`\phi_r` the contribution of readout :math:`r` to the contrast,

    .. math:: \widehat V = \tfrac{J}{J-1} \sum_q \Big(\sum_{r \in q} \phi_r\Big)^2
              + \tfrac{G}{G-1} \sum_g \Big(\sum_{r \in g} \phi_r\Big)^2
              - \tfrac{I}{I-1} \sum_{q, g} \Big(\sum_{r \in q, g} \phi_r\Big)^2 ,

    never less than either one-way variance, with Student's t on ``min(J, G) - 1`` degrees of
    freedom.

    Parameters
    ----------
    study
        The study.
    masks
        Rows of every cell.
    outcome
        Shape (readouts,).
    weights
        Coefficient of each cell in the contrast, by position.
    second
        The second cluster of every readout.

    Returns
    -------
    dict
        ``estimate, std_error, conf_low, conf_high, p_value, clusters`` and ``spread``, the
        standard deviation of the contrast over the second clusters (None where some lack a cell).

    References
    ----------
    Cameron, Gelbach and Miller (2011). Robust inference with multiway clustering. Journal of
    Business and Economic Statistics 29.
    """
    paired = pair(study, masks, outcome)
    table = study.table
    unit, questions, _ = table.units()
    mass = np.ones(paired.kept.size) if paired.weights is None else paired.weights
    share = np.bincount(
        study.units[paired.kept], weights=mass / mass.sum(), minlength=questions.size
    )
    psi, value = np.zeros(len(table)), 0.0
    for j, c in weights.items():
        rows = share[unit] * row_weights(table, masks[j])
        mean = float(rows @ np.where(masks[j], outcome, 0.0))
        psi += c * rows * np.where(masks[j], outcome - mean, 0.0)
        value += c * mean
    used = np.flatnonzero(np.any([masks[j] for j in weights], axis=0) & (share[unit] > 0))
    q, g = table.question.codes[used], second.codes[used]
    sums = [_squares(psi[used], code) for code in (q, g, q * len(second.labels) + g)]
    groups = sums[1][1]
    spread = _spread(study, masks, outcome, weights=weights, second=second)
    if groups < 2:
        return {"estimate": value, "std_error": None, "clusters": groups, "spread": spread}
    (by_q, n_q), (by_g, n_g), (by_both, _) = sums
    error = math.sqrt(max(by_q + by_g - by_both, by_q, by_g))
    df = min(n_q, n_g) - 1
    half = critical(LEVEL, df) * error
    return {
        "estimate": value,
        "std_error": error,
        "conf_low": value - half,
        "conf_high": value + half,
        "p_value": two_sided(value / error, df) if error > DIGITS else None,
        "clusters": groups,
        "spread": spread,
    }


def _squares(psi: Array, code: Index) -> tuple[float, int]:
    """Cluster variance of a sum, and the number of clusters."""
    at = np.unique(code, return_inverse=True)[1].reshape(-1)
    sums = np.bincount(at, weights=psi)
    return float(sums @ sums) * sums.size / max(sums.size - 1, 1), int(sums.size)


def by_second(
    study: ReasoningStudy,
    masks: Sequence[Mask],
    outcome: Array,
    *,
    weights: Mapping[int, float],
    second: Coded,
) -> dict[str, float | None]:
    """The contrast from the readouts of each second cluster alone, None where a cell lacks."""
    found: dict[str, float | None] = {}
    for code, name in enumerate(second.labels):
        inside = [masks[j] & (second.codes == code) for j in weights]
        means = np.column_stack([unit_means(study.table, m, outcome) for m in inside])
        means = means[study.units]
        complete = ~np.isnan(means).any(axis=1)
        total = means[complete] @ np.array(list(weights.values()))
        found[name] = float(total.mean()) if complete.any() else None
    return found


def _spread(
    study: ReasoningStudy,
    masks: Sequence[Mask],
    outcome: Array,
    *,
    weights: Mapping[int, float],
    second: Coded,
) -> float | None:
    each = by_second(study, masks, outcome, weights=weights, second=second)
    values = [v for v in each.values() if v is not None]
    return float(np.std(values, ddof=1)) if len(values) > 1 else None

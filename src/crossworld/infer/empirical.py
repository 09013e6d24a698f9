"""Rows from replicates: quantiles, spread, and the share beyond the null."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crossworld.core.estimand import Estimand
from crossworld.core.expression import Cell, Expr, Op
from crossworld.core.protocols import Array, Inferred
from crossworld.core.scores import Scores
from crossworld.core.table import Effect
from crossworld.errors import (
    EstimationError,
    FitWarning,
    RatioWarning,
    SmallSampleWarning,
    SpecError,
)
from crossworld.infer.wald import NO_QUOTIENT, NOISE, divides_by_zero

MIN_DRAWS = 20
MOST = 10_000_000
FAILED_SHARE = 0.05


def check_draws(draws: object) -> None:
    """Refuse a number of replicates from which no quantile can be read."""
    if isinstance(draws, bool) or not isinstance(draws, int | np.integer) or draws < MIN_DRAWS:
        raise SpecError(f"draws must be a whole number of at least {MIN_DRAWS}, got {draws!r}")
    if draws > MOST:
        raise SpecError(f"draws must be at most {MOST:,}, got {draws!r}")


def plain_integers(inference: object) -> None:
    """Turn whole numbers of numpy in the fields of an inference into Python's own."""
    for name in ("draws", "seed", "workers"):
        given = getattr(inference, name)
        if isinstance(given, np.integer):
            object.__setattr__(inference, name, int(given))


def draws_of(estimands: Sequence[Estimand], cells: Sequence[Cell], means: Array) -> Array:
    """Evaluate estimands on (B, k) replicates of the cells: shape (effects, B)."""
    return np.array([_evaluate(e.expr, cells, means) for e in estimands])


def _evaluate(expr: Expr, cells: Sequence[Cell], means: Array) -> Array:
    at = {cell: j for j, cell in enumerate(cells)}
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.broadcast_to(expr.evaluate(lambda c: means[:, at[c]]), means.shape[:1])


def summarise(
    estimands: Sequence[Estimand],
    scores: Scores,
    means: Array,
    *,
    level: float,
    method: str,
    at: Array | None = None,
) -> Inferred:
    """Read every row off the (B, k) replicates of its cells.

    The p value is twice the smaller share of replicates on either side of the null, with one
    added to count and draws, so it is never 0.

    Parameters
    ----------
    at
        Probabilities to read the limits at, shape (effects, 2); the tails of ``level`` by default.
    """
    tails = np.array([0.5 - level / 2.0, 0.5 + level / 2.0])
    usable = np.isfinite(means).all(axis=1)
    failed = int((~usable).sum())
    told = _failures(means.shape[0], failed)
    point = draws_of(estimands, scores.cells, scores.means()[None, :])[:, 0]
    draws = draws_of(estimands, scores.cells, means[usable])
    rows = []
    for j, estimand in enumerate(estimands):
        if not np.isfinite(point[j]):
            told.append((RatioWarning, _no_value(estimand, scores)))
            rows.append(Effect(estimand.name, None, None, None, None, None, method))
            continue
        kept = draws[j][np.isfinite(draws[j])]
        if kept.size < MIN_DRAWS:
            raise EstimationError(f"{estimand.name} is not finite in nearly every replicate")
        if kept.std() <= NOISE * means[usable].std(axis=0).max():
            held = float(point[j])
            value = 0.0 if abs(point[j]) <= NOISE * np.abs(scores.means()).max() else held
            rows.append(Effect(estimand.name, value, 0.0, value, value, None, method))
            told.append((FitWarning, f"{estimand.name} is the same in every replicate: no test"))
            continue
        low, high = np.quantile(kept, tails if at is None else at[j])
        beyond = min(np.sum(kept <= estimand.null), np.sum(kept >= estimand.null))
        p_value = min(1.0, 2.0 * (1.0 + float(beyond)) / (1.0 + kept.size))
        spread = float(kept.std(ddof=1))
        rows.append(
            Effect(estimand.name, float(point[j]), spread, float(low), float(high), p_value, method)
        )
        told += _denominator(estimand, scores.cells, means[usable])
    return Inferred(tuple(rows), scores, tuple(told), failed)


def _no_value(estimand: Estimand, scores: Scores) -> str:
    """Say why an estimand has no value at the estimates themselves."""
    if divides_by_zero(estimand, scores.mean):
        return NO_QUOTIENT.format(estimand.name)
    return f"{estimand.name} has no finite value at the estimates of its cells"


def _failures(total: int, failed: int) -> list[tuple[type[Warning], str]]:
    if total - failed < MIN_DRAWS:
        raise EstimationError(
            f"{failed} of {total} replicates could not be fitted, too few are left for an "
            "interval; the data may be too small or too sparse for these models"
        )
    if failed > FAILED_SHARE * total:
        return [
            (
                SmallSampleWarning,
                f"{failed} of {total} replicates could not be fitted and are left out; the "
                "interval describes only resamples in which the models could be fitted",
            )
        ]
    return []


def _denominator(
    estimand: Estimand, cells: Sequence[Cell], means: Array
) -> list[tuple[type[Warning], str]]:
    """Warn when replicates of a quotient's denominator lie on both sides of 0."""
    expr = estimand.expr
    if not (isinstance(expr, Op) and expr.symbol == "/" and estimand.null == 0.0):
        return []
    kept = _evaluate(expr.right, cells, means)
    share = float(min(np.mean(kept <= 0.0), np.mean(kept >= 0.0)))
    if share < 0.025:
        return []
    return [
        (
            RatioWarning,
            f"{estimand.name}: the denominator changes sign in {share:.0%} of the replicates, so "
            "the quotient is poorly determined and its percentile limits are not to be trusted",
        )
    ]

"""Intervals for families of mean effects that are too large for cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimate import Estimate
from crossworld.core.student import critical
from crossworld.core.table import Effect
from crossworld.infer.multiplier import METHOD, Band, Multiplier, max_t

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


def means(values: Any, cluster: Codes | None) -> list[Estimate]:
    """Estimates of the means of columns, with the influence of every pair."""
    centre = values.mean(axis=0)
    return [Estimate(float(m), values[:, j] - m, cluster) for j, m in enumerate(centre)]


def std_errors(values: Any, cluster: Codes | None) -> Floats:
    """Standard errors of the means of columns, (k,)."""
    n = values.shape[0]
    centred = values - values.mean(axis=0)
    factor = 1.0
    if cluster is not None:
        groups = int(cluster.max()) + 1
        summed = np.zeros((groups, values.shape[1]))
        np.add.at(summed, cluster, centred)
        centred, factor = summed, groups / max(groups - 1, 1)
    found: Floats = np.sqrt(factor * (centred**2).sum(axis=0)) / n
    return found


def band(values: Any, cluster: Codes | None, inference: Multiplier, *, level: float) -> Band:
    """Find the critical value with which all columns' intervals hold at once."""
    return max_t(means(values, cluster), inference, level=level)


def rows(
    terms: Sequence[str],
    values: Any,
    cluster: Codes | None,
    *,
    level: float,
    shared: Band | None = None,
) -> tuple[Effect, ...]:
    """Rows of mean effects with Wald intervals, or those of a band."""
    found = []
    for term, one in zip(terms, means(values, cluster), strict=True):
        error = one.std_error
        if shared is None:
            half = critical(level, one.df) * error
            p = one.p_value() if error > 0 else None
        else:
            half = shared.critical_value * error
            p = shared.p_value(one.value / error) if error > 0 else None
        low, high = one.value - half, one.value + half
        how = "wald" if shared is None else METHOD
        found.append(Effect(term, one.value, error, low, high, p, how))
    return tuple(found)

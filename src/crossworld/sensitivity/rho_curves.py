"""One effect along rho: its curve, its exact zero, and where its interval covers zero."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from crossworld.core.student import critical
from crossworld.sensitivity.rho_models import Lines, RhoModel

Array = NDArray[np.float64]
Ranges = tuple[tuple[float, float], ...]
_SCAN = 121  # points of the search for crossings, even in atanh(rho)


@dataclass(frozen=True, slots=True, eq=False)
class RhoCurve:
    """One effect at every correlation.

    Parameters
    ----------
    term
        ``nie``, ``pnie``, ``nde`` or ``tnde``.
    rho
        Correlations, shape (k,).
    estimate, std_error, conf_low, conf_high
        The effect at each, shape (k,); NaN where the models cannot hold.
    zero
        The correlation at which the effect is zero, or None when there is none.
    covers
        Ranges of rho in which the interval covers zero.
    """

    term: str
    rho: Array
    estimate: Array
    std_error: Array
    conf_low: Array
    conf_high: Array
    zero: float | None
    covers: Ranges


def row(model: RhoModel, term: str, rho: float, level: float) -> tuple[float, float, float, float]:
    """Estimate, standard error and limits at one correlation."""
    found = model.effect(term, rho)
    if math.isnan(found.value):
        return (math.nan,) * 4
    return found.value, found.std_error, *found.interval(level)


def curve_of(model: RhoModel, term: str, points: Array, level: float) -> RhoCurve:
    """Tabulate an effect and find where it, and where its interval, meets zero."""
    rows = [row(model, term, float(v), level) for v in points]
    estimate, std_error, low, high = np.array(rows).T
    if isinstance(model, Lines):
        zero, covers = _straight(model, term, level)
    else:
        zero, covers = _searched(model, term, level)
    return RhoCurve(term, points, estimate, std_error, low, high, zero, covers)


def _straight(model: Lines, term: str, level: float) -> tuple[float | None, Ranges]:
    """Solve a line and the quadratic inequality of its squared t statistic, both in r."""
    start, rise = model.lines[term]
    if rise.value == 0.0:
        return None, ()
    zero = -start.value / rise.value
    size = critical(level, start.df) ** 2
    a = rise.value**2 - size * rise.covariance(rise)
    b = start.value * rise.value - size * start.covariance(rise)
    c = start.value**2 - size * start.covariance(start)
    inside = b**2 - a * c
    if inside <= 0.0:
        return _correlation(zero), ((-1.0, 1.0),)
    # the form that does not cancel when one root is much larger
    far = -(b + math.copysign(math.sqrt(inside), b))
    ends = sorted(
        _correlation(v) for v in (far / a if a else math.copysign(math.inf, far), c / far)
    )
    if a > 0.0:
        return _correlation(zero), ((ends[0], ends[1]),)
    return _correlation(zero), ((-1.0, ends[0]), (ends[1], 1.0))


def _correlation(r: float) -> float:
    return r / math.hypot(1.0, r) if math.isfinite(r) else math.copysign(1.0, r)


def _searched(model: RhoModel, term: str, level: float) -> tuple[float | None, Ranges]:
    """Bracket every crossing on a scan that is dense near -1 and 1, then refine it."""
    scan = np.tanh(np.linspace(-1.0, 1.0, _SCAN) * math.atanh(model.reach))
    scan[0], scan[-1] = -model.reach, model.reach
    size = critical(level, model.effect(term, 0.0).df) ** 2

    @cache
    def moments(rho: float) -> tuple[float, float]:
        found = model.effect(term, rho)
        return found.value, found.value**2 - size * found.covariance(found)

    def value(rho: float) -> float:
        return moments(rho)[0]

    def surplus(rho: float) -> float:
        return moments(rho)[1]

    zeros = _crossings(value, scan)
    zero = min(zeros, key=abs) if zeros else None
    ends = _crossings(surplus, scan)
    known = [v for v in map(float, scan) if not math.isnan(surplus(v))]
    cuts = [known[0], *ends, known[-1]]
    inside = [surplus(0.5 * (a + b)) < 0.0 for a, b in pairwise(cuts)]
    spans = [(a, b) for (a, b), held in zip(pairwise(cuts), inside, strict=True) if held]
    return zero, tuple((float(a), float(b)) for a, b in spans)


def _crossings(function: Callable[[float], float], scan: Array) -> list[float]:
    from scipy.optimize import brentq

    values = [function(float(v)) for v in scan]
    found = [float(v) for v, f in zip(scan, values, strict=True) if f == 0.0]
    for (a, b), (fa, fb) in zip(pairwise(scan), pairwise(values), strict=True):
        if fa * fb < 0.0:
            found.append(float(brentq(function, a, b, xtol=1e-14, rtol=1e-14)))
    return sorted(found)

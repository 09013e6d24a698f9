"""Confidence sets for sums of absolute values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimate import Estimate
from crossworld.core.student import critical
from crossworld.infer.fieller import Quotient, invert

SPENT = 0.1  # share of the error probability that is spent on signs
MOST = 12  # signs that are left open one by one
UNBOUNDED = "every value from 0 up is compatible with the data"

Floats = NDArray[np.float64]


def absolute(terms: Sequence[Estimate], denominator: Estimate, level: float = 0.95) -> Quotient:
    r"""Confidence set of :math:`\sum_k |T_k| / |D|`.

    An absolute value has no derivative at 0, so neither the delta method nor the plain bootstrap
    holds where some :math:`T_k` is within error of 0, and the estimate is too large there. With the
    signs :math:`s_k` of :math:`T_k / D` given, the sum is a quotient of means,
    :math:`\sum_k s_k T_k / D`, with Fieller's set. The set here is the hull of those of all
    patterns of signs that the data do not exclude. Of the error probability :math:`\alpha` a tenth
    is spent on signs: one counts as known where a one-sided test at :math:`\alpha / 10` over the
    number of terms and the denominator (Bonferroni) says so; the quotients get the rest. It holds
    wherever the means are normal, however near to 0, and it is little wider than Fieller's set
    where all signs are clear. It is unbounded when the denominator may be 0.

    Parameters
    ----------
    terms, denominator
        Estimates from the same units.
    level
        Confidence level.

    Notes
    -----
    The true pattern :math:`s` is among those that are left with probability
    :math:`1 - \alpha / 10`, and its own set, which has nothing to do with the estimated signs,
    covers with probability :math:`1 - 9 \alpha / 10`. With more than twelve open signs the set is
    the sum of simultaneous sets (Bonferroni) of the quotients :math:`|T_k / D|`.

    References
    ----------
    Fang and Santos (2019). Inference on directionally differentiable functions. Review of Economic
    Studies 86 (why the bootstrap fails).

    Examples
    --------
    >>> import numpy as np
    >>> u, v = np.tile([1.0, -1.0], 50), np.repeat([1.0, -1.0], 50)
    >>> d = Estimate(10.0, v)
    >>> clear = absolute([Estimate(2.0, u), Estimate(-3.0, u)], d)  # 5 / 10, and u cancels
    >>> round(clear.low, 2), round(clear.high, 2)
    (0.49, 0.51)
    >>> near = absolute([Estimate(0.1, u), Estimate(-0.1, u)], d)  # signs may be other than that
    >>> round(near.low, 2), round(near.high, 2)
    (0.0, 0.04)
    """
    varying = [t for t in terms if t.std_error > 0.0]
    fixed = sum(abs(t.value) for t in terms if t.std_error == 0.0)
    spent = SPENT * (1.0 - level)
    sure = critical(1.0 - 2.0 * spent / (len(varying) + 1), denominator.df)
    known = [abs(t.value) > sure * t.std_error for t in varying]
    if len(known) - sum(known) > MOST:
        return _summed(terms, denominator, level)
    signed = fixed * (1.0 if denominator.value >= 0.0 else -1.0)
    low, high = _hull(
        varying, denominator, _patterns(varying, known, denominator), signed,
        critical(level + spent, denominator.df),
    )  # fmt: skip
    if low is None or high is None:
        return Quotient(None, None, UNBOUNDED)
    if abs(denominator.value) <= sure * denominator.std_error:  # all signs may be the other ones
        low, high = 0.0, max(abs(low), abs(high))
    return Quotient(max(low, 0.0), high)


def _patterns(terms: Sequence[Estimate], known: Sequence[bool], denominator: Estimate) -> Floats:
    """Signs of the terms over the denominator, (patterns, terms): both where they are not known."""
    side = 1.0 if denominator.value >= 0.0 else -1.0
    found = np.array([[side if t.value >= 0.0 else -side for t in terms]])
    for k, sure in enumerate(known):
        if not sure:
            other = found.copy()
            other[:, k] *= -1.0
            found = np.concatenate([found, other])
    return found


def _hull(
    terms: Sequence[Estimate], denominator: Estimate, signs: Floats, fixed: float, c: float
) -> tuple[float | None, float | None]:
    """Smallest and largest limit of Fieller's sets of ``(signs @ terms + fixed) / denominator``."""
    held = [*terms, denominator]
    v = np.array([[one.covariance(other) for other in held] for one in held])
    n = signs @ np.array([t.value for t in terms]) + fixed
    d = denominator.value
    c2 = c * c
    a = d * d - c2 * float(v[-1, -1])
    if a <= 0.0:
        return None, None
    b = n * d - c2 * (signs @ v[:-1, -1])
    rest = n * n - c2 * ((signs @ v[:-1, :-1]) * signs).sum(axis=1)
    root = np.sqrt(np.clip(b * b - a * rest, 0.0, None))
    return float(((b - root) / a).min()), float(((b + root) / a).max())


def _summed(terms: Sequence[Estimate], denominator: Estimate, level: float) -> Quotient:
    c = critical(1.0 - (1.0 - level) / len(terms), denominator.df)
    sets = [invert(term, denominator, c) for term in terms]
    return projected([(s.low, s.high) for s in sets], [1.0] * len(sets))


def projected(
    limits: Sequence[tuple[float | None, float | None]],
    weights: Sequence[float],
    *,
    centre: float = 0.0,
) -> Quotient:
    r"""Project a simultaneous band of :math:`x_k` to limits of :math:`\sum_k w_k |x_k - m|`.

    They hold whenever the band does, and there are none when it is unbounded.

    Parameters
    ----------
    limits
        Of every :math:`x_k`.
    weights
        Not negative.
    centre
        The m.

    Examples
    --------
    >>> found = projected([(-1.0, 2.0), (3.0, 4.0)], [1.0, 0.5])
    >>> found.low, found.high
    (1.5, 4.0)
    """
    low = high = 0.0
    for (below, above), weight in zip(limits, weights, strict=True):
        if below is None or above is None or not math.isfinite(above - below):
            return Quotient(None, None, UNBOUNDED)
        low += weight * max(below - centre, centre - above, 0.0)
        high += weight * max(abs(below - centre), abs(above - centre))
    return Quotient(low, high)

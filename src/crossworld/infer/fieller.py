"""Confidence sets for quotients."""

from __future__ import annotations

import math
from dataclasses import dataclass

from crossworld.core.estimate import Estimate
from crossworld.core.student import critical


@dataclass(frozen=True, slots=True)
class Quotient:
    """A Fieller set: limits, or None with the reason when it is unbounded."""

    low: float | None
    high: float | None
    reason: str | None = None


def fieller(numerator: Estimate, denominator: Estimate, level: float = 0.95) -> Quotient:
    r"""Confidence set of ``numerator / denominator`` by inverting a test.

    The set holds every :math:`\rho` that the test of :math:`N - \rho D = 0` does not reject:

    .. math:: (N - \rho D)^2 \le c^2 (V_{NN} - 2 \rho V_{ND} + \rho^2 V_{DD}).

    It is an interval when ``D`` differs from 0 at the level, else it is unbounded: the whole line
    or the outside of an interval. The denominator may be exactly 0: the quotient then has no value,
    and the set is there all the same.

    Parameters
    ----------
    numerator, denominator
        Estimates from the same units.
    level
        Confidence level.

    References
    ----------
    Fieller, E. C. (1954). Some problems in interval estimation. JRSS-B 16.

    Examples
    --------
    >>> import numpy as np
    >>> u = np.array([-1.0, 1.0, -1.0, 1.0])
    >>> q = fieller(Estimate(2.0, u), Estimate(10.0, u[::-1]))
    >>> round(q.low, 3), round(q.high, 3)
    (0.093, 0.33)
    """
    return invert(numerator, denominator, critical(level, numerator.df))


def invert(numerator: Estimate, denominator: Estimate, critical_value: float) -> Quotient:
    """Fieller's set at a critical value that is given, such as that of a simultaneous band."""
    c2 = critical_value**2
    n, d = numerator.value, denominator.value
    a = d * d - c2 * denominator.covariance(denominator)
    b = n * d - c2 * numerator.covariance(denominator)
    c = n * n - c2 * numerator.covariance(numerator)
    if a == 0.0:
        return _degenerate(b, c)
    if a < 0.0:
        inside = b * b - a * c
        if inside <= 0.0:
            return Quotient(None, None, "every value is compatible with the data")
        one, two = (b + math.sqrt(inside)) / a, (b - math.sqrt(inside)) / a
        low, high = min(one, two), max(one, two)
        return Quotient(
            None, None, f"every value outside ({low:.4g}, {high:.4g}) is compatible with the data"
        )
    root = math.sqrt(max(b * b - a * c, 0.0))
    return Quotient((b - root) / a, (b + root) / a)


def _degenerate(b: float, c: float) -> Quotient:
    r"""Return the set where the inequality has no square: :math:`c - 2 b \rho \le 0`.

    A half line; without a slope (a denominator that is 0 and does not vary) all or nothing.
    """
    if b == 0.0:
        which = "every value" if c <= 0.0 else "no value"
        return Quotient(None, None, f"{which} is compatible with the data")
    side = "above" if b > 0.0 else "below"
    return Quotient(
        None, None, f"every value {side} {c / (2.0 * b):.4g} is compatible with the data"
    )

"""Normal and Student's t probabilities for whole degrees of freedom, in numpy alone."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np

_NORMAL = NormalDist()
_LARGE = 100_000  # beyond this t and normal agree to 1e-5 of a tail probability


def two_sided(statistic: float, df: float = math.inf) -> float:
    """Probability that ``|T| > |statistic|`` with ``df`` degrees of freedom (inf: normal).

    The finite series of Abramowitz and Stegun (1964), 26.7.3 and 26.7.4, for whole ``df``.
    """
    t = abs(statistic)
    if math.isinf(df) or df > _LARGE:
        return math.erfc(t / math.sqrt(2.0))
    n = int(df)
    theta = math.atan(t / math.sqrt(n))
    cos2 = math.cos(theta) ** 2
    if n % 2:
        inside = 2.0 * theta / math.pi
        if n > 1:
            k = np.arange(1, (n - 3) // 2 + 1)
            terms = np.concatenate([[1.0], np.cumprod(2.0 * k / (2.0 * k + 1.0) * cos2)])
            inside += 2.0 / math.pi * math.sin(theta) * math.cos(theta) * float(terms.sum())
    else:
        k = np.arange(1, (n - 2) // 2 + 1)
        terms = np.concatenate([[1.0], np.cumprod((2.0 * k - 1.0) / (2.0 * k) * cos2)])
        inside = math.sin(theta) * float(terms.sum())
    return min(max(1.0 - inside, 0.0), 1.0)


@lru_cache(maxsize=1024)
def critical(level: float, df: float = math.inf) -> float:
    """Return the value that ``|T|`` stays under with probability ``level``."""
    z = _NORMAL.inv_cdf(0.5 + level / 2.0)
    if math.isinf(df) or df > _LARGE:
        return z
    low, high = 0.0, max(2.0 * z, 2.0)
    while two_sided(high, df) > 1.0 - level:
        high *= 2.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if two_sided(middle, df) > 1.0 - level else (low, middle)
    return 0.5 * (low + high)

"""Verdicts on repeated refutations, with stated rates of false alarm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossworld.core.student import two_sided

Array = NDArray[np.float64]
ALPHA = 0.002  # chance of a false alarm of each of the two tests of a placebo
MARGIN = 0.25  # standard deviations by which a mean may be off without it mattering
TWICE = 2.0  # times its nominal rate that a test may reject without it mattering
FEWEST = 10  # reruns under which nothing is judged


@dataclass(frozen=True, slots=True)
class Centre:
    """Where reruns lie.

    Parameters
    ----------
    mean, spread
        Mean and standard deviation of the reruns.
    p_value
        Of the hypothesis that they are centred where they should be (t test).
    low, high
        The central part of them, at the analysis' level.
    """

    mean: float
    spread: float
    p_value: float
    low: float
    high: float
    wanted: float

    @property
    def off(self) -> bool:
        """Whether the centre is off by more than chance and by more than matters."""
        return self.p_value < ALPHA and abs(self.mean - self.wanted) > MARGIN * self.spread


def centre(values: Array, wanted: float, level: float) -> Centre:
    """Say where reruns lie and whether they are centred at ``wanted``."""
    mean, spread = float(values.mean()), float(values.std(ddof=1))
    size = max(abs(wanted), float(np.abs(values).max()))
    if spread <= 1e-12 * size or spread == 0.0:
        p_value = 1.0 if abs(mean - wanted) <= 1e-9 * max(size, 1e-300) else 0.0
    else:
        p_value = two_sided((mean - wanted) / spread * math.sqrt(values.size), values.size - 1)
    tail = 0.5 - level / 2.0
    low, high = (float(v) for v in np.quantile(values, (tail, 1.0 - tail)))
    return Centre(mean, spread, p_value, low, high, wanted)


@dataclass(frozen=True, slots=True)
class Rejections:
    """How often the analysis found an effect where there is none.

    Parameters
    ----------
    count, total
        Intervals that exclude the null, of how many.
    nominal
        The rate that the confidence level promises.
    p_value
        Chance of at least as many at the nominal rate.
    """

    count: int
    total: int
    nominal: float
    p_value: float

    @property
    def too_many(self) -> bool:
        """Whether they are more than chance and more than matters."""
        return self.p_value < ALPHA and self.count > TWICE * self.nominal * self.total


def rejections(excluded: Sequence[bool], level: float) -> Rejections:
    """Count intervals that exclude the null against the rate they promise."""
    from scipy.stats import binom

    count, total, nominal = sum(excluded), len(excluded), 1.0 - level
    return Rejections(count, total, nominal, float(binom.sf(count - 1, total, nominal)))

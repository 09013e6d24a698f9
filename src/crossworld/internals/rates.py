"""Intervals for shares and means over pairs, with clusters and for several at once."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimate import Codes, Estimate
from crossworld.core.student import critical, two_sided
from crossworld.core.table import Effect, EffectTable

Vector = NDArray[np.float64]


def codes(labels: Sequence[Hashable | None] | None) -> Codes | None:
    """Cluster codes 0..J-1 of labels, None when there are none."""
    if labels is None or all(label is None for label in labels):
        return None
    order: dict[Hashable, int] = {}
    found = [order.setdefault(label, len(order)) for label in labels]
    return np.array(found, dtype=np.int64)


def regroup(cluster: Codes | None, rows: NDArray[np.int64]) -> Codes | None:
    """Cluster codes of some of the units, numbered from 0."""
    return None if cluster is None else np.unique(cluster[rows], return_inverse=True)[1]


def mean(values: Vector, cluster: Codes | None = None) -> Estimate:
    """Mean of independent units, with its influence."""
    value = float(np.mean(values))
    return Estimate(value, np.asarray(values, dtype=np.float64) - value, cluster)


def family_level(level: float, family: int) -> float:
    r"""Pointwise level at which a family of intervals holds at once.

    .. math:: 1 - \alpha' = (1 - \alpha)^{1/k}

    Sidak's inequality makes this safe for two-sided intervals of jointly normal estimates whatever
    their correlation.

    References
    ----------
    Sidak (1967). Rectangular confidence regions for the means of multivariate normal
    distributions. JASA 62.
    """
    return level if family <= 1 else float(level ** (1.0 / family))


def wilson(share: float, units: float, z: float) -> tuple[float, float]:
    r"""Score interval of a share.

    .. math:: \frac{\hat p + z^2/2n \pm z\sqrt{\hat p(1-\hat p)/n + z^2/4n^2}}{1 + z^2/n}

    Parameters
    ----------
    share
        Observed share.
    units
        Number of units, or the effective number.
    z
        Critical value.

    References
    ----------
    Wilson (1927). Probable inference, the law of succession, and statistical inference. JASA 22.

    Examples
    --------
    >>> [round(limit, 4) for limit in wilson(1.0, 100, 1.959964)]
    [0.963, 1.0]
    """
    shrink = 1.0 + z * z / units
    centre = (share + z * z / (2.0 * units)) / shrink
    spread = share * (1.0 - share) / units + z * z / (4.0 * units * units)
    half = z * math.sqrt(max(spread, 0.0)) / shrink
    low = 0.0 if share <= 0.0 else max(centre - half, 0.0)
    return low, 1.0 if share >= 1.0 else min(centre + half, 1.0)


def exact(share: float, units: float, tail: float) -> tuple[float, float]:
    r"""Return the Clopper-Pearson interval of a share, whose coverage is never too small.

    With x = share * units hits, the limits are the ``tail`` quantile of Beta(x, n - x + 1) and the
    ``1 - tail`` quantile of Beta(x + 1, n - x).

    References
    ----------
    Clopper & Pearson (1934). The use of confidence or fiducial limits illustrated in the case of
    the binomial. Biometrika 26.

    Examples
    --------
    >>> [round(limit, 4) for limit in exact(1.0, 100, 0.025)]
    [0.9638, 1.0]
    """
    from scipy.special import betaincinv

    x = share * units
    low = 0.0 if share <= 0.0 else float(betaincinv(x, units - x + 1.0, tail))
    high = 1.0 if share >= 1.0 else float(betaincinv(x + 1.0, units - x, 1.0 - tail))
    return low, high


def rate(
    term: str,
    hits: Vector,
    *,
    cluster: Codes | None = None,
    level: float = 0.95,
    family: int = 1,
) -> Effect:
    r"""Share of hits with an exact interval.

    Shares near 1 are what is hoped for here, and there score intervals cover too little, most of
    all at the high levels of a family; so these are Clopper and Pearson's. With clusters, Korn and
    Graubard's: the same at the effective number of units

    .. math:: n^* = \min\Big(n,\ \frac{\hat p (1 - \hat p)}{\widehat{\operatorname{se}}^2}
              \frac{z^2}{t_{J-1}^2}\Big) ;

    when all or none are hits their dependence cannot be seen, and the clusters count as the units.

    Parameters
    ----------
    term
        Name of the row.
    hits
        0 or 1, (n,).
    cluster
        Codes, None when the pairs are independent.
    level, family
        All ``family`` intervals hold at once with this probability.

    References
    ----------
    Korn & Graubard (1998). Confidence intervals for proportions with small expected number of
    positive counts estimated from survey data. Survey Methodology 24.
    """
    found = mean(hits, cluster)
    share, units = found.value, float(len(hits))
    pointwise = family_level(level, family)
    if cluster is not None:
        ratio = critical(pointwise) / critical(pointwise, found.df)
        spread = found.std_error**2
        seen = share * (1.0 - share) / spread if spread > 0.0 else float(cluster.max()) + 1.0
        units = min(units, seen * ratio**2)
    low, high = exact(share, units, 0.5 * (1.0 - pointwise))
    method = "exact" if cluster is None else "korn-graubard"
    return Effect(term, share, found.std_error, low, high, None, method)


def mean_effect(
    term: str, found: Estimate, *, level: float = 0.95, family: int = 1, null: float | None = 0.0
) -> Effect:
    """Row of a mean: Student's t over units or, with clusters, over clusters.

    Without clusters the standard error carries n / (n - 1) and t has n - 1 degrees of freedom.
    The p value is Bonferroni's over the family, None without a ``null``. A mean that does not vary
    between units has no interval and no p value: nothing that was sampled could differ, or too
    little was.
    """
    units = found.influence.size
    scaled = found
    df = found.df
    if found.cluster is None and units > 1:
        scaled = Estimate(found.value, found.influence * math.sqrt(units / (units - 1)))
        df = float(units - 1)
    error = scaled.std_error
    size = abs(found.value)
    if units < 2 or error <= 1e-9 * size or error == 0.0:
        return Effect(term, found.value, error, None, None, None, "none: no variation")
    half = critical(family_level(level, family), df) * error
    p_value = (
        None if null is None else min(1.0, family * two_sided((found.value - null) / error, df))
    )
    return Effect(term, found.value, error, found.value - half, found.value + half, p_value, "t")


def paired_difference(
    term: str,
    first: Vector,
    second: Vector,
    *,
    cluster: Codes | None = None,
    level: float = 0.95,
    family: int = 1,
) -> Effect:
    r"""Difference of two shares of the same units.

    Without clusters, the adjusted Wald interval of Bonett and Price: with
    :math:`\tilde p_{12} = (n_{12} + 1)/(n + 2)`,

    .. math:: \tilde p_{12} - \tilde p_{21} \pm
              z\sqrt{(\tilde p_{12} + \tilde p_{21} - (\tilde p_{12} - \tilde p_{21})^2)/(n + 2)} ,

    which stays wide when all pairs agree; with clusters Student's t over clusters.

    References
    ----------
    Bonett & Price (2012). Adjusted Wald confidence interval for a difference of binomial
    proportions based on paired data. Journal of Educational and Behavioral Statistics 37.
    """
    found = mean(first - second, cluster)
    if cluster is not None:
        return mean_effect(term, found, level=level, family=family)
    n = float(len(first))
    up = (float(np.sum((first > 0.5) & (second < 0.5))) + 1.0) / (n + 2.0)
    down = (float(np.sum((first < 0.5) & (second > 0.5))) + 1.0) / (n + 2.0)
    half = critical(family_level(level, family)) * math.sqrt(
        (up + down - (up - down) ** 2) / (n + 2.0)
    )
    low, high = max(up - down - half, -1.0), min(up - down + half, 1.0)
    return Effect(term, found.value, found.std_error, low, high, None, "bonett-price")


def unpaired_difference(
    term: str, first: Vector, second: Vector, *, level: float = 0.95, family: int = 1
) -> Effect:
    """Difference of two shares of different units: Newcombe's hybrid of two Wilson intervals.

    References
    ----------
    Newcombe (1998). Interval estimation for the difference between independent proportions:
    comparison of eleven methods. Statistics in Medicine 17 (method 10).
    """
    z = critical(family_level(level, family))
    p, q = float(np.mean(first)), float(np.mean(second))
    (low_p, high_p), (low_q, high_q) = wilson(p, len(first), z), wilson(q, len(second), z)
    low = p - q - math.hypot(p - low_p, high_q - q)
    high = p - q + math.hypot(high_p - p, q - low_q)
    error = math.sqrt(p * (1 - p) / len(first) + q * (1 - q) / len(second))
    return Effect(term, p - q, error, low, high, None, "newcombe")


def tabled(
    rows: Iterable[Effect],
    heading: str,
    *,
    units: tuple[int, Codes | None],
    level: float = 0.95,
    family: int = 1,
    warnings: Sequence[str] = (),
) -> EffectTable:
    """Make a result of rows over the same units.

    Parameters
    ----------
    rows
        The rows.
    heading
        What was done, in one line.
    units
        Number of pairs, and their cluster codes.
    level, family
        All ``family`` intervals hold at once with this probability; 1 for each by itself.
    warnings
        What should be known before the numbers are used.
    """
    n, cluster = units
    groups = n if cluster is None else int(cluster.max()) + 1
    counted = f"{n:,} units" if cluster is None else f"{n:,} units in {groups:,} clusters"
    together = f", all {family} intervals hold at once" if family > 1 else ""
    lines = (heading, f"{counted}{together}")
    told = {"warnings": list(warnings), "level": level, "heading": list(lines), "n_units": n,
            "n_clusters": groups, "overlap": None, "failed_replicates": None}  # fmt: skip
    if family > 1:
        told["simultaneous"] = {"adjustment": "sidak", "family": family}
    return EffectTable(tuple(rows), level, lines, diagnostics=told)

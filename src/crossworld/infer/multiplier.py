"""Simultaneous bands: one critical value for every effect that is reported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from crossworld.core.estimand import Estimand
from crossworld.core.estimate import Estimate, by_cluster
from crossworld.core.expression import Op
from crossworld.core.protocols import Array, Fit, Inferred, Progress
from crossworld.core.scores import Scores
from crossworld.core.student import critical, two_sided
from crossworld.core.table import Effect
from crossworld.errors import EstimationError, RatioWarning, SpecError
from crossworld.infer.empirical import check_draws, plain_integers
from crossworld.infer.fieller import invert
from crossworld.infer.replicates import blocks, run
from crossworld.infer.wald import (
    NO_QUOTIENT,
    Warn,
    divides_by_zero,
    sampling_error,
    without_noise,
)

KINDS = ("gaussian", "rademacher", "mammen", "exponential")
METHOD = "simultaneous"
_GOLDEN = (1.0 + math.sqrt(5.0)) / 2.0


@dataclass(frozen=True, slots=True)
class Multiplier:
    r"""Simultaneous confidence bands over all reported effects (multiplier bootstrap, max-t).

    With the influence :math:`\psi_{ij}` of independent unit (row or declared cluster) :math:`i` on
    effect :math:`j` and multipliers :math:`\xi_i` of mean 0 and variance 1, every draw computes

    .. math:: T^* = \max_j \Big| \sum_i \xi_i \psi_{ij} \Big| \Big/ \sqrt{\sum_i \psi_{ij}^2}

    and the critical value :math:`c` is the ``level`` quantile of :math:`T^*`. All intervals
    :math:`\hat\theta_j \pm c\,\widehat{\operatorname{se}}_j` hold at once with that probability.

    Parameters
    ----------
    draws
        Number of draws.
    kind
        Law of the multipliers: ``"gaussian"``, ``"rademacher"`` (signs), ``"mammen"`` (two points,
        third moment 1) or ``"exponential"`` (unit exponential minus 1: Bayesian bootstrap).
    seed
        Seed; the same seed gives the same numbers for any number of workers.
    workers
        Threads that compute blocks of draws.

    Notes
    -----
    ``std_error`` is the pointwise one. ``p_value`` is adjusted for the family of all rows by the
    single-step max-t method: the share of draws whose :math:`T^*` reaches the row's statistic,
    with one added to count and draws. It is at most ``1 - level`` exactly when the row's limits
    leave out the null. No limit is tighter, and no p value smaller, than the pointwise one.

    Ratio scales are studentised on the log scale and transformed back; quotients (``pm``) are
    Fieller sets at the simultaneous critical value, their p value tests the numerator. With
    declared clusters the standard errors carry J / (J - 1) and every draw is divided by the root of
    a chi-square over its J - 1 degrees of freedom, so that a family of one effect has Student's t.
    Given the data, Gaussian multipliers make the statistics exactly multivariate normal, so they
    are drawn from that law and the cost of a draw does not grow with the number of units.

    References
    ----------
    Chernozhukov, Chetverikov and Kato (2013). Gaussian approximations and multiplier bootstrap for
    maxima of sums of high-dimensional random vectors. Annals of Statistics 41. Westfall and Young
    (1993). Resampling-based multiple testing. Wiley.

    Examples
    --------
    >>> import numpy as np
    >>> from crossworld import M, NDE, NIE, TE, Scores, Y, contrast
    >>> values = np.random.default_rng(0).normal(size=(200, 3)) + [1.0, 1.5, 2.0]
    >>> scores = Scores(values, (Y(0), Y(1, M(0)), Y(1)))
    >>> band = contrast(scores, [TE, NDE, NIE], inference=Multiplier(draws=2000))
    >>> 1.96 < band.diagnostics["critical_value"] < 2.39  # above pointwise, below Bonferroni
    True
    """

    draws: int = 1000
    kind: Literal["gaussian", "rademacher", "mammen", "exponential"] = "gaussian"
    seed: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SpecError.unknown("kind of Multiplier", str(self.kind), KINDS)
        check_draws(self.draws)
        plain_integers(self)

    def infer(
        self,
        fit: Fit,
        estimands: Sequence[Estimand],
        *,
        level: float,
        progress: Progress | None = None,
    ) -> Inferred:
        """Studentise every effect, find the common critical value, read limits and p values."""
        scores = fit.scores
        told = sampling_error(scores)

        def warn(kind: type[Warning], text: str) -> None:
            told.append((kind, text))

        family = [_member(e, scores, warn) for e in estimands]
        band = max_t([m.pivot for m in family if m.pivot], self, level=level, progress=progress)
        rows = tuple(_row(m, band, warn) for m in family)
        names = [m.term for m in family if m.pivot is not None and m.pivot.std_error > 0.0]
        return Inferred(rows, scores, tuple(told), diagnostics=band.diagnostics(names, self))


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """What a family shares.

    Parameters
    ----------
    critical_value
        Half-width of every interval in standard errors.
    pointwise
        What it would be for one effect alone.
    df
        Degrees of freedom: J - 1 with declared clusters, else infinite.
    largest
        Sorted draws of the largest statistic, (draws,); empty when nothing varies.
    """

    critical_value: float
    pointwise: float
    df: float
    largest: Array

    def p_value(self, statistic: float) -> float:
        """Single-step adjusted p value of a studentised estimate."""
        size = abs(statistic)
        reached = self.largest.size - int(np.searchsorted(self.largest, size, side="left"))
        return max((1.0 + reached) / (1.0 + self.largest.size), two_sided(size, self.df))

    def diagnostics(self, terms: Sequence[str], options: Multiplier) -> dict[str, object]:
        """Return what a result tells about its band."""
        return {
            "critical_value": self.critical_value,
            "simultaneous": {
                "critical_value": self.critical_value,
                "pointwise_critical_value": self.pointwise,
                "adjustment": "single-step max-t",
                "kind": options.kind,
                "draws": options.draws,
                "family": list(terms),
            },
        }


def max_t(
    family: Sequence[Estimate],
    options: Multiplier,
    *,
    level: float,
    progress: Progress | None = None,
) -> Band:
    """Draw the largest studentised statistic of a family and find its critical value.

    Parameters
    ----------
    family
        Estimates from the same units; those that do not vary are left out.
    options
        How to draw.
    level
        Probability with which all intervals hold.
    progress
        Called with (done, total).

    Raises
    ------
    SpecError
        If the draws are too few for the level.
    """
    rank = math.ceil(level * (options.draws + 1) - 1e-9)
    if rank > options.draws:
        needed = math.ceil(level / (1.0 - level) - 1e-9)
        raise SpecError(
            f"{options.draws} draws cannot give a critical value at level {level:g}; use draws of "
            f"at least {needed}"
        )
    varying = [e for e in family if e.std_error > 0.0]
    if not varying:
        return Band(critical(level), critical(level), math.inf, np.empty(0))
    df = varying[0].df
    root = _root(varying, options.kind)

    def task(seed: np.random.SeedSequence, size: int) -> Array:
        rng = np.random.default_rng(seed)
        largest = np.abs(_multipliers(rng, options.kind, (size, len(root))) @ root).max(axis=1)
        if not math.isinf(df):
            largest = largest / np.sqrt(rng.chisquare(df, size) / df)
        return np.asarray(largest)[:, None]

    sizes = blocks(options.draws, len(root))
    drawn = run(task, sizes, seed=options.seed, workers=options.workers, progress=progress)
    largest = np.sort(drawn[:, 0])
    alone = critical(level, df)
    return Band(max(float(largest[rank - 1]), alone), alone, df, largest)


def _root(family: Sequence[Estimate], kind: str) -> Array:
    """Array R of shape (r, effects) with unit columns: multipliers times R are the statistics.

    A row per independent unit; for Gaussian multipliers, whose sums have a law that their
    covariance fixes, the root of the correlation matrix will do when it is smaller.
    """
    cluster = family[0].cluster
    columns = [e.influence if cluster is None else by_cluster(e.influence, cluster) for e in family]
    psi = np.column_stack(columns)
    psi = psi / np.sqrt((psi**2).sum(axis=0))
    if kind != "gaussian" or psi.shape[0] <= psi.shape[1]:
        return np.asarray(psi)
    values, vectors = np.linalg.eigh(psi.T @ psi)
    root: Array = np.sqrt(np.clip(values, 0.0, None))[:, None] * vectors.T
    return root


def _multipliers(rng: np.random.Generator, kind: str, shape: tuple[int, int]) -> Array:
    """Independent multipliers of mean 0 and variance 1."""
    if kind == "gaussian":
        return rng.standard_normal(shape)
    if kind == "exponential":
        return rng.standard_exponential(shape) - 1.0
    if kind == "rademacher":
        return 2.0 * rng.integers(2, size=shape).astype(np.float64) - 1.0
    low = rng.random(shape) < _GOLDEN / math.sqrt(5.0)
    return np.where(low, 1.0 - _GOLDEN, _GOLDEN)


@dataclass(frozen=True, slots=True, eq=False)
class _Member:
    """One row of the family: what is shown, and what is studentised (None: no interval).

    ``sides`` are the numerator and denominator of a quotient; ``logged`` says that the pivot lives
    on the log scale. ``shown`` is None where a denominator is exactly 0; such a quotient is left
    out of the family.
    """

    term: str
    null: float
    shown: Estimate | None
    pivot: Estimate | None
    sides: tuple[Estimate, Estimate] | None = None
    logged: bool = False


def _member(estimand: Estimand, scores: Scores, warn: Warn) -> _Member:
    expr, term, null = estimand.expr, estimand.name, estimand.null
    if divides_by_zero(estimand, scores.mean):
        warn(RatioWarning, f"{NO_QUOTIENT.format(term)} and is left out of the family")
        return _Member(term, null, None, None)
    shown = expr.evaluate(scores.mean)
    if not isinstance(shown, Estimate):
        raise SpecError(f"{estimand} involves no counterfactual cell")
    if isinstance(expr, Op) and expr.symbol == "/":
        if estimand.scale in ("ratio", "odds_ratio"):
            return _logged(term, shown, warn)
        numerator, denominator = expr.left.evaluate(scores.mean), expr.right.evaluate(scores.mean)
        if isinstance(numerator, Estimate) and isinstance(denominator, Estimate):
            return _Member(term, null, shown, shown, (numerator, denominator))
    shown = without_noise(shown, estimand, scores.mean, warn)
    return _Member(term, null, shown, shown)


def _logged(term: str, shown: Estimate, warn: Warn) -> _Member:
    try:
        return _Member(term, 0.0, shown, shown.log(), logged=True)
    except EstimationError:
        warn(
            RatioWarning,
            f"{term} is {shown.value:.4g}: a quotient that is not positive has no interval on the "
            "log scale, so it is left out of the family",
        )
        return _Member(term, 0.0, shown, None, logged=True)


def _row(member: _Member, band: Band, warn: Warn) -> Effect:
    shown, pivot = member.shown, member.pivot
    if shown is None:
        return Effect(member.term, None, None, None, None, None, METHOD)
    if pivot is None:
        return Effect(member.term, shown.value, shown.std_error, None, None, None, METHOD)
    tested = pivot if member.sides is None else member.sides[0]
    error = tested.std_error
    p_value = band.p_value((tested.value - member.null) / error) if error > 0.0 else None
    limits = _limits(member, pivot, band, warn)
    return Effect(member.term, shown.value, shown.std_error, *limits, p_value, METHOD)


def _limits(
    member: _Member, pivot: Estimate, band: Band, warn: Warn
) -> tuple[float | None, float | None]:
    if member.sides is None:
        half = band.critical_value * pivot.std_error
        low, high = pivot.value - half, pivot.value + half
        return (math.exp(low), math.exp(high)) if member.logged else (low, high)
    found = invert(*member.sides, band.critical_value)
    if found.reason is not None:
        half = band.critical_value * member.sides[1].std_error
        low, high = (member.sides[1].value + s * half for s in (-1.0, 1.0))
        warn(
            RatioWarning,
            f"{member.term}: the simultaneous interval of its denominator, [{low:.4g}, "
            f"{high:.4g}], covers 0, so the quotient is poorly determined; {found.reason}",
        )
    return found.low, found.high

"""Intervals and tests from influence functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from crossworld.core.estimand import Estimand
from crossworld.core.estimate import Estimate, by_cluster
from crossworld.core.expression import Cell, Op
from crossworld.core.protocols import Fit, Inferred, Progress
from crossworld.core.scores import Scores
from crossworld.core.table import Effect
from crossworld.errors import (
    DesignError,
    EstimationError,
    FitWarning,
    RatioWarning,
    SmallSampleWarning,
    SpecError,
)
from crossworld.infer.fieller import fieller

Warn = Callable[[type[Warning], str], None]
FEW_CLUSTERS = 10
IGNORED = (
    "{} trusts the models and ignores the declared clusters; use Wald() or Bootstrap for intervals "
    "that allow for them"
)
NO_QUOTIENT = "{}: its denominator is exactly 0, so the quotient has no value"
ROUNDING = 1e-14  # a difference of cells, beside them, that is 0
NOISE = 1e-10  # spread of an effect, beside that of its cells, that is rounding


@dataclass(frozen=True, slots=True)
class Wald:
    """Normal-theory intervals from the influence function.

    Parameters
    ----------
    small_sample
        ``"auto"``: with declared clusters, J / (J - 1) and Student's t with J - 1 degrees of
        freedom; otherwise no factor and normal quantiles. ``"none"``: normal quantiles and no
        factor throughout.
    vcov
        ``"sandwich"`` (HC0 type; by cluster when clusters are declared), ``"cluster"`` (the same,
        refused when no cluster is declared) or ``"classic"`` (model-based: coefficients'
        covariance from the likelihood, covariates held).

    Notes
    -----
    Differences use the plain interval; ``.ratio()`` and ``.odds_ratio()`` the log scale with null
    1; quotients of contrasts (``pm``) Fieller's set, whose p value tests the numerator.
    """

    small_sample: Literal["auto", "none"] = "auto"
    vcov: Literal["sandwich", "cluster", "classic"] = "sandwich"

    def __post_init__(self) -> None:
        choices = {"small_sample": ("auto", "none"), "vcov": ("sandwich", "cluster", "classic")}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise SpecError.unknown(f"{name} of Wald", str(getattr(self, name)), known)

    def infer(
        self,
        fit: Fit,
        estimands: Sequence[Estimand],
        *,
        level: float,
        progress: Progress | None = None,
    ) -> Inferred:
        """Turn scores into rows."""
        scores = fit.scores
        if scores.cluster is None and self.vcov == "cluster":
            raise DesignError(
                "vcov='cluster' needs declared clusters; build the study with cluster='column'"
            )
        told = sampling_error(scores, clustered=self.vcov != "classic")

        def mean(cell: Cell) -> Estimate:
            if self.vcov == "classic":
                return scores.classic_mean(cell)
            held = scores.mean(cell)
            return held if self.small_sample == "auto" else _plain(held)

        rows = [
            row(e, mean, level=level, warn=lambda kind, text: told.append((kind, text)))
            for e in estimands
        ]
        return Inferred(tuple(rows), scores, tuple(told))


def sampling_error(scores: Scores, *, clustered: bool = True) -> list[tuple[type[Warning], str]]:
    """Refuse scores whose spread is no sampling error; warn when few clusters carry it."""
    if not scores.influence:
        raise DesignError(
            "these scores are plug-in values without an influence function, so their spread "
            "is not sampling error; use Bootstrap"
        )
    if scores.cluster is None:
        return []
    check_clusters(scores)
    if not clustered:
        return [(FitWarning, IGNORED.format("vcov='classic'"))]
    if scores.n_clusters < FEW_CLUSTERS:
        return [(SmallSampleWarning, f"only {scores.n_clusters} clusters: intervals are rough")]
    return []


def check_clusters(scores: Scores) -> None:
    """Refuse declared clusters that are one: units of a single cluster say nothing of others."""
    if scores.cluster is not None and scores.n_clusters < 2:
        raise DesignError("an interval with declared clusters needs at least 2 clusters, found 1")


def _plain(estimate: Estimate) -> Estimate:
    """Sum influence by cluster and forget the clusters, so no factor and no t applies."""
    if estimate.cluster is None:
        return estimate
    total = by_cluster(estimate.influence, estimate.cluster)
    share = total.size / estimate.influence.size
    return replace(estimate, influence=np.asarray(total * share), cluster=None)


def row(
    estimand: Estimand, mean: Callable[[Cell], Estimate], *, level: float, warn: Warn
) -> Effect:
    """Infer one estimand from the estimates of its cells."""
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused by name
        return _row(estimand, mean, level, warn)


def _row(estimand: Estimand, mean: Callable[[Cell], Estimate], level: float, warn: Warn) -> Effect:
    expr = estimand.expr
    if isinstance(expr, Op) and expr.symbol == "/":
        if estimand.is_ratio:
            return _log_scale(estimand, mean, level, warn)
        numerator, denominator = expr.left.evaluate(mean), expr.right.evaluate(mean)
        if isinstance(numerator, Estimate) and isinstance(denominator, Estimate):
            if divides_by_zero(estimand, mean):
                return _no_quotient(estimand, numerator, denominator, level=level, warn=warn)
            return _quotient(estimand, numerator, denominator, level=level, warn=warn)
    estimate = expr.evaluate(mean)
    if not isinstance(estimate, Estimate):
        raise SpecError(f"{estimand} involves no counterfactual cell")
    estimate = without_noise(estimate, estimand, mean, warn)
    limits = estimate.interval(level)
    return _effect(estimand.name, estimate, limits, estimate.p_value(estimand.null), "wald")


def without_noise(
    estimate: Estimate, estimand: Estimand, mean: Callable[[Cell], Estimate], warn: Warn
) -> Estimate:
    """Set an influence that is rounding beside that of the cells to 0, and say so."""
    if not (math.isfinite(estimate.value) and math.isfinite(estimate.std_error)):
        raise EstimationError(f"{estimand.name} overflows; scale the expression down")
    held = [mean(cell) for cell in estimand.cells()]
    if estimate.std_error > NOISE * max(cell.std_error for cell in held):
        return estimate
    size = max(abs(cell.value) for cell in held)
    value = 0.0 if abs(estimate.value) <= NOISE * size else estimate.value
    warn(FitWarning, f"{estimand.name} is fixed by the models, not estimated: it has no test")
    return replace(estimate, value=value, influence=0.0 * estimate.influence)


def divides_by_zero(estimand: Estimand, mean: Callable[[Cell], Estimate]) -> bool:
    """Whether an estimand is a quotient whose denominator is estimated as 0, rounding apart."""
    expr = estimand.expr
    if not (isinstance(expr, Op) and expr.symbol == "/"):
        return False
    below = expr.right.evaluate(mean)
    if not isinstance(below, Estimate):
        return below == 0.0
    size = max(abs(mean(cell).value) for cell in estimand.cells())
    return abs(below.value) <= ROUNDING * size


def _log_scale(
    estimand: Estimand, mean: Callable[[Cell], Estimate], level: float, warn: Warn
) -> Effect:
    try:
        log = estimand.expr.evaluate(mean).log()
    except EstimationError:
        if divides_by_zero(estimand, mean):
            warn(RatioWarning, NO_QUOTIENT.format(estimand.name))
            return Effect(estimand.name, None, None, None, None, None, "log-wald")
        estimate = estimand.expr.evaluate(mean)
        warn(
            RatioWarning,
            f"{estimand.name} is {estimate.value:.4g}: a quotient that is not positive has no "
            "interval on the log scale",
        )
        return _effect(estimand.name, estimate, (None, None), None, "log-wald")
    low, high = (math.exp(v) for v in log.interval(level))
    natural = log.apply(math.exp, math.exp(log.value))
    return _effect(estimand.name, natural, (low, high), log.p_value(0.0), "log-wald")


def _quotient(
    estimand: Estimand, numerator: Estimate, denominator: Estimate, *, level: float, warn: Warn
) -> Effect:
    low, high = denominator.interval(level)
    found = fieller(numerator, denominator, level)
    if low <= 0.0 <= high:
        text = (
            f"{estimand.name}: the interval of its denominator, [{low:.4g}, {high:.4g}], covers "
            "0, so the quotient is poorly determined"
        )
        warn(RatioWarning, text if found.reason is None else f"{text}; {found.reason}")
    quotient = numerator / denominator
    return _effect(
        estimand.name, quotient, (found.low, found.high), numerator.p_value(0.0), "fieller"
    )


def _no_quotient(
    estimand: Estimand, numerator: Estimate, denominator: Estimate, *, level: float, warn: Warn
) -> Effect:
    """Fieller's set, in words, of a quotient that has no value; the test of its numerator stays."""
    reason = fieller(numerator, denominator, level).reason
    warn(RatioWarning, f"{NO_QUOTIENT.format(estimand.name)}; {reason}")
    p_value = numerator.p_value(0.0)
    tested = None if math.isnan(p_value) else p_value
    return Effect(estimand.name, None, None, None, None, tested, "fieller")


def _effect(
    term: str,
    estimate: Estimate,
    limits: tuple[float | None, float | None],
    p_value: float | None,
    method: str,
) -> Effect:
    exists = p_value is not None and not math.isnan(p_value)
    return Effect(
        term, estimate.value, estimate.std_error, *limits, p_value if exists else None, method
    )

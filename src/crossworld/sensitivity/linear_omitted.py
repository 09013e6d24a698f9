r"""Omitted-variable bias of the two links of a linear mediation, and of their product.

``a`` is the coefficient of the treatment in :math:`M \sim A + X`, ``b`` that of the mediator in
:math:`Y \sim A + M + X`; the indirect effect is ``a b`` and the direct effect ``c - a b``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.student import critical
from crossworld.errors import DesignError, EstimationError, SpecError
from crossworld.sensitivity.linear_coefficient import (
    Coefficient,
    LinearBenchmark,
    benchmark_strength,
)
from crossworld.sensitivity.tabular import aligned, check_level, plain
from crossworld.tables.robust.data import arrays
from crossworld.tables.study import TableStudy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
SHOWN = ("link", "estimate", "std_error", "t", "partial_r2", "rv", "rv_limit")


@dataclass(frozen=True, slots=True)
class Indirect:
    """Indirect and direct effect under confounders of given strengths.

    Parameters
    ----------
    nie
        Least and largest indirect effect ``a b``.
    nde
        Least and largest direct effect ``c - a b``, with the total effect as estimated; None when
        the treatment is confounded with the mediator, which may bias the total effect too.
    limits
        Of the indirect effect: least and largest confidence limit over the corners of the box.
    """

    nie: tuple[float, float]
    nde: tuple[float, float] | None
    limits: tuple[float, float]


@dataclass(frozen=True, slots=True)
class LinearOmitted:
    """What omitted confounders can do to a linear mediation: the result of `linear_omitted`.

    Parameters
    ----------
    a, b
        The links; ``a`` is the change of the mediator between the two levels.
    total
        The total effect between the levels.
    level
        Confidence level.
    heading
        The study in a line.
    """

    a: Coefficient
    b: Coefficient
    total: float
    level: float
    heading: str = ""

    def indirect(
        self, *, a: tuple[float, float] = (0.0, 0.0), b: tuple[float, float] = (0.0, 0.0)
    ) -> Indirect:
        """Bound the effects when each link may be confounded.

        Parameters
        ----------
        a
            Partial R2 of a treatment-mediator confounder with the treatment given the covariates
            and with the mediator given treatment and covariates; (0, 0) when the treatment is
            randomised.
        b
            Partial R2 of a mediator-outcome confounder with the mediator given treatment and
            covariates and with the outcome given all of them.

        Notes
        -----
        The two confounders are taken to be unrelated, each biasing its own link either way, and
        the one of mediator and outcome unrelated to the treatment given the covariates. The
        product over the box of links is least and largest at corners. Its standard error is
        ``sqrt(b^2 se_a^2 + a^2 se_b^2)``, and the lower limit is concave in each link, so
        corners are enough for limits as well.
        """
        z = critical(self.level)
        values, lows, highs = [], [], []
        for left in _ends(self.a, a):
            for right in _ends(self.b, b):
                value = left.estimate * right.estimate
                half = z * math.hypot(
                    right.estimate * left.std_error, left.estimate * right.std_error
                )
                values.append(value)
                lows.append(value - half)
                highs.append(value + half)
        nie = (min(values), max(values))
        known = self.a.bias(*a) == 0.0
        nde = (self.total - nie[1], self.total - nie[0]) if known else None
        return Indirect(nie, nde, (min(lows), max(highs)))

    def rows(self) -> list[dict[str, Any]]:
        """One row per link, and the indirect effect, as weak as its weaker link."""
        found: list[dict[str, Any]] = []
        for link in (self.a, self.b):
            low, high = link.interval(self.level)
            found.append(
                {
                    "link": link.name,
                    "estimate": link.estimate,
                    "std_error": link.std_error,
                    "conf_low": low,
                    "conf_high": high,
                    "t": link.t,
                    "partial_r2": link.partial_r2,
                    "rv": link.robustness(),
                    "rv_limit": link.robustness(level=self.level),
                }
            )
        product = self.indirect()
        half = (product.limits[1] - product.limits[0]) / 2.0
        error = half / critical(self.level)
        value = product.nie[0]
        found.append(
            {
                "link": "nie = a b",
                "estimate": value,
                "std_error": error,
                "conf_low": product.limits[0],
                "conf_high": product.limits[1],
                "t": value / error if error > 0.0 else None,
                "partial_r2": None,
                "rv": min(row["rv"] for row in found),
                "rv_limit": min(row["rv_limit"] for row in found),
            }
        )
        return found

    def benchmarks(self) -> list[dict[str, Any]]:
        """What confounders as strong as the benchmarks would leave of each link."""
        found: list[dict[str, Any]] = []
        for link in (self.a, self.b):
            for mark in link.benchmarks:
                row: dict[str, Any] = {"link": link.name, "as_strong_as": mark.label}
                row |= {"r2_regressor": mark.r2_regressor, "r2_outcome": mark.r2_outcome}
                left = None
                if mark.r2_regressor is not None and mark.r2_outcome is not None:
                    left = link.adjusted(mark.r2_regressor, mark.r2_outcome)
                low, high = (None, None) if left is None else left.interval(self.level)
                row |= {"estimate": None if left is None else left.estimate}
                row |= {"std_error": None if left is None else left.std_error}
                found.append(row | {"conf_low": low, "conf_high": high})
        return found

    def to_frame(self) -> Any:
        """Rows as a pandas frame."""
        import pandas as pd

        return pd.DataFrame(self.rows())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        found = {"links": self.rows(), "benchmarks": self.benchmarks(), "level": self.level}
        return {str(k): plain(v) for k, v in found.items()}

    def plot(self, ax: Axes | None = None, *, link: str = "b") -> Axes:
        """Contours of what is left of one link, ``"a"`` or ``"b"``."""
        if link not in ("a", "b"):
            raise SpecError.unknown("link", link, ("a", "b"))
        return (self.a if link == "a" else self.b).contours().plot(ax)

    def __str__(self) -> str:
        lines = [self.heading, aligned(self.rows(), SHOWN)]
        lines.append(
            "rv: partial R2 with both sides of a link that an omitted confounder needs to bring "
            f"its estimate to 0; rv limit: to make it insignificant at {self.level:.0%}"
        )
        marks = self.benchmarks()
        if marks:
            columns = ("link", "as_strong_as", "r2_regressor", "r2_outcome", "estimate")
            lines.append(aligned(marks, (*columns, "conf_low", "conf_high")))
        return "\n".join(line for line in lines if line)


def _ends(link: Coefficient, strength: tuple[float, float]) -> list[Coefficient]:
    if strength == (0.0, 0.0):
        return [link]
    return [link.adjusted(*strength), link.adjusted(*strength, toward_zero=False)]


def linear_omitted(
    study: TableStudy,
    *,
    benchmark: Mapping[str | tuple[str, ...], float] | Sequence[str] = (),
    level: float = 0.95,
) -> LinearOmitted:
    """Say how strong confounders must be to undo a linear mediation.

    Parameters
    ----------
    study
        One numeric mediator; no weights and no clusters, for which the algebra does not hold.
    benchmark
        Covariates to measure a confounder by: names, or names (or tuples of names, a group) with
        how many times as strong, ``{"age": 3}``.
    level
        Confidence level.

    Returns
    -------
    LinearOmitted
        Robustness values, partial R2, adjusted estimates, contours.

    Raises
    ------
    DesignError
        If there are several mediators, weights, clusters, or a benchmark is no covariate.
    EstimationError
        If a regression has no residual degrees of freedom or collinear columns.

    Notes
    -----
    Assumptions: both regressions are linear without interaction of treatment and mediator, errors
    have one variance, and what is omitted enters linearly.

    References
    ----------
    Cinelli and Hazlett (2020), "Making sense of sensitivity", JRSS-B 82.

    Examples
    --------
    >>> import crossworld as xw
    >>> from crossworld.sensitivity.linear_omitted import linear_omitted
    >>> found = linear_omitted(xw.datasets.linear(n=500, seed=1).study())
    >>> 0 < found.b.robustness(level=0.95) < found.b.robustness() < 1
    True
    """
    check_level(level)
    y, a, m, x, names = _columns(study)
    groups = _groups(study, names, benchmark)
    one = np.ones((y.size, 1))
    step = study.levels[1] - study.levels[0]
    first = ols(m, a, np.column_stack([one, x]), "a: treatment on mediator")
    second = ols(y, m, np.column_stack([one, a, x]), "b: mediator on outcome")
    whole = ols(y, a, np.column_stack([one, x]), "total")
    marks: dict[str, list[LinearBenchmark]] = {"a": [], "b": []}
    for covariates, multiple in groups:
        at = [j for j, name in enumerate(names) if name in covariates]
        rest = np.column_stack([one, np.delete(x, at, axis=1)])
        for link, (out, reg, given) in {
            "a": (m, a, rest),
            "b": (y, m, np.column_stack([rest, a])),
        }.items():
            pair = benchmark_strength(
                group_r2(reg, x[:, at], given),
                group_r2(out, x[:, at], np.column_stack([given, reg])),
                multiple=multiple,
            )
            marks[link].append(LinearBenchmark(covariates, multiple, *pair))
    scaled = replace(
        first,
        estimate=step * first.estimate,
        std_error=abs(step) * first.std_error,
        benchmarks=tuple(marks["a"]),
    )
    return LinearOmitted(
        scaled,
        replace(second, benchmarks=tuple(marks["b"])),
        step * whole.estimate,
        level,
        study.describe(),
    )


def _columns(study: TableStudy) -> tuple[Array, Array, Array, Array, list[str]]:
    """Outcome, treatment, mediator, covariates and the covariate of each column."""
    data = arrays(study, "linear_omitted", discrete=False)
    names = study.path.mediators
    if len(names) != 1 or data.width[1] - data.width[0] != 1:
        raise DesignError(
            f"linear_omitted takes one numeric or two-valued mediator, got {', '.join(names)}"
        )
    if study.weights is not None or study.cluster is not None:
        raise DesignError(
            "linear_omitted is algebra of unweighted least squares with classical errors; build "
            "the study without weights and cluster, or use omitted_confounding"
        )
    if study.treatment.is_text and len(study.treatment.distinct()) > 2:
        raise DesignError(
            f"linear_omitted needs a numeric or two-valued treatment; {study.path.treatment!r} has "
            f"{len(study.treatment.distinct())} categories"
        )
    owners: list[str] = []
    for name in study.adjust:
        labels = study.table[name].labels
        owners += [name] * (1 if labels is None else len(labels) - 1)
    return data.y, data.arm, data.x[:, data.width[0]], data.given(0), owners


def _groups(
    study: TableStudy,
    names: Sequence[str],
    benchmark: Mapping[str | tuple[str, ...], float] | Sequence[str],
) -> list[tuple[tuple[str, ...], float]]:
    given = [benchmark] if isinstance(benchmark, str) else benchmark
    times = given if isinstance(given, Mapping) else dict.fromkeys(given, 1.0)
    found = []
    for key, multiple in times.items():
        group = (key,) if isinstance(key, str) else tuple(key)
        for name in group:
            if name not in names:
                raise DesignError(
                    f"benchmark {name!r} is not a covariate of the study; those are "
                    f"{', '.join(study.adjust) or 'none'}"
                )
        if not multiple > 0.0:
            raise SpecError(f"a benchmark is a positive multiple of a covariate, got {multiple!r}")
        found.append((group, float(multiple)))
    return found


def residual(y: Array, x: Array) -> Array:
    """What least squares on ``x`` leaves of ``y``."""
    return np.asarray(y - x @ np.linalg.lstsq(x, y, rcond=None)[0])


def ols(y: Array, regressor: Array, given: Array, name: str) -> Coefficient:
    """Coefficient of one regressor given others (an intercept among them), (n, p)."""
    df = y.size - given.shape[1] - 1
    d = residual(regressor, given)
    power = float(d @ d)
    if df < 2 or power <= 1e-20 * float(regressor @ regressor):
        raise EstimationError(
            f"the regression for '{name}' has {df} residual degrees of freedom, or its regressor "
            "is a linear combination of the other columns"
        )
    left = residual(y, given)
    slope = float(d @ left) / power
    rss = float(((left - slope * d) ** 2).sum())
    if rss <= 0.0:
        raise EstimationError(f"the regression for '{name}' fits exactly; nothing is left over")
    return Coefficient(name, slope, math.sqrt(rss / df / power), df)


def group_r2(y: Array, group: Array, given: Array) -> float:
    """Partial R2 of a group of columns with ``y`` given others."""
    short = float((residual(y, given) ** 2).sum())
    long = float((residual(y, np.column_stack([given, group])) ** 2).sum())
    return max(1.0 - long / short, 0.0)

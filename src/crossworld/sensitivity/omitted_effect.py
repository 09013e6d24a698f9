"""One effect, and what a confounder of a given strength can do to it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crossworld.core.estimate import Estimate
from crossworld.core.student import critical
from crossworld.errors import SpecError

if TYPE_CHECKING:
    from crossworld.sensitivity.contour import Contours


@dataclass(frozen=True, slots=True)
class Strength:
    r"""How strong an omitted confounder is taken to be.

    Parameters
    ----------
    cy
        :math:`C_Y^2`, its partial :math:`R^2` with the outcome, in [0, 1]: of the residual
        variance of the outcome at the treatment levels whose outcome the effect's representer
        weighs, the share that it explains.
    cd
        :math:`1 - R^2_\alpha` in [0, 1): of the variance of the representer that knows it, the
        share that the representer without it misses.
    rho
        Correlation of the two errors, in [-1, 1]; 1 is the worst case.
    """

    cy: float = 0.03
    cd: float = 0.03
    rho: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.cy <= 1.0:
            raise SpecError(f"cy is a share of variance between 0 and 1, got {self.cy!r}")
        if not 0.0 <= self.cd < 1.0:
            raise SpecError(f"cd is a share of variance of at least 0 and under 1, got {self.cd!r}")
        if not -1.0 <= self.rho <= 1.0:
            raise SpecError(f"rho is a correlation between -1 and 1, got {self.rho!r}")

    @property
    def factor(self) -> float:
        """The bias over the scale S."""
        return abs(self.rho) * math.sqrt(self.cy * self.cd / (1.0 - self.cd))


@dataclass(frozen=True, slots=True)
class Benchmark:
    """How strong a confounder as strong as observed covariates would be.

    Parameters
    ----------
    covariates
        The covariates left out of every model.
    multiple
        How many times as strong as they.
    cy, cd
        The strengths this means, as in `Strength`; None where no confounder can be that strong.
    rho
        Correlation of the two errors when they are left out; None when they explain nothing.
    change
        How the estimate moves when they are left out.
    """

    covariates: tuple[str, ...]
    multiple: float
    cy: float | None
    cd: float | None
    rho: float | None
    change: float

    @property
    def label(self) -> str:
        """The name on a contour plot."""
        named = " + ".join(self.covariates)
        return named if self.multiple == 1.0 else f"{self.multiple:g} x {named}"


@dataclass(frozen=True, slots=True, eq=False)
class OmittedEffect:
    """One effect and what an omitted confounder can do to it.

    Parameters
    ----------
    term
        The effect's name.
    confounder
        ``"mediator-outcome"`` (the treatment stays ignorable given the covariates) or
        ``"treatment-outcome"``.
    theta
        The estimate with nothing omitted.
    spread
        The scale S of the bias, with its influence.
    sigma2, nu2
        Its parts: the outcome's residual variance and the representer's second moment.
    benchmarks
        Strengths of observed covariates.
    """

    term: str
    confounder: str
    theta: Estimate
    spread: Estimate
    sigma2: Estimate
    nu2: Estimate
    benchmarks: tuple[Benchmark, ...] = ()

    def bounds(self, strength: Strength) -> tuple[float, float]:
        """Least and largest effect under a confounder of this strength."""
        half = strength.factor * self.spread.value
        return self.theta.value - half, self.theta.value + half

    def limits(self, strength: Strength, level: float = 0.95) -> tuple[float, float]:
        """Interval that holds both bounds, hence the effect, with probability ``level``."""
        k, z = strength.factor, critical(level, self.theta.df)
        low, high = self.theta - k * self.spread, self.theta + k * self.spread
        return low.value - z * low.std_error, high.value + z * high.std_error

    def robustness(self, null: float = 0.0, rho: float = 1.0) -> float:
        r"""Smallest strength ``cy = cd`` at which a bound meets the null value.

        With :math:`f = |\theta - \theta_0| / (|\rho| S)` it is
        :math:`(\sqrt{f^4 + 4 f^2} - f^2) / 2`.
        """
        return equal_strength(abs(self.theta.value - null) / self.spread.value, rho)

    def robustness_limit(
        self, level: float = 0.95, *, null: float = 0.0, rho: float = 1.0
    ) -> float:
        """Smallest strength ``cy = cd`` at which a limit meets the null value; 0 when it has."""
        z2 = critical(level, self.theta.df) ** 2
        away = self.theta - null if self.theta.value >= null else null - self.theta
        s = self.spread
        c = away.value**2 - z2 * away.covariance(away)
        if c <= 0.0:
            return 0.0
        b = away.value * s.value - z2 * away.covariance(s)
        a = s.value**2 - z2 * s.covariance(s)
        root = math.sqrt(max(b * b - a * c, 0.0))
        return equal_strength(c / (b + root), rho)

    def contours(
        self, null: float = 0.0, *, level: float | None = None, most: float = 0.5, points: int = 61
    ) -> Contours:
        """Draw the bound nearest to the null value over strengths; with ``level``, its limit.

        Parameters
        ----------
        null
            The value of no effect.
        level
            Confidence level of the limit, or None for the bound itself.
        most
            Largest strength on either axis; benchmarks beyond it widen it.
        points
            Strengths on each axis.
        """
        from crossworld.sensitivity.contour import Contours

        marks = [(b.label, b.cd, b.cy) for b in self.benchmarks]
        held = tuple((t, x, y) for t, x, y in marks if x is not None and y is not None)
        most = min(max([most, *(1.2 * v for _, x, y in held for v in (x, y))]), 0.99)
        grid = np.linspace(0.0, most, points)
        k = np.sqrt(grid[:, None] * grid[None, :] / (1.0 - grid[None, :]))
        sign = 1.0 if self.theta.value >= null else -1.0
        values = self.theta.value - sign * k * self.spread.value
        if level is not None:
            t, s = self.theta, self.spread
            var = t.covariance(t) - 2 * sign * k * t.covariance(s) + k**2 * s.covariance(s)
            values = values - sign * critical(level, t.df) * np.sqrt(np.maximum(var, 0.0))
        what = "bound" if level is None else f"{level:.0%} limit"
        return Contours(
            x_name="1 - R2 of the representer",
            x=grid,
            y_name="partial R2 with the outcome",
            y=grid,
            values=values,
            threshold=null,
            marks=held,
            title=f"{self.term}: {what} under an omitted {self.confounder} confounder",
        )


def equal_strength(needed: float, rho: float = 1.0) -> float:
    """Strength ``r = cy = cd`` with ``|rho| r / sqrt(1 - r)`` equal to ``needed``."""
    if rho == 0.0 or math.isinf(needed):
        return 1.0
    f2 = (needed / rho) ** 2
    return 2.0 / (1.0 + math.sqrt(1.0 + 4.0 / f2)) if f2 > 0.0 else 0.0

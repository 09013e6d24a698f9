r"""Omitted-variable bias of one coefficient of a linear regression, in partial :math:`R^2`.

With ``D`` the regressor, ``X`` the covariates, ``Z`` what is left out and ``df`` the residual
degrees of freedom of the regression without it (Cinelli and Hazlett 2020):

.. math::
    |\widehat{bias}| = \widehat{se} \sqrt{df\, \frac{R^2_{Y \sim Z|D,X} R^2_{D \sim Z|X}}
                       {1 - R^2_{D \sim Z|X}}}, \qquad
    \widehat{se}_Z = \widehat{se} \sqrt{\frac{1 - R^2_{Y \sim Z|D,X}}{1 - R^2_{D \sim Z|X}}
                     \frac{df}{df - 1}}.

Both are algebra of least squares: they hold exactly in the sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crossworld.core.student import critical, two_sided
from crossworld.errors import SpecError

if TYPE_CHECKING:
    from crossworld.sensitivity.contour import Contours


@dataclass(frozen=True, slots=True)
class LinearBenchmark:
    """How strong a confounder ``multiple`` times as strong as covariates would be.

    Parameters
    ----------
    covariates
        The covariates, one or a group.
    multiple
        How many times as strong as they.
    r2_regressor, r2_outcome
        Partial R2 with the regressor and with the outcome; None where no confounder can be that
        strong. The second is an upper bound, cut at 1.
    """

    covariates: tuple[str, ...]
    multiple: float
    r2_regressor: float | None
    r2_outcome: float | None

    @property
    def label(self) -> str:
        """The name on a contour plot."""
        named = " + ".join(self.covariates)
        return named if self.multiple == 1.0 else f"{self.multiple:g} x {named}"


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A least-squares coefficient and its classical inference.

    Parameters
    ----------
    name
        What it is.
    estimate, std_error
        With the classical (homoskedastic) standard error.
    df
        Residual degrees of freedom.
    benchmarks
        Strengths of observed covariates.

    Examples
    --------
    >>> c = Coefficient("directly harmed", 0.0973158, 0.0232565, 783)
    >>> round(c.robustness(), 3), round(c.robustness(level=0.95), 3), round(c.partial_r2, 3)
    (0.139, 0.076, 0.022)
    """

    name: str
    estimate: float
    std_error: float
    df: int
    benchmarks: tuple[LinearBenchmark, ...] = ()

    @property
    def t(self) -> float:
        """The t statistic."""
        return self.estimate / self.std_error

    @property
    def partial_r2(self) -> float:
        """Share of the outcome's residual variance that the regressor explains.

        A confounder that explained all of the rest of the outcome would have to explain at least
        this much of the regressor to bring the estimate to 0.
        """
        return self.t**2 / (self.t**2 + self.df)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Student's t interval."""
        half = critical(level, self.df) * self.std_error
        return self.estimate - half, self.estimate + half

    def p_value(self) -> float:
        """Two-sided p value of 0."""
        return two_sided(self.t, self.df)

    def robustness(self, q: float = 1.0, level: float | None = None) -> float:
        r"""Robustness value: partial R2, with both sides, that changes the conclusion.

        :math:`RV_q = (\sqrt{f^4 + 4 f^2} - f^2) / 2` with :math:`f = q |t| / \sqrt{df}` takes the
        estimate down by the share ``q``. With a level, :math:`f` is reduced by
        :math:`t^* / \sqrt{df - 1}` and the value is what makes the estimate (less ``1 - q`` of
        it) insignificant; where a confounder weaker with the outcome does that first,
        it is :math:`(f^2 - f^{*2}) / (1 + f^2)`.
        """
        if not q > 0.0:
            raise SpecError(f"q is the positive share by which the estimate falls, got {q!r}")
        f = q * abs(self.t) / math.sqrt(self.df)
        if level is None:
            return _equal(f)
        least = critical(level, self.df - 1) / math.sqrt(self.df - 1)
        if f <= least:
            return 0.0
        if f * least > 1.0:
            return (f**2 - least**2) / (1.0 + f**2)
        return _equal(f - least)

    def bias(self, r2_regressor: float, r2_outcome: float) -> float:
        """Size of the bias from a confounder with these partial R2."""
        check_r2(r2_regressor, r2_outcome)
        share = r2_outcome * r2_regressor / (1.0 - r2_regressor)
        return self.std_error * math.sqrt(self.df * share)

    def adjusted(
        self, r2_regressor: float, r2_outcome: float, *, toward_zero: bool = True
    ) -> Coefficient:
        """Coefficient of the regression that includes the confounder, in the worst direction.

        Parameters
        ----------
        r2_regressor
            Partial R2 of the confounder with the regressor given the covariates, in [0, 1).
        r2_outcome
            Partial R2 with the outcome given regressor and covariates, in [0, 1].
        toward_zero
            Whether the confounder hides a smaller effect (the usual worry) or a larger one.
        """
        bias = math.copysign(self.bias(r2_regressor, r2_outcome), self.estimate)
        left = (1.0 - r2_outcome) / (1.0 - r2_regressor) * self.df / (self.df - 1)
        return Coefficient(
            self.name,
            self.estimate - bias if toward_zero else self.estimate + bias,
            self.std_error * math.sqrt(left),
            self.df - 1,
        )

    def contours(self, *, most: float = 0.4, points: int = 61) -> Contours:
        """Draw the estimate that is left over partial R2 with regressor and outcome."""
        from crossworld.sensitivity.contour import Contours

        marks = tuple(
            (b.label, b.r2_regressor, b.r2_outcome)
            for b in self.benchmarks
            if b.r2_regressor is not None and b.r2_outcome is not None
        )
        most = min(max([most, *(1.2 * v for _, x, y in marks for v in (x, y))]), 0.99)
        grid = np.linspace(0.0, most, points)
        share = np.sqrt(grid[:, None] * grid / (1.0 - grid))
        bias = math.copysign(self.std_error * math.sqrt(self.df), self.estimate) * share
        return Contours(
            x_name="partial R2 with the regressor",
            x=grid,
            y_name="partial R2 with the outcome",
            y=grid,
            values=self.estimate - bias,
            marks=marks,
            title=f"{self.name} under an omitted confounder",
        )


def _equal(f: float) -> float:
    """Strength r with r / sqrt(1 - r) equal to f."""
    return 2.0 / (1.0 + math.sqrt(1.0 + 4.0 / f**2)) if f > 0.0 else 0.0


def check_r2(r2_regressor: float, r2_outcome: float) -> None:
    """Refuse shares of variance that cannot be."""
    if not 0.0 <= r2_regressor < 1.0:
        raise SpecError(
            f"r2_regressor is a share of variance of at least 0 and under 1, got {r2_regressor!r}"
        )
    if not 0.0 <= r2_outcome <= 1.0:
        raise SpecError(f"r2_outcome is a share of variance between 0 and 1, got {r2_outcome!r}")


def benchmark_strength(
    r2_regressor: float, r2_outcome: float, *, multiple: float = 1.0
) -> tuple[float | None, float | None]:
    r"""Partial R2 of a confounder ``multiple`` times as strong as covariates.

    Parameters
    ----------
    r2_regressor
        :math:`R^2_{D \sim X_j | X_{-j}}`, of the covariates with the regressor.
    r2_outcome
        :math:`R^2_{Y \sim X_j | D, X_{-j}}`, of the covariates with the outcome.
    multiple
        How many times as much of either the confounder explains, given :math:`X_{-j}`.

    Returns
    -------
    tuple
        :math:`R^2_{D \sim Z | X} = k f^2_{D \sim X_j | X_{-j}}` and an upper bound of
        :math:`R^2_{Y \sim Z | D, X}`, cut at 1; None where no confounder can be that strong.

    References
    ----------
    Cinelli and Hazlett (2020), JRSS-B 82, section 4.4.
    """
    with_regressor = multiple * r2_regressor / (1.0 - r2_regressor)
    if with_regressor >= 1.0 or multiple * r2_regressor >= 1.0:
        return None, None
    shared = multiple * r2_regressor**2 / ((1.0 - multiple * r2_regressor) * (1.0 - r2_regressor))
    if shared >= 1.0:
        return with_regressor, 1.0
    eta = (math.sqrt(multiple) + math.sqrt(shared)) / math.sqrt(1.0 - shared)
    return with_regressor, min(eta**2 * r2_outcome / (1.0 - r2_outcome), 1.0)

"""Sharp bounds on natural effects under mediator-outcome confounding (Ding, VanderWeele 2016)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimate import Estimate
from crossworld.core.expression import Cell, Y
from crossworld.core.regime import M
from crossworld.core.scores import Scores
from crossworld.core.table import EffectTable, number
from crossworld.errors import DesignError, SpecError
from crossworld.sensitivity.contour import Contours
from crossworld.sensitivity.evalues import strength
from crossworld.sensitivity.tabular import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
# term -> the cell that confounding moves, the cell that it does not, the sign of the first
_TERMS: dict[str, tuple[Cell, Cell, int]] = {
    "nde": (Y(1, M(0)), Y(0), 1),
    "nie": (Y(1, M(0)), Y(1), -1),
    "tnde": (Y(0, M(1)), Y(1), -1),
    "pnie": (Y(0, M(1)), Y(0), 1),
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where the true effect lies at one pair of strengths.

    Parameters
    ----------
    lower, upper
        Bounds on the effect.
    conf_low, conf_high
        Lower confidence limit of the lower bound, upper limit of the upper one.
    """

    lower: float
    upper: float
    conf_low: float
    conf_high: float


@dataclass(frozen=True, slots=True, eq=False)
class DingVanderWeele:
    """Bounds on one natural effect over the strengths of an unmeasured confounder.

    Parameters
    ----------
    term, scale
        The effect, and ``ratio`` or ``difference``.
    level
        Confidence level.
    estimate, conf_low, conf_high
        The effect without unmeasured confounding, and its interval.
    strengths
        Risk ratios at which bounds are tabulated, on both axes, shape (k,).
    lower, upper
        Bounds, shape (k, k): rows for the confounder's effect on the outcome, columns for its
        association with the treatment given the mediator.
    limits_low, limits_high
        Confidence limits of the bounds, shape (k, k).
    removes
        The smallest common strength at which a bound reaches no effect: the E-value.
    removes_limit
        The same for the interval; 1 when it covers no effect already.
    cells
        Estimates of the cell that confounding moves and of the one it does not.
    """

    term: str
    scale: Literal["ratio", "difference"]
    level: float
    estimate: float
    conf_low: float
    conf_high: float
    strengths: Array
    lower: Array
    upper: Array
    limits_low: Array
    limits_high: Array
    removes: float
    removes_limit: float
    cells: tuple[Estimate, Estimate] = field(repr=False)

    @property
    def null(self) -> float:
        """The value of no effect."""
        return 1.0 if self.scale == "ratio" else 0.0

    def at(self, rr_au: float, rr_uy: float) -> Bounds:
        """Bounds at one pair of strengths, with their confidence limits."""
        factor = bounding_factor(rr_au, rr_uy)
        return _bounds(self.cells, _TERMS[self.term][2], self.scale, factor, level=self.level)

    def contours(self, value: Literal["bound", "limit"] = "bound") -> Contours:
        """Bound nearer no effect, or its confidence limit, over the two strengths."""
        if value not in ("bound", "limit"):
            raise SpecError.unknown("value", str(value), ("bound", "limit"))
        above = self.estimate >= self.null
        low, high = (
            (self.lower, self.upper) if value == "bound" else (self.limits_low, self.limits_high)
        )
        common = self.removes if value == "bound" else self.removes_limit
        inside = 1.0 < common <= self.strengths[-1]
        what = f"{'lower' if above else 'upper'} {'bound' if value == 'bound' else 'limit'}"
        return Contours(
            "risk ratio of confounder and treatment, given the mediator",
            self.strengths,
            "risk ratio of confounder and outcome",
            self.strengths,
            low if above else high,
            self.null,
            ((f"E-value {common:.3g}", common, common),) if inside else (),
            f"{what} of {self.term} ({self.scale})",
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the bound nearer no effect over the two strengths."""
        return self.contours().plot(ax)

    def to_frame(self) -> Any:
        """Return one row per pair of strengths, as a pandas frame."""
        import pandas as pd

        x, y = np.meshgrid(self.strengths, self.strengths)
        columns = {
            "rr_au": x,
            "rr_uy": y,
            "lower": self.lower,
            "upper": self.upper,
            "conf_low": self.limits_low,
            "conf_high": self.limits_high,
        }
        return pd.DataFrame({k: v.ravel() for k, v in columns.items()})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        names = (
            "term", "scale", "level", "estimate", "conf_low", "conf_high", "strengths", "lower",
            "upper", "limits_low", "limits_high", "removes", "removes_limit",
        )  # fmt: skip
        told = {"analysis": "ding_vanderweele", **{k: getattr(self, k) for k in names}}
        found: dict[str, Any] = plain(told)
        return found

    def __str__(self) -> str:
        interval = f"[{number(self.conf_low)}, {number(self.conf_high)}]"
        lines = [
            f"{self.term} ({self.scale}): {number(self.estimate)} {interval} without unmeasured "
            "confounding of mediator and outcome",
        ]
        for common in (1.5, 2.0, 3.0):
            found = self.at(common, common)
            lines.append(
                f"  both strengths {common:g}: between {number(found.lower)} and "
                f"{number(found.upper)}, {self.level * 100:g}% limits "
                f"[{number(found.conf_low)}, {number(found.conf_high)}]"
            )
        lines.append(
            f"  both strengths {self.removes:.3f} can remove the effect, "
            f"{self.removes_limit:.3f} can bring its interval to no effect"
        )
        return "\n".join(lines)


def bounding_factor(rr_au: float, rr_uy: float) -> float:
    """Largest factor by which a confounder of these strengths moves a mean.

    Examples
    --------
    >>> bounding_factor(2.0, 3.0)
    1.5
    """
    for name, value in (("rr_au", rr_au), ("rr_uy", rr_uy)):
        if not (math.isfinite(value) and value >= 1.0):
            raise SpecError(f"{name} is a risk ratio of at least 1, got {value!r}; invert it")
    return rr_au * rr_uy / (rr_au + rr_uy - 1.0)


def ding_vanderweele(
    result: EffectTable,
    *,
    term: str = "nie",
    scale: Literal["ratio", "difference"] = "ratio",
    strengths: Sequence[float] | None = None,
) -> DingVanderWeele:
    r"""Bounds on a natural effect when mediator and outcome share an unmeasured cause U.

    Let :math:`\theta = E[Y(a, M(b))]` as estimated. With

    .. math::
        RR_{AU} = \max_{m, c} \max_u \left\{ \frac{p(u \mid a, m, c)}{p(u \mid b, m, c)},
        \frac{p(u \mid b, m, c)}{p(u \mid a, m, c)} \right\}, \quad
        RR_{UY} = \max_{m, c} \frac{\max_u E[Y \mid a, m, c, u]}{\min_u E[Y \mid a, m, c, u]}

    and :math:`B = RR_{AU} RR_{UY} / (RR_{AU} + RR_{UY} - 1)` the true cell lies in
    :math:`[\theta / B, \theta B]`; cells in which the mediator follows the treatment are not
    moved. So the true ratio lies within the factor ``B`` of the estimated one, and for
    differences :math:`\theta / B - E[Y(0)] \le NDE \le \theta B - E[Y(0)]`.

    Parameters
    ----------
    result
        A result with its scores, which hold the two cells of the effect.
    term
        ``nde``, ``nie``, ``tnde`` or ``pnie``.
    scale
        ``ratio`` or ``difference``.
    strengths
        Increasing risk ratios from 1 on, used on both axes; by default 31 values that reach past
        the strength that removes the effect.

    Returns
    -------
    DingVanderWeele
        Bounds with confidence limits, contours, and the strength that removes the effect.

    Raises
    ------
    SpecError
        If the term or the scale is unknown, or a strength is under 1.
    DesignError
        If the result has no scores, they lack a cell or an influence function, or a cell is not
        positive.

    Notes
    -----
    Assumptions: a non-negative outcome; the treatment is not confounded, with U or without. Of
    the interval the level is that of the result; it covers the bounds' uncertainty by the delta
    method.

    References
    ----------
    Ding and VanderWeele (2016), Biometrika 103.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.binary_outcome(n=2000, seed=1).study()
    >>> found = ding_vanderweele(xw.estimate(study, xw.Regression()))
    >>> bool(found.at(1.5, 1.5).lower < found.estimate < found.at(1.5, 1.5).upper)
    True
    """
    if term not in _TERMS:
        raise SpecError.unknown("natural effect", str(term), _TERMS)
    if scale not in ("ratio", "difference"):
        raise SpecError.unknown("scale", str(scale), ("ratio", "difference"))
    moved, still, sign = _TERMS[term]
    cells = _positive(result.scores, moved), _positive(result.scores, still)
    here = _bounds(cells, sign, scale, 1.0, level=result.level)
    removes = strength(cells[0].value / cells[1].value)
    common = _removes_limit(cells, sign, scale, here, level=result.level)
    grid = np.linspace(1.0, max(3.0, 1.3 * removes), 31)
    if strengths is not None:
        grid = np.asarray(strengths, dtype=np.float64)
        if (
            grid.ndim != 1
            or grid.size < 2
            or not ((grid >= 1.0).all() and (np.diff(grid) > 0).all())
        ):
            raise SpecError(f"strengths increase from 1 on and are two or more, got {strengths!r}")
    factors = np.outer(grid, grid) / (np.add.outer(grid, grid) - 1.0)
    rows = [_bounds(cells, sign, scale, float(b), level=result.level) for b in factors.ravel()]
    columns = np.array([(r.lower, r.upper, r.conf_low, r.conf_high) for r in rows])
    lower, upper, low, high = columns.T.reshape(4, grid.size, grid.size)
    return DingVanderWeele(
        term, scale, result.level, here.lower, here.conf_low, here.conf_high, grid, lower, upper,
        low, high, removes, common, cells,
    )  # fmt: skip


def _positive(scores: Scores | None, cell: Cell) -> Estimate:
    if scores is None:
        raise DesignError(
            "this result carries no scores (it was read from a file); run the analysis again"
        )
    if not scores.influence:
        raise DesignError(
            "these scores have no influence function, so the bounds have no limits; use an "
            "estimator such as Regression or MultiplyRobust"
        )
    found = scores.mean(cell)
    if found.value <= 0.0:
        raise DesignError(
            f"{cell} is {found.value:.4g}; the bounds are for outcomes that are never negative. "
            "Shift or recode the outcome, or use rho or bias_formulas"
        )
    return found


def _bounds(
    cells: tuple[Estimate, Estimate], sign: int, scale: str, factor: float, *, level: float
) -> Bounds:
    """Bounds at one factor; ``sign`` is that of the moved cell in the difference."""
    moved, still = cells
    if scale == "ratio":
        log = (moved.log() - still.log()) * float(sign)
        low, high = log.interval(level)
        value = math.exp(log.value)
        return Bounds(
            value / factor, value * factor, math.exp(low) / factor, math.exp(high) * factor
        )
    ends = sorted((sign / factor, sign * factor))
    lower, upper = (moved * end - still * float(sign) for end in ends)
    return Bounds(lower.value, upper.value, lower.interval(level)[0], upper.interval(level)[1])


def _removes_limit(
    cells: tuple[Estimate, Estimate], sign: int, scale: str, here: Bounds, *, level: float
) -> float:
    """Smallest common strength at which the limit nearer no effect reaches it."""
    from scipy.optimize import brentq

    null = 1.0 if scale == "ratio" else 0.0
    if here.conf_low <= null <= here.conf_high:
        return 1.0
    above = here.lower > null

    def gap(factor: float) -> float:
        found = _bounds(cells, sign, scale, factor, level=level)
        return (found.conf_low if above else found.conf_high) - null

    ratio = cells[0].value / cells[1].value
    return strength(float(brentq(gap, 1.0, max(ratio, 1.0 / ratio), xtol=1e-14, rtol=1e-14)))

"""Bias formulas for an unmeasured confounder of given strength (VanderWeele 2010)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from crossworld.core.expression import MEAN, Cell
from crossworld.core.parse import estimand as read_estimand
from crossworld.core.regime import ALL, Draw, Fixed, Regime
from crossworld.core.table import Effect, EffectTable, number
from crossworld.errors import DesignError, SpecError
from crossworld.sensitivity.contour import Contours
from crossworld.sensitivity.tabular import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
Confounder = Literal["mediator-outcome", "treatment-outcome", "treatment-mediator"]
CONFOUNDERS = ("mediator-outcome", "treatment-outcome", "treatment-mediator")
_DELTA = {
    "mediator-outcome": "difference of U between arms, same mediator",
    "treatment-outcome": "difference of U between arms",
    "treatment-mediator": "difference of U between arms",
}


@dataclass(frozen=True, slots=True, eq=False)
class BiasFormulas:
    r"""One effect corrected for a confounder of every strength.

    The corrected effect is ``estimate - factor * gamma * delta`` and its limits move alike.

    Parameters
    ----------
    term
        The effect.
    confounder
        What U confounds.
    level
        Confidence level.
    estimate, conf_low, conf_high
        The effect as estimated; limits are None where it has none.
    factor
        How often the product of the two strengths enters the bias: 1, 0 or -1 for named effects.
    gamma, delta
        Strengths at which it is tabulated, shapes (p,) and (q,).
    removes, removes_limit
        The product ``gamma * delta`` that makes the effect 0, and the one nearest 0 that lets its
        interval reach 0 (0 when it covers 0 already); None when no product does.
    """

    term: str
    confounder: str
    level: float
    estimate: float
    conf_low: float | None
    conf_high: float | None
    factor: float
    gamma: Array
    delta: Array
    removes: float | None
    removes_limit: float | None

    def bias(self, gamma: float, delta: float) -> float:
        """Estimate less truth at one pair of strengths."""
        for name, value in (("gamma", gamma), ("delta", delta)):
            if not math.isfinite(value):
                raise SpecError(f"{name} is a finite number, got {value!r}")
        return self.factor * gamma * delta

    def at(self, gamma: float, delta: float) -> tuple[float, float | None, float | None]:
        """Corrected estimate and confidence limits at one pair of strengths."""
        bias = self.bias(gamma, delta)
        low, high = (None if v is None else v - bias for v in (self.conf_low, self.conf_high))
        return self.estimate - bias, low, high

    def contours(
        self, value: Literal["estimate", "conf_low", "conf_high"] = "estimate"
    ) -> Contours:
        """Corrected effect, or one of its limits, over the two strengths."""
        if value not in ("estimate", "conf_low", "conf_high"):
            raise SpecError.unknown("value", str(value), ("estimate", "conf_low", "conf_high"))
        start = {"estimate": self.estimate, "conf_low": self.conf_low, "conf_high": self.conf_high}
        held = start[value]
        if held is None:
            raise DesignError(f"{self.term} has no {value} to correct")
        shown = {"conf_low": " (lower limit)", "conf_high": " (upper limit)"}.get(value, "")
        return Contours(
            "gamma: effect of U on the outcome",
            self.gamma,
            f"delta: {_DELTA[self.confounder]}",
            self.delta,
            held - self.factor * np.outer(self.delta, self.gamma),
            title=f"{self.term}{shown}, corrected for {self.confounder} confounding",
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the corrected effect over the two strengths."""
        return self.contours().plot(ax)

    def to_frame(self) -> Any:
        """Return one row per pair of strengths, as a pandas frame."""
        import pandas as pd

        rows = [
            {"gamma": g, "delta": d, "bias": self.bias(g, d)}
            | dict(zip(("estimate", "conf_low", "conf_high"), self.at(g, d), strict=True))
            for d in self.delta.tolist()
            for g in self.gamma.tolist()
        ]
        return pd.DataFrame(rows)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        names = (
            "term", "confounder", "level", "estimate", "conf_low", "conf_high", "factor", "gamma",
            "delta", "removes", "removes_limit",
        )  # fmt: skip
        told = {"analysis": "bias_formulas", **{k: getattr(self, k) for k in names}}
        told["corrected"] = self.contours().values
        found: dict[str, Any] = plain(told)
        return found

    def __str__(self) -> str:
        head = (
            f"{self.term}: {number(self.estimate)} [{number(self.conf_low)}, "
            f"{number(self.conf_high)}]"
        )
        if self.removes is None:
            return f"{head}; {self.confounder} confounding does not bias it"
        sign = {1.0: "- ", -1.0: "+ "}.get(self.factor, f"- {self.factor:g} ")
        text = f"{head}, corrected for {self.confounder} confounding {sign}gamma * delta"
        text += f"; gone at gamma * delta = {number(self.removes)}"
        if self.removes_limit is not None:
            text += f", its interval reaches 0 at {number(self.removes_limit)}"
        return text


def bias_formulas(
    result: EffectTable,
    *,
    term: str = "nie",
    confounder: Confounder = "mediator-outcome",
    gamma: Sequence[float] | None = None,
    delta: Sequence[float] | None = None,
) -> BiasFormulas:
    r"""Correct an effect for an unmeasured confounder U of given strength.

    U is two-valued, or a number that acts linearly. Bias (estimate less truth) of the effects is
    :math:`\gamma \delta` times

    ====================  ===  ===  ===  ====  ====  ===
    U confounds           te   nde  nie  tnde  pnie  cde
    ====================  ===  ===  ===  ====  ====  ===
    mediator, outcome     0    1    -1   1     -1    1
    treatment, outcome    1    1    0    1     0     1
    treatment, mediator   1    0    1    0     1     0
    ====================  ===  ===  ===  ====  ====  ===

    and of other differences of cells what follows from these.

    =====================  ======================================================================
    mediator, outcome      :math:`\gamma = E[Y \mid a, m, x, u+1] - E[Y \mid a, m, x, u]`, the
                           same for all ``m``, ``x`` (``a`` = 1 for nde, nie; 0 for tnde, pnie);
                           :math:`\delta = E \sum_m \{E[U \mid 1, m, x] - E[U \mid 0, m, x]\}
                           p(m \mid b, x)`, ``b`` = 0 for nde, nie; 1 for tnde, pnie
    treatment, outcome     :math:`\gamma` as above, the same for both ``a``;
                           :math:`\delta = E\{E[U \mid 1, x] - E[U \mid 0, x]\}`; U does not act
                           on the mediator
    treatment, mediator    :math:`\gamma = \sum_m E[Y \mid a, m, x] \{p(m \mid b, x, u+1) -
                           p(m \mid b, x, u)\}`, the effect of U on the outcome through the
                           mediator, the same for all ``a``, ``b``, ``x``; :math:`\delta` as in
                           the row above; U does not act on the outcome otherwise
    =====================  ======================================================================

    For ``cde(m)`` and mediator-outcome confounding, :math:`\delta` is
    :math:`E\{E[U \mid 1, m, x] - E[U \mid 0, m, x]\}` at that ``m``, and :math:`\gamma` the same
    for both ``a``.

    Parameters
    ----------
    result
        A result that has the effect on the difference scale, with any estimator and inference.
    term
        Which row: a difference of cells that follow levels of the treatment, or a ``cde``.
    confounder
        ``mediator-outcome``, ``treatment-outcome`` or ``treatment-mediator``.
    gamma, delta
        Increasing strengths to tabulate. By default delta runs from 0 to one half and gamma over
        both signs as far as the effect is removed.

    Returns
    -------
    BiasFormulas
        Corrected effects and limits, contours, the product that removes the effect.

    Raises
    ------
    SpecError
        If the row, the confounder or the strengths are unknown.
    DesignError
        If the row is on another scale or made of cells to which the formulas do not apply.

    Notes
    -----
    Assumptions: those above, and no other unmeasured confounder. The strengths are taken as
    known, so the interval moves and keeps its width.

    References
    ----------
    VanderWeele (2010), Epidemiology 21 (erratum 22). VanderWeele and Arah (2011), Epidemiology 22.

    Examples
    --------
    >>> import crossworld as xw
    >>> result = xw.estimate(xw.datasets.linear(n=500, seed=1).study(), xw.Regression())
    >>> found = bias_formulas(result, term="nde")
    >>> bool(abs(found.at(0.5, 0.2)[0] - (found.estimate - 0.1)) < 1e-12)
    True
    """
    if confounder not in CONFOUNDERS:
        raise SpecError.unknown("confounder", str(confounder), CONFOUNDERS)
    try:
        row = result[term]
    except KeyError:
        raise SpecError.unknown("effect", term, [r.term for r in result]) from None
    if row.estimate is None:
        raise DesignError(f"{term} has no estimate to correct")
    factor = _factor(_cells(result, term), confounder, term)
    removes, limit = _removing(row, factor)
    deltas = _strengths("delta", delta, np.linspace(0.0, 0.5, 21))
    reach = 4.0 * max(abs(removes or 0.0), abs(limit or 0.0)) or 1.0
    return BiasFormulas(
        term, confounder, result.level, row.estimate, row.conf_low, row.conf_high, factor,
        _strengths("gamma", gamma, np.linspace(-reach, reach, 41)), deltas, removes, limit,
    )  # fmt: skip


def _strengths(name: str, given: Sequence[float] | None, default: Array) -> Array:
    if given is None:
        return default
    found = np.asarray(given, dtype=np.float64)
    increasing = found.ndim == 1 and found.size > 1 and bool((np.diff(found) > 0.0).all())
    if not increasing or not np.isfinite(found).all():
        raise SpecError(f"{name} needs two or more increasing strengths, got {given!r}")
    return found


def _cells(result: EffectTable, term: str) -> Mapping[Cell, float]:
    """Weights of the cells of a row, from its question or from what a file tells of it."""
    asked = {e.name: e for e in result.estimands}
    told = result.diagnostics.get("expressions", {}).get(term, {})
    expr, scale = None, told.get("scale")
    if term in asked:
        expr, scale = asked[term].expr, asked[term].scale
    elif "expression" in told:
        expr = read_estimand(told["expression"]).expr
    terms = None if expr is None or scale != "difference" else expr.linear()
    if not terms or abs(sum(terms.values())) > 1e-12:
        raise DesignError(
            f"{term} is no difference of cells; the formulas are for differences. Ask for nde, "
            "nie or te, or use ding_vanderweele for ratios"
        )
    return terms


def _factor(terms: Mapping[Cell, float], confounder: str, term: str) -> float:
    """How often ``gamma * delta`` enters the bias of a difference of cells."""
    regimes = {cell: _regime(cell, term) for cell in terms}
    fixed = {isinstance(r, Fixed) for r in regimes.values()}
    if len(fixed) > 1:
        raise DesignError(
            f"{term} mixes cells with the mediator held and cells where it follows the treatment; "
            "their delta differ, so correct the two parts one by one"
        )
    total = 0.0
    for cell, weight in terms.items():
        regime = regimes[cell]
        outcome = float(cell.treatment == 1)
        mediator = float(isinstance(regime, Draw) and regime.level == 1)
        if confounder == "treatment-outcome" or (fixed == {True} and confounder != CONFOUNDERS[2]):
            total += weight * outcome
        elif confounder == "mediator-outcome":
            total += weight * (outcome - mediator)
        elif fixed == {False}:
            total += weight * mediator
    return total


def _regime(cell: Cell, term: str) -> Regime:
    """Regime of all mediators of a cell that the formulas cover."""
    regimes = dict(cell.regimes)
    regime = regimes.get(ALL)
    plain_draw = isinstance(regime, Draw) and regime.edit is None and regime.level in (0, 1)
    if (
        len(regimes) != 1
        or cell.functional != MEAN
        or cell.treatment not in (0, 1)
        or not (plain_draw or isinstance(regime, Fixed))
    ):
        raise DesignError(
            f"{term} holds {cell}; the formulas cover means under the levels 0 and 1 in which all "
            "mediators follow one level of the treatment or are held at one value"
        )
    assert regime is not None
    return regime


def _removing(row: Effect, factor: float) -> tuple[float | None, float | None]:
    """Products of the strengths that take the estimate, and the interval, to 0."""
    if factor == 0.0 or row.estimate is None:
        return None, None
    if row.conf_low is None or row.conf_high is None:
        return row.estimate / factor, None
    if row.conf_low <= 0.0 <= row.conf_high:
        return row.estimate / factor, 0.0
    nearer = min(row.conf_low, row.conf_high, key=abs)
    return row.estimate / factor, nearer / factor

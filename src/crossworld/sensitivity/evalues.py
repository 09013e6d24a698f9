"""E-values: how strong an unmeasured confounder must be to explain an effect away."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crossworld.core.estimand import Estimand
from crossworld.core.parse import estimand as read_estimand
from crossworld.core.student import critical
from crossworld.core.table import Effect, EffectTable
from crossworld.errors import DesignError, SpecError
from crossworld.sensitivity.contour import ABOVE, BELOW, INK, new_axes
from crossworld.sensitivity.tabular import aligned, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCALES = ("risk ratio", "odds ratio", "hazard ratio", "difference")
_POINT, _LIMIT = 0.91, 1.78  # Chinn (2000), as printed by VanderWeele and Ding (2017)


@dataclass(frozen=True, slots=True)
class EValue:
    """The E-value of one effect.

    Parameters
    ----------
    term
        Which effect.
    scale
        The scale it was given on.
    ratio, ratio_low, ratio_high
        The effect and its limits as (approximate) risk ratios.
    point
        E-value of the estimate: the smallest strength, as a risk ratio, that both associations of
        the confounder need for the true effect to be null.
    limit
        The same for the confidence limit nearer the null; 1 when the interval covers the null,
        None without limits.
    """

    term: str
    scale: str
    ratio: float
    ratio_low: float | None
    ratio_high: float | None
    point: float
    limit: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dict(asdict(self))

    def to_frame(self) -> Any:
        """Return one row, as a pandas frame."""
        return EValues((self,)).to_frame()

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the pairs of strengths that explain the effect away."""
        return EValues((self,)).plot(ax)

    def __str__(self) -> str:
        text = f"{self.term}: risk ratio {self.ratio:.4g}"
        if self.ratio_low is not None or self.ratio_high is not None:
            ends = ("" if v is None else f"{v:.4g}" for v in (self.ratio_low, self.ratio_high))
            text += f" [{', '.join(ends)}]"
        text += f", E-value {self.point:.4g}"
        return text if self.limit is None else f"{text}, of the nearer limit {self.limit:.4g}"


@dataclass(frozen=True, slots=True)
class EValues:
    """E-values of several effects; index it by term."""

    rows: tuple[EValue, ...]

    def __getitem__(self, term: str) -> EValue:
        for row in self.rows:
            if row.term == term:
                return row
        raise SpecError.unknown("effect", term, [r.term for r in self.rows])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        found: dict[str, Any] = plain(
            {"analysis": "evalues", "effects": [row.to_dict() for row in self.rows]}
        )
        return found

    def to_frame(self) -> Any:
        """Return one row per effect, as a pandas frame."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.rows])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw, for each effect, the pairs of strengths that explain it away (up and right)."""
        chosen = new_axes() if ax is None else ax
        most = max(2.0, 2.5 * max(row.point for row in self.rows))
        for row, colour in zip(self.rows, (BELOW, ABOVE, INK) * len(self.rows), strict=False):
            factor = max(row.ratio, 1.0 / row.ratio)
            if factor > 1.0:
                x = np.geomspace(factor * 1.0001, most, 400)
                y = factor * (x - 1.0) / (x - factor)
                chosen.plot(x, np.where(y <= most, y, np.nan), color=colour, linewidth=2.0)
            chosen.plot([row.point], [row.point], marker="D", color=colour, linestyle="none")
            chosen.annotate(
                f"{row.term}: {row.point:.3g}", (row.point, row.point), (7, 5),
                textcoords="offset points", fontsize=8.5, color=colour, parse_math=False,
            )  # fmt: skip
        chosen.set_xlim(1.0, most)
        chosen.set_ylim(1.0, most)
        names = ("confounder and treatment, given the mediator", "confounder and outcome")
        chosen.set_xlabel(f"risk ratio of {names[0]}", fontsize=9, color=INK)
        chosen.set_ylabel(f"risk ratio of {names[1]}", fontsize=9, color=INK)
        chosen.spines[["top", "right"]].set_visible(False)
        chosen.spines[["left", "bottom"]].set_color(INK)
        chosen.tick_params(colors=INK, labelsize=8, length=3)
        return chosen

    def __str__(self) -> str:
        columns = ("term", "ratio", "ratio_low", "ratio_high", "point", "limit")
        return aligned([asdict(row) for row in self.rows], columns)


def strength(ratio: float, *, true: float = 1.0) -> float:
    r"""E-value of a risk ratio: :math:`R + \sqrt{R (R - 1)}` with :math:`R` the factor to ``true``.

    Parameters
    ----------
    ratio
        A risk ratio, positive; below ``true`` it is inverted.
    true
        The risk ratio that confounding should turn it into; 1 is no effect.

    References
    ----------
    VanderWeele and Ding (2017), Annals of Internal Medicine 167.

    Examples
    --------
    >>> round(strength(3.9), 2)
    7.26
    """
    for name, value in (("ratio", ratio), ("true", true)):
        if not (math.isfinite(value) and value > 0.0):
            raise SpecError(f"{name} is a positive risk ratio, got {value!r}")
    factor = max(ratio / true, true / ratio)
    return factor + math.sqrt(factor * (factor - 1.0))


def evalue(
    estimate: float,
    *,
    low: float | None = None,
    high: float | None = None,
    scale: str = "risk ratio",
    rare: bool | None = None,
    sd: float | None = None,
) -> EValue:
    r"""E-value of one published or computed effect.

    For natural effects the confounder is one of mediator and outcome, and the E-value is
    mediational: both its association with the treatment given the mediator, and its effect on
    the outcome, must be at least that strong (risk ratios) to explain the effect away.

    Parameters
    ----------
    estimate
        The effect.
    low, high
        Its confidence limits.
    scale
        ``"risk ratio"`` (also of rates or means), ``"odds ratio"``, ``"hazard ratio"`` or
        ``"difference"`` (of means).
    rare
        For odds and hazard ratios: whether fewer than about 15 % have the outcome. A rare one is
        read as a risk ratio; a common odds ratio becomes :math:`\sqrt{OR}`, a common hazard ratio
        :math:`(1 - 0.5^{\sqrt{HR}}) / (1 - 0.5^{1 / \sqrt{HR}})`.
    sd
        For differences: the outcome's standard deviation. With :math:`d` the difference divided
        by it, the risk ratio is :math:`e^{0.91 d}` and its limits :math:`e^{0.91 d \mp 1.78 se}`,
        the standard error taken from the 95 % limits.

    Raises
    ------
    SpecError
        If the scale is unknown, a ratio is not positive, the limits do not enclose the estimate,
        or ``rare`` or ``sd`` is missing where it is needed.

    Notes
    -----
    Assumption: the confounder is one of mediator and outcome (for total effects: of treatment and
    outcome). The conversions of odds ratios, hazard ratios and differences are approximate.

    References
    ----------
    VanderWeele and Ding (2017), Annals of Internal Medicine 167. Smith and VanderWeele (2019),
    Epidemiology 30.

    Examples
    --------
    >>> print(evalue(3.9, low=1.8, high=8.7))
    effect: risk ratio 3.9 [1.8, 8.7], E-value 7.263, of the nearer limit 3
    """
    _check(estimate, low, high)
    convert = _converter(estimate, scale, rare=rare, sd=sd)
    return _finish(
        "effect", scale, (convert(estimate), _maybe(convert, low), _maybe(convert, high))
    )


def evalues(
    result: EffectTable,
    *,
    terms: Sequence[str] | None = None,
    rare: bool | None = None,
    sd: float | None = None,
) -> EValues:
    """E-values of the effects of a result.

    Parameters
    ----------
    result
        What `estimate` returned. Rows asked with ``.ratio()`` are used as they are.
    terms
        Rows to use; by default all.
    rare
        For rows asked with ``.odds_ratio()``, see `evalue`.
    sd
        For differences, the outcome's standard deviation, see `evalue`. For a non-negative outcome
        ask for ``nie.ratio`` instead: that needs no approximation.

    Raises
    ------
    SpecError
        If a row is unknown or on a scale that has no E-value.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.binary_outcome(n=2000, seed=1).study()
    >>> table = xw.estimate(study, xw.Regression(), [xw.NDE.ratio(), xw.NIE.ratio()])
    >>> found = evalues(table)
    >>> bool(found["nde.ratio"].point >= found["nde.ratio"].limit)
    True
    """
    rows = list(result) if terms is None else [_row(result, term) for term in terms]
    asked = {e.name: e for e in result.estimands}
    expressions = result.diagnostics.get("expressions", {})
    found = []
    for row in rows:
        scale = _scale(row, asked.get(row.term), expressions.get(row.term, {}))
        if row.estimate is None:
            raise DesignError(f"{row.term} has no estimate, so it has no E-value")
        try:
            convert = _converter(row.estimate, scale, rare=rare, sd=sd)
        except SpecError as error:
            raise SpecError(f"{row.term}: {error}") from None
        low, high = row.conf_low, row.conf_high
        if scale == "difference":
            low, high = (_at_95(row.estimate, v, result.level) for v in (low, high))
        ratios = convert(row.estimate), _maybe(convert, low), _maybe(convert, high)
        found.append(_finish(row.term, scale, ratios))
    return EValues(tuple(found))


def _row(result: EffectTable, term: str) -> Effect:
    try:
        return result[term]
    except KeyError:
        raise SpecError.unknown("effect", term, [r.term for r in result]) from None


def _scale(row: Effect, asked: Estimand | None, told: Mapping[str, Any]) -> str:
    """Scale of a row, from its question or, read from a file, from what the file tells."""
    if asked is None and "expression" in told:
        asked = Estimand(row.term, read_estimand(told["expression"]).expr, told["scale"])
    if asked is not None:
        if asked.scale == "odds_ratio":
            return "odds ratio"
        if asked.is_ratio:
            return "risk ratio"
        terms = asked.expr.linear()
        if asked.scale == "difference" and terms and abs(sum(terms.values())) < 1e-12:
            return "difference"
    raise SpecError(
        f"{row.term} is no contrast or ratio of cells, so it has no E-value; ask for a ratio such "
        "as nie.ratio"
    )


def _at_95(estimate: float, limit: float | None, level: float) -> float | None:
    """Move a limit to where it would be at 95 %."""
    if limit is None:
        return None
    return estimate + (limit - estimate) * critical(0.95) / critical(level)


def _converter(
    estimate: float, scale: str, *, rare: bool | None, sd: float | None
) -> Callable[[float], float]:
    """Function that turns an effect or a limit into an approximate risk ratio."""
    if scale not in SCALES:
        raise SpecError.unknown("scale", str(scale), SCALES)
    if scale == "difference":
        if sd is None or not (math.isfinite(sd) and sd > 0.0):
            raise SpecError(
                f"a difference needs sd=, the outcome's standard deviation, got {sd!r}; or ask for "
                "a ratio of means"
            )
        centre, unit = _POINT * estimate / sd, _LIMIT / critical(0.95) / sd
        return lambda v: math.exp(centre + unit * (v - estimate))
    if scale == "risk ratio":
        return _positive
    if rare is None:
        raise SpecError(
            f"an {scale} needs rare=True or rare=False: whether fewer than about 15 % have the "
            "outcome".replace("an hazard", "a hazard")
        )
    if rare:
        return _positive
    return _common_odds if scale == "odds ratio" else _common_hazard


def _positive(value: float) -> float:
    if not (math.isfinite(value) and value > 0.0):
        raise SpecError(f"a ratio is positive, got {value!r}")
    return value


def _common_odds(value: float) -> float:
    return math.sqrt(_positive(value))


def _common_hazard(value: float) -> float:
    root = math.sqrt(_positive(value))
    return -math.expm1(-root * math.log(2.0)) / -math.expm1(-math.log(2.0) / root)


def _maybe(convert: Callable[[float], float], value: float | None) -> float | None:
    return None if value is None else convert(value)


def _check(estimate: float, low: float | None, high: float | None) -> None:
    for given in (estimate, low, high):
        if given is not None and (isinstance(given, str) or not np.isscalar(given)):
            raise SpecError(f"an effect and its limits are numbers, got {given!r}")
    if not math.isfinite(estimate):
        raise SpecError(f"an effect is a finite number, got {estimate!r}")
    below = low is not None and not low <= estimate
    if below or (high is not None and not high >= estimate):
        raise SpecError(f"the limits {low!r} and {high!r} do not enclose the estimate {estimate!r}")


def _finish(term: str, scale: str, ratios: tuple[float, float | None, float | None]) -> EValue:
    ratio, low, high = ratios
    nearer = low if ratio > 1.0 else high
    limit = None
    if ratio == 1.0 and (low, high) != (None, None):
        limit = 1.0
    elif nearer is not None:
        limit = 1.0 if (nearer - 1.0) * (ratio - 1.0) <= 0.0 else strength(nearer)
    return EValue(term, scale, ratio, low, high, strength(ratio), limit)

"""Correlation of mediator and outcome errors (Imai, Keele and Yamamoto 2010)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from crossworld.core.analysis import check_confidence
from crossworld.core.table import number
from crossworld.errors import DesignError, SpecError
from crossworld.sensitivity.contour import ABOVE, BELOW, INK, Contours, new_axes
from crossworld.sensitivity.rho_curves import RhoCurve, curve_of, row
from crossworld.sensitivity.rho_data import Triple, explained, triple
from crossworld.sensitivity.rho_models import RhoModel, linear, probit_mediator, probit_outcome
from crossworld.sensitivity.tabular import plain
from crossworld.tables.study import TableStudy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
GRID = tuple(k / 20.0 for k in range(-19, 20))


@dataclass(frozen=True, slots=True, eq=False)
class RhoSensitivity:
    """Natural effects as functions of the correlation of the two errors.

    Index it by term for a `RhoCurve`; `at` evaluates any correlation.

    Parameters
    ----------
    curves
        One per effect.
    level
        Confidence level.
    families
        Of mediator and outcome.
    r2_mediator, r2_outcome
        Share of the variance that the fitted models explain (of the latent one for a probit).
    names
        Treatment, mediator, outcome.
    vcov
        ``sandwich`` or ``classic``.
    model
        What evaluates the effects.
    """

    curves: tuple[RhoCurve, ...]
    level: float
    families: tuple[str, str]
    r2_mediator: float
    r2_outcome: float
    names: tuple[str, str, str]
    vcov: str
    model: RhoModel = field(repr=False)

    def __getitem__(self, term: str) -> RhoCurve:
        for curve in self.curves:
            if curve.term == term:
                return curve
        raise SpecError.unknown("effect", term, [c.term for c in self.curves])

    def at(self, rho: float, term: str = "nie") -> tuple[float, float, float, float]:
        """Estimate, standard error and confidence limits of an effect at one correlation."""
        self[term]
        if not abs(rho) < 1.0 or abs(rho) > self.model.reach:
            raise DesignError(f"rho lies within ±{self.model.reach:g}, got {rho!r}")
        return row(self.model, term, rho, self.level)

    def r2_at_zero(self, term: str = "nie") -> tuple[float, float] | None:
        r"""Products of R-squared at which the effect is zero, or None when it never is.

        The first, :math:`R^{*2}_M R^{*2}_Y = \rho^2`, is in shares of the variance that the models
        leave; the second, :math:`\tilde R^2_M \tilde R^2_Y = \rho^2 (1 - R^2_M)(1 - R^2_Y)`, in
        shares of the whole variance.
        """
        zero = self[term].zero
        if zero is None:
            return None
        return zero**2, zero**2 * (1.0 - self.r2_mediator) * (1.0 - self.r2_outcome)

    def contours(
        self,
        term: str = "nie",
        *,
        sign: int = 1,
        of: Literal["residual", "total"] = "residual",
        value: Literal["estimate", "conf_low", "conf_high"] = "estimate",
        points: int = 41,
    ) -> Contours:
        r"""Effect over the strengths of an unmeasured confounder, as shares of variance.

        Parameters
        ----------
        term
            Which effect.
        sign
            1 when the confounder moves mediator and outcome the same way, -1 when it moves them
            in opposite ways: :math:`\rho = \pm \sqrt{R^2_M R^2_Y}`.
        of
            ``"residual"``: shares of the variance the models leave unexplained; ``"total"``: of
            the whole variance.
        value
            The effect or one of its confidence limits.
        points
            Points per axis.
        """
        if sign not in (1, -1):
            raise SpecError(f"sign is 1 or -1, got {sign!r}")
        known = {"of": ("residual", "total"), "value": ("estimate", "conf_low", "conf_high")}
        for name, given in (("of", of), ("value", value)):
            if given not in known[name]:
                raise SpecError.unknown(f"value of {name}", str(given), known[name])
        self[term]
        left = (1.0, 1.0)
        if of == "total":
            left = (1.0 - self.r2_mediator, 1.0 - self.r2_outcome)
        x, y = (np.linspace(0.0, 0.95 * v, points) for v in left)
        rho = np.sqrt(np.outer(y / left[1], x / left[0]))
        at, back = np.unique(np.minimum(np.round(rho, 12), self.model.reach), return_inverse=True)
        column = ("estimate", "std_error", "conf_low", "conf_high").index(value)
        rows = [row(self.model, term, sign * float(v), self.level)[column] for v in at]
        way = "the same way" if sign == 1 else "opposite ways"
        kind = "residual variance" if of == "residual" else "variance"
        shown = term if value == "estimate" else f"{term}, {value.replace('conf_', '')} limit"
        return Contours(
            f"share of the {kind} of {self.names[1]}",
            x,
            f"share of the {kind} of {self.names[2]}",
            y,
            np.array(rows)[back].reshape(rho.shape),
            title=f"{shown}; the confounder moves them {way}",
        )

    def plot(self, ax: Axes | None = None, *, term: str = "nie") -> Axes:
        """Draw an effect and its interval against rho, with its zero marked."""
        curve = self[term]
        chosen = new_axes() if ax is None else ax
        chosen.fill_between(
            curve.rho, curve.conf_low, curve.conf_high, color=BELOW, alpha=0.2, linewidth=0.0
        )
        chosen.plot(curve.rho, curve.estimate, color=BELOW, linewidth=2.0)
        chosen.axhline(0.0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        chosen.plot([0.0], [self.at(0.0, term)[0]], marker="o", color=BELOW, linestyle="none")
        if curve.zero is not None and abs(curve.zero) <= np.abs(curve.rho).max():
            chosen.plot([curve.zero], [0.0], marker="D", color=ABOVE, linestyle="none", zorder=4)
            chosen.annotate(
                f"zero at {curve.zero:.3f}", (curve.zero, 0.0), (6, 8),
                textcoords="offset points", fontsize=8.5, color=ABOVE,
            )  # fmt: skip
        chosen.set_xlabel("correlation of the errors, rho", fontsize=9, color=INK)
        chosen.set_ylabel(term, fontsize=9, color=INK, parse_math=False)
        chosen.spines[["top", "right"]].set_visible(False)
        chosen.spines[["left", "bottom"]].set_color(INK)
        chosen.tick_params(colors=INK, labelsize=8, length=3)
        return chosen

    def to_frame(self) -> Any:
        """Return one row per effect and correlation, as a pandas frame."""
        import pandas as pd

        columns = ("rho", "estimate", "std_error", "conf_low", "conf_high")
        parts = [
            pd.DataFrame({"term": c.term, **{k: getattr(c, k) for k in columns}})
            for c in self.curves
        ]
        return pd.concat(parts, ignore_index=True)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        columns = ("rho", "estimate", "std_error", "conf_low", "conf_high")
        effects = []
        for curve in self.curves:
            products = self.r2_at_zero(curve.term) or (None, None)
            effects.append(
                {
                    "term": curve.term,
                    "zero": curve.zero,
                    "r2_star": products[0],
                    "r2_tilde": products[1],
                    "covers": curve.covers,
                    **{k: getattr(curve, k) for k in columns},
                }
            )
        told = {
            "analysis": "rho",
            "level": self.level,
            "vcov": self.vcov,
            "families": dict(zip(("mediator", "outcome"), self.families, strict=True)),
            "r2_mediator": self.r2_mediator,
            "r2_outcome": self.r2_outcome,
            "effects": effects,
        }
        found: dict[str, Any] = plain(told)
        return found

    def __str__(self) -> str:
        treatment, mediator, outcome = self.names
        lines = [
            f"{treatment} -> {mediator} -> {outcome}: correlation rho of the errors of mediator "
            f"({self.families[0]}) and outcome ({self.families[1]})",
        ]
        for curve in self.curves:
            estimate, _, low, high = self.at(0.0, curve.term)
            text = f"{curve.term:<5} {number(estimate)} [{number(low)}, {number(high)}] at rho = 0"
            if curve.zero is None:
                lines.append(f"{text}; zero at no rho")
            else:
                star, tilde = self.r2_at_zero(curve.term) or (0.0, 0.0)
                lines.append(
                    f"{text}; zero at rho = {curve.zero:.4f} (R2 products {star:.4f} residual, "
                    f"{tilde:.4f} total)"
                )
            spans = ", ".join(f"{a:.4f} to {b:.4f}" for a, b in curve.covers) or "no rho"
            lines.append(f"      {self.level * 100:g}% interval covers zero for {spans}")
        return "\n".join(lines)


def rho(
    study: TableStudy,
    *,
    interaction: bool = False,
    families: tuple[str, str] = ("auto", "auto"),
    vcov: Literal["sandwich", "classic"] = "sandwich",
    grid: Sequence[float] = GRID,
    level: float = 0.95,
) -> RhoSensitivity:
    r"""Natural effects when the errors of mediator and outcome are correlated.

    An unmeasured confounder of mediator and outcome makes the errors of the two models correlate.
    With linear models

    .. math:: M = \beta_2 a + \xi_2^\top x + \varepsilon_2, \qquad
              Y = \beta_3 a + \gamma M (+ \kappa a M) + \xi_3^\top x + \varepsilon_3, \qquad
              \mathrm{corr}(\varepsilon_2, \varepsilon_3) = \rho,

    the indirect effect is :math:`\beta_2 (\hat\gamma - s_Y / s_M \cdot \rho / \sqrt{1-\rho^2})`
    with :math:`s` the residual deviations of the fitted models, which equals the printed
    :math:`(\beta_2 \sigma_1 / \sigma_2) \{\tilde\rho - \rho \sqrt{(1 - \tilde\rho^2) / (1 -
    \rho^2)}\}` and is where iterated generalised least squares with ``rho`` held ends. Effects at
    ``rho = 0`` are those of `Regression`.

    Parameters
    ----------
    study
        One treatment (numeric or two-valued), one mediator, one outcome.
    interaction
        Put the product of treatment and mediator into the outcome's model.
    families
        Of mediator and outcome: ``gaussian``, ``probit``, or ``auto`` (probit for two values).
        At most one of the two is probit.
    vcov
        ``sandwich``: from influence functions, with clusters where declared; every parameter,
        residual deviations too, counts as estimated. ``classic``, for two linear models:
        generalised least squares with the error covariance held at its estimate (RSS / (n - 1)),
        rows independent and covariates held, as R's ``mediation::medsens``.
    grid
        Correlations to tabulate, inside (-1, 1).
    level
        Confidence level.

    Returns
    -------
    RhoSensitivity
        Curves, exact zeros, ranges where the interval covers zero, R-squared forms, contours.

    Raises
    ------
    DesignError
        If the study has several mediators, intermediate confounders, or two binary responses.
    SpecError
        If an option is unknown or a correlation is outside (-1, 1).

    Notes
    -----
    Assumptions: the models, normal errors where a probit is involved, no confounder that the
    treatment affects, no confounder of the treatment. ``rho`` holds one number for every unit.
    With a probit the ranges are searched for up to \|rho\| 0.99 (mediator) or 1 - 1e-6 (outcome).
    A probit mediator's outcome model is weighted by the inverse of its residual variance.

    References
    ----------
    Imai, Keele, Yamamoto (2010), Statistical Science 25. Imai, Keele, Tingley (2010),
    Psychological Methods 15.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.linear(n=500, seed=1).study()
    >>> found = rho(study)
    >>> bool(abs(found.at(found["nie"].zero)[0]) < 1e-12)
    True
    """
    check_confidence(level)
    points = np.asarray(grid, dtype=np.float64)
    if points.ndim != 1 or points.size < 2 or not (np.abs(points) < 1.0).all():
        raise SpecError(f"grid needs two or more correlations inside (-1, 1), got {grid!r}")
    if vcov not in ("sandwich", "classic"):
        raise SpecError.unknown("value of vcov", str(vcov), ("sandwich", "classic"))
    data, chosen = triple(study, families, interaction=interaction)
    if vcov == "classic" and "probit" in chosen:
        raise SpecError("vcov='classic' is for two linear models; use 'sandwich' with a probit")
    model = _model(data, chosen, vcov)
    points = np.unique(np.clip(points, -model.reach, model.reach))
    curves = tuple(curve_of(model, term, points, level) for term in model.terms)
    return RhoSensitivity(
        curves,
        level,
        chosen,
        explained(data, chosen[0], data.first, data.m),
        explained(data, chosen[1], data.second, data.y),
        (study.path.treatment, study.blocks[0][0], study.path.outcome),
        vcov,
        model,
    )


def _model(data: Triple, families: tuple[str, str], vcov: str) -> RhoModel:
    if families[0] == "probit":
        return probit_mediator(data)
    return probit_outcome(data) if families[1] == "probit" else linear(data, vcov)

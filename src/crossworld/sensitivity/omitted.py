r"""Omitted-variable bounds for machine-learned effects ("long story short").

An unmeasured ``U`` that the outcome regression and the Riesz representer leave out biases an
effect by at most

.. math:: |\theta - \theta_s| \le |\rho|\, C_Y\, C_D\, S, \qquad S = \sigma_s \nu_s,

where :math:`C_Y^2` is the share of the outcome's residual variance that ``U`` explains,
:math:`C_D^2 = c_d / (1 - c_d)` with :math:`c_d = 1 - R^2_\alpha` the share of the representer's
variance that only ``U`` explains, and :math:`\rho` the correlation of the two errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from crossworld.core.estimand import Estimand
from crossworld.errors import DesignError, SpecError
from crossworld.sensitivity.omitted_benchmark import benchmarks
from crossworld.sensitivity.omitted_effect import Benchmark, OmittedEffect, Strength
from crossworld.sensitivity.omitted_scores import Parts, evaluate
from crossworld.sensitivity.tabular import aligned, asked, check_level, plain
from crossworld.tables.multiply_robust import MultiplyRobust
from crossworld.tables.study import TableStudy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = ("term", "estimate", "bound_low", "bound_high", "limit_low", "limit_high", "rv", "rv_limit")


@dataclass(frozen=True, slots=True, eq=False)
class OmittedConfounding:
    """Bounds on effects under an omitted confounder: the result of `omitted_confounding`.

    Parameters
    ----------
    effects
        One per question.
    strength
        The strength at which rows are shown.
    level
        Confidence level of the limits.
    heading
        The study in a line.
    warnings
        What the fit wants told.
    """

    effects: tuple[OmittedEffect, ...]
    strength: Strength
    level: float
    heading: str = ""
    warnings: tuple[str, ...] = ()

    def __getitem__(self, term: str) -> OmittedEffect:
        for effect in self.effects:
            if effect.term == term:
                return effect
        raise SpecError.unknown("effect", term, [e.term for e in self.effects])

    def at(self, strength: Strength) -> OmittedConfounding:
        """Return the same analysis at another strength; nothing is fitted again."""
        return replace(self, strength=strength)

    def rows(self) -> list[dict[str, Any]]:
        """One row per effect."""
        return [self._row(effect) for effect in self.effects]

    def _row(self, effect: OmittedEffect) -> dict[str, Any]:
        low, high = effect.bounds(self.strength)
        limit_low, limit_high = effect.limits(self.strength, self.level)
        return {
            "term": effect.term,
            "confounder": effect.confounder,
            "estimate": effect.theta.value,
            "std_error": effect.theta.std_error,
            "bound_low": low,
            "bound_high": high,
            "limit_low": limit_low,
            "limit_high": limit_high,
            "rv": effect.robustness(rho=self.strength.rho),
            "rv_limit": effect.robustness_limit(self.level, rho=self.strength.rho),
            "sigma2": effect.sigma2.value,
            "nu2": effect.nu2.value,
        }

    def to_frame(self) -> Any:
        """Rows as a pandas frame."""
        import pandas as pd

        return pd.DataFrame(self.rows())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        s = self.strength
        marks = [
            {"term": e.term, "covariates": b.covariates, "multiple": b.multiple}
            | {"cy": b.cy, "cd": b.cd, "rho": b.rho, "change": b.change}
            for e in self.effects
            for b in e.benchmarks
        ]
        found = {"strength": {"cy": s.cy, "cd": s.cd, "rho": s.rho}, "level": self.level}
        found |= {"effects": self.rows(), "benchmarks": marks, "warnings": list(self.warnings)}
        return {str(k): plain(v) for k, v in found.items()}

    def plot(self, ax: Axes | None = None, *, term: str | None = None) -> Axes:
        """Contours of the bound of one effect (the first by default)."""
        effect = self.effects[0] if term is None else self[term]
        return effect.contours().plot(ax)

    def __str__(self) -> str:
        s = self.strength
        lines = [
            f"Omitted confounder with cy = {s.cy:g} (partial R2 with the outcome), cd = {s.cd:g} "
            f"(1 - R2 of the representer), rho = {s.rho:g}; limits at {self.level:.0%}",
            self.heading,
            aligned(self.rows(), SHOWN),
        ]
        for effect in self.effects:
            lines.append(
                f"{effect.term}: a {effect.confounder} confounder needs strength "
                f"{effect.robustness(rho=s.rho):.3g} on both to bring the bound to 0, "
                f"{effect.robustness_limit(self.level, rho=s.rho):.3g} to bring its limit there"
            )
            lines += [f"  as strong as {_told(b)}" for b in effect.benchmarks]
        return "\n".join([*(line for line in lines if line), *self.warnings])


def _told(b: Benchmark) -> str:
    if b.cy is None or b.cd is None:
        return f"{b.label}: no confounder can be that strong"
    return (
        f"{b.label}: cy = {b.cy:.3g}, cd = {b.cd:.3g}; without it the estimate moves {b.change:.4g}"
    )


def omitted_confounding(
    study: TableStudy,
    estimator: MultiplyRobust | None = None,
    *,
    effects: Sequence[str | Estimand] | str = ("nde", "nie"),
    strength: Strength | None = None,
    benchmark: Mapping[str | tuple[str, ...], float] | Sequence[str] = (),
    level: float = 0.95,
) -> OmittedConfounding:
    r"""Bound effects under an unmeasured confounder of a given strength.

    For effects with a cell ``Y(a, M(b))`` (``nde``, ``nie``, ``tnde``, ``pnie``) the confounder is
    one of mediator and outcome, while the treatment is ignorable given the covariates and stays
    so given ``U``. Then :math:`\theta = E[1\{A=b\} g(a, M, X, U) / P(b \mid X)]` is linear in the
    long regression with the same weights as in the short one, and the theory of Chernozhukov et
    al. applies with the representer
    :math:`\alpha_s = 1\{A=a\} P(b|M,X) / \{P(a|M,X) P(b|X)\}`. Cells ``Y(a)`` are not exposed.
    For effects of such cells alone (``te``) the confounder is one of treatment and outcome.

    Parameters
    ----------
    study
        One block of mediators, or blocks that an effect moves together.
    estimator
        The cross-fitted estimator whose nuisances are used; its ratio form.
    effects
        Names or estimands: weighted sums of cells.
    strength
        The confounder's strength; others can be asked of the result without fitting again.
    benchmark
        Covariates to measure a confounder by: names, or names (or tuples of names) with how many
        times as strong, ``{"age": 3}``. A confounder k times as strong raises the explained
        variance of the outcome and the variance of the representer by k times what they do:
        :math:`C_Y^2 = k (\sigma^2_{-j} - \sigma^2) / \sigma^2`,
        :math:`C_D^2 = k (\nu^2 - \nu^2_{-j}) / \nu^2` (see
        `crossworld.sensitivity.omitted_benchmark`).
    level
        Confidence level.

    Returns
    -------
    OmittedConfounding
        Bounds, limits, robustness values, contours.

    Raises
    ------
    DesignError
        If a benchmark is no covariate of the study, or an effect follows part of the mediators.
    SpecError
        If the estimator is not the ratio form of MultiplyRobust.

    Notes
    -----
    Limits use the full influence functions of the effect, of :math:`\sigma^2` and of
    :math:`\nu^2`, the last with the estimation of P(b | X) inside the functional (see
    `crossworld.sensitivity.omitted_scores`). They hold both bounds at once with probability
    ``level``. The outcome's residual variance is taken at the treatment levels where the
    representer is not 0, so for a cell ``Y(1, M(0))`` among units at level 1.

    References
    ----------
    Chernozhukov, Cinelli, Newey, Sharma and Syrgkanis (2022), "Long story short: omitted variable
    bias in causal machine learning", NBER 30302.

    Examples
    --------
    >>> import crossworld as xw
    >>> from crossworld.sensitivity.omitted import Strength, omitted_confounding
    >>> study = xw.datasets.interaction(n=400, seed=1).study()
    >>> method = xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=2)
    >>> found = omitted_confounding(study, method, strength=Strength(cy=0.1, cd=0.1))
    >>> low, high = found["nie"].bounds(found.strength)
    >>> bool(low < found["nie"].theta.value < high)
    True
    """
    estimator = MultiplyRobust() if estimator is None else estimator
    if not isinstance(estimator, MultiplyRobust) or estimator.mediator is not None:
        raise SpecError(
            "omitted_confounding works with MultiplyRobust(mediator=None), whose treatment models "
            f"make the representer; got {estimator!r}"
        )
    check_level(level)
    questions = asked(study, effects, "omitted_confounding")
    groups = _groups(study, benchmark)
    fits = evaluate(study, estimator, questions)
    marks = benchmarks(fits, questions, groups) if groups else []
    found = tuple(_effect(p, [m[j] for m in marks]) for j, p in enumerate(fits.parts))
    told = tuple(fits.scores.diagnostics.get("warnings", ()))
    return OmittedConfounding(found, strength or Strength(), level, study.describe(), told)


def _groups(
    study: TableStudy, benchmark: Mapping[str | tuple[str, ...], float] | Sequence[str]
) -> list[tuple[tuple[str, ...], float]]:
    if isinstance(benchmark, str):
        benchmark = [benchmark]
    times = benchmark if isinstance(benchmark, Mapping) else dict.fromkeys(benchmark, 1.0)
    found = []
    for key, multiple in times.items():
        names = (key,) if isinstance(key, str) else tuple(key)
        for name in names:
            if name not in study.adjust:
                raise DesignError(
                    f"benchmark {name!r} is not a covariate of the study; those are "
                    f"{', '.join(study.adjust) or 'none'}"
                )
        if not multiple > 0.0:
            raise SpecError(f"a benchmark is a positive multiple of a covariate, got {multiple!r}")
        found.append((names, float(multiple)))
    return found


def _effect(part: Parts, marks: Sequence[Benchmark]) -> OmittedEffect:
    return OmittedEffect(
        part.term,
        part.confounder,
        part.theta,
        part.spread,
        sigma2=part.sigma2,
        nu2=part.nu2,
        benchmarks=tuple(marks),
    )

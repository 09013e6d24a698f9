"""Adjust for a confounder that nobody measured, for every strength it may have had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from crossworld.core.analysis import Analysis
from crossworld.core.estimand import Estimand
from crossworld.core.options import check_whole
from crossworld.core.refutation import Refutation
from crossworld.core.table import Effect, EffectTable, number
from crossworld.errors import CrossworldError, SpecError
from crossworld.refute.protocols import Confounder, Confounds, lacking
from crossworld.refute.rerun import (
    UNUSED,
    Attempts,
    attempt,
    bound,
    effects,
    generators,
    unused,
    with_covariate,
)

NAME = "unmeasured_confounder"
PAIRS = ("treatment-mediator", "mediator-outcome", "treatment-outcome")
MOST = 0.7
SHOWS = (
    "this is a range, not a verdict: it shows how strong a confounder would have to be, not "
    "whether there is one; compare with the strengths of measured covariates in data.benchmarks"
)
Point = tuple[str, float, float]


@dataclass(frozen=True, slots=True)
class UnmeasuredConfounder:
    r"""Make up a confounder of two of treatment, mediator and outcome, and adjust for it.

    Its strengths are partial correlations: with the first of the pair given the covariates (for
    the mediator also the treatment), and with the second given everything before it. Squared, they
    are the share of the variance left over that it would explain. It is drawn from the observed
    data (see `crossworld.tables.confounding`), so that adjusting for it does what adjusting for a
    real one of these strengths would have done. With the sign of the first positive, the sign of
    the second decides which way the estimate moves.

    For each pair, the weakest strengths (smallest product) are reported at which the effect moves
    by more than ``moved`` of itself, changes sign, and has an interval that covers no effect.

    Parameters
    ----------
    strengths
        Absolute partial correlations, each under 0.7; the grid holds every strength of the first of
        the pair with every strength, of either sign, of the second.
    pairs
        ``treatment-mediator``, ``mediator-outcome``, ``treatment-outcome``.
    moved
        Share of the estimate that counts as moved.
    draws
        Confounders per grid point, averaged. With numeric variables and `Regression` one is exact:
        the noise in it is unrelated to everything in the sample.
    seed
        Seed of the confounders; all grid points share their noise, so surfaces are smooth.

    Notes
    -----
    One confounder, of one pair at a time, normal, the same for all units of equal residuals, its
    effects linear and the same for everyone. Residuals are those of linear models with products of
    the treatment (probit for two values), so what these miss of a curved relation is taken for
    confounding. With several mediators it acts on their index that predicts the outcome. With
    clusters it varies inside them. Every grid point is a run of the analysis: with slow learners
    ask for fewer strengths. Formulas that people wrote get the confounder as one more term.

    References
    ----------
    Cinelli and Hazlett (2020), Journal of the Royal Statistical Society B 82. Carnegie, Harada and
    Hill (2016), Journal of Research on Educational Effectiveness 9, for drawing the confounder
    given the data.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.linear(n=500, seed=1).study()
    >>> question = xw.Analysis(study, xw.Imputation(), (xw.NIE,))
    >>> (found,) = UnmeasuredConfounder(strengths=(0.2, 0.4)).refute(question, question.run())
    >>> found.passed, sorted(found.data["pairs"])
    (None, ['mediator-outcome', 'treatment-mediator', 'treatment-outcome'])
    """

    strengths: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5)
    pairs: tuple[str, ...] = PAIRS
    moved: float = 0.25
    draws: int = 1
    seed: int = 0
    key: ClassVar[str] = "unmeasured-confounder"

    def __post_init__(self) -> None:
        check_whole("draws", self.draws, 1)
        check_whole("seed", self.seed, 0)
        for pair in self.pairs:
            if pair not in PAIRS:
                raise SpecError.unknown("pair", str(pair), PAIRS)
        if not self.pairs or not self.strengths:
            raise SpecError("pairs and strengths name at least one each")
        if not all(0.0 < s <= MOST for s in self.strengths):
            raise SpecError(
                f"strengths are correlations above 0 and up to {MOST}, got {self.strengths!r}"
            )
        if not self.moved > 0.0:
            raise SpecError(f"moved is a positive share, got {self.moved!r}")

    def refute(
        self, analysis: Analysis[Any], result: EffectTable, *, workers: int = 1
    ) -> tuple[Refutation, ...]:
        """Adjust for every confounder of the grid, one refutation for each effect."""
        study, asked = analysis.study, bound(analysis)
        if not isinstance(study, Confounds):
            reason = lacking(study, "has no residuals that a confounder could be made of")
            return tuple(_undecided(e.name, result, reason) for e in asked)
        try:
            made = [study.confounding(rng) for rng in generators(self.seed, self.draws)]
        except CrossworldError as error:
            text = f"no confounder could be made up: {error}"
            return tuple(_undecided(e.name, result, text) for e in asked)
        estimator = with_covariate(analysis.estimator, NAME)

        def once(source: Confounder, point: Point) -> dict[str, Effect]:
            more = study.adjusting({NAME: source.draw(*point)})
            changed: Analysis[Any] = replace(analysis, study=more, estimator=estimator, refuters=())
            return effects(changed, asked)

        grid = self._grid()
        tasks = [lambda s=s, p=p: (p, once(s, p)) for p in grid for s in made]
        found = attempt(tasks, workers=workers)
        if found.done and unused([run for _, run in found.done], result):
            return tuple(_undecided(e.name, result, UNUSED) for e in asked)
        told = study.benchmarks() if hasattr(study, "benchmarks") else []
        return tuple(self._told(e, grid, found, result, told) for e in asked)

    def _grid(self) -> list[Point]:
        sides = sorted({*self.strengths, *(-s for s in self.strengths)})
        return [(pair, a, b) for pair in self.pairs for a in sorted(self.strengths) for b in sides]

    def _told(
        self,
        estimand: Estimand,
        grid: Sequence[Point],
        found: Attempts[tuple[Point, dict[str, Effect]]],
        result: EffectTable,
        told: list[dict[str, Any]],
    ) -> Refutation:
        term, original = estimand.name, result[estimand.name].estimate
        rows = [_averaged(p, [run[term] for q, run in found.done if q == p]) for p in grid]
        if original is None or all(row["estimate"] is None for row in rows):
            return _undecided(term, result, f"{term} has no estimate to compare.{found.told()}")
        pairs, sentences = {}, []
        for pair in self.pairs:
            own = [row for row, (name, _, _) in zip(rows, grid, strict=True) if name == pair]
            pairs[pair] = {"grid": own, **self._tipping(own, original, estimand.null)}
            sentences.append(_sentence(pair, pairs[pair], self.moved, max(self.strengths)))
        nearest = min(
            (row["estimate"] for row in rows if row["estimate"] is not None),
            key=lambda v: (v - estimand.null) * np.sign(original - estimand.null),
        )
        low, high = result[term].conf_low, result[term].conf_high
        already = low is not None and high is not None and low <= estimand.null <= high
        known = ", with an interval that covers no effect already" if already else ""
        text = f"{term} is {number(original)}{known}. {' '.join(sentences)}{found.told()}"
        data = {"pairs": pairs, "benchmarks": told, "failed": len(found.failed)}
        return Refutation(self.key, term, None, original, float(nearest), text, SHOWS, data)

    def _tipping(self, rows: list[dict[str, Any]], original: float, null: float) -> dict[str, Any]:
        """Weakest strengths at which the answer changes, None where none of the grid does."""
        side = np.sign(original - null)
        size = abs(original - null)

        def weakest(happens: Any) -> dict[str, float] | None:
            hit = [row for row in rows if row["estimate"] is not None and happens(row)]
            if not hit:
                return None
            first = min(
                hit,
                key=lambda r: (
                    round(r["strength_a"] * abs(r["strength_b"]), 12),
                    max(r["strength_a"], abs(r["strength_b"])),
                    r["strength_b"],
                ),
            )
            return {k: first[k] for k in ("strength_a", "strength_b", "estimate")}

        return {
            "moves": weakest(lambda r: abs(r["estimate"] - original) > self.moved * size),
            "changes_sign": weakest(lambda r: (r["estimate"] - null) * side <= 0.0),
            "covers_null": weakest(
                lambda r: r["low"] is not None and r["low"] <= null <= r["high"]
            ),
        }


def _averaged(point: Point, runs: Sequence[Effect]) -> dict[str, Any]:
    """Mean estimate and limits of the draws of one grid point, None where they do not exist."""

    def mean(name: str) -> float | None:
        held = [getattr(run, name) for run in runs]
        if not held or any(v is None or not np.isfinite(v) for v in held):
            return None
        return float(np.mean(held))

    low, high = mean("conf_low"), mean("conf_high")
    if low is None or high is None:
        low = high = None
    return {
        "strength_a": point[1],
        "strength_b": point[2],
        "estimate": mean("estimate"),
        "low": low,
        "high": high,
    }


def _sentence(pair: str, found: dict[str, Any], moved: float, most: float) -> str:
    first, second = pair.split("-")
    parts = []
    for name, happens in (
        ("moves", f"moves by more than {moved:.0%}"),
        ("changes_sign", "reaches no effect"),
        ("covers_null", "has an interval that covers no effect"),
    ):
        hit = found[name]
        at = (
            f"from partial correlations {hit['strength_a']:g} and {hit['strength_b']:+g}"
            if hit
            else f"nowhere up to {most:g}"
        )
        parts.append(f"{happens} {at}")
    return f"A confounder of {first} and {second}: it {', '.join(parts)}."


def _undecided(term: str, result: EffectTable, text: str) -> Refutation:
    return Refutation(
        UnmeasuredConfounder.key, term, None, result[term].estimate, None, text, SHOWS
    )

"""Measure the covariates worse than they were, and see how much hangs on measuring them well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from crossworld.core.analysis import Analysis
from crossworld.core.options import check_whole
from crossworld.core.refutation import Refutation
from crossworld.core.table import Effect, EffectTable, number
from crossworld.errors import SpecError
from crossworld.refute.protocols import Blurs, lacking
from crossworld.refute.rerun import Attempts, attempt, bound, effects, generators

QUARTER = 0.25  # share of the estimate by which it may move
SHOWS = (
    "passing shows that covariates measured a little worse would have led to the same answer; it "
    "says nothing of covariates that were not measured"
)


@dataclass(frozen=True, slots=True)
class NoisyCovariates:
    r"""Add error to every covariate and estimate again, for several amounts of error.

    Error of ``s`` standard deviations leaves a covariate of reliability :math:`1 / (1 + s^2)`; a
    category is mixed up as often. Where covariates confound, error in them lets confounding back
    in, so the estimate moves with ``s``; how it moves tells what the error that is there already
    may have done (the idea of SIMEX, without its extrapolation).

    An effect passes when, at amounts up to ``judged``, its mean movement stays within one standard
    error or within a quarter of the estimate, whichever is more.

    Parameters
    ----------
    amounts
        Standard deviations of the error, in those of each covariate.
    judged
        Largest amount at which the verdict is made; 0.5 is a reliability of 0.8.
    draws
        Reruns for each amount.
    seed
        Seed of the errors.

    References
    ----------
    Cook and Stefanski (1994), Journal of the American Statistical Association 89.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.linear(n=300, seed=1).study()
    >>> question = xw.Analysis(study, xw.Imputation())
    >>> found = NoisyCovariates().refute(question, question.run())
    >>> [(r.term, r.passed) for r in found]
    [('te', True), ('nde', True), ('nie', True)]
    """

    amounts: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)
    judged: float = 0.5
    draws: int = 20
    seed: int = 0
    key: ClassVar[str] = "noisy-covariates"

    def __post_init__(self) -> None:
        check_whole("draws", self.draws, 2)
        check_whole("seed", self.seed, 0)
        if not self.amounts or not all(0.0 < s < 100.0 for s in self.amounts):
            raise SpecError(f"amounts are positive standard deviations, got {self.amounts!r}")
        if not min(self.amounts) <= self.judged:
            raise SpecError(
                f"judged={self.judged!r} is under every amount {self.amounts!r}; nothing would be "
                "judged"
            )

    def refute(
        self, analysis: Analysis[Any], result: EffectTable, *, workers: int = 1
    ) -> tuple[Refutation, ...]:
        """Blur and estimate again, one refutation for each effect."""
        study, asked = analysis.study, bound(analysis)
        if not isinstance(study, Blurs):
            reason = lacking(study, "has no covariates that could be measured with error")
            return tuple(_undecided(e.name, result, reason) for e in asked)
        if not getattr(study, "adjust", True):
            return tuple(_undecided(e.name, result, "there are no covariates") for e in asked)

        def once(amount: float, rng: np.random.Generator) -> dict[str, Effect]:
            worse = study.blurred(amount, rng)
            return effects(replace(analysis, study=worse, refuters=()), asked)

        # the same errors, scaled, at every amount: the path is smooth in the amount
        tasks = [
            lambda s=s, k=k: once(s, generators(self.seed, self.draws)[k])
            for s in self.amounts
            for k in range(self.draws)
        ]
        found = [
            attempt(tasks[j : j + self.draws], workers=workers)
            for j in range(0, len(tasks), self.draws)
        ]
        return tuple(self._judged(e.name, found, result) for e in asked)

    def _judged(
        self, term: str, found: Sequence[Attempts[dict[str, Effect]]], result: EffectTable
    ) -> Refutation:
        row, steps = result[term], list[dict[str, Any]]()
        for amount, tried in zip(self.amounts, found, strict=True):
            values = np.array([run[term].estimate for run in tried.done], dtype=np.float64)
            values = values[np.isfinite(values)]
            steps.append(
                {
                    "amount": amount,
                    "reliability": 1.0 / (1.0 + amount**2),
                    "estimate": float(values.mean()) if values.size else None,
                    "spread": float(values.std(ddof=1)) if values.size > 1 else None,
                    "failed": tried.total - int(values.size),
                }
            )
        told = next((t.told() for t in found if t.failed), "")
        judged = [s for s in steps if s["amount"] <= self.judged and s["estimate"] is not None]
        if row.estimate is None or not row.std_error or not judged:
            return _undecided(term, result, f"{term} has no value or no standard error.{told}")
        room = max(row.std_error, QUARTER * abs(row.estimate))
        worst = max(judged, key=lambda s: abs(s["estimate"] - row.estimate))
        moved = float(worst["estimate"]) - row.estimate
        path = "; ".join(
            f"{s['amount']:g}: {number(s['estimate'])}" for s in steps if s["estimate"] is not None
        )
        text = (
            f"With error of so many standard deviations in every covariate {term} became {path}. "
            f"Up to {self.judged:g} it moved by {number(moved)}, where {number(room)} (a standard "
            f"error or a quarter of the estimate) is tolerated.{told}"
        )
        refuted, passed = float(worst["estimate"]), abs(moved) <= room
        data = {"steps": steps, "tolerated": room}
        return Refutation(self.key, term, passed, row.estimate, refuted, text, SHOWS, data)


def _undecided(term: str, result: EffectTable, text: str) -> Refutation:
    return Refutation(NoisyCovariates.key, term, None, result[term].estimate, None, text, SHOWS)

"""Adjust for a covariate that means nothing: estimates may not move."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from crossworld.core.analysis import Analysis
from crossworld.core.options import check_whole
from crossworld.core.refutation import Refutation
from crossworld.core.table import Effect, EffectTable, number
from crossworld.errors import SpecError
from crossworld.refute.judge import FEWEST
from crossworld.refute.protocols import Adjusts, lacking
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

NAME = "random_common_cause"
SHOWS = (
    "passing shows that the estimate does not hang on chance relations with irrelevant covariates; "
    "it does not show that the relevant ones are all there"
)


@dataclass(frozen=True, slots=True)
class RandomCommonCause:
    """Adjust for one more covariate, normal and independent of everything, several times.

    It changes nothing that is estimated, so an effect may move by noise alone. An effect passes
    when the root mean square of its movements is at most ``most`` standard errors. Regressions move
    by about one over the root of the number of units; learners by more, since each sees other
    columns.

    Parameters
    ----------
    draws
        Covariates that are tried, one at a time; at least 10.
    most
        Largest tolerated movement, in standard errors of the estimate.
    seed
        Seed of the covariates.

    Notes
    -----
    Formulas that people wrote get the covariate as one more term. An estimator on which it has no
    influence at all is not judged.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.linear(n=300, seed=1).study()
    >>> question = xw.Analysis(study, xw.Imputation())
    >>> [r.passed for r in RandomCommonCause().refute(question, question.run())]
    [True, True, True]
    """

    draws: int = 20
    most: float = 0.5
    seed: int = 0
    key: ClassVar[str] = "random-common-cause"

    def __post_init__(self) -> None:
        check_whole("draws", self.draws, FEWEST)
        check_whole("seed", self.seed, 0)
        if not self.most > 0.0:
            raise SpecError(f"most is a positive number of standard errors, got {self.most!r}")

    def refute(
        self, analysis: Analysis[Any], result: EffectTable, *, workers: int = 1
    ) -> tuple[Refutation, ...]:
        """Adjust and estimate again, one refutation for each effect."""
        study, asked, units = analysis.study, bound(analysis), len(analysis.study)
        if not isinstance(study, Adjusts):
            reason = lacking(study, "cannot adjust for a further covariate")
            return tuple(_undecided(e.name, result, reason) for e in asked)
        estimator = with_covariate(analysis.estimator, NAME)

        def once(rng: np.random.Generator) -> dict[str, Effect]:
            more = study.adjusting({NAME: rng.standard_normal(units)})
            changed: Analysis[Any] = replace(analysis, study=more, estimator=estimator, refuters=())
            return effects(changed, asked)

        tasks = [lambda rng=rng: once(rng) for rng in generators(self.seed, self.draws)]
        found = attempt(tasks, workers=workers)
        if len(found.done) < FEWEST:
            text = f"only {len(found.done)} of {found.total} reruns went through.{found.told()}"
            return tuple(_undecided(e.name, result, text) for e in asked)
        if unused(found.done, result):
            return tuple(_undecided(e.name, result, UNUSED) for e in asked)
        return tuple(self._judged(e.name, found, result) for e in asked)

    def _judged(
        self, term: str, found: Attempts[dict[str, Effect]], result: EffectTable
    ) -> Refutation:
        row = result[term]
        if row.estimate is None or not row.std_error:
            return _undecided(term, result, f"{term} has no standard error to compare with")
        moved = np.array([_value(run[term]) for run in found.done]) - row.estimate
        moved = moved[np.isfinite(moved)]
        if moved.size < FEWEST:
            return _undecided(term, result, f"{term} has no value in most of the reruns")
        size = float(np.sqrt((moved**2).mean())) / row.std_error
        largest = float(np.abs(moved).max()) / row.std_error
        text = (
            f"Adjusting for an independent covariate ({moved.size} of them, one at a time) moved "
            f"{term} by {size:.3f} standard errors (root mean square; {largest:.3f} at most); up "
            f"to {self.most:g} is noise.{found.told()}"
        )
        return Refutation(
            self.key,
            term,
            size <= self.most,
            row.estimate,
            row.estimate + float(moved.mean()),
            text,
            SHOWS,
            {
                "draws": int(moved.size),
                "failed": len(found.failed),
                "moved_standard_errors": size,
                "most_standard_errors": largest,
                "std_error": row.std_error,
                "mean_movement": number(float(moved.mean())),
            },
        )


def _value(row: Effect) -> float:
    return np.nan if row.estimate is None else row.estimate


def _undecided(term: str, result: EffectTable, text: str) -> Refutation:
    return Refutation(RandomCommonCause.key, term, None, result[term].estimate, None, text, SHOWS)

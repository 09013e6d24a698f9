"""Permute the mediators: nothing may run through them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from crossworld.core.analysis import Analysis
from crossworld.core.refutation import Refutation
from crossworld.core.table import EffectTable
from crossworld.refute.expected import without_mediator
from crossworld.refute.sham import Sham, check_sham, try_sham

SHOWS = (
    "passing shows that the method finds no path through mediators that carry nothing; it does not "
    "show that nothing unmeasured affects mediator and outcome"
)


@dataclass(frozen=True, slots=True)
class PlaceboMediator:
    r"""Give every unit another unit's mediators (all of them together), many times.

    Nothing runs through such mediators. Indirect effects have to vanish, and a direct effect has to
    be the total one: of ``nde`` the difference ``nde - te`` in the same rerun is judged. Models of
    treatment and outcome given the covariates alone do not change and are not fitted again.

    The rule is that of `PlaceboTreatment`, about 1 % false alarms at most.

    Parameters
    ----------
    draws
        Permutations, at least 10.
    seed
        Seed of the permutations.

    Notes
    -----
    Effects of a treatment on something that is no mediator, ``te``, are not judged; quotients of
    contrasts, ``pm``, are not either.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.linear(n=300, seed=1).study()
    >>> question = xw.Analysis(study, xw.Imputation())
    >>> found = PlaceboMediator(draws=40).refute(question, question.run())
    >>> [(r.term, r.passed) for r in found]
    [('te', None), ('nde', True), ('nie', True)]
    """

    draws: int = 100
    seed: int = 0
    key: ClassVar[str] = "placebo-mediator"

    def __post_init__(self) -> None:
        check_sham(self.draws, self.seed)

    def refute(
        self, analysis: Analysis[Any], result: EffectTable, *, workers: int = 1
    ) -> tuple[Refutation, ...]:
        """Permute the mediator and estimate again, one refutation for each effect."""
        sham = Sham(
            self.key,
            "mediator",
            without_mediator,
            SHOWS,
            self.draws,
            self.seed,
            reuses=True,
        )
        return try_sham(sham, analysis, result, workers=workers)

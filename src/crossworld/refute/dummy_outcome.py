"""Permute the outcome: no effect may be left on one that nothing affects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from crossworld.core.analysis import Analysis
from crossworld.core.refutation import Refutation
from crossworld.core.table import EffectTable
from crossworld.refute.expected import without_outcome
from crossworld.refute.sham import Sham, check_sham, try_sham

SHOWS = (
    "passing shows that the method does not make up an effect on an outcome that nothing affects; "
    "it does not show that the real outcome has no unmeasured causes in common with the treatment"
)


@dataclass(frozen=True, slots=True)
class DummyOutcome:
    r"""Give every unit another unit's outcome, many times, and estimate again.

    The outcome keeps its distribution and depends on nothing that was measured, so every contrast
    of cells has to vanish. Treatment models do not change and are not fitted again.

    The rule is that of `PlaceboTreatment`, about 1 % false alarms at most.

    Parameters
    ----------
    draws
        Permutations, at least 10.
    seed
        Seed of the permutations.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.linear(n=300, seed=1).study()
    >>> question = xw.Analysis(study, xw.Imputation())
    >>> [r.passed for r in DummyOutcome(draws=40).refute(question, question.run())]
    [True, True, True]
    """

    draws: int = 100
    seed: int = 0
    key: ClassVar[str] = "dummy-outcome"

    def __post_init__(self) -> None:
        check_sham(self.draws, self.seed)

    def refute(
        self, analysis: Analysis[Any], result: EffectTable, *, workers: int = 1
    ) -> tuple[Refutation, ...]:
        """Permute the outcome and estimate again, one refutation for each effect."""
        sham = Sham(
            self.key,
            "outcome",
            without_outcome,
            SHOWS,
            self.draws,
            self.seed,
            reuses=True,
        )
        return try_sham(sham, analysis, result, workers=workers)

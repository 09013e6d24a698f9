"""Permute the treatment: no effect may be left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from crossworld.core.analysis import Analysis
from crossworld.core.refutation import Refutation
from crossworld.core.table import EffectTable
from crossworld.refute.expected import without_treatment
from crossworld.refute.sham import Sham, check_sham, try_sham

SHOWS = (
    "passing shows that the method finds nothing where there is nothing and that its intervals are "
    "honest there; it does not show that the treatment was as good as random"
)


@dataclass(frozen=True, slots=True)
class PlaceboTreatment:
    r"""Give every unit another unit's treatment, many times, and estimate again.

    The arms keep their sizes and every dependence on the treatment is broken, so every contrast of
    levels has to vanish. In a study with clusters, a treatment that is the same throughout each
    cluster is exchanged between whole clusters; one that varies inside them moves in runs of rows
    that mostly stay together.

    An effect passes unless its placebo estimates are centred elsewhere than at no effect (t test
    at 0.2 % and more than a quarter of their standard deviation), or intervals exclude no effect
    too often (binomial test at 0.2 % and more than twice the nominal rate), so that a sound
    analysis fails in at most about 1 % of cases. How the estimate compares with its placebos is
    told but not judged: an effect that is truly absent is no error.

    Parameters
    ----------
    draws
        Permutations, at least 10.
    seed
        Seed of the permutations.

    Notes
    -----
    Plug-in scores have no interval, so only the centre is judged.

    References
    ----------
    Fisher (1935), The Design of Experiments. Eggers, Tunon and Dafoe (2024), Placebo tests for
    causal inference, American Journal of Political Science 68.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.linear(n=300, seed=1).study()
    >>> question = xw.Analysis(study, xw.Imputation())
    >>> [r.passed for r in PlaceboTreatment(draws=40).refute(question, question.run())]
    [True, True, True]
    """

    draws: int = 100
    seed: int = 0
    key: ClassVar[str] = "placebo"

    def __post_init__(self) -> None:
        check_sham(self.draws, self.seed)

    def refute(
        self, analysis: Analysis[Any], result: EffectTable, *, workers: int = 1
    ) -> tuple[Refutation, ...]:
        """Permute the treatment and estimate again, one refutation for each effect."""
        sham = Sham(
            self.key,
            "treatment",
            without_treatment,
            SHOWS,
            self.draws,
            self.seed,
            reuses=False,
        )
        return try_sham(sham, analysis, result, workers=workers)

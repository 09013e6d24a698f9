"""Whether the models behind an answer fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from crossworld.core.analysis import Analysis
from crossworld.core.options import check_whole
from crossworld.core.refutation import Refutation
from crossworld.core.table import EffectTable, probability
from crossworld.errors import SpecError
from crossworld.refute.model_sources import Looked, look
from crossworld.refute.moment_tests import Verdict, joint_test
from crossworld.tables.study import TableStudy

SHOWS = (
    "Passing means that no product, square, curve, calibration error or (where the answer needs "
    "it) departure of the distribution was found in this model; it does not show that the model is "
    "right, and says nothing about unmeasured confounding."
)


@dataclass(frozen=True, slots=True)
class Misspecification:
    r"""Test every mediator, outcome and treatment model behind an answer; no instrument is needed.

    Each model should meet :math:`E[h(W) \{Y - \mu(W)\}] = 0` for every function of what it
    conditions on. The functions looked at, in groups: regressors that a formula left out; products
    of treatment and mediators; squares; other products; square and cube of the linear predictor
    (Ramsey 1969, Pregibon 1980); bins of the fitted value (calibration). A treatment model must
    also make its inverse-probability weights and density ratios balance mediators, covariates and
    their squares. Where a cell depends on more than a mediator's mean, its distribution is tested
    too: Legendre polynomials of the probability integral transform (Neyman 1937), and whether the
    spread varies along the regressors. Moments account for the parameters that were estimated and
    take no variance function for granted. One p value per group; the verdict on a model is the
    step-down minimum over its groups (Westfall and Young 1993).

    Parameters
    ----------
    level
        Chance of rejecting a model that is right.
    terms
        Most columns in a group; fewer where there are few units. Products of covariates are the
        first to be left out.
    seed
        Seed of the null draws of the step-down minimum.

    Notes
    -----
    Works for `Regression` (any family), `NaturalEffects`, `Weighting`, `Imputation` with its
    parametric regressions, and out of fold for `MultiplyRobust`, `TMLE` and `Riesz`. Size and power
    are measured in ``studies/misspecification.csv``. With flexible learners there is nothing to
    project the tested functions on, which makes the tests conservative.

    References
    ----------
    Wooldridge (1991), Journal of Econometrics 47. Newey (1985), Econometrica 53. Westfall and
    Young (1993), Resampling-Based Multiple Testing.

    Examples
    --------
    >>> import crossworld as xw
    >>> from crossworld.core.analysis import Analysis
    >>> study = xw.datasets.interaction(n=1000, seed=1).study()
    >>> analysis = Analysis(study, xw.Regression())
    >>> found = Misspecification().refute(analysis, analysis.run())
    >>> [(one.data["model"], one.passed) for one in found]
    [('m', True), ('y', False)]
    """

    key: ClassVar[str] = "misspecification"
    level: float = 0.05
    terms: int = 40
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.level, bool) or not 0.0 < self.level < 1.0:
            raise SpecError(f"level is a probability between 0 and 1, got {self.level!r}")
        check_whole("terms", self.terms, 1)

    def refute(
        self, analysis: Analysis[Any], result: EffectTable, *, workers: int = 1
    ) -> tuple[Refutation, ...]:
        """Return one refutation per model."""
        if not isinstance(analysis.study, TableStudy):
            detail = f"a {type(analysis.study).__name__} has no regression to test"
            return (Refutation(self.key, "", None, None, None, detail, SHOWS),)
        return tuple(self._one(analysis, looked) for looked in look(analysis, self.terms))

    def _one(self, analysis: Analysis[Any], looked: Looked) -> Refutation:
        tested = joint_test(looked.groups, analysis.study.cluster, seed=self.seed)
        told = {"model": looked.model, "described": looked.described, "level": self.level}
        if not tested:
            why = looked.why or "it is saturated: no product, square or curve can be added"
            named = f"{looked.model}: " if looked.model else ""
            return Refutation(self.key, "", None, None, None, f"{named}{why}", SHOWS, told)
        overall = min(t.adjusted for t in tested)
        data = {**told, "p_value": overall, "tests": [_plain(t) for t in tested]}
        passed = overall >= self.level
        detail = _sentence(looked, tested, overall, passed)
        return Refutation(self.key, "", passed, None, overall, detail, SHOWS, data)


def _plain(tested: Verdict) -> dict[str, Any]:
    return {
        "test": tested.name,
        "f_statistic": tested.statistic,
        "df": tested.df,
        "p_value": tested.p_value,
        "adjusted_p_value": tested.adjusted,
        "strongest": tested.strongest,
    }


def _sentence(looked: Looked, tested: list[Verdict], overall: float, passed: bool) -> str:
    worst = min(tested, key=lambda t: t.p_value)
    head = f"{looked.model} ({looked.described}): {len(tested)} tests, adjusted p "
    head += probability(overall)
    if passed:
        return f"{head}; nothing found."
    return (
        f"{head}; {worst.name} (p {probability(worst.p_value)}), most of all {worst.strongest}. "
        "Add the term, or use a more flexible model."
    )

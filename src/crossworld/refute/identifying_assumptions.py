"""Test the identifying assumptions themselves, with variables that move treatment or mediators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from crossworld.core.analysis import Analysis
from crossworld.core.estimate import Codes
from crossworld.core.refutation import Refutation
from crossworld.core.student import two_sided
from crossworld.core.table import EffectTable, probability
from crossworld.errors import DesignError, SpecError
from crossworld.refute.moment_tests import Group, joint_test, sums
from crossworld.tables.frame import Column
from crossworld.tables.robust import learners
from crossworld.tables.robust.folds import fold_ids
from crossworld.tables.robust.learners import Recipe
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]
SHOWS = (
    "Rejecting shows that the treatment or a mediator is confounded, or that an instrument "
    "affects what it should not. Passing supports all of these together, as far as the "
    "instruments move the treatment and the mediators and the test has power; a pair of "
    "violations can cancel."
)


@dataclass(frozen=True, slots=True)
class IdentifyingAssumptions:
    r"""Test unconfoundedness of treatment and mediators with two suspected instruments.

    With an instrument :math:`Z_1` of the treatment and :math:`Z_2` of the mediators, neither of
    which affects anything else, no unmeasured confounding implies (Huber, Kloiber and Laffers 2024)

    .. math:: M \perp Z_1 \mid A, X; \quad Y \perp Z_1 \mid A, X; \quad
              Y \perp Z_1 \mid A, M, X; \quad Y \perp Z_2 \mid A, M, X.

    ``method="gcm"`` tests each by the generalised covariance measure (Shah and Peters 2020), the
    mean of :math:`\{T - \hat E[T \mid C]\}\{Z - \hat E[Z \mid C]\}` with cross-fitted learners.
    ``method="squared"`` tests :math:`\theta = E[\{\mu(C, Z) - m(C)\}^2] = 0`, where :math:`\mu` and
    :math:`m` are the means of T with and without Z, by the score
    :math:`(\hat\mu - \hat m)^2 + 2 (\hat\mu - \hat m)(T - \hat\mu) + \zeta`: the independent normal
    noise :math:`\zeta` keeps it from degenerating where the assumption holds; it is one-sided.
    It sees every dependence of a mean that the learner can fit, with less power for linear ones.
    P values of the implications are adjusted by Holm's method.

    Parameters
    ----------
    treatment_instrument, mediator_instrument
        Columns of the table; they need no role in the study. One is enough.
    method
        ``gcm`` or ``squared``.
    learner
        A scikit-learn learner, or ``linear``, ``logistic``, ``boosting``, ``forest``, ``auto``.
    folds
        Number of folds (clusters are kept whole) or the name of a column of fold ids.
    noise
        Standard deviation of :math:`\zeta` as a share of the residual variance of T.
    level
        Chance of rejecting where all implications hold.
    seed
        Seed of folds, learners and noise.

    Notes
    -----
    How strongly an instrument moves its target given the covariates is reported, because a weak one
    finds nothing.

    References
    ----------
    Huber, Kloiber and Laffers (2024), Testing identification in mediation and dynamic treatment
    models, arXiv 2406.13826. Shah and Peters (2020), Annals of Statistics 48.

    Examples
    --------
    >>> import numpy as np
    >>> import crossworld as xw
    >>> from crossworld.core.analysis import Analysis
    >>> rng = np.random.default_rng(1)
    >>> z, u, e, v = rng.standard_normal((4, 500))
    >>> a = (z + rng.standard_normal(500) > 0).astype(float)
    >>> m = a + e
    >>> table = {"z": z, "a": a, "m": m, "y": a + m + v}
    >>> analysis = Analysis(xw.TableStudy.from_frame(table, "a -> m -> y"), xw.Regression())
    >>> test = IdentifyingAssumptions(treatment_instrument="z", learner="linear")
    >>> [one.passed for one in test.refute(analysis, analysis.run())]
    [True]
    """

    key: ClassVar[str] = "identifying-assumptions"
    treatment_instrument: str | None = None
    mediator_instrument: str | None = None
    method: Literal["gcm", "squared"] = "gcm"
    learner: Any = "auto"
    folds: int | str = 5
    noise: float = 0.2
    level: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in ("gcm", "squared"):
            known = ("gcm", "squared")
            raise SpecError.unknown("method of IdentifyingAssumptions", str(self.method), known)
        if isinstance(self.level, bool) or not 0.0 < self.level < 1.0:
            raise SpecError(f"level is a probability between 0 and 1, got {self.level!r}")
        if not 0.0 < self.noise < np.inf:
            raise SpecError(f"noise is a positive number, got {self.noise!r}; try 0.2")

    def refute(
        self, analysis: Analysis[Any], result: EffectTable, *, workers: int = 1
    ) -> tuple[Refutation, ...]:
        """Return one refutation: the implications of the instruments that were named, together."""
        study = analysis.study
        if not isinstance(study, TableStudy):
            return (self._undecided(f"a {type(study).__name__} has no instruments"),)
        if self.treatment_instrument is None and self.mediator_instrument is None:
            return (
                self._undecided(
                    "no instrument was named; with a column that moves the treatment (or the "
                    "mediators) and nothing else, treatment_instrument= (mediator_instrument=) "
                    "lets the data speak on the assumptions"
                ),
            )
        if study.intermediate:
            return (self._undecided("these tests do not cover intermediate confounders"),)
        claims = self._claims(study)
        ids = fold_ids(study, self.folds, np.random.SeedSequence(self.seed))
        seeds = np.random.SeedSequence([self.seed, 1]).generate_state(len(claims))
        test = gcm if self.method == "gcm" else squared
        tested = []
        for claim, seed in zip(claims, seeds, strict=True):
            work = Work(
                study, ids, Recipe(self.learner, "outcome", self.seed), self.noise, int(seed)
            )
            tested.append(test(work, claim))
        return (self._verdict(claims, tested, self._relevance(study, ids)),)

    def _undecided(self, why: str) -> Refutation:
        return Refutation(self.key, "", None, None, None, why, SHOWS)

    def _claims(self, study: TableStudy) -> list[Claim]:
        a, mediators, y = study.path.treatment, study.path.mediators, study.path.outcome
        for name in (self.treatment_instrument, self.mediator_instrument):
            if name in (a, *mediators, y, *study.adjust):
                raise DesignError(
                    f"{name!r} has a role in {study.path} or among its covariates, so it cannot be "
                    "an instrument; take it out of adjust="
                )
        found = []
        if (z := self.treatment_instrument) is not None:
            found.append(Claim(mediators, z, (a, *study.adjust)))
            found.append(Claim((y,), z, (a, *study.adjust)))
            found.append(Claim((y,), z, (a, *mediators, *study.adjust)))
        if (z := self.mediator_instrument) is not None:
            found.append(Claim((y,), z, (a, *mediators, *study.adjust)))
        return found

    def _relevance(self, study: TableStudy, ids: Codes) -> dict[str, float]:
        """P values of no relation between an instrument and what it should move."""
        a, mediators = study.path.treatment, study.path.mediators
        work = Work(study, ids, Recipe(self.learner, "outcome", self.seed), self.noise, self.seed)
        found = {}
        if self.treatment_instrument is not None:
            claim = Claim((a,), self.treatment_instrument, study.adjust)
            found[f"{self.treatment_instrument} on {a}"] = gcm(work, claim)[1]
        if self.mediator_instrument is not None:
            claim = Claim(mediators, self.mediator_instrument, (a, *study.adjust))
            told = f"{self.mediator_instrument} on {', '.join(mediators)}"
            found[told] = gcm(work, claim)[1]
        return found

    def _verdict(
        self,
        claims: Sequence[Claim],
        tested: Sequence[tuple[float, float]],
        relevance: dict[str, float],
    ) -> Refutation:
        adjusted = holm([p for _, p in tested])
        worst = int(np.argmin(adjusted))
        passed = adjusted[worst] >= self.level
        weak = [name for name, p in relevance.items() if p >= 0.01]
        rows = [
            {"claim": str(c), "statistic": t, "p_value": p, "adjusted_p_value": q}
            for c, (t, p), q in zip(claims, tested, adjusted, strict=True)
        ]
        data = {"method": self.method, "tests": rows, "relevance_p_values": relevance}
        detail = (
            f"{len(claims)} implications, smallest adjusted p {probability(adjusted[worst])}"
            f"{'' if passed else ': ' + str(claims[worst]) + ' does not hold'}."
        )
        if weak:
            detail += f" No clear relation of {' nor of '.join(weak)}, so little could be found."
        verdict = None if passed and len(weak) == len(relevance) else passed
        return Refutation(self.key, "", verdict, None, adjusted[worst], detail, SHOWS, data)


@dataclass(frozen=True, slots=True)
class Claim:
    """``targets`` do not depend on ``instrument`` given ``given``."""

    targets: tuple[str, ...]
    instrument: str
    given: tuple[str, ...]

    def __str__(self) -> str:
        given = f" given {', '.join(self.given)}" if self.given else ""
        return f"{', '.join(self.targets)} independent of {self.instrument}{given}"


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """What the tests of one analysis share."""

    study: TableStudy
    ids: Codes
    recipe: Recipe
    noise: float
    seed: int

    @property
    def weights(self) -> Array:
        """Row weights of mean 1, (n,)."""
        held = self.study.weights
        return np.ones(len(self.study)) if held is None else np.asarray(held / held.mean())

    def columns(self, names: Sequence[str]) -> Array:
        """Numbers, and indicators of all but the first category, (n, p)."""
        parts = [coded(self.study.column(name, "instrument")) for name in names]
        return np.concatenate([np.empty((len(self.study), 0)), *parts], axis=1)

    def predicted(self, target: Array, x: Array) -> Array:
        """Out-of-fold mean of a column given ``x``, (n,)."""
        found, w = np.empty(target.size), self.study.weights
        binary = bool(np.isin(target, (0.0, 1.0)).all())
        for fold in range(int(self.ids.max()) + 1):
            train, test = np.flatnonzero(self.ids != fold), np.flatnonzero(self.ids == fold)
            own = None if w is None else w[train]
            if x.shape[1] == 0 or np.ptp(target[train]) == 0.0:
                found[test] = np.average(target[train], weights=own)
                continue
            learner = self.recipe.make(probability=binary, rows=train.size)
            fitted = learners.fit(learner, x[train], target[train], own, "outcome")
            found[test] = learners.means(fitted, x[test], "outcome")
        return found


def coded(column: Column) -> Array:
    """One column as numbers, (n, 1) or (n, categories - 1)."""
    if column.labels is None:
        return column.values[:, None]
    codes = range(1, len(column.labels))
    return np.column_stack([(column.values == code).astype(float) for code in codes])


def gcm(work: Work, claim: Claim) -> tuple[float, float]:
    """Generalised covariance measure: F statistic and p value."""
    x = work.columns(claim.given)
    targets, instruments = work.columns(claim.targets), work.columns((claim.instrument,))
    ours = [t - work.predicted(t, x) for t in targets.T]
    theirs = [z - work.predicted(z, x) for z in instruments.T]
    products = np.column_stack([t * z for t in ours for z in theirs]) * work.weights[:, None]
    labels = tuple(map(str, range(products.shape[1])))
    tested = joint_test([Group("gcm", labels, products)], work.study.cluster, seed=work.seed)
    return (tested[0].statistic, tested[0].p_value) if tested else (0.0, 1.0)


def squared(work: Work, claim: Claim) -> tuple[float, float]:
    """Squared difference of means with and without the instrument: t statistic, one-sided p."""
    x = work.columns(claim.given)
    both = np.concatenate([x, work.columns((claim.instrument,))], axis=1)
    rng = np.random.default_rng(np.random.SeedSequence(work.seed))
    total = np.zeros(len(work.study))
    for target in work.columns(claim.targets).T:
        rich, poor = work.predicted(target, both), work.predicted(target, x)
        residual, gap = target - rich, rich - poor
        scale = float(np.average(residual**2, weights=work.weights))
        total += (gap**2 + 2.0 * gap * residual) / scale
    total += work.noise * rng.standard_normal(total.size)
    units = sums((work.weights * total)[:, None], work.study.cluster)[:, 0]
    error = float(np.sqrt(units.size) * units.std(ddof=1))
    t = float(units.sum()) / error
    both_sides = two_sided(t)
    return t, 0.5 * both_sides if t > 0.0 else 1.0 - 0.5 * both_sides


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, in the order given."""
    order = np.argsort(p_values, kind="stable")
    adjusted, floor = [0.0] * len(p_values), 0.0
    for place, j in enumerate(order):
        floor = max(floor, min(1.0, (len(p_values) - place) * float(p_values[j])))
        adjusted[j] = floor
    return adjusted

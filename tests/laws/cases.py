"""Which estimator is right for which generator: the rows of the law matrix.

Every estimator that `catalog` finds is run. An estimator without an entry in `KNOWN` is run with
its defaults, as ``Supports(GENERIC)``; give it an entry to say more about it, or less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from crossworld import catalog
from crossworld.core.effects import CDE, IDE, IIE, INT_MED, NDE, NIE, OE, PNIE, PSE, TE, TNDE
from crossworld.core.estimand import Estimand, needed
from crossworld.core.estimate import Estimate
from crossworld.core.expression import Y
from crossworld.core.regime import G, M, set_
from crossworld.core.scores import Scores
from crossworld.datasets import GENERATORS, Simulated
from crossworld.datasets.hidden import HIDDEN
from crossworld.datasets.laws import Gaussian
from crossworld.tables.study import TableStudy

GENERIC: dict[str, dict[str, Any]] = {
    name: {} for name in ("linear", "interaction", "binary_mediator", "clustered")
}


@dataclass(frozen=True)
class Supports:
    """What an estimator claims.

    Parameters
    ----------
    settings
        Generators its models are right for, with the options that make them so; a variant of the
        options follows a slash.
    controlled, random
        Whether it scores ``set_`` cells, and cells that draw mediators apart from one another.
    exact
        Whether its influence function is the derivative in each unit's weight. Cross-fitted
        scores treat nuisances as known, so theirs is only to first order.
    paths
        Whether it tells ordered mediator blocks apart.
    asked
        The effects it answers, where they are not those of its generators.
    """

    settings: Mapping[str, Mapping[str, Any]]
    controlled: bool = False
    random: bool = False
    exact: bool = True
    paths: bool = True
    asked: tuple[Estimand, ...] | None = None


class Shrunk(LogisticRegression):
    """A logistic curve whose penalty is a share of the weights, so that their scale is nothing."""

    def fit(self, X: np.ndarray, y: np.ndarray, sample_weight: Any = None) -> Shrunk:
        held = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, float)
        return super().fit(X, y, sample_weight=held / held.sum())


CROSSED = {"interaction": True}
MODIFIED = {"formula": "y ~ a0 * a1 * x"}
WEIGHTED = {**MODIFIED, "kind": "weighting"}
LINEAR = {"outcome": "linear", "treatment": "logistic", "folds": "fold"}
LOGISTIC = {**LINEAR, "outcome": "logistic"}
SHRUNK = Shrunk(C=1e4, tol=1e-10, max_iter=2000, solver="newton-cholesky")
BALANCED = {"outcome": "linear", "folds": "fold"}
KNOWN: dict[str, Supports] = {
    "FrontDoor": Supports({"front_door": LINEAR}, exact=False, asked=(TE,)),
    "Separable": Supports(
        {"linear": LINEAR, "separable": {**LINEAR, "assign": {"l": "direct"}}},
        exact=False,
        asked=(TE, NDE, NIE, TNDE, PNIE),
    ),
    "Interventional": Supports(
        # replicates may separate the few rows of an arm, which a penalty lets pass
        {"linear": LINEAR, "clustered": LINEAR, "intermediate": {**LINEAR, "treatment": SHRUNK}},
        exact=False,
    ),
    "Encouragement": Supports({}),  # likewise: tests/tables/test_encouragement.py
    "Auxiliary": Supports({}),  # it needs a second table: tests/tables/test_auxiliary.py
    "Riesz": Supports(
        {
            "linear": BALANCED,
            "interaction": BALANCED,
            "binary_mediator": BALANCED,
            "binary_outcome": {**BALANCED, "outcome": "logistic"},
            "nominal_mediator": BALANCED,
            "ordered": BALANCED,
            "multilevel_treatment": BALANCED,
            "clustered": {**BALANCED, "penalty": 1e-3},  # replicates may have two folds left
        },
        exact=False,
    ),
    "TMLE": Supports(
        {
            "linear": LINEAR,
            "interaction": LINEAR,
            "binary_outcome": LOGISTIC,
            "ordered": LINEAR,
            "clustered": LINEAR,
        },
        exact=False,
    ),
    "Weighting": Supports(
        {
            "linear": {},
            "linear/odds": {"kind": "odds"},
            "interaction": {"link": "probit"},
            "clustered": {},
        },
    ),
    "Imputation": Supports(
        {
            "linear": {},
            "linear/weighted": {"weighted": True},
            "interaction": CROSSED,
            "binary_mediator": CROSSED,
            "clustered": CROSSED,
        },
    ),
    "Regression": Supports(
        {
            "linear": {},
            "interaction": CROSSED,
            "binary_mediator": CROSSED,
            "binary_outcome": CROSSED,
            "binary_both": CROSSED,
            "count_mediator": {**CROSSED, "mediator_family": "poisson"},
            "count_outcome": {**CROSSED, "outcome_family": "poisson"},
            "nominal_mediator": CROSSED,
            "ordered": CROSSED,
            "ordered_binary": CROSSED,
            "joint_block": CROSSED,
            "joint_block/unequal": {**CROSSED, "mediator": ["m1 ~ a*x", "m2 ~ a + x"]},
            "mixed_block": CROSSED,
            "continuous_treatment": CROSSED,
            "multilevel_treatment": CROSSED,
            "clustered": CROSSED,
            "intermediate": {"outcome": "y ~ a*m + l*m + x"},
            "tmle3mediate": {
                "mediator": ["z1 ~ a*w1", "z2 ~ a + w2*w3", "z3 ~ a + w1"],
                "outcome": "y ~ z1 + z2 + a*z3*C(w1 + w2 + w3)",
            },
        },
        controlled=True,
        random=True,
    ),
    "LearnedMediator": Supports(
        {
            "linear": {},
            "linear/plain": {"interaction": False},
            "interaction": {},
            "binary_outcome": {},
            "joint_block": {},
            "joint_block/turned": {"components": ((0.6, -0.8), (0.8, 0.6))},
            "multilevel_treatment": {},
            "clustered": {},
        },
        paths=False,
    ),
    "NaturalEffects": Supports(
        {
            "linear": {},
            "linear/weighting": {"kind": "weighting"},
            "interaction": MODIFIED,
            "interaction/weighting": WEIGHTED,
            "interaction/treatment": {**WEIGHTED, "ratio": "treatment"},
            "binary_mediator": MODIFIED,
            "binary_mediator/weighting": {**WEIGHTED, "grid": (0, 1)},
            "binary_outcome": MODIFIED,
            "count_mediator/weighting": {**WEIGHTED, "mediator_family": "poisson"},
            "count_outcome": {**MODIFIED, "link": "log", "outcome_family": "poisson"},
            "nominal_mediator": MODIFIED,
            "nominal_mediator/weighting": WEIGHTED,
            "ordered": MODIFIED,
            "joint_block": MODIFIED,
            "joint_block/weighting": WEIGHTED,
            "mixed_block/weighting": WEIGHTED,
            "continuous_treatment": MODIFIED,
            "multilevel_treatment": MODIFIED,
            "multilevel_treatment/treatment": {**WEIGHTED, "ratio": "treatment"},
            "clustered": {},
        },
        paths=False,
    ),
    "MultiplyRobust": Supports(
        {
            "linear": LINEAR,
            "interaction": LINEAR,
            "binary_mediator": LINEAR,
            "binary_outcome": LOGISTIC,
            "ordered": LINEAR,
            "joint_block": LOGISTIC,
            "clustered": LINEAR,
        },
        exact=False,
    ),
}

CROSS_WORLD = (TE, NDE, NIE, TNDE, PNIE, INT_MED)
INTERVENTIONAL = (TE, IDE, IIE, OE)
NATURAL = (*CROSS_WORLD, IDE, IIE, OE)
SEPARATE = (
    Estimand("separate draws", Y(1, m1=G(0), m2=G(0)) - Y(0)),
    Estimand("crossed draws", Y(1, m1=G(0), m2=G(1)) - Y(0)),
)
# 0 exactly where the outcome is linear in the mediators, so asked only where it is not
APART = Estimand("draws apart", Y(1, m1=G(0), m2=G(0)) - Y(1, M(0)))
STAGED = (
    Estimand("first held", Y(1, set_(m1=1.0)) - Y(0, set_(m1=1.0))),
    Estimand("last held", Y(1, set_(m2=1.0), m1=0) - Y(0, set_(m2=1.0))),
)
HELD = {"nominal_mediator": "car", "binary_mediator": 1, "binary_both": 1, "count_mediator": 2}


@dataclass(frozen=True)
class Case:
    """One estimator on one generator."""

    estimator: type
    name: str
    claims: Supports

    def __str__(self) -> str:
        return f"{self.estimator.__name__}-{self.name}"

    @property
    def generator(self) -> str:
        return self.name.split("/")[0]

    def __hash__(self) -> int:
        return hash(str(self))

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.claims.settings[self.name]

    def make(self) -> Any:
        return self.estimator(**self.settings)

    def draw(self, n: int, seed: int) -> Simulated:
        """Data with a column of fold ids, which travel with their rows and keep clusters whole."""
        data = (GENERATORS | HIDDEN)[self.generator](n=n, seed=seed)
        unit = np.arange(n) if data.cluster is None else data.frame[data.cluster]
        return replace(data, frame={**data.frame, "fold": unit % 3})

    @property
    def questions(self) -> tuple[Estimand, ...]:
        """The effects this generator has an answer for."""
        if self.claims.asked is not None:
            return self.claims.asked
        model = self.draw(10, 0).model
        found = INTERVENTIONAL if model.intermediate else NATURAL
        if not self.claims.random and not model.intermediate:
            found = CROSS_WORLD
        if self.claims.controlled and all(len(block) == 1 for block in model.blocks):
            found = (*found, CDE(HELD.get(self.generator, 0.5)))
        if len(model.blocks) > 1 and self.claims.paths:
            found = (*found, *(PSE(b[0], type=t) for b in model.blocks for t in (1, 2)))
            found += SEPARATE if self.claims.random else ()
            curved = not isinstance(model.outcome, Gaussian)
            found += (APART,) if self.claims.random and curved else ()
            found += STAGED if self.claims.controlled else ()
        return found


def all_cases() -> list[Case]:
    found = []
    for kind in catalog.estimators("tables"):
        claims = KNOWN.get(kind.__name__, Supports(GENERIC))
        found += [Case(kind, name, claims) for name in claims.settings]
    return found


CASES = all_cases()
SMALL = 400  # units for laws that are identities
every_case = pytest.mark.parametrize("case", CASES, ids=str)
# saturated formulas need thousands of units: such cases are tested against the truth alone
HEAVY = ("tmle3mediate",)
every_light_case = pytest.mark.parametrize(
    "case", [c for c in CASES if c.generator not in HEAVY], ids=str
)


def some(*generators: str) -> Any:
    """Cases on a few generators, for laws that need many fits."""
    chosen = [c for c in CASES if c.generator in generators]
    return pytest.mark.parametrize("case", chosen, ids=str)


def study_of(data: Simulated, frame: Mapping[str, Any] | None = None, **roles: Any) -> TableStudy:
    """The study of simulated data, with other columns or roles."""
    own: dict[str, Any] = {
        "adjust": data.adjust,
        "levels": data.levels,
        "intermediate": data.intermediate,
        "cluster": data.cluster,
    }
    columns = dict(data.frame if frame is None else frame)
    return TableStudy.from_frame(columns, data.path, **{**own, **roles})


def scores_of(case: Case, study: TableStudy, asked: Sequence[Estimand]) -> Scores:
    bound = [e.bind(study.blocks) for e in asked]
    return case.make().scores(study, needed(bound))


def measure(
    case: Case, study: TableStudy, asked: Sequence[Estimand] | None = None
) -> dict[str, Estimate]:
    """The estimate of every question, from one set of scores."""
    questions = case.questions if asked is None else tuple(asked)
    scores = scores_of(case, study, questions)
    return {
        e.name: e.bind(study.blocks).expr.evaluate(scores.mean)  # type: ignore[misc]
        for e in questions
    }


@cache
def base(case: Case, n: int = 4000, seed: int = 11) -> dict[str, Estimate]:
    """Estimates from plain data, fitted once for all laws that compare with them."""
    return measure(case, study_of(case.draw(n, seed)))


def values(found: Mapping[str, Estimate]) -> np.ndarray:
    return np.array([e.value for e in found.values()])


def errors(found: Mapping[str, Estimate]) -> np.ndarray:
    return np.array([e.std_error for e in found.values()])

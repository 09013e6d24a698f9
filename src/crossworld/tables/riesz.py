"""Cross-fitted one-step scores whose weights are learned as Riesz representers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimate import Codes
from crossworld.core.expression import Cell
from crossworld.core.options import check_whole_fields
from crossworld.core.scores import Scores
from crossworld.errors import DesignError, SpecError
from crossworld.tables.robust.balance import describe_weights
from crossworld.tables.robust.data import Arrays, Route, arrays, route
from crossworld.tables.robust.folds import check_arms, fold_ids
from crossworld.tables.robust.learners import Recipe
from crossworld.tables.robust.nuisance import Fold, Key, Recipes, cross_fit
from crossworld.tables.robust.policy import Levels, Policy, shift_of, with_treatment
from crossworld.tables.robust.representer import Problem, represent
from crossworld.tables.robust.sieve import check_features
from crossworld.tables.robust.weights import aggregate
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Riesz:
    r"""Influence-function scores in which no treatment probability is estimated or inverted.

    A cell is written in runs of equal levels :math:`a_0 .. a_R` along the causal order;
    :math:`H_r` holds the covariates and the mediators before run ``r``'s own, and
    :math:`q_R(A, H_R) = E[Y \mid A, H_R]`,
    :math:`q_r(A, H_r) = E[q_{r+1}(a_{r+1}, H_{r+1}) \mid A, H_r]`, so that the cell is
    :math:`\theta = E[q_0(a_0, H_0)]`. As a functional of :math:`q_0` it has a Riesz representer,
    and by iterated expectations so has it as a functional of each later regression:

    .. math::
        \theta = E[\alpha_0(A, H_0)\, q_0(A, H_0)]
               = E[\alpha_0(A, H_0)\, q_1(a_1, H_1)]
               = E[\alpha_1(A, H_1)\, q_1(A, H_1)] = \dots

    Hence :math:`\alpha_r` minimises the Riesz loss

    .. math::
        E[\alpha(A, H_r)^2] - 2 E[\alpha_{r-1}(A, H_{r-1})\, \alpha(a_r, H_r)],
        \qquad \alpha_{-1} = 1,

    which is solved in closed form over a linear sieve (ridge regression), and the score is

    .. math::
        q_0(a_0, H_0) + \sum_{r=0}^{R} \alpha_r(A, H_r)
        \{q_{r+1}(a_{r+1}, H_{r+1}) - q_r(A, H_r)\}, \qquad q_{R+1} = Y,

    each representer divided by its mean (it is 1 in truth).

    The true representers are the weights of `MultiplyRobust`, for ``Y(1, M(0))``
    :math:`1\{A=0\}/P(0 \mid X)` and
    :math:`1\{A=1\}\, P(0 \mid X, M) / \{P(1 \mid X, M) P(0 \mid X)\}`; here they are found by
    balancing features, so their noise does not grow as probabilities near 0 and a mediator may
    have about as many columns as there are rows.

    With ``shift``, level 0 stands for the treatment as observed and level 1 for the treatment
    plus ``shift``: :math:`a_r` becomes :math:`A + s_r - s_{r-1}` where :math:`q_r` is evaluated
    (:math:`s_r` is 0 or ``shift``, :math:`s_{-1} = 0`), because the mediators of the stage before
    were drawn with the treatment at :math:`A + s_{r-1}`. ``Y(0)`` is then the mean of ``Y``.

    Parameters
    ----------
    outcome
        A scikit-learn learner, or ``linear``, ``logistic``, ``boosting``, ``forest``, ``auto``.
    features
        The sieve: ``linear``; ``linear+products`` adds squares and pairwise products;
        ``linear+index`` adds the square of the linear sieve's fit; ``auto`` takes products where
        there are ten rows of the arm for each, else the index; or a scikit-learn
        transformer of the scaled columns, such as ``Nystroem()``. Levels have a sieve each;
        under ``shift`` the treatment is one of the columns.
    penalty
        Ridge on features of variance 1, or ``"cv"``: the least one whose Riesz loss on training
        folds left out in turn is within a standard error of the best. Less shrinkage than the
        best predictor's, because balance that is missing is bias and weights that vary are not.
    folds
        Number of folds (clusters are kept whole) or the name of a column of fold ids.
    repeats
        Number of different splits; cells are aggregated by their median.
    seed
        Seed of the folds and of learners made from a name.
    shift
        What is added to a numeric treatment at level 1, in its unit; None contrasts levels.
    workers
        Threads over folds.

    Raises
    ------
    SpecError
        If an option cannot be meant; the message names it.

    Notes
    -----
    Assumptions: those of the study's identification; for each stage, either its regression or its
    representer is estimated well, and the product of their errors vanishes faster than the root
    of n. Where one of the two is wrong the estimate still converges, but its standard error, which
    takes both as known, need not be right (``studies/riesz_robustness.csv``). A representer from
    a sieve may be negative; how often is reported, with the balance it
    achieves on folds it was not fitted to. Under ``shift``, positivity asks that ``A + shift``
    occur wherever ``A`` does, given covariates and mediators; the levels of the study are not
    used, and its description names them all the same.

    References
    ----------
    Chernozhukov, Newey, Quintas-Martinez and Syrgkanis (2022), RieszNet and ForestRiesz, ICML.
    Liu, Williams, Rudolph and Diaz (2024), General targeted machine learning for modern causal
    mediation analysis, arXiv 2408.14620. Diaz and Hejazi (2020), JRSS-B 82. Zhou (2022), JRSS-B
    84.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.interaction(n=400, seed=1).study()
    >>> effects = xw.estimate(study, xw.Riesz(outcome="linear"))
    >>> bool(effects["nie"].conf_low < 0.72 < effects["nie"].conf_high)
    True
    """

    outcome: Any = "auto"
    features: Any = "auto"
    penalty: float | str = "cv"
    folds: int | str = 5
    repeats: int = 1
    seed: int = 0
    shift: float | None = None
    workers: int = 1

    def __post_init__(self) -> None:
        check_features(self.features)
        _check_penalty(self.penalty)
        check_whole_fields(self, {"repeats": 1, "workers": 1})
        if isinstance(self.folds, str) and self.repeats > 1:
            raise SpecError("given folds cannot be repeated; use a number of folds, or repeats=1")
        if self.shift is not None and not (_is_number(self.shift) and self.shift != 0.0):
            raise SpecError(
                f"shift is a finite number other than 0, in the treatment's unit, or None; got "
                f"{self.shift!r}"
            )

    def scores(self, study: TableStudy, cells: Sequence[Cell]) -> Scores:
        """Score every cell from shared regressions and representers.

        Raises
        ------
        DesignError
            If a cell or the study is not one this method can score.
        EstimationError
            If a learner fails.
        """
        data = arrays(study, "Riesz", discrete=self.shift is None)
        policy: Policy = Levels() if self.shift is None else shift_of(study, self.shift)
        data = data if self.shift is None else with_treatment(data)
        routes = [policy.route(route(study, cell, "Riesz")) for cell in cells]
        recipe = Recipe(self.outcome, "outcome", self.seed)
        keys = [k for r in routes for k in (*policy.keys(r), *representer_keys(r))]
        parts, splits, fits = [], [], 0
        for split in np.random.SeedSequence(self.seed).spawn(self.repeats):
            ids = fold_ids(study, self.folds, split)
            self._check_folds(ids, data, study)
            stages = Stages(data, policy, self.features, self.penalty, ids)
            found, count = cross_fit(
                data,
                Recipes(recipe, recipe),  # no treatment model is ever asked for
                ids=ids,
                keys=keys,
                workers=self.workers,
                extra={**policy.extra, "representer": stages.predict},
            )
            parts.append(np.column_stack([_score(policy, found, data, r) for r in routes]))
            splits.append((found, stages.penalties))
            fits += count
        values = aggregate(parts, data.weights)
        told = describe_weights(policy, splits[0], data, values)
        told["nuisance_fits"] = fits
        return Scores(values, tuple(cells), study.cluster, study.weights, diagnostics=told)

    def _check_folds(self, ids: Codes, data: Arrays, study: TableStudy) -> None:
        if self.penalty == "cv" and ids.max() < 2:
            raise DesignError(
                "penalty='cv' leaves training folds out in turn, so it needs at least 3 folds; "
                f"there are {int(ids.max()) + 1}. Ask for more folds or give a penalty"
            )
        if self.shift is None:
            check_arms(ids, data.arm, study.levels, study.path.treatment)


def representer_keys(path: Route) -> list[Key]:
    """Representers of a route, from the covariates' to the outcome's."""
    return [("representer", path.levels[: r + 1], path.ends[: r + 1]) for r in range(path.runs)]


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Values of a representer at the test and training rows."""

    test: Array
    train: Array


@dataclass(frozen=True, slots=True, eq=False)
class Stages:
    """Representers of one split, each learned given the one before it.

    Parameters
    ----------
    data, policy
        The rows, and what regimes do to them.
    features, penalty
        The sieve and its ridge.
    ids
        Fold of every row; training folds are left out in turn when the penalty is chosen.
    penalties
        Penalties used, by representer and fold: filled as stages are fitted.
    """

    data: Arrays
    policy: Policy
    features: Any
    penalty: float | str
    ids: Codes
    penalties: dict[tuple[Key, int], float] = field(default_factory=dict)

    def predict(self, fold: Fold, key: Key) -> Array:
        """Out-of-fold representer at the test rows."""
        return self._fitted(fold, Route(key[1], key[2])).test

    def _fitted(self, fold: Fold, path: Route) -> Fitted:
        name = ("fitted representer", path.levels, path.ends)
        if name not in fold.held:
            train, test = fold.train, fold.test
            before = np.ones(train.size)
            if path.runs > 1:
                before = self._fitted(fold, Route(path.levels[:-1], path.ends[:-1])).train
            observed, moved, active = self.policy.places(self.data, path)
            here = observed[train]
            there = here if moved is observed else moved[train]
            problem = Problem(
                here, there, active[train], before, fold.weights(train), self.ids[train]
            )
            made = represent(problem, self.features, self.penalty)
            self.penalties[name[1:], int(self.ids[test[0]])] = made.penalty
            fold.held[name] = Fitted(
                made(observed[test]) * active[test], made(here) * active[train]
            )
            fold.fits.append(f"representer | levels {path.levels}, blocks {path.ends}")
        found: Fitted = fold.held[name]
        return found


def _score(policy: Policy, found: dict[Key, Array], data: Arrays, path: Route) -> Array:
    """Score of a cell, (n,)."""
    moved, observed = policy.values(found, data, path)
    total = moved[0].copy()
    for r, key in enumerate(representer_keys(path)):
        share = np.average(found[key], weights=data.weights)
        total += found[key] / share * (moved[r + 1] - observed[r])
    return total


def _check_penalty(penalty: float | str) -> None:
    if isinstance(penalty, str):
        if penalty != "cv":
            raise SpecError.unknown("penalty", penalty, ("cv",))
    elif not (_is_number(penalty) and penalty >= 0.0):
        raise SpecError(f"penalty is a number of at least 0 or 'cv', got {penalty!r}")


def _is_number(value: Any) -> bool:
    real = isinstance(value, int | float | np.integer | np.floating)
    return real and not isinstance(value, bool) and bool(np.isfinite(value))

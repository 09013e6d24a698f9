r"""Moments of cross-fitted nuisances: out-of-fold residuals against what the learner cannot hold.

For a regression with out-of-fold residual :math:`e` and an instrument :math:`h(W)`, the mean of
:math:`h e` moves with the learner's own estimation error. Taking the part of ``h`` that the same
kind of learner cannot represent, :math:`\tilde h = h - \hat E_v[h \mid W]` (fitted out of fold,
with the weights :math:`v` of the residual's derivative), makes :math:`E[\tilde h e]` insensitive
to that error to first order: for a linear learner it is the score test of Wooldridge (1991). Other
learners get no projection, by which the test is conservative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimate import Codes
from crossworld.refute.added_terms import Base, Terms, bins, curves, gathered, mains, products
from crossworld.refute.moment_tests import Group
from crossworld.tables.robust import learners
from crossworld.tables.robust.data import Arrays, Route
from crossworld.tables.robust.learners import Recipe
from crossworld.tables.robust.nuisance import Key

Array = NDArray[np.float64]
PLAIN = "least squares"
HELD = 0.02  # share of an instrument's variance left by the projection below which it is dropped


@dataclass(frozen=True, slots=True, eq=False)
class Residual:
    """An out-of-fold residual whose mean given ``x`` should be 0.

    Parameters
    ----------
    label
        Which nuisance it comes from.
    values
        (n,).
    fitted
        The prediction, on the scale of a linear predictor, (n,).
    x
        What the nuisance conditions on, (n, p).
    weights
        Row weights; 0 where the nuisance says nothing, (n,).
    bend
        Weights of the projection: minus the derivative of the residual in the predictor, (n,).
    deviation
        Standard deviation of the residual that the nuisance implies, (n,), or None.
    twin
        Fits matrices of instruments as the nuisance's learner would: a scikit-learn pipeline,
        `PLAIN` for least squares on ``x``, or None.
    """

    label: str
    values: Array
    fitted: Array
    x: Array
    weights: Array
    bend: Array
    deviation: Array | None
    twin: Any


def twin_of(recipe: Recipe, *, probability: bool, rows: int) -> Any:
    """Least squares on the features a linear learner uses; None for other learners."""
    from sklearn.base import clone
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import Pipeline

    made = recipe.make(probability=probability, rows=rows)
    if _is_linear(made):
        return PLAIN
    if isinstance(made, Pipeline) and _is_linear(made.steps[-1][1]):
        before = [(name, clone(step)) for name, step in made.steps[:-1]]
        return Pipeline([*before, ("last", LinearRegression())])
    return None


def _is_linear(learner: Any) -> bool:
    return type(learner).__module__.startswith("sklearn.linear_model")


def outcome_residual(
    data: Arrays, nuisances: Mapping[Key, Array], key: Key, *, recipe: Recipe, label: str
) -> Residual:
    """Residual of a nested regression among the rows it was fitted to."""
    _, levels, ends = key
    target = data.y if len(levels) == 1 else nuisances["outcome", levels[1:], ends[1:]]
    fitted = nuisances[key]
    rows = _rows(data) * (data.arm == levels[0])
    probability = data.binary
    made = recipe.make(probability=probability, rows=int((rows > 0).sum()))
    bounded = probability and learners.is_classifier(made)
    p = np.clip(fitted, 1e-3, 1.0 - 1e-3)
    return Residual(
        label,
        target - fitted,
        np.log(p / (1.0 - p)) if bounded else fitted,
        data.given(ends[0]),
        rows,
        p * (1.0 - p) if bounded else np.ones(data.y.size),
        np.sqrt(p * (1.0 - p)) if bounded and len(levels) == 1 else None,
        twin_of(recipe, probability=probability, rows=int((rows > 0).sum())),
    )


def treatment_residual(
    data: Arrays, chance: Array, level: float, *, blocks: int, recipe: Recipe, label: str
) -> Residual:
    """Residual of the probability of one treatment level."""
    p = np.clip(chance, 1e-3, 1.0 - 1e-3)
    return Residual(
        label,
        (data.arm == level) - chance,
        np.log(p / (1.0 - p)),
        data.given(blocks),
        _rows(data),
        p * (1.0 - p),
        np.sqrt(p * (1.0 - p)),
        twin_of(recipe, probability=True, rows=data.y.size),
    )


def _rows(data: Arrays) -> Array:
    return np.ones(data.y.size) if data.weights is None else data.weights


def residual_groups(
    residual: Residual,
    bases: Sequence[Base],
    *,
    ids: Codes,
    most: int,
    count: int,
    extra: Sequence[Terms] = (),
) -> list[Group]:
    """Moments of one residual: regressors, products, squares, link, calibration, and given ones."""
    w = residual.weights
    found = [mains(bases, w, most), *products(bases, w, most), curves(residual.fitted, w)]
    found += [bins(residual.fitted, w, count), *extra]
    held = [terms for terms in found if terms is not None]
    if not held:
        return []
    together = np.concatenate([terms.values for terms in held], axis=1)
    left = project(residual, together, ids)
    enough = _left_over(left, together, w)
    moments, groups, at = left * (w * residual.values)[:, None], [], 0
    root = None if residual.deviation is None else left * (w * residual.deviation)[:, None]
    for terms in held:
        kept = [j for j in range(len(terms.labels)) if enough[at + j]]
        if kept:
            labels = tuple(terms.labels[j] for j in kept)
            places = [at + j for j in kept]
            own = None if root is None else root[:, places]
            groups.append(Group(terms.name, labels, moments[:, places], own))
        at += len(terms.labels)
    return groups


def smoothed(residual: Residual) -> Residual:
    """Give all folds one fitted value, so that instruments made of it are the same function of x.

    Instruments that differ between folds move with the error of the fold's own fit, which the
    residual shares.
    """
    if residual.twin is None or residual.x.shape[1] == 0:
        return residual
    weight = residual.weights * residual.bend
    used = np.flatnonzero(weight > 0.0)
    target = residual.fitted[used][:, None]
    found = _predicted(residual.twin, residual.x[used], target, weight[used], residual.x)
    return replace(residual, fitted=found[:, 0])


def project(residual: Residual, h: Array, ids: Codes) -> Array:
    """Instruments less what the learner's twin makes of them, out of fold, (n, q)."""
    if residual.twin is None:
        return h
    weight = residual.weights * residual.bend
    if residual.x.shape[1] == 0:
        return np.asarray(h - np.average(h, axis=0, weights=weight))
    left = np.array(h)
    for fold in range(int(ids.max()) + 1):
        train = np.flatnonzero((ids != fold) & (weight > 0.0))
        test = np.flatnonzero(ids == fold)
        x, w = residual.x[train], weight[train]
        left[test] -= _predicted(residual.twin, x, h[train], w, residual.x[test])
    return left


def _predicted(twin: Any, x: Array, h: Array, weight: Array, at: Array) -> Array:
    """Weighted fit of a twin to instruments, at other rows."""
    if twin is PLAIN:
        mean = np.average(x, axis=0, weights=weight)
        root = np.sqrt(weight)[:, None]
        design = np.column_stack([np.ones(len(x)), x - mean])
        coefficients = np.linalg.lstsq(root * design, root * h, rcond=None)[0]
        return np.asarray(np.column_stack([np.ones(len(at)), at - mean]) @ coefficients)
    from sklearn.base import clone

    fitted = clone(twin).fit(x, h, last__sample_weight=weight)
    return np.asarray(fitted.predict(at)).reshape(len(at), -1)


def _left_over(left: Array, h: Array, weights: Array) -> NDArray[np.bool_]:
    """Whether enough of each instrument is left to test."""
    share = weights @ left**2 / np.maximum(weights @ h**2, 1e-300)
    return np.asarray(share > HELD)


def balance(
    bases: Sequence[Base], weight: Array, rows: Array, *, name: str, most: int
) -> Terms | None:
    r"""Instruments whose moment with the treatment's residual is the balance of a weight.

    With :math:`e = 1\{A = a\} - q_a` and ``weight`` :math:`1 / (p_b q_a)`,
    :math:`E[e\, h / (p_b q_a)] = E[1\{A = a\} h q_b / (q_a p_b)] - E[1\{A = b\} h / p_b]` for a
    two-valued treatment: the density ratio carries the law of ``h`` in one arm to the other's.
    """
    held = [("1", weight)]
    held += [(b.label, weight * b.values) for b in bases]
    held += [(f"{b.label}^2", weight * b.values**2) for b in bases if not b.two_valued]
    return gathered(name, held[:most], rows)


def ratio_pairs(routes: Sequence[Route]) -> list[tuple[float, float, int, int]]:
    """Return the density ratios of cells: (level from, level to, blocks before, blocks after)."""
    found = [
        (path.levels[s], path.levels[r], path.ends[s], path.ends[s + 1])
        for path in routes
        for r in range(1, path.runs)
        for s in range(r)
        if path.levels[s] != path.levels[r]
    ]
    return list(dict.fromkeys(found))

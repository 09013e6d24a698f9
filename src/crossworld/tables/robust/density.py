r"""The density-ratio form of the multiply robust score, for one discrete mediator.

.. math::
    \frac{1\{A = a\}}{P(a \mid X)} \frac{f(M \mid a', X)}{f(M \mid a, X)} (Y - \mu_a(M, X))
    + \frac{1\{A = a'\}}{P(a' \mid X)} (\mu_a(M, X) - \omega(X)) + \omega(X),
    \qquad \omega(X) = \sum_m \mu_a(m, X) f(m \mid a', X)

(Tchetgen Tchetgen and Shpitser 2012, Annals of Statistics 40).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError
from crossworld.tables.robust import learners
from crossworld.tables.robust.data import Arrays, Route
from crossworld.tables.robust.learners import Recipe
from crossworld.tables.robust.nuisance import Extra, Fold, Key
from crossworld.tables.robust.overlap import clip
from crossworld.tables.robust.weights import Work, stage_weight
from crossworld.tables.roles import DISCRETE
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]


def check_mediator(study: TableStudy) -> Array:
    """Return the values of the one discrete mediator.

    Raises
    ------
    DesignError
        If there are several mediators, or the mediator is not discrete.
    """
    names = study.path.mediators
    if len(names) != 1:
        raise DesignError(
            f"mediator= selects the density-ratio form, which takes one mediator; {study.path} has "
            f"{len(names)}. Leave mediator=None"
        )
    values = np.array(study.table[names[0]].distinct())
    if len(values) > DISCRETE:
        raise DesignError(
            f"mediator= selects the density-ratio form, which sums over the mediator's values; "
            f"{names[0]!r} has {len(values)}. Leave mediator=None"
        )
    return values


@dataclass(frozen=True, slots=True, eq=False)
class DensityForm:
    """How cells are scored when the mediator's law is modelled.

    Parameters
    ----------
    values
        The mediator's values.
    recipe
        Its learner.
    """

    values: Array
    recipe: Recipe

    @property
    def extra(self) -> dict[str, Extra]:
        """The nuisances beside those of treatment and outcome."""
        return {
            "mediator": lambda fold, key: mediator_chances(fold, key[1], self.recipe, self.values),
            "surface": lambda fold, key: surface(fold, key[1], self.values),
        }

    def keys(self, path: Route) -> list[Key]:
        """Nuisances of a cell."""
        if path.runs == 1:
            return [("treatment", 0), ("outcome", path.levels, path.ends)]
        inner, outer = path.levels
        return [("treatment", 0), ("mediator", inner), ("mediator", outer), ("surface", outer)]

    def score(self, work: Work, path: Route) -> Array:
        """Score of a cell, (n,)."""
        if path.runs == 1:
            mu = work.nuisances["outcome", path.levels, path.ends]
            weight = work.scaled(stage_weight(work, path, 0))
            return np.asarray(mu + weight * (work.data.y - mu))
        inner, outer = path.levels
        data, at = work.data, np.searchsorted(self.values, observed(work.data))
        here = np.arange(at.size)
        under = {v: work.nuisances["mediator", v] for v in (inner, outer)}
        means = work.nuisances["surface", outer]
        omega, mu = (means * under[inner]).sum(axis=1), means[here, at]
        below = clip(under[outer][here, at], work.trim, (outer, -1), work.overlap)
        ratio = under[inner][here, at] / below
        direct = (data.arm == outer) * ratio / work.chance(outer, 0)
        through = (data.arm == inner) / work.chance(inner, 0)
        work.overlap.weights[path.levels, path.ends, 1] = direct
        work.overlap.weights[path.levels, path.ends, 0] = through
        first = work.scaled(direct) * (data.y - mu)
        return np.asarray(first + work.scaled(through) * (mu - omega) + omega)


def mediator_chances(fold: Fold, level: float, recipe: Recipe, values: Array) -> Array:
    """P(M = m | A = level, X) at the test rows, (t, values)."""
    rows = fold.train[fold.data.arm[fold.train] == level]
    target, x = observed(fold.data)[rows], fold.data.given(0)
    if x.shape[1] == 0:
        share = [np.average(target == v, weights=fold.weights(rows)) for v in values]
        return np.tile(share, (fold.test.size, 1))
    made = recipe.make(probability=True, rows=rows.size)
    codes = np.searchsorted(values, target).astype(float)
    fitted = learners.fit(made, x[rows], codes, fold.weights(rows), "mediator")
    classes = np.arange(len(values), dtype=float)
    return learners.probabilities(fitted, x[fold.test], classes, "mediator")


def surface(fold: Fold, level: float, values: Array) -> Array:
    """Outcome regression under ``level``, one for each value of the mediator, at the test rows."""
    arm, held = fold.data.arm[fold.train], observed(fold.data)[fold.train]
    found = []
    for code, value in enumerate(values):
        rows = fold.train[(arm == level) & (held == value)]
        if rows.size == 0:
            raise DesignError(
                f"no training row has the treatment at {level:g} and mediator value number {code}; "
                "use fewer folds or leave mediator=None"
            )
        found.append(fold.regression(rows, fold.data.y[rows], 0)(fold.data.given(0)[fold.test]))
    return np.column_stack(found)


def observed(data: Arrays) -> Array:
    """The mediator's values, (n,): its own column, or the category behind its indicators."""
    block = data.x[:, data.width[0] : data.width[1]]
    return block[:, 0] if block.shape[1] == 1 else block @ np.arange(1.0, block.shape[1] + 1.0)

r"""How strong a confounder as strong as an observed covariate would be.

A covariate :math:`X_j` is put in the place of the omitted ``U``: with the functional ``m`` kept,
the outcome regression and the representer are projected on what is left,

.. math:: g_{-j} = E[g_s \mid A, M, X_{-j}], \qquad \alpha_{-j} = E[\alpha_s \mid A, M, X_{-j}],

so that :math:`\theta_s - \theta_{-j} = E[(g_s - g_{-j})(\alpha_s - \alpha_{-j})]` holds exactly and
neither gain can be negative in the population. For ``Y(a, M(b))`` the projection is an odds among
units at ``a`` and ``b`` in which units at ``b`` weigh :math:`1 / P(b \mid X)`:

.. math::
    \alpha_{-j} = \frac{1\{A=a\}}{P(a \mid M, X_{-j})} E\Bigl[\frac{1\{A=b\}}{P(b \mid X)}
                  \Bigm| M, X_{-j}\Bigr],

and for ``Y(a)`` it is :math:`1\{A=a\} / P(a \mid X_{-j})`. Leaving :math:`X_j` out of
:math:`P(b \mid X)` as well would change the functional, and with it what ``U`` stands for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimand import Estimand
from crossworld.sensitivity.omitted_effect import Benchmark
from crossworld.sensitivity.omitted_scores import Fits, Parts, Term, terms_of
from crossworld.tables.multiply_robust import MultiplyRobust
from crossworld.tables.robust import learners
from crossworld.tables.robust.data import Arrays, arrays
from crossworld.tables.robust.engine import recipes
from crossworld.tables.robust.folds import fold_ids
from crossworld.tables.robust.nuisance import Fold, Key, cross_fit, outcome_keys
from crossworld.tables.robust.overlap import clip
from crossworld.tables.robust.weights import Work

Array = NDArray[np.float64]


def benchmarks(
    fits: Fits, effects: Sequence[Estimand], groups: Sequence[tuple[tuple[str, ...], float]]
) -> list[list[Benchmark]]:
    """Strengths of confounders that are multiples of groups of covariates, by effect."""
    study, estimator = fits.study, fits.estimator
    found: list[list[list[tuple[float, float, float]]]] = [[[] for _ in effects] for _ in groups]
    seeds = np.random.SeedSequence(estimator.seed).spawn(estimator.repeats)
    exposed = [terms_of(study, effect)[1] for effect in effects]
    for seed, work in zip(seeds, fits.works, strict=True):
        ids = fold_ids(study, estimator.folds, seed)
        full = _projected(work.data, work, exposed, estimator=estimator, ids=ids)
        for held, (names, _) in zip(found, groups, strict=True):
            left = tuple(x for x in study.adjust if x not in names)
            data = arrays(replace(study, adjust=left), "omitted_confounding")
            short = _projected(data, work, exposed, estimator=estimator, ids=ids)
            for mine, terms in zip(held, exposed, strict=True):
                mine.append(gains(work, terms, full, short=short))
    return [
        [
            strength(part, np.median(np.array(mine), axis=0), names, multiple=multiple)
            for part, mine in zip(fits.parts, held, strict=True)
        ]
        for held, (names, multiple) in zip(found, groups, strict=True)
    ]


def _projected(
    data: Arrays,
    work: Work,
    exposed: Sequence[Sequence[Term]],
    *,
    estimator: MultiplyRobust,
    ids: NDArray[np.int64],
) -> dict[Key, Array]:
    """Outcome regressions and representers projected on the covariates of ``data``, out of fold.

    With all covariates the projection is the representer itself. It is fitted in the same way as
    without some, so that what the two fits have in noise cancels in their difference.
    """
    paths = {path for terms in exposed for _, path in terms}
    chances = {path: work.chance(path.levels[0], 0) for path in paths}

    def projected(fold: Fold, key: Key) -> Array:
        path = key[1]
        b, a = path.levels[0], path.levels[-1]
        x = fold.data.given(path.ends[-1])
        arm = fold.data.arm[fold.train]
        rows = fold.train if path.runs == 1 else fold.train[(arm == a) | (arm == b)]
        own = fold.weights(rows)
        if x.shape[1] == 0:
            share = np.average(fold.data.arm[rows] == a, weights=own)
            return np.full(fold.test.size, 1.0 / max(float(share), 1e-12))
        weight = own
        if path.runs == 2:
            weight = np.where(fold.data.arm[rows] == b, 1.0 / chances[path][rows], 1.0)
            weight = weight if own is None else weight * own
        made = fold.recipes.treatment.make(probability=True, rows=rows.size)
        target = fold.data.arm[rows]
        fitted = learners.fit(made, x[rows], target, weight, "treatment")
        wanted = np.array([b, a])
        top, bottom = learners.probabilities(fitted, x[fold.test], wanted, "treatment").T
        bottom = clip(bottom, estimator.trim, (a, -1), type(work.overlap)())
        return np.asarray((1.0 if path.runs == 1 else top) / bottom)

    keys = [outcome_keys(path)[0] for path in paths]
    found, _ = cross_fit(
        data,
        recipes(estimator),
        ids=ids,
        keys=[*keys, *(("projected", path) for path in paths)],
        workers=estimator.workers,
        extra={"projected": projected},
    )
    return found


def gains(
    work: Work, terms: Sequence[Term], full: dict[Key, Array], *, short: dict[Key, Array]
) -> tuple[float, float, float]:
    r"""What the covariates add to :math:`E g^2`, to :math:`E \alpha^2`, and to the effect.

    Both gains are differences of scores whose error is the squared error of what was fitted, with
    and without the covariates: :math:`(Y - g)^2` and :math:`2 m(W, \alpha) - \alpha^2`.
    """
    data = work.data
    residual = weight = change = np.zeros(data.y.size)
    for value, path in terms:
        own = (data.arm == path.levels[-1]).astype(np.float64)
        g_key, r_key = outcome_keys(path)[0], ("projected", path)
        g, r, g_short, r_short = full[g_key], full[r_key], short[g_key], short[r_key]
        e = work.chance(path.levels[0], 0)
        there = 1.0 if path.runs == 1 else (data.arm == path.levels[0]) / e  # m(W, g) = there * g
        residual = residual + own * ((data.y - g_short) ** 2 - (data.y - g) ** 2)
        weight = weight + value**2 * (2.0 * there * (r - r_short) - own * (r**2 - r_short**2))
        long = there * g + own * r * (data.y - g)
        change = change + value * (there * g_short + own * r_short * (data.y - g_short) - long)
    means = np.average(np.column_stack([residual, weight, change]), axis=0, weights=data.weights)
    return float(means[0]), float(means[1]), float(means[2])


def strength(part: Parts, gained: Array, names: tuple[str, ...], *, multiple: float) -> Benchmark:
    """Strength of a confounder ``multiple`` times as strong as the covariates left out."""
    residual, weight, change = (
        max(float(gained[0]), 0.0),
        max(float(gained[1]), 0.0),
        float(gained[2]),
    )
    cy = multiple * residual / part.sigma2.value
    cd2 = multiple * weight / part.nu2.value
    both = math.sqrt(residual * weight)
    rho = math.copysign(min(abs(change) / both, 1.0), change) if both > 0.0 else None
    return Benchmark(names, multiple, cy if cy <= 1.0 else None, cd2 / (1.0 + cd2), rho, change)

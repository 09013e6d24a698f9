"""Which models stand behind an answer, and the moments that each of them should meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from crossworld.core.analysis import Analysis
from crossworld.core.estimand import needed
from crossworld.core.expression import Cell
from crossworld.refute.added_terms import Base, base
from crossworld.refute.fitted_models import FittedModel, added, law_groups, mean_groups
from crossworld.refute.learned_models import (
    Residual,
    balance,
    outcome_residual,
    ratio_pairs,
    residual_groups,
    smoothed,
    treatment_residual,
)
from crossworld.refute.moment_tests import Group
from crossworld.tables.imputation import Imputation
from crossworld.tables.multiply_robust import MultiplyRobust
from crossworld.tables.natural.setup import fitted_model
from crossworld.tables.natural_effects import NaturalEffects
from crossworld.tables.parametric.families import Gaussian
from crossworld.tables.parametric.models import Model
from crossworld.tables.parametric.problem import Problem
from crossworld.tables.parametric.setup import set_up
from crossworld.tables.regression import Regression
from crossworld.tables.riesz import Riesz
from crossworld.tables.robust.binary import Fitted, Sample, fit_glm
from crossworld.tables.robust.data import Arrays, Route, arrays, route
from crossworld.tables.robust.engine import RatioForm, fit_nuisances, recipes
from crossworld.tables.robust.folds import fold_ids
from crossworld.tables.robust.learners import Recipe
from crossworld.tables.robust.nuisance import Key, Recipes, cross_fit, outcome_keys
from crossworld.tables.robust.weights import Work
from crossworld.tables.study import TableStudy
from crossworld.tables.tmle import TMLE
from crossworld.tables.weighting import Weighting, rows_of, treatment_model, with_one

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """One model and its moments; ``why`` says why there are none."""

    model: str
    described: str
    groups: tuple[Group, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Size:
    """Most columns in a group of moments, and the number of calibration bins."""

    most: int
    bins: int


Source: TypeAlias = Callable[[Any, TableStudy, list[Cell], Size], list[Looked]]


def look(analysis: Analysis[Any], terms: int) -> list[Looked]:
    """Moments of every model behind an analysis of a table."""
    study = analysis.study
    units = len(study) if study.cluster is None else int(study.cluster.max()) + 1
    size = Size(max(2, min(terms, units // 25)), 10 if units >= 2000 else 5)
    bound = tuple(e.bind(study.blocks) for e in analysis.estimands)
    for kind, source in SOURCES:
        if isinstance(analysis.estimator, kind):
            return source(analysis.estimator, study, list(needed(bound)), size)
    name = type(analysis.estimator).__name__
    return [Looked("", name, why=f"the models behind {name} are not known here")]


def study_bases(study: TableStudy, names: Sequence[str], weights: Array) -> list[Base]:
    """Standardised regressors of columns; categories as indicators of all but the first."""
    found: list[Base | None] = []
    between = (*study.intermediate, *study.path.mediators)
    for name in names:
        column = study.table[name]
        role = "treatment" if name == study.path.treatment else "covariate"
        role = "mediator" if name in between else role
        if column.labels is None:
            found.append(base(name, name, role, values=column.values, weights=weights))
            continue
        for code, label in enumerate(column.labels[1:], start=1):
            values = (column.values == code).astype(float)
            found.append(base(f"{name}={label}", name, role, values=values, weights=weights))
    return [b for b in found if b is not None]


def of_model(model: Model) -> FittedModel:
    """Return a regression of the parametric engine as its moments see it."""
    return FittedModel(
        model.name, model.family, model.design.z, model.y, model.theta, model.weights
    )


def regression(
    estimator: Regression, study: TableStudy, cells: list[Cell], size: Size
) -> list[Looked]:
    """Models of `Regression`; laws are tested where a cell depends on more than a mean."""
    problem, _ = set_up(estimator, study, cells)
    order = [*study.intermediate, *study.path.mediators, study.path.outcome]
    laws = whole_laws(problem)
    found = []
    for name, model in problem.laws.models.items():
        before = [study.path.treatment, *order[: order.index(name)], *study.adjust]
        if len(study.blocks) and name in study.path.mediators:
            block = next(b for b in study.blocks if name in b)
            if _is_joint(problem, name):
                before = [v for v in before if v not in block]
        bases = study_bases(study, before, model.weights)
        fitted = of_model(model)
        groups = mean_groups(fitted, bases, most=size.most, count=size.bins)
        if name in laws:
            groups += law_groups(fitted, bases, size.most)
        found.append(Looked(name, f"{model.family.name}, {model.design.formula}", tuple(groups)))
    return found


def _is_joint(problem: Problem, name: str) -> bool:
    return name in problem.laws.groups and len(problem.laws.groups[name][2]) > 1


def whole_laws(problem: Problem) -> set[str]:
    """Mediators of which some cell needs the distribution, not the mean alone."""
    found = set()
    for group in problem.laws.covariance_groups(problem.plans):
        found |= {m.name for m in problem.members(group)}
    for plan in problem.plans:
        modes = problem.laws.modes(plan)
        for node, mode in zip(plan.nodes, modes, strict=True):
            model = problem.laws.models.get(node.variable)
            normal = model is not None and isinstance(model.family, Gaussian)
            if mode == "summed" and model is not None and not normal and len(model.support) != 2:
                found.add(node.variable)
    return found


def natural(
    estimator: NaturalEffects, study: TableStudy, cells: list[Cell], size: Size
) -> list[Looked]:
    """Working models of `NaturalEffects`."""
    found = []
    order = [study.path.treatment, *study.path.mediators, study.path.outcome]
    for at, model in enumerate(fitted_model(estimator, study)[0].working.models):
        if model.name == study.path.treatment:
            before = [*study.path.mediators[: len(study.path.mediators) * at], *study.adjust]
        else:
            before = [*order[: order.index(model.name)], *study.adjust]
        bases = study_bases(study, before, model.weights)
        fitted = of_model(model)
        groups = mean_groups(fitted, bases, most=size.most, count=size.bins)
        if estimator.kind == "weighting" and model.name in study.path.mediators:
            groups += law_groups(fitted, bases, size.most)
        label = f"{model.name} ({model.design.formula})" if at else model.name
        found.append(Looked(label, f"{model.family.name}, {model.design.formula}", tuple(groups)))
    return found


def weighting(
    estimator: Weighting, study: TableStudy, cells: list[Cell], size: Size
) -> list[Looked]:
    """Treatment models of `Weighting`, and the balance their density ratios achieve."""
    data = arrays(study, "Weighting")
    routes = [route(study, cell, "Weighting") for cell in cells]
    needed_blocks = sorted({k for path in routes for k in (0, *path.ends[1:])})
    models = {k: treatment_model(data, k, estimator.link) for k in needed_blocks}
    found = []
    for k, model in models.items():
        active = (data.arm == data.levels[1]).astype(float)
        x = with_one(data.given(k))
        fitted = of_fit("treatment", model, x, active, rows_of(data))
        bases = study_bases(study, _names(study, k), rows_of(data))
        groups = mean_groups(fitted, bases, most=size.most, count=size.bins)
        p = model.mean(x)
        slope = fitted.derivatives()[0][0]
        ratio = (active - p) / np.where(slope == 0.0, 1.0, slope)
        chances = {kk: models[kk].mean(with_one(data.given(kk))) for kk in models}
        for terms in _balances(data, routes, k, chances, bases, size):
            held = replace(terms, values=terms.values * ratio[:, None])
            group = added(fitted, held, fitted.pull())
            groups += [] if group is None else [group]
        found.append(Looked(_treatment_label(study, k), estimator.link, tuple(groups)))
    return found


def of_fit(name: str, model: Fitted, x: Array, y: Array, weights: Array) -> FittedModel:
    """Return a generalised linear model of the robust engines as its moments see it."""
    return FittedModel(name, model.family, x @ model.basis, y, model.theta, weights)


def _balances(
    data: Arrays,
    routes: Sequence[Route],
    blocks: int,
    active: dict[int, Array],
    bases: Sequence[Base],
    size: Size,
) -> list[Any]:
    """Balance moments that concern the treatment given so many blocks; two levels only."""
    if len(data.levels) != 2:
        return []
    found, rows = [], rows_of(data)

    def chance(level: float, k: int) -> Array:
        p = active[k] if level == data.levels[1] else 1.0 - active[k]
        return np.maximum(p, 0.01)

    if blocks == 0:
        for level in sorted({v for path in routes for v in path.levels}):
            name = f"balance of the weights of level {level:g}"
            weight = 1.0 / chance(level, 0)
            found.append(balance(bases, weight, rows, name=name, most=size.most))
    for other, own, before, after in ratio_pairs(routes):
        if after == blocks and before in active:
            name = f"balance of the density ratio from level {own:g} to {other:g}"
            weight = 1.0 / (chance(other, before) * chance(own, after))
            found.append(balance(bases, weight, rows, name=name, most=size.most))
    return [t for t in found if t is not None]


def _names(study: TableStudy, blocks: int) -> list[str]:
    """Covariates and the mediators of the first blocks."""
    return [*(v for block in study.blocks[:blocks] for v in block), *study.adjust]


def _treatment_label(study: TableStudy, blocks: int, level: str = "") -> str:
    what = f"{study.path.treatment}{' = ' + level if level else ''}"
    given = _names(study, blocks)
    return f"{what} given {', '.join(given[:6]) if given else 'nothing'}"


def _outcome_label(study: TableStudy, key: Key) -> str:
    _, levels, ends = key
    what = study.path.outcome if len(levels) == 1 else "the nested mean"
    return f"{what} given {', '.join(_names(study, ends[0])[:6])} at level {levels[0]:g}"


def cross_fitted(estimator: Any, study: TableStudy, cells: list[Cell], size: Size) -> list[Looked]:
    """Nuisances of `MultiplyRobust` and `TMLE` (the form without mediator densities)."""
    name = type(estimator).__name__
    if getattr(estimator, "mediator", None) is not None:
        why = "the density-ratio form's mediator model is not tested; leave mediator=None"
        return [Looked("", name, why=why)]
    options = replace(estimator, repeats=1)
    works, _ = fit_nuisances(options, RatioForm(), study, cells)
    ids = fold_ids(study, options.folds, np.random.SeedSequence(options.seed).spawn(1)[0])
    data, nuisances = works[0].data, works[0].nuisances
    routes = [route(study, cell, name) for cell in cells]
    chosen = recipes(options)
    found = []
    for key in nuisances:
        if key[0] == "outcome":
            label = _outcome_label(study, key)
            one = outcome_residual(data, nuisances, key, recipe=chosen.outcome, label=label)
            found.append(_learned(study, one, key[2][0], ids, size, ()))
    return found + _treatments(study, options, works[0], routes, ids=ids, size=size)


def _treatments(
    study: TableStudy, options: Any, work: Work, routes: Sequence[Route], *, ids: Any, size: Size
) -> list[Looked]:
    """Treatment probabilities of cross-fitted estimators, and the balance of their weights."""
    data, recipe = work.data, recipes(options).treatment
    two = len(data.levels) == 2
    held: list[tuple[int, Residual]] = []
    for key, chances in work.nuisances.items():
        if key[0] != "treatment" or not _names(study, key[1]):
            continue
        for level in data.levels[1:] if two else study.levels:
            label = _treatment_label(study, key[1], "" if two else study.treatment.show(level))
            chance = chances[:, int(np.flatnonzero(data.levels == level)[0])]
            one = treatment_residual(data, chance, level, blocks=key[1], recipe=recipe, label=label)
            held.append((key[1], smoothed(one)))
    active = {k: expit(one.fitted) for k, one in held}
    shares = np.full(data.y.size, np.average(data.arm == data.levels[-1], weights=data.weights))
    active.setdefault(0, shares)
    found = []
    for k, one in held:
        bases = study_bases(study, _names(study, k), rows_of(data))
        extra = _balances(data, routes, k, active, bases, size)
        found.append(_learned(study, one, k, ids, size, extra))
    return found


def _learned(
    study: TableStudy, one: Residual, blocks: int, ids: Any, size: Size, extra: Sequence[Any]
) -> Looked:
    one = smoothed(one)
    bases = study_bases(study, _names(study, blocks), one.weights)
    groups = residual_groups(one, bases, ids=ids, most=size.most, count=size.bins, extra=extra)
    how = "cross-fitted" if one.twin is not None else "cross-fitted, no projection: conservative"
    return Looked(one.label, how, tuple(groups))


def riesz(estimator: Riesz, study: TableStudy, cells: list[Cell], size: Size) -> list[Looked]:
    """Nested regressions of `Riesz`; its representers are fitted by balance itself."""
    if estimator.shift is not None:
        return [Looked("", "Riesz", why="regressions under a shift are not tested")]
    data = arrays(study, "Riesz")
    keys = [k for cell in cells for k in outcome_keys(route(study, cell, "Riesz"))]
    ids = fold_ids(study, estimator.folds, np.random.SeedSequence(estimator.seed).spawn(1)[0])
    recipe = Recipe(estimator.outcome, "outcome", estimator.seed)
    nuisances, _ = cross_fit(
        data, Recipes(recipe, recipe), ids=ids, keys=keys, workers=estimator.workers
    )
    found = []
    for key in nuisances:
        label = _outcome_label(study, key)
        one = outcome_residual(data, nuisances, key, recipe=recipe, label=label)
        found.append(_learned(study, one, key[2][0], ids, size, ()))
    return found


def imputation(
    estimator: Imputation, study: TableStudy, cells: list[Cell], size: Size
) -> list[Looked]:
    """Regressions of `Imputation`: the pooled outcome model and the nested ones of arms."""
    if not isinstance(estimator.outcome, str):
        why = "in-sample residuals of a learner are no test of it; use MultiplyRobust"
        return [Looked("", "Imputation", why=why)]
    data = arrays(study, "Imputation")
    binary = data.binary and estimator.outcome != "linear"
    link, rows, found = "logit" if binary else "gaussian", rows_of(data), dict[str, Looked]()
    for cell in cells:
        path = route(study, cell, "Imputation")
        x = _pooled(data, path.ends[-1], data.arm, estimator.interaction)
        fitted = fit_glm(link, x, data.y, sample=Sample(rows, np.ones(rows.size)), role="outcome")
        names = [study.path.treatment, *_names(study, path.ends[-1])]
        label = f"{study.path.outcome} given {', '.join(names[:6])}"
        if label not in found:
            model = of_fit(label, fitted, x, data.y, rows)
            found[label] = _parametric(study, model, names, link, size)
        at = _pooled(
            data, path.ends[-1], np.full(rows.size, path.levels[-1]), estimator.interaction
        )
        target = fitted.mean(at)
        for r in range(path.runs - 2, -1, -1):
            used = (data.arm == path.levels[r]).astype(float)
            x = with_one(data.given(path.ends[r]))
            inner = fit_glm(link, x, target, sample=Sample(rows, used), role="nested")
            names = _names(study, path.ends[r])
            label = f"the nested mean of {cell} given {', '.join(names[:6])}"
            model = of_fit(label, inner, x, target, rows * used)
            found[label] = _parametric(study, model, names, link, size)
            target = inner.mean(x)
    return list(found.values())


def _pooled(data: Arrays, blocks: int, arm: Array, interaction: bool) -> Array:
    """Design of the pooled regression: intercept, levels, covariates, mediators."""
    shown = [(arm == v).astype(float) for v in data.levels[1:]]
    x = data.given(blocks)
    parts = [np.ones(len(x)), *shown, x]
    if interaction:
        parts += [x[:, data.width[0] :] * v[:, None] for v in shown]
    return np.column_stack(parts)


def _parametric(
    study: TableStudy, model: FittedModel, names: Sequence[str], link: str, size: Size
) -> Looked:
    bases = study_bases(study, names, model.weights)
    groups = mean_groups(model, bases, most=size.most, count=size.bins)
    return Looked(model.name, link, tuple(groups))


SOURCES: tuple[tuple[type, Source], ...] = (
    (Regression, regression),
    (NaturalEffects, natural),
    (MultiplyRobust, cross_fitted),
    (TMLE, cross_fitted),
    (Weighting, weighting),
    (Riesz, riesz),
    (Imputation, imputation),
)

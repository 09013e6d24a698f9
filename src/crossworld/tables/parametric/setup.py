"""From a configured `Regression` and a study to fitted models and plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crossworld.core.expression import Cell
from crossworld.core.regime import Level
from crossworld.errors import DesignError, EstimationError, SpecError, hint
from crossworld.tables.frame import Column
from crossworld.tables.parametric import families, fitted
from crossworld.tables.parametric.design import Rows, Source, build
from crossworld.tables.parametric.formulas import holds, quoted, right_side, written
from crossworld.tables.parametric.law import Group, Laws
from crossworld.tables.parametric.models import Model, fit
from crossworld.tables.parametric.plan import Scheme, make_plan
from crossworld.tables.parametric.problem import Problem
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]
FEW_ROWS = 5  # rows at a level of the treatment under which a warning is due


class Modelled(Protocol):
    """The fields of an estimator that say which models it fits."""

    @property
    def mediator(self) -> Any: ...
    @property
    def outcome(self) -> Any: ...
    @property
    def mediator_family(self) -> str | Mapping[str, str]: ...
    @property
    def outcome_family(self) -> str: ...


class Options(Modelled, Protocol):
    """The fields of `Regression` that shape its models."""

    @property
    def interaction(self) -> bool: ...
    @property
    def population(self) -> str: ...
    @property
    def at(self) -> Any: ...
    @property
    def rare_outcome(self) -> bool: ...


def set_up(
    options: Options, study: TableStudy, cells: Sequence[Cell]
) -> tuple[Problem, dict[str, Any]]:
    """Fit the models and write the cells as plans."""
    for name in study.table:
        if not holds(name):
            raise DesignError(f"the column name {name!r} cannot be used; rename the column")
    weights = row_weights(study)
    asked = read_models(options, study)
    names = [*study.intermediate, *study.path.mediators, study.path.outcome]
    chosen = {name: family_of(options, study, name, asked[name]) for name in names}
    texts = {
        name: asked[name].formula if asked[name].formula else _default(options, study, name, chosen)
        for name in names
    }
    rows, held = _rows(options, study)
    source = Source(study.table, rows, study.path.treatment, weights)
    models: dict[str, Model] = {}
    for name in names:
        models[name] = fit_model(study, name, texts[name], chosen[name], source)
        asked[name].check(models[name])
    uses = {name: _used_variables(models[name], study) for name in names}
    laws = Laws(models, _groups(study, chosen, uses))
    if options.rare_outcome and laws.link != "logit":
        raise SpecError(
            f"rare_outcome=True is for a logit outcome; {study.path.outcome!r} is modelled as "
            f"{chosen[study.path.outcome]}"
        )
    scheme = Scheme(
        study.intermediate,
        study.blocks,
        uses,
        study.path.outcome,
        study.level,
        lambda name, value: _code(study, name, value),
    )
    plans = tuple(make_plan(cell, scheme) for cell in cells)
    share = _share(options, study, weights)
    problem = Problem(laws, plans, share, weights, held, options.rare_outcome)
    return problem, _diagnostics(study, models, share)


def row_weights(study: TableStudy) -> Array:
    """Weights that count rows: whole numbers are copies of a row, others are scaled to mean 1.

    One weight for all rows says nothing about copies, so every row counts once.
    """
    if study.weights is None:
        return np.ones(len(study))
    held = study.weights > 0.0
    if (study.weights[held] == study.weights[held][0]).all():
        return held.astype(np.float64)
    if (study.weights == np.round(study.weights)).all():
        return study.weights
    return np.asarray(study.weights / study.weights.mean())


def read_models(options: Modelled, study: TableStudy) -> dict[str, fitted.Asked]:
    """What the user said about each variable's model."""
    found = {name: fitted.Asked() for name in (*study.intermediate, *study.path.mediators)}
    given = options.mediator
    if given is not None:
        if isinstance(given, Mapping):
            items = list(given.values())
            unknown = [k for k in given if k not in found]
            if unknown:
                raise SpecError.unknown("mediator with a formula", str(unknown[0]), found)
        else:
            single = isinstance(given, str) or not isinstance(given, Sequence)
            items = [given] if single else list(given)
        keys = list(given) if isinstance(given, Mapping) else [None] * len(items)
        for key, item in zip(keys, items, strict=True):
            asked = fitted.read(item)
            if key is not None and asked.response in found and asked.response != key:
                raise SpecError(
                    f"the formula {asked.formula!r} is given for the mediator {key!r}, but it "
                    f"models {asked.response!r}"
                )
            if asked.response not in found:
                raise SpecError(
                    f"the formula {asked.formula!r} models {asked.response!r}, which is no "
                    f"mediator of {study.path}. {hint(asked.response, found)}"
                )
            if found[asked.response].formula:
                raise SpecError(f"the mediator {asked.response!r} has two formulas; keep one")
            found[asked.response] = asked
    outcome = fitted.Asked() if options.outcome is None else fitted.read(options.outcome)
    if options.outcome is not None and outcome.response != study.path.outcome:
        raise SpecError(
            f"the formula {outcome.formula!r} models {outcome.response!r}, but the outcome of the "
            f"study is {study.path.outcome!r}"
        )
    return {**found, study.path.outcome: outcome}


def family_of(options: Modelled, study: TableStudy, name: str, asked: fitted.Asked) -> str:
    """Family of a variable: the fitted result's, the one asked for, or the automatic choice."""
    given: Any = options.outcome_family if name == study.path.outcome else options.mediator_family
    if isinstance(given, Mapping):
        unknown = [k for k in given if k not in study.path.mediators + study.intermediate]
        if unknown:
            raise SpecError.unknown("mediator with a family", str(unknown[0]), study.path.mediators)
        given = given.get(name, "auto")
    if given not in ("auto", *families.NAMES):
        raise SpecError.unknown("family", str(given), ("auto", *families.NAMES))
    if asked.family is not None:
        if given not in ("auto", asked.family):
            raise SpecError(
                f"{name!r} comes with a fitted {asked.family} model, but its family is given as "
                f"{given!r}"
            )
        given = asked.family
    column = study.table[name]
    values = column.distinct()
    if given == "auto":
        if len(values) == 2 and (name != study.path.outcome or values == [0.0, 1.0]):
            return "logit"
        if len(values) == 2:
            shown = " and ".join(column.show(v) for v in values)
            raise DesignError(
                f"the outcome {name!r} has the two values {shown}; say which one is the event, "
                f"e.g. event={column.show(values[1])}, or set outcome_family='gaussian'"
            )
        if not column.is_text:
            return "gaussian"
        given = "multinomial"
    _check_family(study, name, given, values)
    return str(given)


def _check_family(study: TableStudy, name: str, given: str, values: list[float]) -> None:
    column, last = study.table[name], name == study.path.outcome
    shown = ", ".join(column.show(v) for v in values[:6]) + (", ..." if len(values) > 6 else "")
    role = "outcome" if last else "mediator"
    if given in families.BINARY and len(values) != 2:
        raise DesignError(
            f"the {role} {name!r} has {len(values)} values ({shown}), {given} needs two"
        )
    if given in families.BINARY and last and values != [0.0, 1.0]:
        raise DesignError(
            f"the outcome {name!r} has the values {shown}; say which one is the event="
        )
    if given in ("poisson", "negative-binomial"):
        counts = not column.is_text and all(v >= 0.0 and v.is_integer() for v in values)
        if not counts:
            raise DesignError(f"the {role} {name!r} is no count ({shown}), so it is not {given}")
    if given in ("multinomial", "ordinal"):
        if last:
            raise DesignError(
                f"a {given} outcome has no mean; contrast one category with event=..., or score "
                "the categories as numbers"
            )
        if len(values) > 50:
            text = f" and is text ({shown})" if column.is_text else ""
            raise DesignError(
                f"the mediator {name!r} has {len(values)} values{text}, too many for {given}; "
                "merge categories, or give it as numbers"
            )
    if given == "gaussian" and column.is_text:
        raise DesignError(f"the {role} {name!r} is text ({shown}), so it is not gaussian")


def _default(options: Options, study: TableStudy, name: str, chosen: Mapping[str, str]) -> str:
    """Default formula: the treatment, what comes before, the covariates."""
    before: list[str] = []
    if name not in study.intermediate:
        before += study.intermediate
    for block in study.blocks:
        if name in block:
            joint = all(chosen[v] == "gaussian" for v in block)
            before += [] if joint else block[: block.index(name)]
            break
        if name in study.intermediate:
            break
        before += block
    if name in study.intermediate:
        before += study.intermediate[: study.intermediate.index(name)]
    terms = [quoted(v) for v in (study.path.treatment, *before)]
    if options.interaction:
        mediators = [v for v in before if v in study.path.mediators]
        terms += [f"{quoted(study.path.treatment)}:{quoted(v)}" for v in mediators]
    return written(name, [*terms, *(quoted(v) for v in study.adjust)])


def fit_model(study: TableStudy, name: str, text: str, chosen: str, source: Source) -> Model:
    """Fit the regression of one mediator or of the outcome, by its formula and family."""
    before = _before(study, name)
    known = frozenset(study.table)
    earlier = {study.path.treatment, *before, *study.adjust}
    right = right_side(text, name, known, later=known - earlier)
    later = sorted(
        v
        for v in right.variables
        if v not in before and v != study.path.treatment and v not in study.adjust
    )
    if later:
        raise SpecError(
            f"the formula {text!r} puts {later[0]!r} into the model of {name!r}, which comes "
            f"before it in {study.path}"
        )
    column = study.table[name]
    values = column.distinct()
    discrete = chosen not in ("gaussian", "poisson", "negative-binomial")
    support = tuple(values) if discrete else ()
    y = (
        np.searchsorted(np.array(values), column.values).astype(float)
        if discrete
        else column.values
    )
    family = families.family(chosen, len(values))
    design = build(text, right, source=source, parents=before, intercept=family.intercept)
    return fit(name, family, design, y, support=support, weights=source.weights)


def _before(study: TableStudy, name: str) -> tuple[str, ...]:
    """Variables a model may depend on besides treatment and covariates, in order."""
    order = (*study.intermediate, *study.path.mediators)
    return order if name == study.path.outcome else order[: order.index(name)]


def _used_variables(model: Model, study: TableStudy) -> frozenset[str]:
    order = (*study.intermediate, *study.path.mediators)
    return frozenset(v for v in model.design.variables if v in order)


def _groups(
    study: TableStudy, chosen: Mapping[str, str], uses: Mapping[str, frozenset[str]]
) -> dict[str, Group]:
    """Joint normal groups: a block of normal mediators none of which enters another's model."""
    found: dict[str, Group] = {}
    for block in (*((v,) for v in study.intermediate), *study.blocks):
        normal = tuple(v for v in block if chosen[v] == "gaussian")
        joint = len(normal) == len(block) and not any(uses[v] & set(block) for v in block)
        for members in [normal] if joint else [(v,) for v in normal]:
            for position, name in enumerate(members):
                found[name] = (members[0], position, members)
    return found


def _code(study: TableStudy, name: str, value: Level) -> float:
    code = study.table[name].code(value)
    assert code is not None, "checked by the study"
    return code


def _rows(options: Options, study: TableStudy) -> tuple[Rows, bool]:
    """Rows that cells are evaluated on, and whether one row stands for all."""
    at = "mean" if options.at is None and options.rare_outcome else options.at
    if at is None:
        return Rows(study.table, len(study)), False
    values = held_values(study, at) if isinstance(at, Mapping) else central_values(study)
    columns = {
        name: Column(np.full(len(study), values[name]), c.labels) if name in values else c
        for name, c in study.table.items()
    }
    if set(values) != set(study.adjust):
        return Rows(columns, len(study)), False
    first = np.zeros(1, dtype=np.int64)
    return Rows({name: _one(c, study, name, first) for name, c in columns.items()}, 1), True


def _one(column: Column, study: TableStudy, name: str, first: NDArray[np.int64]) -> Column:
    """One row of a covariate; mediators keep all rows, whose spread scales the designs."""
    return column.take(first) if name in study.adjust else column


def central_values(study: TableStudy) -> dict[str, float]:
    """Mean of every numeric covariate and the most frequent category of the others."""
    found = {}
    for name in study.adjust:
        column = study.table[name]
        if column.is_text:
            found[name] = float(np.bincount(column.values.astype(int), study.weights).argmax())
        else:
            found[name] = float(np.average(column.values, weights=study.weights))
    return found


def held_values(study: TableStudy, at: Mapping[str, Level]) -> dict[str, float]:
    """Covariate values a person chose, as they stand in the table."""
    found = {}
    for name, value in at.items():
        if name not in study.adjust:
            raise DesignError(
                f"at holds {name!r}, which is no covariate of the study. {hint(name, study.adjust)}"
            )
        code = study.table[name].code(value)
        if code is None:
            shown = ", ".join(study.table[name].show(v) for v in study.table[name].distinct()[:8])
            raise DesignError(f"at holds {name!r} at {value!r}; its values are {shown}")
        found[name] = code
    return found


def _share(options: Options, study: TableStudy, weights: Array) -> Array:
    """Weight of each row in the averages."""
    if options.population == "all":
        return weights
    level = study.levels[1 if options.population == "treated" else 0]
    share = np.where(study.treatment.values == level, weights, 0.0)
    if not share.sum() > 0.0:
        raise EstimationError(
            f"no row has {study.path.treatment!r} at level {study.treatment.show(level)}, so the "
            f"population {options.population!r} is empty; take population='all'"
        )
    return share


def _diagnostics(study: TableStudy, models: Mapping[str, Model], share: Array) -> dict[str, Any]:
    values = study.treatment.values
    counts = {study.treatment.show(v): int((values == v).sum()) for v in study.levels}
    described = {name: f"{m.family.name}, {m.design.formula}" for name, m in models.items()}
    few = {k: v for k, v in counts.items() if v < FEW_ROWS} if study.is_discrete else {}
    told = [
        f"only {v} {'row has' if v == 1 else 'rows have'} {study.path.treatment!r} at {k}: "
        "standard errors are too small there"
        for k, v in few.items()
    ]
    return {
        "warnings": told,
        "models": described,
        "overlap": {"units_at_level": counts, "units_averaged_over": int((share > 0.0).sum())},
    }

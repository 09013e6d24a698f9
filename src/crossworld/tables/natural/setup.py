"""From a configured `NaturalEffects` and a study to a fitted natural effect model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crossworld.core.regime import Level
from crossworld.errors import DesignError, SpecError
from crossworld.tables.natural.copies import (
    Expansion,
    Names,
    effect_formula,
    expand,
    grid_of,
    missing_structure,
    names_of,
    working_terms,
)
from crossworld.tables.natural.fit import Fitted, fit
from crossworld.tables.natural.working import Factor, Imputed, Weighted, Working
from crossworld.tables.parametric import families, models
from crossworld.tables.parametric.design import Rows, Source, build
from crossworld.tables.parametric.formulas import RightSide, quoted, right_side, written
from crossworld.tables.parametric.models import Model
from crossworld.tables.parametric.setup import (
    Modelled,
    family_of,
    fit_model,
    read_models,
    row_weights,
)
from crossworld.tables.roles import DISCRETE
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]
FEW = 0.1  # effective share of the copies below which a warning is due


class Options(Modelled, Protocol):
    """The fields of `NaturalEffects`."""

    @property
    def kind(self) -> str: ...
    @property
    def formula(self) -> str | None: ...
    @property
    def link(self) -> str: ...
    @property
    def ratio(self) -> str: ...
    @property
    def treatment(self) -> Sequence[str] | None: ...
    @property
    def grid(self) -> Sequence[Level] | None: ...


def fitted_model(options: Options, study: TableStudy) -> tuple[Fitted, dict[str, Any]]:
    """Fit the working models and the natural effect model; say which they are.

    Raises
    ------
    DesignError
        If the study is no table, has intermediate confounders, or a formula does not fit it.
    """
    if not isinstance(study, TableStudy):
        raise DesignError(f"NaturalEffects needs a TableStudy, got {type(study).__name__}")
    if study.intermediate:
        raise DesignError(
            "NaturalEffects does not take intermediate confounders: with them the natural effects "
            "have no natural effect model; put them into one joint block with the mediators, or "
            "use Regression for interventional effects"
        )
    names = names_of(study)
    formula = effect_formula(study, names, options.formula)
    grid, weights = grid_of(study, options.grid), row_weights(study)
    link = _link(options.link, study)
    source = Source(study.table, Rows(study.table, len(study)), names.treatment, weights)
    imputed = options.kind == "imputation"
    expansion = expand(
        study,
        formula,
        link=link,
        grid=grid,
        weights=weights,
        varied="direct" if imputed else "indirect",
    )
    warned: list[str] = []
    working: Working
    if imputed:
        working = _imputed(options, study, source, grid=grid, effects=formula[1])
        warned = _unreflected(study, names, formula[1], working.models[0])
    elif options.ratio == "treatment":
        working = _by_bayes(options, study, source, grid)
    else:
        working = _by_density(options, study, source, grid)
    found = fit(expansion, working)
    return found, _diagnostics(study, found, warned)


def _link(given: str, study: TableStudy) -> str:
    values = study.table[study.path.outcome].distinct()
    if given == "auto":
        return "logit" if set(values) <= {0.0, 1.0} else "identity"
    if given == "logit" and not (values[0] >= 0.0 and values[-1] <= 1.0):
        raise DesignError(
            f"a logit link needs an outcome between 0 and 1, but {study.path.outcome!r} runs from "
            f"{values[0]:.6g} to {values[-1]:.6g}"
        )
    if given == "log" and values[0] < 0.0:
        raise DesignError(
            f"a log link needs an outcome that is not negative, but {study.path.outcome!r} goes "
            f"down to {values[0]:.6g}"
        )
    return given


def _imputed(
    options: Options, study: TableStudy, source: Source, *, grid: Array, effects: RightSide
) -> Imputed:
    """Fit the outcome model and lay out its design under every treatment of the grid."""
    outcome = study.path.outcome
    asked = read_models(options, study)[outcome]
    chosen = family_of(options, study, outcome, asked)
    text = asked.formula or written(outcome, working_terms(study, names_of(study), effects))
    model = fit_model(study, outcome, text, chosen, source)
    asked.check(model)
    return Imputed(model, _designs(model, study, grid))


def _designs(model: Model, study: TableStudy, grid: Array) -> tuple[Array, ...]:
    design, name = model.design, study.path.treatment
    return tuple(design.coordinates(design.raw([{name: float(level)}])) for level in grid)


def _by_density(options: Options, study: TableStudy, source: Source, grid: Array) -> Weighted:
    """Fit each mediator's law given treatment, earlier mediators and covariates."""
    asked, factors = read_models(options, study), []
    before: list[str] = []
    for name in study.path.mediators:
        chosen = family_of(options, study, name, asked[name])
        terms = [quoted(v) for v in (study.path.treatment, *before, *study.adjust)]
        text = asked[name].formula or written(name, terms)
        model = fit_model(study, name, text, chosen, source)
        asked[name].check(model)
        same = (model.y,) * grid.size
        factors.append(Factor(model, _designs(model, study, grid), same, 1.0))
        before.append(name)
    return Weighted(study.outcome, tuple(factors), int(grid.size))


def _by_bayes(options: Options, study: TableStudy, source: Source, grid: Array) -> Weighted:
    """Fit the treatment given covariates, without and with the mediators."""
    name, column = study.path.treatment, study.treatment
    values = np.array(column.distinct())
    if values.size > DISCRETE:
        raise DesignError(
            f"ratio='treatment' weighs by treatment probabilities, but {name!r} has {values.size} "
            "values; use ratio='mediator' or kind='imputation'"
        )
    covariates = [quoted(v) for v in study.adjust]
    mediators = [quoted(v) for v in study.path.mediators]
    texts = options.treatment or (
        written(name, covariates),
        written(name, [*mediators, *covariates]),
    )
    family = families.family("logit" if values.size == 2 else "multinomial", values.size)
    y = np.searchsorted(values, column.values).astype(np.float64)
    codes = np.searchsorted(values, grid).astype(np.float64)
    factors = []
    for text, sign, allowed in (
        (texts[0], -1.0, study.adjust),
        (texts[1], 1.0, (*study.adjust, *study.path.mediators)),
    ):
        right = right_side(text, name, frozenset((*allowed, name)))
        design = build(text, right, source=source, parents=())
        model = models.fit(name, family, design, y, support=tuple(values), weights=source.weights)
        responses = tuple(np.full(len(study), code) for code in codes)
        factors.append(Factor(model, (design.z,) * grid.size, responses, sign))
    return Weighted(study.outcome, tuple(factors), int(grid.size))


def _unreflected(study: TableStudy, names: Names, effects: RightSide, model: Model) -> list[str]:
    text = model.design.formula
    working = right_side(text, study.path.outcome, frozenset(study.table))
    lacking = missing_structure(names, study.path.mediators, effects, working)
    if not lacking:
        return []
    return [
        f"the outcome model {text!r} has no counterpart of {', '.join(lacking)} in the natural "
        "effect model, whose coefficients are then attenuated; write both with the same structure"
    ]


def _diagnostics(study: TableStudy, found: Fitted, warned: Sequence[str]) -> dict[str, Any]:
    expansion = found.expansion
    values = study.treatment.values
    overlap: dict[str, Any] = {
        "units_at_level": {study.treatment.show(v): int((values == v).sum()) for v in study.levels},
        "copies": {study.treatment.show(v): len(study) for v in expansion.grid},
    }
    told = list(warned)
    if isinstance(found.working, Weighted):
        share = _effective_shares(expansion, found.ratio, values)
        overlap["effective_share"] = {
            study.treatment.show(v): s for v, s in zip(expansion.grid, share, strict=True)
        }
        overlap["largest_weight"] = float(found.ratio.max())
        if min(share) < FEW:
            told.append(
                f"overlap: the weights of one copy are worth {min(share):.1%} of its rows at other "
                "treatments; mediators hardly overlap, consider kind='imputation'"
            )
    fits = found.working.models
    names = [m.name if m.name != fits[0].name or m is fits[0] else f"{m.name} again" for m in fits]
    described = {
        name: f"{m.family.name}, {m.design.formula}" for name, m in zip(names, fits, strict=True)
    }
    described["natural effects"] = f"{expansion.link} link, {expansion.design.formula}"
    return {"models": described, "overlap": overlap, "warnings": told}


def _effective_shares(expansion: Expansion, ratio: Array, observed: Array) -> list[float]:
    """Kish's effective size of each copy's rows at other treatments, as a share of theirs."""
    shares = []
    for level, part in zip(expansion.grid, np.split(ratio, expansion.grid.size), strict=True):
        own = expansion.weights[observed != level]
        weight = own * part[observed != level]
        size = own.sum() ** 2 / max((own**2).sum(), 1e-300)
        shares.append(float(weight.sum() ** 2 / max((weight**2).sum(), 1e-300) / max(size, 1.0)))
    return shares


def conditional_contrasts(
    found: Fitted, levels: tuple[float, float], held: Mapping[str, float]
) -> dict[str, Array]:
    """Directions (p,) of the effects on the link's scale at chosen covariates."""
    low, high = levels

    def row(direct: float, indirect: float) -> Array:
        return np.asarray(found.expansion.at(direct, indirect, dict(held))[0])

    cells = {(a, b): row(a, b) for a in (low, high) for b in (low, high)}
    return {
        "te": cells[high, high] - cells[low, low],
        "nde": cells[high, low] - cells[low, low],
        "nie": cells[high, high] - cells[high, low],
        "tnde": cells[high, high] - cells[low, high],
        "pnie": cells[low, high] - cells[low, low],
    }


def check_options(options: Options) -> None:
    """Refuse values and combinations of fields that mean nothing.

    Raises
    ------
    SpecError
        If a field has an unknown value or belongs to the other kind.
    """
    choices = {
        "kind": ("imputation", "weighting"),
        "link": ("auto", "identity", "logit", "log"),
        "ratio": ("mediator", "treatment"),
    }
    for name, known in choices.items():
        if getattr(options, name) not in known:
            raise SpecError.unknown(f"{name} of NaturalEffects", str(getattr(options, name)), known)
    plain = {
        "outcome": options.outcome is None,
        "outcome_family": options.outcome_family == "auto",
        "mediator": options.mediator is None,
        "mediator_family": options.mediator_family == "auto",
        "treatment": options.treatment is None,
        "ratio": options.ratio == "mediator",
    }
    wanted = {
        "imputation": ("outcome", "outcome_family"),
        "mediator": ("mediator", "mediator_family"),
        "treatment": ("treatment", "ratio"),
    }
    use = options.kind if options.kind == "imputation" else options.ratio
    idle = [name for name, default in plain.items() if not default and name not in wanted[use]]
    if idle:
        own = "kind='imputation'" if use == "imputation" else f"kind='weighting', ratio={use!r}"
        raise SpecError(
            f"{idle[0]} of NaturalEffects is not used with {own}, whose working model is set by "
            f"{' and '.join(wanted[use])}"
        )
    pair = options.treatment
    if pair is not None and (
        isinstance(pair, str)
        or not isinstance(pair, Sequence)
        or len(pair) != 2
        or not all(isinstance(text, str) for text in pair)
    ):
        raise SpecError(
            "treatment of NaturalEffects is a pair of formulas, without and with the mediators, "
            f"such as ('a ~ x', 'a ~ m + x'); got {pair!r}"
        )

"""Several models or tasks at once: effects in each, their family, and all of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from crossworld.core.analysis import estimate
from crossworld.core.effects import NATURAL
from crossworld.core.estimand import Estimand, needed
from crossworld.core.table import EffectTable
from crossworld.errors import DesignError, SpecError
from crossworld.reasoning.cells import Array
from crossworld.reasoning.family import holm, max_t
from crossworld.reasoning.pairing import estimate_of, pair, two_way
from crossworld.reasoning.replay import Replay
from crossworld.reasoning.study import ReasoningStudy

ADJUST = ("holm", "max-t", "none")
DRAWS = 10_000


@dataclass(frozen=True, slots=True)
class ModelEffect:
    """One effect in one model; ``p_adjusted`` is for the family of the effect's models."""

    model: str
    term: str
    estimate: float | None
    std_error: float | None
    conf_low: float | None
    conf_high: float | None
    p_value: float | None
    p_adjusted: float | None
    questions: int


@dataclass(frozen=True, slots=True, eq=False)
class ModelEffects:
    """Effects by model, and over questions and models.

    Parameters
    ----------
    rows
        One per model and effect.
    tables
        The full result of every model.
    pooled
        The result over all models, questions as clusters: about these models.
    two_way
        For effects that are sums of cells, standard errors clustered by question and model: about
        the models these are a sample of.
    absent
        Models that lack a cell, with the reason.
    bands
        With ``"max-t"``, by effect, the half-width in standard errors of intervals that hold for
        all models at once.
    """

    rows: tuple[ModelEffect, ...]
    tables: Mapping[str, EffectTable]
    pooled: EffectTable
    two_way: Mapping[str, Mapping[str, Any]]
    absent: Mapping[str, str]
    bands: Mapping[str, float]

    def to_frame(self) -> Any:
        """Return the rows as a pandas frame."""
        import pandas as pd

        names = ModelEffect.__slots__
        return pd.DataFrame({n: [getattr(r, n) for r in self.rows] for n in names})


def by_model(
    study: ReasoningStudy,
    estimands: Sequence[Estimand] = NATURAL,
    *,
    estimator: Replay | None = None,
    adjust: Literal["holm", "max-t", "none"] = "holm",
    level: float = 0.95,
    seed: int = 0,
) -> ModelEffects:
    """Estimate effects in every model (the study's ``cluster``) and over all of them.

    Parameters
    ----------
    study
        A study read with ``cluster="model"`` (or a task).
    estimands
        The questions.
    estimator
        `Replay()` by default.
    adjust
        ``"holm"``: p values of an effect are adjusted for the number of models, holding the
        family-wise error whatever the dependence (Holm 1979); ``"max-t"``: for the largest of them,
        using that the models answered the same questions (sums of cells only); ``"none"``.
    level
        Confidence level of the unadjusted intervals, and of the bands of ``"max-t"``.
    seed
        Seed of the draws of ``"max-t"``.

    Notes
    -----
    Within a model the questions are the clusters. The pooled result weighs questions equally,
    however many models answered them.

    Raises
    ------
    DesignError
        If the study has no ``cluster``, or no model has the cells.
    """
    if adjust not in ADJUST:
        raise SpecError.unknown("adjustment", str(adjust), ADJUST)
    group = study.table.group
    if group is None:
        raise DesignError("the study has one model; read it with cluster='the column of models'")
    method = Replay() if estimator is None else estimator
    tables: dict[str, EffectTable] = {}
    absent: dict[str, str] = {}
    for code, name in enumerate(group.labels):
        try:
            tables[name] = estimate(_part(study, code), method, estimands, level=level)
        except DesignError as error:
            absent[name] = str(error)
    if not tables:
        raise DesignError(f"no model has the cells: {next(iter(absent.values()))}")
    whole = study if not absent else _restrict(study, [group.labels.index(n) for n in tables])
    pooled = estimate(_by_question(whole), method, estimands, level=level)
    adjusted, bands = _adjusted(study, method, tables, adjust=adjust, seed=seed, level=level)
    return ModelEffects(
        tuple(_rows(tables, adjusted)),
        tables,
        pooled,
        _two_way(whole, method, estimands),
        absent,
        bands,
    )


def _adjusted(
    study: ReasoningStudy,
    method: Replay,
    tables: Mapping[str, EffectTable],
    *,
    adjust: str,
    seed: int,
    level: float,
) -> tuple[dict[str, dict[str, float | None]], dict[str, float]]:
    """P values by effect and model, adjusted over models; critical values of max-t bands."""
    asked = next(iter(tables.values())).estimands
    found: dict[str, dict[str, float | None]] = {}
    bands: dict[str, float] = {}
    for effect in asked:
        p = {name: table[effect.name].p_value for name, table in tables.items()}
        if adjust == "max-t":
            if effect.expr.linear() is None:
                raise SpecError(f"max-t takes sums of cells, {effect} is none; use adjust='holm'")
            psi = _contributions(study, method, effect, models=list(tables))
            values = {name: table[effect.name].estimate or 0.0 for name, table in tables.items()}
            found[effect.name], bands[effect.name] = max_t(
                psi, values, draws=DRAWS, seed=seed, level=level
            )
        else:
            found[effect.name] = holm(p) if adjust == "holm" else p
    return found, bands


def _contributions(
    study: ReasoningStudy, method: Replay, effect: Estimand, *, models: Sequence[str]
) -> dict[str, Array]:
    """What every question contributes to the effect in every model, NaN where it has none."""
    group = study.table.group
    assert group is not None
    _, questions, _ = study.table.units()
    found: dict[str, Array] = {}
    for name in models:
        part = _part(study, group.labels.index(name))
        asked = method.asked(part, needed([effect]))
        paired = pair(part, asked.masks, asked.outcome)
        influence = estimate_of(effect.expr, paired.as_scores(asked.cells)).influence
        found[name] = np.full(len(study.table.question.labels), np.nan)
        found[name][questions[part.units[paired.kept]]] = influence / influence.size
    return found


def _rows(
    tables: Mapping[str, EffectTable], p_values: Mapping[str, Mapping[str, float | None]]
) -> list[ModelEffect]:
    found = []
    for term in [row.term for row in next(iter(tables.values()))]:
        held = {name: table[term] for name, table in tables.items()}
        adjusted = p_values[term]
        found += [
            ModelEffect(
                name,
                term,
                row.estimate,
                row.std_error,
                row.conf_low,
                row.conf_high,
                row.p_value,
                adjusted[name],
                int(tables[name].diagnostics["n_units"]),
            )
            for name, row in held.items()
        ]
    return found


def _part(study: ReasoningStudy, code: int) -> ReasoningStudy:
    """The study of one model, questions as clusters."""
    assert study.table.group is not None
    where = {**study.origin.where, study.origin.roles["cluster"]: study.table.group.labels[code]}
    part = _restrict(study, [code])
    return _by_question(replace(part, origin=replace(study.origin, where=where)))


def _restrict(study: ReasoningStudy, codes: Sequence[int]) -> ReasoningStudy:
    """The study's units in some of the groups."""
    _, _, groups = study.table.units()
    assert groups is not None
    kept = np.flatnonzero(np.isin(groups[study.units], codes))
    return study.take(kept)


def _by_question(study: ReasoningStudy) -> ReasoningStudy:
    """The same units with questions, not groups of questions, as clusters."""
    return replace(study, by_group=False)


def _two_way(
    study: ReasoningStudy, method: Replay, estimands: Sequence[Estimand]
) -> dict[str, Mapping[str, Any]]:
    """Standard errors over questions and models, for effects that are sums of cells."""
    group = study.table.group
    assert group is not None
    bound = [e.bind(study.blocks) for e in estimands]
    asked = method.asked(study, needed(bound))
    found: dict[str, Mapping[str, Any]] = {}
    for effect in bound:
        terms = effect.expr.linear()
        if terms is None:
            continue
        weights = {asked.cells.index(c): v for c, v in terms.items()}
        found[effect.name] = two_way(
            study, asked.masks, asked.outcome, weights=weights, second=group
        )
    return found

"""A table beside its causal graph: which columns to adjust for, and whether that is enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from crossworld.core.effects import IIE, NDE, NIE, TE
from crossworld.core.estimand import Estimand
from crossworld.core.graph.dag import Graph
from crossworld.core.identification import Identification
from crossworld.core.identify import words
from crossworld.core.identify.frontdoor import missed
from crossworld.core.identify.roles import Roles, roles
from crossworld.core.identify.separable import SDE, SIE
from crossworld.core.identify.sequential import confounders, sequential
from crossworld.core.identify.verdict import verdict
from crossworld.errors import DesignError, hint
from crossworld.tables.path import Path


def check_graph(graph: Graph, path: Path, columns: Sequence[str]) -> Roles:
    """Find the roles of a path in a graph, whose measured nodes must be columns.

    Raises
    ------
    DesignError
        If a role does not fit the graph, or a node is neither a column nor marked latent.
    """
    found = roles(graph, treatment=path.treatment, mediators=path.mediators, outcome=path.outcome)
    missing = [n for n in graph.observed if n not in columns]
    if missing:
        raise DesignError(
            f"the graph's {words.listed(map(repr, missing))} is no column of the table. "
            f"{hint(missing[0], columns)} Mark what was not measured: {missing[0]} [latent]"
        )
    return found


def choose(found: Roles) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Covariates and intermediate confounders that the graph asks for.

    The smallest set that identifies natural effects; where none does, the smallest that identifies
    interventional ones, with the confounders of mediator and outcome that the treatment affects;
    else the smallest for the total effect.
    """
    for questions in ((NDE, NIE), (IIE,), (TE,)):
        licences = [verdict(found, e) for e in questions]
        if all(v.identified and v.by == "adjustment" for v in licences):
            chosen = max((v.adjust for v in licences), key=len)
            return chosen, confounders(found) if questions == (IIE,) else ()
    return (), ()


def identify_by_graph(
    found: Roles,
    adjust: Sequence[str],
    intermediate: Sequence[str],
    estimands: Sequence[Estimand],
) -> Identification:
    """Identify every effect with the study's covariates, or say which one they do not give."""
    licences = []
    for effect in estimands:
        licence = verdict(found, effect, adjust)
        if not licence.identified or (intermediate and licence.by != "adjustment"):
            later = sequential(found, effect, adjust, intermediate)
            licence = licence if later is None else later
        if not licence.identified:
            return replace(licence, graph=found.text)
        licences.append(licence)
    most = max(licences, key=lambda v: len(v.assumptions))
    formulas = [v.formula for v in licences if v.formula]
    parts = dict.fromkeys(p.strip() for f in formulas for p in f.split(r",\qquad"))
    return replace(most, adjust=tuple(adjust), formula=r",\qquad ".join(parts), graph=found.text)


def front_door_obstacle(found: Roles | None, adjust: Sequence[str]) -> str | None:
    """Why a study's graph, where it has one, does not meet the front-door criterion."""
    return None if found is None else missed(found, adjust)


def separable_obstacle(
    found: Roles | None, adjust: Sequence[str], components: Mapping[str, str]
) -> Identification | None:
    """A graph's refusal of separable effects with these components, or None."""
    if found is None:
        return None
    own = {n: p for n, p in components.items() if n in found.graph.children[found.treatment]}
    for build in (SDE, SIE):
        licence = verdict(found, build(**own), adjust)  # type: ignore[arg-type]
        if not licence.identified:
            return licence
    return None

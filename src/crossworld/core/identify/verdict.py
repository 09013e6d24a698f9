"""Whether an effect follows from what a graph says is measured, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from crossworld.core.estimand import Estimand
from crossworld.core.graph.dag import Graph
from crossworld.core.graph.mixed import Names
from crossworld.core.identification import Assumption, Identification
from crossworld.core.identify import words
from crossworld.core.identify.adjustment import (
    Need,
    Sets,
    adjustment_sets,
    blocks,
    candidates,
    open_path,
)
from crossworld.core.identify.assumptions import assumptions
from crossworld.core.identify.cells import (
    Obstacle,
    functional,
    interventional,
    interventional_sets,
)
from crossworld.core.identify.formulas import adjusted, written
from crossworld.core.identify.frontdoor import front_door
from crossworld.core.identify.functional import Functional, sort
from crossworld.core.identify.instead import alternatives, worlds
from crossworld.core.identify.roles import Roles, roles
from crossworld.core.identify.separable import SeparableEffect, assigned
from crossworld.core.identify.worlds import World, levels, world
from crossworld.core.regime import Fixed
from crossworld.errors import DesignError, hint

Question = Estimand | SeparableEffect


def identify(
    graph: Graph | str | Path,
    effect: Question,
    *,
    treatment: str | None = None,
    mediators: Sequence[str] | None = None,
    outcome: str | None = None,
    adjust: Sequence[str] | None = None,
) -> Identification:
    r"""Say whether an effect is identified by a causal graph, from what, or why not.

    Natural, path-specific and controlled effects by the edge g-formula, which is complete (Shpitser
    and Sherman 2018): every factor of the formula shows the level of the treatment it is taken at.
    Where an adjustment formula exists (Shpitser and VanderWeele 2011) it is given, with all minimal
    covariate sets. Natural effects are read in the model of independent errors (NPSEM-IE).

    Parameters
    ----------
    graph
        A `Graph`, a file, or a text (own syntax, DOT, dagitty).
    effect
        ``xw.NIE``, ``xw.CDE(m=0)``, ``xw.PSE("m2")``, ``xw.SDE(l="direct")``, ...
    treatment, mediators, outcome
        Nodes; those not given are taken from the marks in the graph's text.
    adjust
        Covariates to adjust for; by default the graph chooses.

    Returns
    -------
    Identification
        ``identified``, the covariates, the assumptions, the formula; or the reason, the offending
        nodes and edges, and what is identified instead.

    Raises
    ------
    DesignError
        If a role does not fit the graph.

    Examples
    --------
    >>> import crossworld as xw
    >>> found = identify(
    ...     "x -> a; x -> m; x -> y; a -> m -> y; a -> y", xw.NIE, treatment="a",
    ...     mediators=["m"], outcome="y",
    ... )
    >>> found.identified, found.adjust
    (True, ('x',))
    >>> identify("a -> m -> y; a -> y; m <-> y", xw.NIE, treatment="a", mediators=["m"],
    ...     outcome="y").offending
    ('m', 'y', 'm <-> y')
    """
    found = roles(Graph.load(graph), treatment=treatment, mediators=mediators, outcome=outcome)
    return replace(verdict(found, effect, adjust), graph=found.text)


def verdict(roles: Roles, effect: Question, adjust: Sequence[str] | None = None) -> Identification:
    """Identify an effect in a graph whose roles are known."""
    asked: tuple[World, ...]
    if isinstance(effect, SeparableEffect):
        asked, missing = assigned(effect, roles)
        if missing:
            return _unassigned(roles, effect, missing)
    else:
        asked = _worlds(roles, effect)
    if not asked:
        raise DesignError(f"{effect.name} involves no counterfactual cell")
    asked = remaining(roles, effect, asked)
    if not asked:
        return _zero(roles, effect)
    found = [(w, functional(roles, w)) for w in asked]
    for _, f in found:
        if isinstance(f, Obstacle):
            reason, offending = words.obstacle(roles, f)
            instead = alternatives(roles, effect.name)
            return _refused(f"{effect.name} is not identified: {reason}", offending, instead)
    laws: list[tuple[World, Functional]] = [(w, f) for w, f in found if not isinstance(f, Obstacle)]
    if any(w.random for w in asked):
        return _interventional(roles, asked, adjust)
    return _licence(roles, effect, laws, adjust)


def needs(roles: Roles, asked: Sequence[World]) -> list[Need]:
    """What covariates have to unconfound: for every response, its causes."""
    a, y = roles.treatment, roles.outcome
    found: dict[Need, None] = {}
    for w in asked:
        if w.crosses and not w.fixed:
            middle = sort(roles.mixed, w.drawn)
            joint = len(set(w.drawn.values())) == 1
            for k, m in enumerate(middle):
                found[(frozenset({a} if joint else {a, *middle[:k]}), m)] = None
            found[(frozenset({a, *middle}), y)] = None
        else:
            found[(frozenset({a, *w.fixed}), y)] = None
    return list(found)


def _worlds(roles: Roles, effect: Estimand) -> tuple[World, ...]:
    if not roles.mediators:
        bare = [c for c in effect.cells() if not _is_total(c)]
        if bare:
            raise DesignError(
                f"{effect.name} needs mediators; say which nodes they are, e.g. mediators=['m'] "
                "(in a command --mediators m)"
            )
    return worlds(roles, effect)


def remaining(roles: Roles, effect: Question, asked: tuple[World, ...]) -> tuple[World, ...]:
    """Cells that remain when those equal by the graph have cancelled.

    Two cells are equal when every arrow out of the treatment that leads to the outcome carries the
    same level in both: without a direct path, ``Y(1, M(0))`` is ``Y(0)``.
    """
    if isinstance(effect, SeparableEffect):
        weights = dict(zip(asked, (1.0, -1.0), strict=True))
    else:
        linear = effect.bind(tuple((m,) for m in roles.mediators)).expr.linear()
        if linear is None:
            return asked
        weights = {world(c, roles.mediators): v for c, v in linear.items()}
    total: dict[object, float] = {}
    first: dict[object, World] = {}
    for w, weight in weights.items():
        key = _carried(roles, w)
        total[key] = total.get(key, 0.0) + weight
        first.setdefault(key, w)
    return tuple(w for key, w in first.items() if total[key] != 0.0)


def _carried(roles: Roles, w: World) -> object:
    if w.random:
        return w.treatment, tuple(w.random.items()), tuple(w.fixed.items()), tuple(w.drawn.items())
    arrows = levels(roles.graph.children, roles.treatment, w, roles.outcome)
    return tuple((c, need) for c, need in arrows.items() if need), tuple(w.fixed.items())


def _zero(roles: Roles, effect: Question) -> Identification:
    told = (words.of_the_graph(roles.mixed),)
    return Identification(True, "g-formula", (), told, rf"\mathrm{{{effect.name}}} = 0")


def _is_total(cell: object) -> bool:
    """Whether a cell says nothing of mediators."""
    regimes = getattr(cell, "regimes", ())
    return all(
        not isinstance(r, Fixed) and getattr(r, "level", None) == getattr(cell, "treatment", None)
        for _, r in regimes
    )


def _refused(reason: str, offending: tuple[str, ...], instead: tuple[str, ...]) -> Identification:
    if instead:
        reason += f"; identified or possible instead: {', '.join(instead)}"
    return Identification(False, None, reason=reason, offending=offending, instead=instead)


def _unassigned(roles: Roles, effect: SeparableEffect, missing: Sequence[str]) -> Identification:
    instead = tuple(
        name
        for name in alternatives(roles, effect.name)
        if name.startswith(effect.name.partition("(")[0])
    )
    verb = "depends" if len(missing) == 1 else "depend"
    reason = (
        f"{effect.name} is not identified before it is said on which component of "
        f"{roles.treatment} {words.listed(missing)} {verb}"
    )
    return _refused(reason, tuple(missing), instead)


def _licence(
    roles: Roles,
    effect: Question,
    laws: Sequence[tuple[World, Functional]],
    adjust: Sequence[str] | None,
) -> Identification:
    asked = [w for w, _ in laws]
    wanted = needs(roles, asked)
    named = {roles.treatment, roles.outcome, *(m for need, _ in wanted for m in need)}
    allowed = candidates(roles.mixed, roles.treatment, named)
    split = isinstance(effect, SeparableEffect)
    if adjust is not None:
        refusal = _check_given(roles, effect, wanted, tuple(adjust), allowed=allowed)
        if refusal is not None:
            return refusal
        sets: Sets | None = Sets((tuple(adjust),), False, None)
    else:
        sets = adjustment_sets(roles.mixed, wanted, allowed, roles.treatment)
    if sets is not None:
        chosen = sets.minimal[0]
        cells = [(w, adjusted(roles, w, chosen)) for w in asked]
        told = assumptions(roles, asked, chosen, split=split)
        text = written(roles, cells, components=split)
        several = sets.minimal if adjust is None else ()
        return Identification(
            True, "adjustment", chosen, told, text, sets=several, efficient=sets.efficient
        )
    text = written(roles, laws, components=split)
    total = all(not w.crosses and not w.fixed for w in asked)
    door = front_door(roles) if total else None
    told = assumptions(roles, asked, door[1] if door else (), split=split, door=door)
    if door:
        return Identification(True, "front-door", door[1], told, text)
    return Identification(True, "g-formula", (), told, text)


def _check_given(
    roles: Roles,
    effect: Question,
    wanted: Sequence[Need],
    adjust: tuple[str, ...],
    *,
    allowed: Names,
) -> Identification | None:
    unknown = [v for v in adjust if v not in roles.graph.nodes]
    if unknown:
        raise DesignError(
            f"adjust names {words.listed(unknown)}, which the graph does not have. "
            f"{hint(unknown[0], roles.graph.nodes)}"
        )
    late = [v for v in adjust if v not in allowed]
    if late:
        why = (
            f"{words.listed(late)} cannot be adjusted for: affected by {roles.treatment}, "
            "unmeasured, or in another role"
        )
        return _refused(
            f"{effect.name} is not identified by these covariates: {why}", tuple(late), ()
        )
    if blocks(roles.mixed, wanted, frozenset(adjust)):
        return None
    path = open_path(roles.mixed, wanted, frozenset(adjust)) or ()
    better = adjustment_sets(roles.mixed, wanted, allowed, roles.treatment)
    advice = "; no covariate set does"
    if better:
        advice = f"; adjust for {words.listed(better.minimal[0])}"
    elif len(wanted) == 1 and front_door(roles):
        advice += ", but the front-door formula gives it (estimator FrontDoor)"
    given = f"adjusting for {words.listed(adjust)}" if adjust else "adjusting for nothing"
    reason = (
        f"{effect.name} is not identified by {given}, which leaves the path "
        f"{' - '.join(path)} open{advice}"
    )
    return _refused(reason, tuple(path), ())


def _interventional(
    roles: Roles, asked: Sequence[World], adjust: Sequence[str] | None
) -> Identification:
    """Effects with random draws: one covariate set for all cells."""
    sets = [frozenset(adjust)] if adjust is not None else _shared(roles, asked)
    laws = []
    chosen = sets[0]
    for w in asked:
        f = interventional(roles, w, chosen) if w.random else functional(roles, w)
        if isinstance(f, Obstacle):
            reason, offending = words.obstacle(roles, f)
            return _refused(f"not identified given {words.listed(chosen)}: {reason}", offending, ())
        laws.append((w, f))
    given = sort(roles.mixed, chosen)
    told: tuple[Assumption, ...] = assumptions(roles, asked, given)
    every = tuple(sort(roles.mixed, s) for s in sets) if adjust is None else ()
    return Identification(True, "adjustment", given, told, written(roles, laws), sets=every)


def _shared(roles: Roles, asked: Sequence[World]) -> list[Names]:
    """Minimal covariate sets that serve every cell."""
    first, *others = [w for w in asked if w.random]
    found: list[Names] = []
    for given in interventional_sets(roles, first):
        if any(s <= given for s in found):
            continue
        if all(not isinstance(interventional(roles, w, given), Obstacle) for w in others):
            found.append(given)
    return found or [frozenset()]

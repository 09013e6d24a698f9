"""Assumptions and obstacles in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from crossworld.core.graph.mixed import Mixed
from crossworld.core.identification import Assumption
from crossworld.core.identify.cells import Obstacle
from crossworld.core.identify.functional import sort
from crossworld.core.identify.roles import Roles

SHOWN = 6


def listed(names: Iterable[str], none: str = "nothing") -> str:
    """Names for a sentence."""
    found = list(names)
    if not found:
        return none
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}"


def consistency(a: str, m: str, y: str) -> Assumption:
    """Units do not affect one another and there is one version of the treatment."""
    told = f"{m} and {y}" if m else y
    return Assumption(
        "consistency",
        f"each unit's {told} are those of the {a} it received, and units do not affect one another",
        False,
        "no test; a design that keeps units apart and the treatment uniform makes it plausible",
    )


def positivity(a: str, m: str, given: str) -> Assumption:
    """Every needed combination occurs."""
    also = f", and with every {m} that the other level brings about" if m else ""
    return Assumption(
        "positivity",
        f"every value of {given or 'the covariates'} occurs with both levels of {a}{also}",
        True,
        "the overlap diagnostics of the estimate: propensity ranges, effective sample size",
    )


def unconfounded(cause: str, effect: str, given: str, *, kind: str) -> Assumption:
    """Nothing unmeasured affects both."""
    return Assumption(
        f"no {kind} confounding",
        f"given {given}, nothing unmeasured affects both {cause} and {effect}"
        if given
        else f"nothing affects both {cause} and {effect}",
        True,
        f"an experiment that assigns {cause} at random; from these data alone, only how strong "
        "such a common cause would have to be (sensitivity analysis)",
    )


def cross_world(a: str, m: str, y: str) -> Assumption:
    """The assumption that no experiment on the treatment can check."""
    return Assumption(
        "no effect of the treatment on a mediator-outcome confounder",
        f"{a} affects nothing that in turn affects both {m} and {y}, other than through the "
        "mediators listed (cross-world independence)",
        False,
        f"no experiment on {a} and {m} can check it, for a unit is never in both worlds; one that "
        f"splits {a} into the part that reaches {m} and the part that reaches {y} directly could",
    )


def of_the_graph(mixed: Mixed) -> Assumption:
    """The graph's missing edges, with some of the independences they imply."""
    implied = _independences(mixed)
    tests = (
        f"tests of the independences it implies: {'; '.join(implied)}"
        if implied
        else "none from these data: the graph implies no independence among its measured nodes"
    )
    return Assumption(
        "graph",
        "the arrows and <-> that are not drawn are not there",
        bool(implied),
        tests,
    )


def _independences(mixed: Mixed) -> list[str]:
    found = []
    order = mixed.order
    for k, v in enumerate(order):
        for u in order[:k]:
            if u in mixed.parents[v] or v in mixed.siblings[u]:
                continue
            given = sort(mixed, (mixed.ancestors([u, v]) - {u, v}))
            for some in (frozenset(mixed.parents[v]), frozenset(given)):
                if u not in some and v not in some and mixed.separated([u], [v], some):
                    told = f" given {', '.join(sort(mixed, some))}" if some else ""
                    found.append(f"{u} and {v} are independent{told}")
                    break
            if len(found) == SHOWN:
                return found
    return found


def edges(roles: Roles, path: Sequence[str]) -> tuple[str, ...]:
    """The confounding along a path of bidirected edges, by the names the graph gave it."""
    found: list[str] = []
    for one, other in pairwise(path):
        hidden = sorted(roles.mixed.because.get((min(one, other), max(one, other)), ()))
        for h in hidden:
            found += [h, f"{h} -> {one}", f"{h} -> {other}"]
        if not hidden:
            found.append(f"{one} <-> {other}")
    return tuple(dict.fromkeys(found))


def obstacle(roles: Roles, found: Obstacle) -> tuple[str, tuple[str, ...]]:
    """The reason in words and the offending nodes and edges."""
    a, y = roles.treatment, roles.outcome
    if found.kind == "witness":
        return _witness(roles, found.nodes[0])
    path = found.nodes
    behind = edges(roles, path)
    told = _common(roles, path)
    one, other = path[0], path[-1]
    kinds = {a: "treatment", y: "outcome", **dict.fromkeys(roles.mediators, "mediator")}
    pair = f"{kinds.get(one, one)}-{kinds.get(other, other)}"
    if found.kind == "district":
        tail = (
            f"{told}, and {one} and {other} are needed under different levels of {a} "
            "(recanting district)"
        )
        return f"unmeasured {pair} confounding: {tail}", (*path, *behind)
    if len(path) > 1 and behind:
        return (
            f"unmeasured {pair} confounding: {told}, and no measured covariate or mediator undoes "
            "it",
            (*path, *behind),
        )
    return (
        f"the law of {y} under intervention is not a functional of what is measured, because of "
        f"{listed(path)}",
        path,
    )


def _common(roles: Roles, path: Sequence[str]) -> str:
    steps = []
    for one, other in pairwise(path):
        hidden = sorted(roles.mixed.because.get((min(one, other), max(one, other)), ()))
        if hidden:
            verb = "affects" if len(hidden) == 1 else "affect"
            steps.append(f"the unmeasured {listed(hidden)} {verb} both {one} and {other}")
        else:
            steps.append(f"something unmeasured affects both {one} and {other}")
    return ", ".join(steps)


def _witness(roles: Roles, node: str) -> tuple[str, tuple[str, ...]]:
    a, y = roles.treatment, roles.outcome
    ends = [m for m in roles.mediators if m in roles.graph.descendants([node])]
    below = listed(ends) if ends else "the mediator"
    seen = "" if node not in roles.graph.latent else "the unmeasured "
    reason = (
        f"{seen}{node} is affected by {a} and affects both {below} and {y}: it would have to take "
        f"its values under both levels of {a} at once (recanting witness)"
    )
    out = [f"{node} -> {c}" for c in roles.graph.children[node]]
    return reason, (node, f"{a} -> {node}", *out) if node in roles.graph.children[a] else (
        node,
        *out,
    )

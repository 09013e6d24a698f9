"""Front-door sets: mediators that carry all of an effect and are themselves unconfounded."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from crossworld.core.graph.mixed import Mixed, Names
from crossworld.core.identify.adjustment import MOST, candidates
from crossworld.core.identify.functional import sort
from crossworld.core.identify.roles import Roles


def front_door(roles: Roles) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return mediators and covariates that meet Pearl's (1995) front-door criterion, or None.

    Given the covariates: the mediators meet every directed path from treatment to outcome; nothing
    confounds treatment and mediators; the treatment blocks what confounds mediators and outcome.
    """
    mixed, a, y = roles.mixed, roles.treatment, roles.outcome
    between = mixed.descendants([a]) & mixed.ancestors([y]) - {a, y}
    tried = [roles.mediators] if roles.mediators else []
    tried += [s for size in (1, 2) for s in combinations(sort(mixed, between), size)]
    pool = sort(mixed, candidates(mixed, a, (y, *roles.mediators)) & mixed.ancestors([a, y]))
    for some in tried:
        middle = frozenset(some)
        outside = frozenset(mixed.order) - middle
        if y in mixed.descendants([a], outside):
            continue
        given = _covariates(mixed, a, middle, y, pool=pool)
        if given is not None:
            return sort(mixed, middle), given
    return None


def missed(roles: Roles, given: Sequence[str]) -> str | None:
    """Say which part of the criterion the mediators miss given these covariates, or None."""
    mixed, a, y = roles.mixed, roles.treatment, roles.outcome
    middle, held = frozenset(roles.mediators), frozenset(given)
    listed = ", ".join(roles.mediators)
    if y in mixed.descendants([a], frozenset(mixed.order) - middle):
        return f"a directed path leads from {a} to {y} around {listed}"
    first = mixed.without((a, c) for c in mixed.children[a]).open_path([a], middle, held)
    if first:
        return f"the path {' - '.join(first)} confounds {a} and {listed}"
    cut = mixed.without((m, c) for m in middle for c in mixed.children[m])
    second = cut.open_path(middle, [y], held | {a})
    return f"the path {' - '.join(second)} confounds {listed} and {y}" if second else None


def _covariates(
    mixed: Mixed, a: str, middle: Names, y: str, *, pool: Sequence[str]
) -> tuple[str, ...] | None:
    cut_a = mixed.without((a, c) for c in mixed.children[a])
    cut_m = mixed.without((m, c) for m in middle for c in mixed.children[m])
    for size in range(len(pool) + 1 if len(pool) <= MOST else 3):
        for subset in combinations(pool, size):
            given = frozenset(subset)
            first = cut_a.separated([a], middle, given)
            if first and cut_m.separated(middle, [y], given | {a}):
                return sort(mixed, given)
    return None

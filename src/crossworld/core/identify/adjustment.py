"""Covariates that make an adjustment formula right, the small sets and the efficient one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from crossworld.core.graph.dag import Edge
from crossworld.core.graph.mixed import Mixed, Names
from crossworld.core.identify.functional import sort

MOST = 12  # up to this many candidate covariates every subset is looked at
Need = tuple[Names, str]  # intervened nodes, and the node whose response to them is needed


@dataclass(frozen=True, slots=True)
class Sets:
    """Valid adjustment sets.

    Parameters
    ----------
    minimal
        Sets of which nothing can be left out, smallest first.
    complete
        Whether these are all of them.
    efficient
        The set that gives the smallest asymptotic variance among all valid sets whatever the law,
        or None when which set is best depends on the law.
    """

    minimal: tuple[tuple[str, ...], ...]
    complete: bool
    efficient: tuple[str, ...] | None


def cause_edges(mixed: Mixed, causes: Names, effect: str) -> set[Edge]:
    """First edges of the directed paths from the causes to an effect that meet no other cause."""
    others = frozenset(mixed.order) - causes
    before = mixed.ancestors([effect], others)
    return {(c, v) for c in causes for v in mixed.children[c] if v in before}


def blocks(mixed: Mixed, needs: Iterable[Need], given: Names) -> bool:
    """Whether a set blocks every non-causal path of every need.

    Causes and effect are separated once the first edges of the causal paths are gone: the
    adjustment criterion (Shpitser, VanderWeele and Robins 2010) for covariates that the
    treatment does not affect; for natural effects the two needs A -> M and (A, M) -> Y together
    (Shpitser and VanderWeele 2011).
    """
    return all(
        mixed.without(cause_edges(mixed, causes, effect)).separated(causes, [effect], given)
        for causes, effect in needs
    )


def open_path(mixed: Mixed, needs: Iterable[Need], given: Names) -> tuple[str, ...] | None:
    """Return a non-causal path that a set leaves open."""
    for causes, effect in needs:
        cut = mixed.without(cause_edges(mixed, causes, effect))
        found = cut.open_path(causes, [effect], given)
        if found is not None:
            return found
    return None


def candidates(mixed: Mixed, treatment: str, named: Iterable[str]) -> Names:
    """Measured nodes that the treatment does not affect and that have no role."""
    return frozenset(mixed.order) - mixed.descendants([treatment]) - frozenset(named)


def adjustment_sets(
    mixed: Mixed, needs: Sequence[Need], allowed: Names, treatment: str
) -> Sets | None:
    """Valid sets among ``allowed``, or None when there is none."""
    own = [allowed & mixed.ancestors(causes | {effect}) for causes, effect in needs]
    if not all(blocks(mixed, [need], some) for need, some in zip(needs, own, strict=True)):
        return None  # where any set serves one need, its candidate ancestors together do
    pool = sort(mixed, frozenset().union(*own))
    if len(pool) <= MOST:
        minimal = _every_minimal(mixed, needs, pool)
    else:
        minimal = _some_minimal(mixed, needs, pool, own)
    if not minimal:
        return None
    minimal = tuple(sorted(minimal, key=lambda s: (len(s), [pool.index(v) for v in s])))
    efficient = _efficient(mixed, needs, minimal, allowed, treatment)
    return Sets(minimal, len(pool) <= MOST, efficient)


def _every_minimal(
    mixed: Mixed, needs: Sequence[Need], pool: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
    found: list[frozenset[str]] = []
    for size in range(len(pool) + 1):
        for subset in combinations(pool, size):
            chosen = frozenset(subset)
            if not any(s <= chosen for s in found) and blocks(mixed, needs, chosen):
                found.append(chosen)
    return tuple(sort(mixed, s) for s in found)


def _some_minimal(
    mixed: Mixed, needs: Sequence[Need], pool: Sequence[str], own: Sequence[Names]
) -> tuple[tuple[str, ...], ...]:
    """Minimal sets found by leaving nodes out of large ones, from either end."""
    starts = [s for s in (frozenset(pool), *own) if blocks(mixed, needs, s)]
    orders = [[v for v in seq if v in s] for s in starts for seq in (pool, pool[::-1])]
    return tuple(dict.fromkeys(_reduced(mixed, needs, order) for order in orders))


def _reduced(mixed: Mixed, needs: Sequence[Need], order: Sequence[str]) -> tuple[str, ...]:
    kept = set(order)
    for v in order:
        if blocks(mixed, needs, frozenset(kept - {v})):
            kept.remove(v)
    return sort(mixed, kept)


def _efficient(
    mixed: Mixed,
    needs: Sequence[Need],
    minimal: Sequence[tuple[str, ...]],
    allowed: Names,
    treatment: str,
) -> tuple[str, ...] | None:
    """The set that beats every other, if the graph alone can tell.

    Leaving S out of Z lowers the variance bound when S is independent of mediators and outcome
    given the treatment and the rest. Adding T to Z lowers it when T is independent of the causes
    given Z and one intervention is made (Rotnitzky and Smucler 2020); for natural effects T may
    raise it, so there a set is best only when nothing else tells of mediators or outcome.
    """
    causes = frozenset().union(*(c for c, _ in needs))
    last = needs[-1][1]
    if len(needs) > 1:
        ends = sort(mixed, frozenset(e for _, e in needs))
        only = frozenset(minimal[0])
        others = allowed - only
        idle = all(mixed.separated([v], ends, only | {treatment}) for v in others)
        return minimal[0] if len(minimal) == 1 and idle else None
    grown = {_precise(mixed, needs[0], frozenset(s), allowed) for s in minimal}

    def beats(one: Names, other: Names) -> bool:
        gain = mixed.separated(one - other, causes, other)
        return gain and mixed.separated(other - one, [last], one | causes)

    for one in sorted(grown, key=lambda s: (len(s), sort(mixed, s))):
        if all(one == other or beats(one, other) for other in grown):
            return sort(mixed, one)
    return None


def _precise(mixed: Mixed, need: Need, chosen: Names, allowed: Names) -> Names:
    """Add every covariate that predicts the outcome alone; drop what then tells nothing of it."""
    causes, last = need
    held = chosen
    for v in sort(mixed, allowed - chosen)[::-1]:
        adds = mixed.separated([v], causes, held)
        tells = not mixed.separated([v], [last], held | causes)
        if adds and tells and blocks(mixed, [need], held | {v}):
            held |= {v}
    kept = set(held)
    for v in sort(mixed, held - chosen):
        if mixed.separated([v], [last], (frozenset(kept) - {v}) | causes):
            kept.remove(v)
    return frozenset(kept)

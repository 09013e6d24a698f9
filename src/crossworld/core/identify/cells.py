"""One cell: the functional of the observed law that it equals, or what stands in the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from crossworld.core.graph.mixed import Mixed, Names
from crossworld.core.identify.adjustment import MOST, Need, blocks, candidates
from crossworld.core.identify.functional import (
    At,
    Functional,
    Prob,
    Sum,
    free,
    kernel,
    mean_of,
    product,
    sort,
)
from crossworld.core.identify.roles import Roles
from crossworld.core.identify.worlds import World, levels, witness
from crossworld.core.regime import Level


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a cell has no functional.

    Parameters
    ----------
    kind
        ``"witness"``, ``"district"`` (both recanting) or ``"hedge"``.
    nodes
        The nodes in the way, in order along a path where there is one.
    """

    kind: str
    nodes: tuple[str, ...]


def functional(roles: Roles, asked: World) -> Functional | Obstacle:
    """Identify a cell.

    The edge g-formula (Shpitser and Sherman 2018): with Y* the ancestors of the outcome that are
    not intervened on, the sum over Y* of the product of its districts' kernels, each at the level
    that the treatment's arrows into the district carry. It fails, and then the cell is not
    identified, for a recanting witness, a recanting district, or a kernel that cannot be reached.
    """
    if asked.random:
        return _random(roles, asked)
    found = witness(roles, asked)
    if found is not None:
        return Obstacle("witness", (found,))
    mixed, y = roles.mixed, roles.outcome
    held = frozenset({roles.treatment, *asked.fixed})
    inner = mixed.ancestors([y], frozenset(mixed.order) - held)
    carried = levels(mixed.children, roles.treatment, asked, y)
    factors: list[Functional] = []
    for district in mixed.districts(inner):
        into = {c: next(iter(carried[c])) for c in carried if c in district and carried[c]}
        if len(set(into.values())) > 1:
            one = next(c for c in mixed.order if c in into)
            other = next(c for c in mixed.order if c in into and into[c] != into[one])
            return Obstacle("district", mixed.bidirected_path(one, other, district))
        law = kernel(mixed, district)
        if not hasattr(law, "factors"):
            return Obstacle("hedge", _stuck(mixed, held, district))
        level = next(iter(into.values()), asked.treatment)
        values = {roles.treatment: level, **asked.fixed}
        factors += [_at(f, values) for f in law.factors.values()]
    mean = mean_of(y, _last_first(mixed, factors), sort(mixed, inner - {y})[::-1])
    return _closed(mixed, mean)


def _closed(mixed: Mixed, f: Functional) -> Functional:
    """Average over nodes that a kernel names and does not depend on (a Verma constraint)."""
    left = sort(mixed, free(f))
    return Sum(left, product([Prob(left), f])) if left else f


def _at(f: Functional, values: Mapping[str, Level]) -> Functional:
    own = tuple((n, v) for n, v in values.items() if n in free(f))
    return At(f, own) if own else f


def _last_first(mixed: Mixed, factors: Sequence[Functional]) -> list[Functional]:
    place = {v: k for k, v in enumerate(mixed.order)}
    return sorted(factors, key=lambda f: -max((place[v] for v in free(f)), default=-1))


def _stuck(mixed: Mixed, held: Names, district: Names) -> tuple[str, ...]:
    """Confounded path from an intervened node to what it affects, which no law undoes."""
    left = mixed.unfixed(district)
    best: tuple[str, ...] = ()
    for v in sort(mixed, held & left):
        below = mixed.descendants([v], left) & mixed.district(v, left) - {v}
        for end in sort(mixed, below):
            path = mixed.bidirected_path(v, end, left)
            if not best or len(path) < len(best):
                best = path
    if best:
        return best
    for v in sort(mixed, left - district):
        below = mixed.descendants([v], left) & mixed.district(v, left) - {v}
        for end in sort(mixed, below):
            path = mixed.bidirected_path(v, end, left)
            if not best or len(path) < len(best):
                best = path
    return best or sort(mixed, left)


def _random(roles: Roles, asked: World) -> Functional | Obstacle:
    """``sum over c, m of E[Y(a, m) | c] P(M(b) = m | c) P(c)`` for the smallest c that serves."""
    given = next(iter(interventional_sets(roles, asked)), None)
    return _why_random(roles, asked) if given is None else interventional(roles, asked, given)


def interventional_sets(roles: Roles, asked: World) -> Iterable[Names]:
    """Covariate sets under which a cell with random draws is identified, smallest first."""
    mixed = roles.mixed
    named = (roles.treatment, *roles.mediators, roles.outcome)
    allowed = candidates(mixed, roles.treatment, named)
    pool = sort(mixed, allowed & mixed.ancestors(named))
    sizes = range(len(pool) + 1) if len(pool) <= MOST else (0, 1, 2, len(pool))
    for size in sizes:
        for subset in combinations(pool, size):
            given = frozenset(subset)
            if not isinstance(interventional(roles, asked, given), Obstacle):
                yield given


def interventional(roles: Roles, asked: World, given: Names) -> Functional | Obstacle:
    """Identify a cell with random draws given a set of covariates."""
    mixed, a, y = roles.mixed, roles.treatment, roles.outcome
    for m in asked.random:
        need: Need = (frozenset({a}), m)
        if not blocks(mixed, [need], given):
            return Obstacle("hedge", (a, m))
    held = frozenset({a, *asked.fixed, *asked.random})
    inner = mixed.ancestors({y, *given}, frozenset(mixed.order) - held)
    values = {a: asked.treatment, **asked.fixed}
    factors: list[Functional] = []
    for district in mixed.districts(inner):
        law = kernel(mixed, district)
        if not hasattr(law, "factors"):
            return Obstacle("hedge", _stuck(mixed, held, district))
        factors += [_at(f, values) for f in law.factors.values()]
    draws: list[Functional] = []
    joint: dict[Level, list[str]] = {}
    for m, level in asked.random.items():
        joint.setdefault(level, []).append(m)
    together = len(joint) == 1
    for level, names in joint.items():
        for some in [tuple(names)] if together else [(n,) for n in names]:
            law_of = Prob(sort(mixed, some), sort(mixed, {a, *given}))
            draws.append(At(law_of, ((a, level),)))
    over = sort(mixed, (inner - {y}) | set(asked.random))[::-1]
    ordered = [*_last_first(mixed, factors), *draws]
    return _closed(mixed, mean_of(y, ordered, over))


def _why_random(roles: Roles, asked: World) -> Obstacle:
    """What stands in the way when no covariate set serves."""
    mixed = roles.mixed
    named = (roles.treatment, *roles.mediators, roles.outcome)
    allowed = candidates(mixed, roles.treatment, named)
    pool = allowed & mixed.ancestors(named)
    found = interventional(roles, asked, pool)
    return found if isinstance(found, Obstacle) else Obstacle("hedge", named)

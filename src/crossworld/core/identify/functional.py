"""Functionals of the observed law, as expressions, and how they are derived from a graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from crossworld.core.graph.mixed import Mixed, Names
from crossworld.core.regime import Level


@dataclass(frozen=True, slots=True)
class Prob:
    """``P(of | given)``, a conditional law of measured nodes."""

    of: tuple[str, ...]
    given: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Product:
    """Factors multiplied; without factors it is 1."""

    factors: tuple[Functional, ...]


@dataclass(frozen=True, slots=True)
class Sum:
    """A sum (integral) over the values of some nodes."""

    over: tuple[str, ...]
    body: Functional


@dataclass(frozen=True, slots=True)
class Ratio:
    """One functional divided by another."""

    top: Functional
    bottom: Functional


@dataclass(frozen=True, slots=True)
class At:
    """A functional with some of its free nodes held at given values."""

    body: Functional
    values: tuple[tuple[str, Level], ...]


@dataclass(frozen=True, slots=True)
class Mean:
    """``E[node | given]``; with a body instead, the mean of the node under that law."""

    node: str
    given: tuple[str, ...] = ()
    body: Functional | None = None


Functional = Prob | Product | Sum | Ratio | At | Mean


def free(f: Functional) -> Names:
    """Nodes whose values the functional depends on."""
    if isinstance(f, Prob):
        return frozenset((*f.of, *f.given))
    if isinstance(f, Product):
        return frozenset().union(*map(free, f.factors))
    if isinstance(f, Sum):
        return free(f.body) - frozenset(f.over)
    if isinstance(f, Ratio):
        return free(f.top) | free(f.bottom)
    if isinstance(f, At):
        return free(f.body) - {name for name, _ in f.values}
    inner = frozenset(f.given) if f.body is None else free(f.body)
    return inner - {f.node}


def product(factors: Iterable[Functional]) -> Functional:
    """Multiply; nested products are flattened."""
    flat: list[Functional] = []
    for f in factors:
        flat += f.factors if isinstance(f, Product) else [f]
    return flat[0] if len(flat) == 1 else Product(tuple(flat))


@dataclass(frozen=True, slots=True)
class Kernel:
    """The law of some nodes when all others are held fixed, as a product of conditionals.

    Parameters
    ----------
    factors
        Per node, in causal order, its law given nodes before it and fixed nodes; each sums to
        one over its node.
    """

    factors: Mapping[str, Functional]

    def only(self, names: Names) -> Kernel:
        """Factors of some nodes: the kernel of a district."""
        return Kernel({v: f for v, f in self.factors.items() if v in names})

    def marginal(self, keep: Names) -> Kernel:
        """Sum out every node that is not kept."""
        factors = dict(self.factors)
        drop = [v for v in factors if v not in keep]
        _drop_last(factors, drop)
        if not drop:
            return Kernel(factors)
        first = list(factors).index(drop[0])
        tail = list(factors)[first:]
        found = {v: factors[v] for v in list(factors)[:first]}
        for at, v in enumerate(tail):
            if v in keep:
                later = {*tail[at + 1 :], *drop}
                top = _summed({w: factors[w] for w in tail}, later)
                bottom = _summed({w: factors[w] for w in tail}, later | {v})
                found[v] = top if bottom == Product(()) else Ratio(top, bottom)
        return Kernel(found)

    def expression(self) -> Functional:
        """The kernel as one functional."""
        return product(self.factors.values())


def _drop_last(factors: dict[str, Functional], drop: list[str]) -> None:
    """Sum out nodes that no other factor mentions: their factor is replaced by one."""
    moved = True
    while moved:
        moved = False
        for v in reversed(drop):
            if not any(v in free(f) for w, f in factors.items() if w != v):
                del factors[v]
                drop.remove(v)
                moved = True
                break


def _summed(factors: Mapping[str, Functional], over: set[str]) -> Functional:
    left, rest = dict(factors), [v for v in factors if v in over]
    _drop_last(left, rest)
    inside = {v: f for v, f in left.items() if free(f) & set(rest)}
    outside = [f for v, f in left.items() if v not in inside]
    if not rest:
        return product(outside)
    return product([*outside, Sum(tuple(rest), product(inside.values()))])


def kernel(mixed: Mixed, target: Names) -> Kernel | Names:
    """Law of a bidirected-connected set of nodes under intervention on all others.

    Tian and Pearl's (2002) factorisation, applied again within ancestral sets, which is complete
    (Huang and Valtorta 2006). Returns the stuck district (a hedge) where there is no such law.
    """
    district = mixed.district(next(iter(target)))
    found = Kernel(_chain(mixed, district))
    while True:
        ancestral = mixed.ancestors(target, district)
        if ancestral == target:
            return found.marginal(target)
        if ancestral == district:
            return district
        found = found.marginal(ancestral)
        district = mixed.district(next(iter(target)), ancestral)
        found = found.only(district)


def _chain(mixed: Mixed, district: Names) -> dict[str, Functional]:
    """``P(v | Markov pillow)`` for every node of a district, in causal order."""
    found: dict[str, Functional] = {}
    for at, v in enumerate(mixed.order):
        if v in district:
            early = frozenset(mixed.order[: at + 1])
            together = mixed.district(v, early)
            pillow = together.union(*(mixed.parents[w] for w in together)) - {v}
            found[v] = Prob((v,), sort(mixed, pillow))
    return found


def sort(mixed: Mixed, names: Iterable[str]) -> tuple[str, ...]:
    """Names in causal order."""
    wanted = set(names)
    return tuple(v for v in mixed.order if v in wanted)


def mean_of(outcome: str, factors: Sequence[Functional], over: Sequence[str]) -> Functional:
    """``sum over, outcome of outcome * product(factors)``, the mean taken as far in as it goes."""
    body = _expected(product(factors), outcome)
    if body is None:
        inside = product(factors)
        return Mean(outcome, (), Sum(tuple(over), inside) if over else inside)
    return Sum(tuple(over), body) if over else body


def _expected(f: Functional, outcome: str) -> Functional | None:
    """``sum over the outcome of outcome * f``, or None when it cannot be taken inside."""
    if isinstance(f, Prob):
        return Mean(outcome, f.given) if f.of == (outcome,) else None
    if isinstance(f, At):
        inner = _expected(f.body, outcome)
        return None if inner is None else At(inner, f.values)
    if isinstance(f, Sum):
        inner = _expected(f.body, outcome)
        return None if inner is None else Sum(f.over, inner)
    if isinstance(f, Ratio):
        top = None if outcome in free(f.bottom) else _expected(f.top, outcome)
        return None if top is None else Ratio(top, f.bottom)
    if isinstance(f, Product):
        own = [k for k, g in enumerate(f.factors) if outcome in free(g)]
        inner = _expected(f.factors[own[0]], outcome) if len(own) == 1 else None
        if inner is None:
            return None
        return product([*f.factors[: own[0]], inner, *f.factors[own[0] + 1 :]])
    return None

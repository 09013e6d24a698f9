"""Exhaustive search of short rules by matrix products."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError
from crossworld.forwhom.columns import Covariate
from crossworld.forwhom.target import Target

Mask = NDArray[np.bool_]
Array = NDArray[np.float64]
CUTS = 9  # thresholds of a number: its deciles
FEW_VALUES = 10
BEAM = 40  # pairs that are extended by a third condition
SAME = 0.5  # correlation of two rules above which they say the same
LOOKED_AT = 2000
Ranked = tuple[float, float, tuple[int, ...]]  # excess over chance, statistic, columns


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition on one covariate, in words."""

    covariate: str
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Rule:
    """Conditions that hold together.

    Parameters
    ----------
    conditions
        The conditions.
    statistic
        Studentised difference of the effect inside and outside, on the half that searched.
    """

    conditions: tuple[Condition, ...]
    statistic: float

    def __str__(self) -> str:
        return " and ".join(map(str, self.conditions))


@dataclass(frozen=True, slots=True)
class Search:
    """Most conditions in a rule, most rules, and the least share inside and outside."""

    depth: int
    most: int
    smallest: float


def conditions(
    covariates: Sequence[Covariate], rows: NDArray[np.int64]
) -> list[tuple[Condition, Mask]]:
    """Every condition and where it holds, (n,); thresholds are read off ``rows`` alone.

    Thresholds are rounded to three digits before they are used, so that a rule is what it says.
    """
    return [pair for c in covariates for pair in (_levels(c) if _few(c) else _cuts(c, rows))]


def _few(c: Covariate) -> bool:
    return c.labels is not None or np.unique(c.values).size <= 2


def _levels(c: Covariate) -> Iterator[tuple[Condition, Mask]]:
    present = np.unique(c.values)
    for v in present:
        shown = c.show(float(v))
        cut = c.labels is not None and shown.lstrip("0123456789.-+e<").startswith(c.name)
        equal = shown if cut else f"{c.name} = {shown}"
        yield Condition(c.name, equal), c.values == v
        if present.size > 2:
            other = f"not {shown}" if cut else f"{c.name} is not {shown}"
            yield Condition(c.name, other), c.values != v


def _cuts(c: Covariate, rows: NDArray[np.int64]) -> Iterator[tuple[Condition, Mask]]:
    seen = c.values[rows]
    distinct = np.unique(seen)
    if distinct.size <= FEW_VALUES:
        points = distinct[1:]
    else:
        points = np.quantile(seen, np.arange(1, CUTS + 1) / (CUTS + 1), method="inverted_cdf")
    for point in np.unique([float(f"{p:.3g}") for p in points]):
        yield Condition(c.name, f"{c.name} >= {point:.6g}"), c.values >= point
        yield Condition(c.name, f"{c.name} < {point:.6g}"), c.values < point


def search(target: Target, masks: Sequence[tuple[Condition, Mask]], options: Search) -> list[Rule]:
    r"""Best rules, most striking first.

    A rule of depth d is ranked by :math:`|t| - \sqrt{2 \log N_d}`, its studentised difference less
    what the largest of the :math:`N_d` rules of that depth reaches by chance, so a condition is
    added only when it earns its place. The first rule is always kept. Later ones are searched in
    what the rules before leave unexplained, and kept when they exceed 0 there.
    """
    held = [(c, m) for c, m in masks if options.smallest / 2.0 <= m.mean() < 1.0]
    if not held:
        raise DesignError(
            f"no condition holds for at least {options.smallest:.0%} of the {target.phi.size} rows "
            "that search; give covariates that vary"
        )
    names = [c for c, _ in held]
    single = np.column_stack([m for _, m in held]).astype(np.float64)
    towards = math.copysign(1.0, float(np.average(target.phi, weights=target.share)))
    kept: list[Rule] = []
    taken: list[Array] = []
    while len(kept) < options.most:
        left = replace(target, phi=_unexplained(target, taken))
        found = _best(_all(left, single, options, towards), single, taken)
        if found is None or (kept and found[0] <= 0.0):
            break
        _, statistic, at = found
        kept.append(Rule(tuple(names[j] for j in at), statistic))
        taken.append(single[:, at].prod(axis=1))
    return kept


def _unexplained(target: Target, taken: Sequence[Array]) -> Array:
    """Scores less their least-squares fit on the rules taken so far, (n,)."""
    design = np.column_stack([np.ones(target.phi.size), *taken])
    root = np.sqrt(target.share)
    beta = np.linalg.lstsq(root[:, None] * design, root * target.phi, rcond=None)[0]
    return np.asarray(target.phi - design @ beta)


def _all(target: Target, single: Array, options: Search, towards: float) -> list[Ranked]:
    """Every rule with its rank; of a rule and its mirror the one on the side of ``towards``."""
    columns = single.shape[1]
    found = _ranked(_statistics(target, single, None, options), [(j,) for j in range(columns)])
    if options.depth >= 2:
        upper = np.triu_indices(columns, 1)
        pairs = _statistics(target, single, single, options)[upper]
        two = _ranked(pairs, list(zip(*(u.tolist() for u in upper), strict=True)))
        found += two
        if options.depth >= 3:
            found += _triples(target, single, sorted(two, reverse=True)[:BEAM], options)
    tie = 1e-9 * towards
    return [(rank + math.copysign(tie, tie * t), t, at) for rank, t, at in found]


def _triples(
    target: Target,
    single: Array,
    best: Sequence[Ranked],
    options: Search,
) -> list[Ranked]:
    """Extend the best pairs by a third condition; all triples count in the allowance."""
    if not best:
        return []
    columns = single.shape[1]
    base = np.column_stack([single[:, at].prod(axis=1) for _, _, at in best])
    found = _statistics(target, base, single, options)
    sets = [(*at, j) for _, _, at in best for j in range(columns)]
    fresh = [k for k, at in enumerate(sets) if len(set(at)) == 3]
    total = math.comb(columns, 3)
    return _ranked(found.ravel()[fresh], [sets[k] for k in fresh], total)


def _ranked(
    statistics: Array, sets: Sequence[tuple[int, ...]], total: int | None = None
) -> list[Ranked]:
    usable = [int(k) for k in np.flatnonzero(np.isfinite(statistics))]
    count = max(len(usable) if total is None else total, 1)
    allowance = math.sqrt(2.0 * math.log(count))
    return [(abs(float(statistics[k])) - allowance, float(statistics[k]), sets[k]) for k in usable]


def _statistics(target: Target, left: Array, right: Array | None, options: Search) -> Array:
    """Studentised difference inside and outside of every product of columns.

    Returns shape (p,) for the columns of ``left`` alone, else (p, q); NaN where a side is too
    small.
    """
    w, phi = target.share, target.phi - np.average(target.phi, weights=target.share)
    sums = []
    for power in range(3):
        weighted = (w * phi**power)[:, None]
        sums.append((weighted * left).sum(axis=0) if right is None else (weighted * left).T @ right)
    size, first, second = sums
    total = [float((w * phi**power).sum()) for power in range(3)]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean, other = first / size, (total[1] - first) / (total[0] - size)
        spread = (second / size - mean**2) / size
        outside = total[0] - size
        spread = spread + ((total[2] - second) / outside - other**2) / outside
        statistic = (mean - other) / np.sqrt(spread)
        share = size / total[0]
    small = (share < options.smallest) | (share > 1.0 - options.smallest) | ~(spread > 0.0)
    return np.where(small, np.nan, statistic)


def _best(found: Sequence[Ranked], single: Array, taken: Sequence[Array]) -> Ranked | None:
    """The top rule that does not cut the units as one taken before does."""
    for one in sorted(found, reverse=True)[:LOOKED_AT]:
        mask = single[:, one[2]].prod(axis=1)
        if all(abs(float(np.corrcoef(mask, m)[0, 1])) <= SAME for m in taken):
            return one
    return None

"""A counterfactual design as a polynomial in the numeric mediators that it contains.

``z(m) = sum over k of m^k z_k``. Linear designs (nearly all) are exact. Designs that are no
polynomial of low degree, such as steps, categories or splines of a mediator, are built anew where
they are needed.

Whether a design is a polynomial is checked at the values of the table: a formula with a step is
constant wherever the step is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import EstimationError

if TYPE_CHECKING:
    from crossworld.tables.parametric.design import Design

Array = NDArray[np.float64]
Values = Mapping[str, float | Array]
Powers = tuple[int, ...]
_TOLERANCE = 1e-9
_MAX_DEGREE = 3
_TRIALS = 128  # values of each mediator, at least, at which a polynomial is checked


class UnseenCategoryError(EstimationError):
    """A formula takes a column as categories, and none of them is the value asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Predictor:
    """A counterfactual design as a polynomial in ``t = (m - center) / scale``.

    Parameters
    ----------
    parents
        Numeric mediators it depends on.
    terms
        Power of each parent -> (n, p) coefficients, or (1, p) where rows agree. None when the
        design is no polynomial.
    center, scale
        Of each parent.
    """

    parents: tuple[str, ...]
    terms: Mapping[Powers, Array] | None
    center: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    @property
    def degree(self) -> int:
        """Total degree; a large number when it is no polynomial."""
        return 99 if self.terms is None else max((sum(k) for k in self.terms), default=0)


def decompose(design: Design, fixed: Mapping[str, float]) -> Predictor:
    """Write a design with some columns held as a polynomial in the mediators that are left."""
    columns, own = design.rows.columns, design.parents
    parents = tuple(p for p in own if p not in fixed and not columns[p].is_text)
    if not parents:
        return Predictor((), {(): design.coordinates(_squeeze(design.raw([fixed])))})
    try:
        return _polynomial(design, fixed, parents)
    except UnseenCategoryError:
        return Predictor(parents, None)


def _polynomial(design: Design, base: Values, parents: tuple[str, ...]) -> Predictor:
    n = design.rows.size
    rng = np.random.default_rng(20100)
    trials = _trials(design, parents, rng)
    points: list[Values] = [dict.fromkeys(parents, 0.0), dict.fromkeys(parents, 1.0), *trials]
    stacked = design.raw([{**base, **v} for v in points])
    x0, x1, found = stacked[:n], stacked[n : 2 * n], stacked[2 * n :].reshape(len(trials), n, -1)
    with np.errstate(invalid="ignore"):
        slopes = {p: (x1 - x0) * _owned(design, p) for p in parents}
        guess = x0 + sum(
            (_stacked(trials, p)[:, :, None] * slopes[p] for p in parents), start=np.zeros(1)
        )
    single = all(len(own & set(parents)) <= 1 for own in design.column_parents)
    if single and _agree(guess, found):
        terms = {(0,) * len(parents): design.coordinates(_squeeze(x0))}
        for j, p in enumerate(parents):
            powers = tuple(int(i == j) for i in range(len(parents)))
            terms[powers] = _squeeze(slopes[p]) @ design.transform
        return Predictor(parents, terms, (0.0,) * len(parents), (1.0,) * len(parents))
    return _interpolated(design, base, parents, (trials, found))


def _trials(
    design: Design, parents: Sequence[str], rng: np.random.Generator
) -> list[dict[str, Array]]:
    """Values of the mediators to check a polynomial at, (n,) each, in a few copies of the rows.

    Half are values of the table, from the smallest to the largest; half lie anywhere between.
    """
    n = design.rows.size
    copies = -(-_TRIALS // n)
    held = {p: np.unique(design.rows.columns[p].values) for p in parents}
    made = {}
    for p, values in held.items():
        slots = copies * n
        some = slots - slots // 2
        at = np.linspace(0, values.size - 1, some) if some < values.size else np.arange(some)
        seen = values[at.astype(int) % values.size]
        between = rng.uniform(values[0], values[-1], slots - some)
        made[p] = rng.permutation(np.concatenate([seen, between])).reshape(copies, n)
    return [{p: made[p][c] for p in parents} for c in range(copies)]


def _stacked(trials: Sequence[Mapping[str, Array]], parent: str) -> Array:
    return np.stack([t[parent] for t in trials])


def _owned(design: Design, parent: str) -> Array:
    return np.array([float(parent in own) for own in design.column_parents])


def _agree(guess: Array, found: Array) -> bool:
    """Whether two stacks of designs are the same, each column within rounding of its size."""
    if not (np.isfinite(guess).all() and np.isfinite(found).all()):
        return False
    rest = tuple(range(found.ndim - 1))
    size = np.abs(found).max(axis=rest)
    allowed = _TOLERANCE * np.where(size > 0.0, size, 1.0)
    return bool((np.abs(guess - found).max(axis=rest) <= allowed).all())


def _squeeze(z: Array) -> Array:
    """One row where all rows agree."""
    return z[:1].copy() if len(z) > 1 and (z == z[0]).all() else z


def _interpolated(
    design: Design,
    base: Values,
    parents: tuple[str, ...],
    checked: tuple[Sequence[Mapping[str, Array]], Array],
) -> Predictor:
    """Interpolate a design of degree two or three in the parents, or give up.

    ``checked`` are the values to check it at, and the designs there.
    """
    n, count = design.rows.size, len(parents)
    held = [design.rows.columns[p].values for p in parents]
    center = tuple(float(v.mean()) for v in held)
    scale = tuple(float(v.std()) or 1.0 for v in held)
    trials, wanted = checked
    at = [(_stacked(trials, p) - center[j]) / scale[j] for j, p in enumerate(parents)]
    if count > 6:
        return Predictor(parents, None)
    for degree in range(2, _MAX_DEGREE + 1):
        powers = [
            tuple(chosen.count(j) for j in range(count))
            for total in range(degree + 1)
            for chosen in combinations_with_replacement(range(count), total)
        ]
        points = np.random.default_rng(degree).uniform(-1.5, 1.5, (2 * len(powers), count))
        basis = np.array([[np.prod(t ** np.array(k)) for k in powers] for t in points])
        copies = [
            {**base, **{p: center[j] + scale[j] * t[j] for j, p in enumerate(parents)}}
            for t in points
        ]
        stacked = design.raw(copies).reshape(len(points), n, -1)
        if not np.isfinite(stacked).all():
            break
        fitted = np.tensordot(np.linalg.pinv(basis), stacked, axes=1)
        if _agree(_summed(at, powers, fitted), wanted):
            zero = (0,) * count
            terms = {
                k: design.coordinates(_squeeze(x)) if k == zero else _squeeze(x) @ design.transform
                for k, x in zip(powers, fitted, strict=True)
                if k == zero or np.abs(x).max() > 1e-13
            }
            return Predictor(parents, terms, center, scale)
    return Predictor(parents, None)


def _summed(at: Sequence[Array], powers: Sequence[Powers], fitted: Array) -> Array:
    """Value of a polynomial at (copies, n) values of each parent: (copies, n, p)."""
    total = np.zeros(1)
    for k, x in zip(powers, fitted, strict=True):
        factor = np.prod([t**e for t, e in zip(at, k, strict=True)], axis=0)
        total = total + factor[:, :, None] * x
    return total

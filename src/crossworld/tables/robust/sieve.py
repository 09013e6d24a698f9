"""Sieves: columns turned into the features of a linear model, scaled on training rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import EstimationError, SpecError

Array = NDArray[np.float64]
Expand = Callable[[Array], Array]
SIEVES = ("auto", "linear", "linear+products", "linear+index")
FLAT = 1e-9  # a column whose spread is below this share of its size is constant
PER_FEATURE = 10  # rows per feature that ``auto`` wants before it takes products
REACH = 3.0  # standard deviations at which the index is held, so that its square stays tame


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """Columns that vary, centred and divided by their standard deviation."""

    kept: NDArray[np.bool_]
    centre: Array
    scale: Array

    def __call__(self, x: Array) -> Array:
        """Scale (n, p) columns to (n, kept)."""
        return np.asarray((x[:, self.kept] - self.centre) / self.scale)


@dataclass(frozen=True, slots=True, eq=False)
class Sieve:
    """An intercept and scaled features of some columns.

    Parameters
    ----------
    inner
        Scaling of the columns.
    expand
        Features of the scaled columns.
    outer
        Scaling of the features.
    """

    inner: Scaling
    expand: Expand
    outer: Scaling

    def __call__(self, x: Array) -> Array:
        """Features of (n, p) columns: (n, 1 + features)."""
        found = self.outer(self.expand(self.inner(x)))
        return np.column_stack([np.ones(len(x)), found])


def check_features(features: Any) -> None:
    """Refuse what is neither a sieve's name nor a transformer.

    Raises
    ------
    SpecError
        Naming the nearest known sieve.
    """
    if isinstance(features, str):
        if features not in SIEVES:
            raise SpecError.unknown("features", features, SIEVES)
    elif not hasattr(features, "fit") or not hasattr(features, "transform"):
        raise SpecError(
            f"features is one of {', '.join(SIEVES)} or a scikit-learn transformer, got "
            f"{features!r}"
        )


def choose(features: Any, columns: int, rows: int) -> Any:
    """What ``auto`` stands for: products where rows are many for them, else the index."""
    if features != "auto":
        return features
    products = columns * (columns + 3) // 2
    return "linear+products" if products * PER_FEATURE <= rows else "linear+index"


def sieve(features: Any, x: Array, weights: Array | None) -> Sieve:
    """Build a sieve on training columns, (n, p); ``linear+index`` starts out linear."""
    inner = _scaling(x, weights)
    z = inner(x)
    expand: Expand = _same
    if features == "linear+products":
        expand = _products(z, weights)
    elif not isinstance(features, str):
        expand = _transformed(features, z)
    return Sieve(inner, expand, _scaling(expand(z), weights))


@dataclass(frozen=True, slots=True, eq=False)
class Indexed:
    """A linear sieve with the square of an index, a linear function of its own features.

    Parameters
    ----------
    linear
        The linear sieve.
    coefficients
        The index's, shape (1 + features,).
    centre, spread
        Mean and standard deviation of the index on training rows.
    outer
        Scaling of the square.
    """

    linear: Sieve
    coefficients: Array
    centre: float
    spread: float
    outer: Scaling

    def __call__(self, x: Array) -> Array:
        """Features of (n, p) columns: (n, 2 + features)."""
        found = self.linear(x)
        return self.join(found, found @ self.coefficients)

    def join(self, found: Array, index: Array) -> Array:
        """Put the square of the index beside the linear features."""
        return np.column_stack([found, self.outer(square(index, self.centre, self.spread))])


def indexed(linear: Sieve, coefficients: Array, index: Array, weights: Array | None) -> Indexed:
    """Scale the square of an index on the values it takes at training rows."""
    centre = float(np.average(index, weights=weights))
    spread = float(np.sqrt(np.average((index - centre) ** 2, weights=weights)))
    spread = spread if spread > FLAT * max(abs(centre), 1.0) else np.inf
    outer = _scaling(square(index, centre, spread), weights)
    return Indexed(linear, coefficients, centre, spread, outer)


def square(index: Array, centre: float, spread: float) -> Array:
    """Square of a standardised index, held within its reach, (n, 1)."""
    return np.asarray(np.clip((index - centre) / spread, -REACH, REACH)[:, None] ** 2)


def _same(z: Array) -> Array:
    return z


def _products(z: Array, weights: Array | None) -> Expand:
    """Pairwise products, and squares of the columns with more than two values."""
    held = z if weights is None else z[weights > 0]
    squared = [j for j in range(z.shape[1]) if np.unique(held[:, j]).size > 2]
    pairs = [*combinations(range(z.shape[1]), 2), *((j, j) for j in squared)]
    left, right = [i for i, _ in pairs], [j for _, j in pairs]
    return lambda at: np.concatenate([at, at[:, left] * at[:, right]], axis=1)


def _transformed(transformer: Any, z: Array) -> Expand:
    from sklearn.base import clone

    try:
        fitted = clone(transformer).fit(z)
    except ValueError as error:
        raise EstimationError(
            f"the features {type(transformer).__name__} failed on {z.shape[0]} rows and "
            f"{z.shape[1]} columns: {error}"
        ) from None

    def expand(at: Array) -> Array:
        found = fitted.transform(at)
        dense = found.toarray() if hasattr(found, "toarray") else found
        return np.asarray(dense, dtype=np.float64)

    return expand


def _scaling(x: Array, weights: Array | None) -> Scaling:
    if x.shape[1] == 0:
        return Scaling(np.zeros(0, dtype=bool), np.empty(0), np.empty(0))
    centre = np.average(x, axis=0, weights=weights)
    scale = np.sqrt(np.average((x - centre) ** 2, axis=0, weights=weights))
    kept = scale > FLAT * np.maximum(np.abs(centre), 1e-300)
    return Scaling(kept, centre[kept], scale[kept])

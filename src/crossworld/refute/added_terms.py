"""What a model may have left out: products, squares and curves of what it already knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FAR = 3.0  # standard deviations at which a factor of a product is held, so that no unit decides


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """One standardised regressor.

    Parameters
    ----------
    label
        Its name; a category's indicator is ``"city=Rome"``.
    variable
        The column it comes from.
    role
        ``treatment``, ``mediator`` or ``covariate``.
    values
        (n,), mean 0 and variance 1.
    two_valued
        Whether its square says nothing new.
    """

    label: str
    variable: str
    role: str
    values: Array
    two_valued: bool

    @property
    def held(self) -> Array:
        """Values held within `FAR`."""
        return np.clip(self.values, -FAR, FAR)


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """Columns that are added together.

    Parameters
    ----------
    name
        What they are.
    labels
        One per column.
    values
        (n, q).
    """

    name: str
    labels: tuple[str, ...]
    values: Array


def standardised(values: Array, weights: Array) -> Array | None:
    """Weighted mean 0 and variance 1, or None for a constant."""
    mean = np.average(values, axis=0, weights=weights)
    spread = float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))
    scale = max(1.0, float(np.abs(mean)))
    return None if spread <= 1e-10 * scale else np.asarray((values - mean) / spread)


def base(label: str, variable: str, role: str, *, values: Array, weights: Array) -> Base | None:
    """Make a regressor, unless it is constant among the rows with weight."""
    made = standardised(values, weights)
    if made is None:
        return None
    few = len(np.unique(values[weights > 0.0])) < 3
    return Base(label, variable, role, made, few)


def products(bases: Sequence[Base], weights: Array, most: int) -> list[Terms]:
    """Products of treatment and mediators, squares, and the other products, at most so many each.

    Products are listed treatment first, so that what is cut off when there are more than ``most``
    are products of covariates.
    """
    order = {"treatment": 0, "mediator": 1, "covariate": 2}
    ranked = sorted(bases, key=lambda b: order[b.role])
    main: list[tuple[str, Array]] = []
    others: list[tuple[str, Array]] = []
    for one, two in combinations(ranked, 2):
        if one.variable == two.variable:
            continue
        crossed = {one.role, two.role} == {"treatment", "mediator"}
        (main if crossed else others).append((f"{one.label} * {two.label}", one.held * two.held))
    squares = [(f"{b.label}^2", b.held**2) for b in ranked if not b.two_valued]
    named = (
        ("products of treatment and mediators", main),
        ("squares", squares),
        ("other products", others),
    )
    return [t for name, held in named if (t := gathered(name, held[:most], weights)) is not None]


def mains(bases: Sequence[Base], weights: Array, most: int) -> Terms | None:
    """The regressors themselves, for models that may have left them out."""
    return gathered("main effects", [(b.label, b.values) for b in bases][:most], weights)


def curves(fitted: Array, weights: Array, *, name: str = "link") -> Terms | None:
    """Square and cube of the linear predictor (Pregibon 1980, Ramsey 1969)."""
    made = standardised(fitted, weights)
    if made is None or len(np.unique(np.round(made[weights > 0.0], 9))) < 3:
        return None
    held = np.clip(made, -FAR, FAR)
    return gathered(name, [("predictor^2", held**2), ("predictor^3", held**3)], weights)


def bins(fitted: Array, weights: Array, count: int) -> Terms | None:
    """Indicators of bins of the fitted value with about as many rows each, less one."""
    used = fitted[weights > 0.0]
    edges = np.unique(np.quantile(used, np.linspace(0.0, 1.0, count + 1)[1:-1]))
    codes = np.searchsorted(edges, fitted, side="left")
    held = [
        (f"bin {k + 1} of {edges.size + 1}", (codes == k).astype(float))
        for k in range(1, edges.size + 1)
    ]
    return gathered("calibration", held, weights)


def gathered(name: str, held: Sequence[tuple[str, Array]], weights: Array) -> Terms | None:
    """Stack columns that vary, standardised; None when none does."""
    kept = [(label, made) for label, v in held if (made := standardised(v, weights)) is not None]
    if not kept:
        return None
    return Terms(name, tuple(label for label, _ in kept), np.column_stack([v for _, v in kept]))

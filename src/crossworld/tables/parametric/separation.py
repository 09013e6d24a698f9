"""Data that put the maximum of a likelihood at infinity, and the column to blame.

A direction of the parameters along which no observation's likelihood ever falls, and some
observation's rises for ever, leaves a concave log-likelihood without a maximum. Whether there is
one is a linear programme (Albert and Anderson 1984, Biometrika 71; Konis 2007).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import EstimationError
from crossworld.tables.parametric.design import Design
from crossworld.tables.parametric.families import Family, Logit
from crossworld.tables.parametric.newton import Gram, Layout, Likelihood, newton

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
STRICT = 1e-7  # rise per row, of coefficients within 1 and rows of mean square 1, that is a rise
_LOG_LINK = ("poisson", "negative-binomial", "log-binomial")


def refuse_separation(
    name: str, family: Family, design: Design, *, y: Array, weights: Array
) -> None:
    """Raise when a linear predictor separates the categories of a binary or multinomial model.

    The linear programme is run when a quick fit looks extreme.

    Raises
    ------
    EstimationError
        Naming the column that moves the predictor most.
    """
    if family.name not in ("logit", "probit", "multinomial"):
        return
    for category in range(1, max(2, family.predictors + 1)):
        kept = (weights > 0) & ((y == 0) | (y == category))
        event = y[kept] == category
        z = design.z[kept]
        if event.all() or not event.any() or not _looks_extreme(z, event):
            continue
        direction = _rising(np.where(event[:, None], z, -z))
        if direction is not None:
            raise EstimationError(
                f"separation: {_largest(design, direction)!r} (or a combination with it) predicts "
                f"{name!r} perfectly in {design.formula!r}, so the {family.name} coefficients do "
                "not exist; drop or merge it"
            )


def refuse_boundary(name: str, family: Family, design: Design, *, y: Array, weights: Array) -> None:
    """Raise when a count, risk or ordinal model that did not converge has no maximum.

    Under a log link the mean of some rows without any event falls towards 0 for ever while those
    with events stay; under ordered thresholds a category is predicted ever better.

    Raises
    ------
    EstimationError
        Naming the column that moves the predictor most.
    """
    kept = weights > 0
    z, held = design.z[kept], y[kept]
    if family.name in _LOG_LINK:
        direction = _rising(-z[held == 0], z[held > 0])
        told = f"leaves rows in which {name!r} is always 0"
    elif family.name == "ordinal":
        direction = _rising(_ordered(z, held, family.predictors - 1))
        told = f"predicts categories of {name!r} perfectly"
    else:
        return
    if direction is not None:
        culprit = _largest(design, direction[: z.shape[1]])
        raise EstimationError(
            f"separation: {culprit!r} (or a combination with it) {told} in {design.formula!r}, so "
            f"the {family.name} coefficients do not exist; drop or merge it"
        )


def _ordered(z: Array, codes: Array, thresholds: int) -> Array:
    """Rows that may not fall: distances of the predictor from the thresholds of its category."""
    steps = np.eye(thresholds)
    rows = []
    for c in range(thresholds + 1):
        own = z[codes == c]
        if c > 0:
            rows.append(np.hstack([own, np.tile(-steps[c - 1], (len(own), 1))]))
        if c < thresholds:
            rows.append(np.hstack([-own, np.tile(steps[c], (len(own), 1))]))
    return np.concatenate(rows)


def _rising(rows: Array, still: Array | None = None) -> Array | None:
    """Direction along which no row falls, some rise, and the rows of ``still`` stay."""
    from scipy.optimize import linprog

    if len(rows) == 0:
        return None
    found = linprog(
        -rows.sum(axis=0),
        A_ub=-rows,
        b_ub=np.zeros(len(rows)),
        A_eq=still,
        b_eq=None if still is None else np.zeros(len(still)),
        bounds=(-1.0, 1.0),
        method="highs",
    )
    if found.status != 0 or -found.fun < STRICT * len(rows):
        return None
    return np.asarray(found.x)


def _largest(design: Design, direction: Array) -> str:
    """Name the column that moves the predictor most along a direction."""
    raw = design.transform @ direction
    spread = (design.z @ np.linalg.pinv(design.transform)).std(axis=0)
    moved = np.abs(raw) * np.where(np.array(design.names) == "Intercept", 0.0, spread)
    return design.names[int(np.argmax(moved))]


def _looks_extreme(z: Array, event: Mask) -> bool:
    layout = Layout(z.shape[1], Logit())
    theta, done = newton(
        Likelihood(event.astype(float), Gram(z), layout),
        start=np.zeros(z.shape[1]),
        weights=np.ones((1, event.size)),
        steps=12,
        tolerance=1e-4,
    )
    return not done[0] or float(np.abs(z @ theta[0]).max()) > 12.0

"""What an effect has to be once a variable no longer carries anything, whatever the data."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

import numpy as np

from crossworld.core.estimand import Estimand
from crossworld.core.expression import Cell, Expr, Y
from crossworld.core.regime import Fixed

Key = Callable[[Cell], Hashable]
TRIES = 3


def without_treatment(cell: Cell) -> Hashable:
    """Cells differ only by the values that mediators are held at."""
    held = tuple((name, r.value) for name, r in cell.regimes if isinstance(r, Fixed))
    return held, cell.functional


def without_mediator(cell: Cell) -> Hashable:
    """Cells differ only by the treatment that the outcome sees."""
    return cell.treatment, cell.functional


def without_outcome(cell: Cell) -> Hashable:
    """All cells are the same."""
    return cell.functional


def is_null(estimand: Estimand, key: Key) -> bool:
    """Whether an effect is at its null for all values of the cells, equal keys having equal values.

    A proportion of a total effect that is 0 has no value, so it is not.

    Examples
    --------
    >>> from crossworld import NDE, NIE, PM
    >>> [is_null(e, without_mediator) for e in (NIE, NDE)], is_null(PM, without_outcome)
    ([True, False], False)
    """
    names = sorted({str(key(c)) for c in estimand.cells()})
    for seed in range(TRIES):
        drawn = np.random.default_rng(seed).uniform(0.2, 0.8, len(names))
        at = dict(zip(names, drawn.tolist(), strict=True))
        try:
            value = float(estimand.expr.evaluate(lambda c, at=at: at[str(key(c))]))  # type: ignore[misc]
        except ZeroDivisionError:
            return False
        if not abs(value - estimand.null) < 1e-9:
            return False
    return True


def total_of(expr: Expr, blocks: Sequence[Sequence[str]]) -> Expr:
    """Put every mediator of every cell under the treatment that the outcome sees."""

    def natural(cell: Cell) -> Expr:
        return replace(Y(cell.treatment), functional=cell.functional).bind(blocks)

    return expr.map(natural)


def beside_total(estimand: Estimand, blocks: Sequence[Sequence[str]]) -> Estimand | None:
    """Difference between an effect and what it is when the mediators carry nothing.

    None where that is no number: the effect is no sum of cells, or does not involve mediators.
    """
    terms = estimand.expr.linear()
    if estimand.scale != "difference" or terms is None:
        return None
    difference = estimand.expr - total_of(estimand.expr, blocks)
    left = {c: v for c, v in (difference.linear() or {}).items() if abs(v) > 1e-12}
    return replace(estimand, expr=difference) if left else None

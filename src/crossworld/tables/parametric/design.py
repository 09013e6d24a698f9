"""Design matrices: as observed, and as they would be under other treatments and mediators.

Every design is kept in coordinates in which its columns are orthonormal over the sample
(``z = (x - center) @ transform``, mean square 1). Normal equations then lose no accuracy, and one
step size serves every parameter.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr, solve_triangular

from crossworld.errors import EstimationError
from crossworld.tables.frame import Column
from crossworld.tables.parametric.decompose import Predictor, UnseenCategoryError, decompose
from crossworld.tables.parametric.formulas import RightSide, inner, outer

Array = NDArray[np.float64]
Values = Mapping[str, float | Array]  # a column's replacement: one value, or one per row


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The rows cells are averaged over: columns of the study, some held at chosen values."""

    columns: Mapping[str, Column]
    size: int

    def frame(self, names: Sequence[str], copies: Sequence[Values]) -> Any:
        """Stack copies of the rows, each with some columns replaced: a pandas frame."""
        import pandas as pd

        stacked = {}
        for name in names:
            column = self.columns[name]
            parts = [
                np.broadcast_to(np.asarray(new.get(name, column.values), dtype=float), (self.size,))
                for new in copies
            ]
            values = parts[0] if len(parts) == 1 else np.concatenate(parts)
            stacked[inner(name)] = (
                pd.Categorical.from_codes(values.astype(int), list(column.labels))
                if column.labels is not None
                else values
            )
        return pd.DataFrame(stacked, copy=False)


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """The design of one model.

    Parameters
    ----------
    formula
        As written.
    z
        Observed rows in orthonormal coordinates, (n, p).
    names
        Column names of the raw design, p.
    transform, center
        ``z = (x - center) @ transform``.
    """

    formula: str
    z: Array
    names: tuple[str, ...]
    transform: Array
    center: Array
    spec: Any
    variables: tuple[str, ...]
    parents: tuple[str, ...]
    column_parents: tuple[frozenset[str], ...]
    rows: Rows
    treatment: str
    _memo: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    def coordinates(self, x: Array) -> Array:
        """Raw columns to orthonormal coordinates."""
        return (x - self.center) @ self.transform

    def raw(self, copies: Sequence[Values]) -> Array:
        """Raw design on stacked copies of the rows, (copies * n, p)."""
        frame = self.rows.frame(self.variables, copies)
        if not self.variables:
            return np.ones((len(copies) * self.rows.size, len(self.names)))
        from formulaic.errors import DataMismatchWarning, FormulaicError

        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("error", DataMismatchWarning)
                found = self.spec.get_model_matrix(frame, context=_context())
        except DataMismatchWarning as error:
            raise UnseenCategoryError(_unseen(self.formula, str(error))) from None
        except (FormulaicError, ValueError) as error:
            raise EstimationError(
                f"{self.formula!r} cannot be evaluated at values that a mediator takes under other "
                f"treatment levels: {error}. For a spline, extrapolation='clip' or 'extend' helps"
            ) from None
        return np.asarray(found, dtype=float)

    def at(self, level: float, fixed: Mapping[str, float]) -> Predictor:
        """Return the design with the treatment at ``level`` and some parents fixed."""
        held = tuple(sorted((k, v) for k, v in fixed.items() if k in self.parents))
        key = (level if self.treatment in self.variables else None, held)
        if key not in self._memo:
            self._memo[key] = decompose(self, {self.treatment: level, **dict(held)})
        found: Predictor = self._memo[key]
        return found


def _unseen(formula: str, told: str) -> str:
    found = _categories(told)
    listed = f" {', '.join(found[:4])}" if found else " a value"
    return (
        f"{formula!r} takes as categories a column that a cell puts at{listed}, which no row has; "
        "ask at values that occur, let a mediator taken as categories be multinomial or ordinal, "
        "or enter the column as a number"
    )


def _categories(told: str) -> list[str]:
    """Categories that formulaic lists in a warning."""
    listed = told.partition("{")[2].partition("}")[0]
    return sorted(re.findall(r"'[^']*'|\"[^\"]*\"|(?<![\w.])-?\d[\d.e+-]*", listed))


def _context() -> dict[str, Any]:
    return {"np": np, "sqrt": np.sqrt, "abs": np.abs}


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What every design of a study is built from.

    Parameters
    ----------
    columns
        The study's columns.
    rows
        The rows cells are averaged over.
    treatment
        Name of the treatment.
    weights
        Row weights, (n,).
    """

    columns: Mapping[str, Column]
    rows: Rows
    treatment: str
    weights: Array


def build(
    formula: str,
    right: RightSide,
    *,
    source: Source,
    parents: Sequence[str],
    intercept: bool = True,
) -> Design:
    """Build a design from a checked formula.

    Raises
    ------
    EstimationError
        If columns are collinear, not finite, or outnumber the rows.
    """
    from formulaic.errors import DataMismatchWarning, FormulaicError

    variables = tuple(sorted(right.variables))
    weights, n = source.weights, source.weights.size
    observed = Rows(source.columns, n)
    frame = observed.frame(variables, [{}]) if variables else _index_frame(n)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error", DataMismatchWarning)
            matrix = _model_spec(right.formula).get_model_matrix(frame, context=_context())
        x = np.asarray(matrix, dtype=np.float64)
    except DataMismatchWarning as error:
        raise EstimationError(_unlisted(formula, str(error))) from None
    except (FormulaicError, ValueError, TypeError, KeyError) as error:
        raise EstimationError(f"cannot build the design of {formula!r}: {error}") from None
    spec = matrix.model_spec
    names = list(map(outer, spec.column_names))
    _check_finite(x, names, formula)
    keep = [j for j, name in enumerate(names) if intercept or name != "Intercept"]
    center = np.zeros(len(names)) if intercept else np.average(x, axis=0, weights=weights)
    transform = np.zeros((len(names), len(keep)))
    transform[keep] = _orthonormal(
        (x - center)[:, keep], [names[j] for j in keep], formula, weights
    )
    used = dict(zip(map(str, right.formula), right.terms, strict=True))
    involved = [frozenset[str]()] * len(names)
    for term, where in spec.term_indices.items():
        for j in where:
            involved[j] = used[str(term)] & frozenset(parents)
    return Design(
        formula,
        (x - center) @ transform,
        tuple(names),
        transform,
        center,
        spec,
        variables,
        tuple(p for p in parents if any(p in own for own in involved)),
        tuple(involved),
        source.rows,
        source.treatment,
    )


def _unlisted(formula: str, told: str) -> str:
    found = _categories(told)
    listed = f" ({', '.join(found[:8])})" if found else ""
    return (
        f"the levels in {formula!r} leave out categories that occur in the table{listed}; list "
        "them all, or merge them in the table"
    )


def _model_spec(right: Any) -> Any:
    from formulaic import ModelSpec

    return ModelSpec(formula=right, na_action="ignore", output="numpy", ensure_full_rank=True)


def _index_frame(n: int) -> Any:
    import pandas as pd

    return pd.DataFrame({"_": np.zeros(n)})


def _check_finite(x: Array, names: Sequence[str], formula: str) -> None:
    bad = ~np.isfinite(x)
    if bad.any():
        which = ", ".join(repr(names[j]) for j in np.flatnonzero(bad.any(axis=0))[:5])
        raise EstimationError(
            f"{which} in {formula!r} is not finite in {int(bad.any(axis=1).sum())} rows; check the "
            "transformation (a logarithm of 0?)"
        )


def _orthonormal(x: Array, names: Sequence[str], formula: str, weights: Array) -> Array:
    """Transformation that makes the columns orthonormal in weighted mean square."""
    n, p = int((weights > 0).sum()), x.shape[1]
    if n <= p:
        raise EstimationError(
            f"{formula!r} has {p} parameters but only {n} rows; drop covariates or interactions, "
            "or find more data"
        )
    if p == 0:
        raise EstimationError(f"{formula!r} has no column; keep at least the intercept")
    root = np.sqrt(weights / weights.sum())[:, None]
    size = np.sqrt((x**2 * root**2).sum(axis=0))
    if (size == 0.0).any():
        name = names[int(np.argmin(size))]
        raise EstimationError(f"column {name!r} of {formula!r} is 0 in every row; remove it")
    factor, order = qr(root * x / size, mode="r", pivoting=True)
    factor = factor[:p]
    diagonal = np.abs(np.diag(factor))
    if diagonal.min() < 1e-9 * diagonal.max():
        raise EstimationError(_collinear(factor, order, names, formula))
    upper = np.linalg.qr(root * x / size, mode="r")
    upper *= np.sign(np.diag(upper))[:, None]
    inverse = solve_triangular(upper, np.eye(p))
    return np.asarray(inverse / size[:, None])


def _collinear(factor: Array, order: NDArray[np.int64], names: Sequence[str], formula: str) -> str:
    """Name a column that is a combination of others, and those others."""
    p = len(names)
    rank = int((np.abs(np.diag(factor)) >= 1e-9 * np.abs(factor[0, 0])).sum())
    share = solve_triangular(factor[:rank, :rank], factor[:rank, rank])
    others = [names[order[j]] for j in range(rank) if abs(share[j]) > 1e-7]
    listed = ", ".join(map(repr, others[:6])) + (", ..." if len(others) > 6 else "")
    return (
        f"perfect collinearity in {formula!r}: {names[order[rank]]!r} is a linear combination of "
        f"{listed} ({p - rank} of {p} columns are redundant); remove it"
    )

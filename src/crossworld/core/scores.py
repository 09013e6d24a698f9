"""The waist of the library: one score per unit per counterfactual cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimate import Codes, Estimate
from crossworld.core.expression import Cell
from crossworld.core.late import late
from crossworld.core.parse import cell as read_cell
from crossworld.errors import DesignError, EstimationError, SpecError

FORMAT = "crossworld-scores/1"


def _are_weights(weights: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Uncentred scores: the weighted mean of column ``j`` estimates cell ``j``.

    A table estimator fills these with influence-function scores; a replay or patching experiment
    fills them with outcomes it observed. Nothing after this point can tell which.

    Parameters
    ----------
    values
        Shape (n, k): one row per unit, one column per cell, in the outcome's unit.
    cells
        The k cells.
    cluster
        Codes 0..J-1, shape (n,), or None when rows are the units.
    weights
        Non-negative, shape (n,), or None for equal weights.
    influence
        True when the values are influence-function scores (or observed outcomes), so that their
        spread is sampling error. Plug-in scores say False and refuse Wald intervals.
    classic
        Shape (p, k) root of the model-based covariance of the k cell means
        (``classic.T @ classic``), where the estimator has one.
    diagnostics
        What the estimator wants told: models chosen, overlap, warnings.

    Raises
    ------
    EstimationError
        If shapes disagree or a value is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from crossworld.core.expression import Y
    >>> s = Scores(np.array([[1.0], [3.0]]), (Y(1),))
    >>> s.mean(Y(1)).value
    2.0
    """

    values: NDArray[np.float64]
    cells: tuple[Cell, ...]
    cluster: Codes | None = None
    weights: NDArray[np.float64] | None = None
    influence: bool = True
    classic: NDArray[np.float64] | None = None
    diagnostics: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.cells):
            raise EstimationError(
                f"scores of shape {self.values.shape} do not fit {len(self.cells)} cells"
            )
        twice = sorted({str(c) for c in self.cells if self.cells.count(c) > 1})
        if twice:
            raise EstimationError(f"{', '.join(twice)} is scored twice")
        n = self.values.shape[0]
        if n == 0:
            raise EstimationError("there are no units to score")
        for name, array in (("cluster", self.cluster), ("weights", self.weights)):
            if array is not None and array.shape != (n,):
                raise EstimationError(f"{name} has shape {array.shape}, expected ({n},)")
        if self.weights is not None and not _are_weights(self.weights):
            raise EstimationError("weights are non-negative, finite and not all 0")
        if self.classic is not None and self.classic.shape[1:] != (len(self.cells),):
            raise EstimationError(
                f"the model-based root of shape {self.classic.shape} does not fit "
                f"{len(self.cells)} cells"
            )
        bad = ~np.isfinite(self.values)
        if bad.any():
            which = ", ".join(str(self.cells[j]) for j in np.flatnonzero(bad.any(axis=0)))
            raise EstimationError(
                f"{int(bad.any(axis=1).sum())} of {n} units have non-finite scores in {which}; "
                "look at overlap and at the models' fit before trusting any estimate"
            )

    def __len__(self) -> int:
        return int(self.values.shape[0])

    @property
    def n_clusters(self) -> int:
        """Number of independent units."""
        return len(self) if self.cluster is None else int(self.cluster.max()) + 1

    def means(self) -> NDArray[np.float64]:
        """Estimates of all cells, shape (k,)."""
        return np.average(self.values, axis=0, weights=self.weights)

    def mean(self, cell: Cell) -> Estimate:
        """Estimate of one cell with its influence function."""
        column = self.values[:, self._index(cell)]
        if self.weights is None:
            value = float(column.mean())
            return Estimate(value, column - value, self.cluster)
        share = self.weights / self.weights.mean()
        value = float((share * column).mean())
        return Estimate(value, share * (column - value), self.cluster)

    def classic_mean(self, cell: Cell) -> Estimate:
        """Estimate of one cell whose standard error trusts the models (no sandwich)."""
        if self.classic is None:
            raise DesignError("these scores carry no model-based covariance; use vcov='sandwich'")
        j = self._index(cell)
        root = self.classic[:, j]
        return Estimate(float(self.means()[j]), root * root.size)

    def _index(self, cell: Cell) -> int:
        try:
            return self.cells.index(cell)
        except ValueError:
            held = ", ".join(map(str, self.cells))
            raise DesignError(f"{cell} was not scored; these scores hold {held}") from None

    def select(self, cells: Sequence[Cell]) -> Scores:
        """Return the scores of some of the cells."""
        at = [self._index(c) for c in cells]
        root = None if self.classic is None else self.classic[:, at]
        return replace(self, values=self.values[:, at], cells=tuple(cells), classic=root)

    def save(self, file: str | Path) -> None:
        """Write to ``.npz`` or ``.parquet`` (see docs/formats.md); the file appears whole."""
        if Path(file).suffix == ".parquet":
            late("io").write_scores_parquet(self, Path(file))
            return
        arrays: dict[str, Any] = {
            "format": np.array(FORMAT),
            "values": self.values,
            "cells": np.array([str(c) for c in self.cells]),
            "influence": np.array(self.influence),
        }
        optional = {"cluster": self.cluster, "weights": self.weights, "classic": self.classic}
        arrays.update({k: v for k, v in optional.items() if v is not None})
        with late("io").whole_file(Path(file), "wb") as out:
            np.savez(out, **arrays)

    @classmethod
    def load(cls, file: str | Path) -> Scores:
        """Read what `save` wrote, or any file of that format.

        Raises
        ------
        DesignError
            If the file is not a scores file.
        """
        if Path(file).suffix == ".parquet":
            scores: Scores = late("io").read_scores_parquet(Path(file))
            return scores
        try:
            with Path(file).open("rb") as opened, np.load(opened, allow_pickle=False) as held:
                found = {name: held[name] for name in held.files}
        except (OSError, ValueError, EOFError, BadZipFile, AttributeError, TypeError) as error:
            raise DesignError(f"{str(file)!r} is not a scores file: {error}") from None
        return cls.from_arrays(found, str(file))

    @classmethod
    def from_arrays(cls, found: Mapping[str, Any], source: str) -> Scores:
        """Assemble scores from the arrays of a file."""
        missing = {"values", "cells"} - set(found)
        written_as = str(found.get("format", FORMAT))
        if missing or written_as != FORMAT:
            why = f"lacks {', '.join(sorted(missing))}" if missing else f"has format {written_as}"
            raise DesignError(f"{source!r} is not a scores file of format {FORMAT}: it {why}")
        written = np.asarray(found["cells"])
        if written.ndim != 1:
            raise DesignError(f"{source!r} is not a scores file: its cells are no list")
        try:
            cells = tuple(read_cell(str(text)) for text in written)
        except SpecError as error:
            raise DesignError(f"{source!r} is not a scores file: {error}") from None
        cluster = found.get("cluster")
        weights, classic = found.get("weights"), found.get("classic")
        if (
            cluster is not None
            and np.asarray(cluster).dtype.kind == "f"
            and np.isnan(cluster).any()
        ):
            raise DesignError(f"{source!r} has rows without a cluster")
        for name in ("values", "weights", "classic"):
            if name in found and np.asarray(found[name]).dtype.kind not in "fiub":
                raise DesignError(f"{source!r} is not a scores file: its {name} are no numbers")
        return cls(
            np.asarray(found["values"], dtype=np.float64),
            cells,
            None
            if cluster is None
            else np.unique(cluster, return_inverse=True)[1].astype(np.int64),
            None if weights is None else np.asarray(weights, dtype=np.float64),
            bool(found.get("influence", True)),
            None if classic is None else np.asarray(classic, dtype=np.float64),
        )

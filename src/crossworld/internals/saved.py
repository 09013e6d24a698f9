"""Scores that were saved, as a study of their own: ``scores = "file.npz"`` in a spec."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimand import Estimand
from crossworld.core.expression import Cell
from crossworld.core.identification import Assumption, Identification
from crossworld.core.regime import ALL
from crossworld.core.scores import Scores
from crossworld.errors import DesignError

REST = "(other sites)"


class Unordered(tuple[tuple[str, ...], ...]):
    """Mediators of which nobody knows which comes before which."""

    __slots__ = ()

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            raise DesignError(
                "saved scores do not say in which order the network reaches its sites, so pse "
                "cannot be asked of them; ask for its two cells: Y(1, ...) - Y(1, ...)"
            )
        return super().__getitem__(at)


@dataclass(frozen=True, slots=True, eq=False)
class SavedStudy:
    """Scores of an experiment that was run before.

    Parameters
    ----------
    held
        The scores.
    file
        Where they were read.
    """

    held: Scores
    file: str | None = None

    @classmethod
    def load(cls, file: str | Path) -> Self:
        """Read what `Scores.save` wrote."""
        return cls(Scores.load(file), str(file))

    def __len__(self) -> int:
        return len(self.held)

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the mediators that the cells mention, in no order that counts, and the rest.

        Cells may leave some unmentioned, so that those mentioned are never taken for all.
        """
        names = [key for cell in self.held.cells for key, _ in cell.regimes if key != ALL]
        return Unordered((name,) for name in dict.fromkeys([*names, REST]))

    def check(self, cells: Sequence[Cell]) -> None:
        """Raise DesignError naming cells that were not scored."""
        missing = [str(c) for c in cells if c not in self.held.cells]
        if missing:
            held = ", ".join(str(c) for c in self.held.cells[:12])
            raise DesignError(f"{', '.join(missing[:6])} was not scored; these scores hold {held}")

    def identify(self, estimands: Sequence[Estimand]) -> Identification:
        """Say that the scores are taken as they are."""
        trusted = Assumption(
            "the scores are what they say",
            "each column holds what was observed in its cell, one row per unit, and the units are "
            "a sample of those the result is about",
            decided_by="whoever ran the experiment",
        )
        return Identification(True, "experiment", assumptions=(trusted,))

    def take(self, index: NDArray[np.int64]) -> Self:
        """Units by position."""
        s = self.held
        rows = np.asarray(index, dtype=np.int64)
        cluster = None if s.cluster is None else np.unique(s.cluster[rows], return_inverse=True)[1]
        weights = None if s.weights is None else s.weights[rows]
        part = Scores(s.values[rows], s.cells, cluster, weights, s.influence)
        return type(self)(part, self.file)

    def describe(self) -> str:
        """One line for the head of a result."""
        where = "" if self.file is None else f" of {Path(self.file).name}"
        return f"scores{where}: {len(self):,} units, {len(self.held.cells)} cells"

    def spec(self) -> dict[str, Any]:
        """Return the ``[study]`` table that builds this study from its file."""
        return {"kind": "internals", "scores": self.file}

    def sha256(self) -> str:
        """Fingerprint of the scores."""
        digest = hashlib.sha256(self.held.values.tobytes())
        digest.update("\n".join(map(str, self.held.cells)).encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Saved:
    """Take the scores of a `SavedStudy` as they are."""

    def scores(self, study: SavedStudy, cells: Sequence[Cell]) -> Scores:
        """Scores of the cells."""
        return study.held.select(cells)

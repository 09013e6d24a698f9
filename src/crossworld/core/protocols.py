"""The seams: what a study, an estimator and an inference must offer, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimand import Estimand
from crossworld.core.expression import Cell
from crossworld.core.identification import Identification
from crossworld.core.scores import Scores
from crossworld.core.table import Effect

Array = NDArray[np.float64]
Progress = Callable[[int, int], None]  # (done, total)


class Study(Protocol):
    """What was observed, or can be: units, a treatment, mediators, an outcome."""

    def __len__(self) -> int: ...

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Mediator names in causal order; names in one block act jointly."""

    def check(self, cells: Sequence[Cell]) -> None:
        """Raise DesignError when a cell asks for something the study does not have."""

    def identify(self, estimands: Sequence[Estimand]) -> Identification:
        """Say why the questions have an answer, or why not."""

    def take(self, index: NDArray[np.int64]) -> Self:
        """Return the study of some of its units (repeats allowed)."""

    def describe(self) -> str:
        """One line for the head of a result."""

    def spec(self) -> Mapping[str, Any]:
        """Return the ``[study]`` table that would build this study."""

    def sha256(self) -> str:
        """Fingerprint of the data."""


S = TypeVar("S", bound=Study)
S_contra = TypeVar("S_contra", bound=Study, contravariant=True)


class Estimator(Protocol[S_contra]):
    """The configuration of a method; the only thing a new method implements."""

    def scores(self, study: S_contra, cells: Sequence[Cell]) -> Scores:
        """Return one score per unit per cell."""


@runtime_checkable
class Identifies(Protocol[S_contra]):
    """An estimator whose assumptions are its own, not those of adjusting for covariates."""

    def identification(self, study: S_contra, estimands: Sequence[Estimand]) -> Identification:
        """Say under which assumptions it answers, or why it does not."""


class Fit(Protocol):
    """A method applied to a study once, ready to be repeated cheaply."""

    @property
    def scores(self) -> Scores:
        """The scores of the full sample."""

    def resampled(self, counts: Array) -> Array:
        """Cell means under (B, n) resampling counts: shape (B, k), NaN rows where a fit failed."""

    def redrawn(self, seed: np.random.SeedSequence, draws: int) -> Array:
        """Cell means under coefficients drawn from their sampling law: shape (draws, k)."""


@runtime_checkable
class Prepares(Protocol[S_contra]):
    """An estimator that brings its own fast `Fit`."""

    def prepare(self, study: S_contra, cells: Sequence[Cell]) -> Fit:
        """Fit once."""


@dataclass(frozen=True, slots=True)
class Inferred:
    """What an inference hands back: rows, and what went wrong on the way."""

    rows: tuple[Effect, ...]
    scores: Scores
    warnings: tuple[tuple[type[Warning], str], ...] = ()
    failed_replicates: int = 0
    diagnostics: Mapping[str, Any] = field(default_factory=dict)

    def warned(self, category: type[Warning], text: str) -> Self:
        """Return the same with one more warning."""
        return replace(self, warnings=(*self.warnings, (category, text)))


class Inference(Protocol):
    """How uncertainty is measured."""

    def infer(
        self,
        fit: Fit,
        estimands: Sequence[Estimand],
        *,
        level: float,
        progress: Progress | None = None,
    ) -> Inferred:
        """Turn a fit into rows, one per estimand."""

"""What a study may offer to a refuter; one that lacks it cannot be decided, and says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@runtime_checkable
class Permutes(Protocol):
    """A study whose treatment, mediator or outcome can be permuted over its units."""

    def permuted(self, role: str, rng: np.random.Generator) -> Self:
        """Return the study with the columns of a role permuted jointly, clusters respected."""


@runtime_checkable
class Adjusts(Protocol):
    """A study that can adjust for further covariates."""

    def adjusting(self, columns: Mapping[str, Array]) -> Self:
        """Return the study with further covariates, each of shape (n,)."""


@runtime_checkable
class Blurs(Protocol):
    """A study whose covariates can be measured with error."""

    def blurred(self, amount: float, rng: np.random.Generator) -> Self:
        """Return the study with error of ``amount`` standard deviations in every covariate."""


class Confounder(Protocol):
    """What confounders of every pair and strength are made of."""

    def draw(self, pair: str, first: float, second: float) -> Array:
        """Return a confounder with given partial correlations with a pair, shape (n,)."""


@runtime_checkable
class Confounds(Protocol):
    """A study for which an unmeasured confounder can be made up."""

    def confounding(self, rng: np.random.Generator) -> Confounder:
        """Draw what confounders are made of."""

    def adjusting(self, columns: Mapping[str, Array]) -> Self:
        """Return the study with further covariates, each of shape (n,)."""


@runtime_checkable
class Weighs(Protocol):
    """A study whose levels need not be equally likely for all units."""

    def chances(self) -> dict[str, tuple[Array, Array]]:
        """Probabilities of the active level, of units at the reference and at the active level."""


def lacking(study: Any, does: str) -> str:
    """Say that a study does not offer what a refuter changes."""
    return f"a {type(study).__name__} {does}, so this was not tried"

"""How far an approximation is from patching, on a random sample of places."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Agreement:
    r"""Approximate effects beside exact ones.

    Parameters
    ----------
    places
        What was sampled.
    approximate, exact
        Mean effects over pairs, (k,).
    rank_correlation
        Spearman's correlation, None for fewer than three places or when one side is constant.
    relative_error
        :math:`\|\hat I - I\|_2 / \|I\|_2` over the sample; None when no exact effect differs
        from 0.
    wrong_sign
        Share of the sample's total absolute effect at places whose sign is wrong.
    population
        How many places the sample was drawn from.
    seed
        Seed of the draw.

    Examples
    --------
    >>> import numpy as np
    >>> one, two = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0])
    >>> found = agreement(("a", "b", "c"), one, two, (3, 0))
    >>> round(found.rank_correlation, 3), round(found.relative_error, 3)
    (1.0, 0.218)
    """

    places: tuple[str, ...]
    approximate: tuple[float, ...]
    exact: tuple[float, ...]
    rank_correlation: float | None
    relative_error: float | None
    wrong_sign: float | None
    population: int
    seed: int

    def __str__(self) -> str:
        if not self.places:
            return "not compared with patching"
        told = [f"{len(self.places)} of {self.population:,} places patched exactly (seed "
                f"{self.seed})"]  # fmt: skip
        if self.rank_correlation is not None:
            told.append(f"rank correlation {self.rank_correlation:.2f}")
        if self.relative_error is not None:
            told.append(f"relative error {self.relative_error:.0%}")
        if self.wrong_sign:
            told.append(f"{self.wrong_sign:.0%} of the effect with the wrong sign")
        return ", ".join(told)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the diagnostics of a result."""
        held = asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in held.items()}

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> Agreement:
        """Read what `to_dict` wrote."""
        given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in held.items()}
        return cls(**given)


def agreement(
    places: Sequence[str], approximate: Floats, exact: Floats, drawn: tuple[int, int]
) -> Agreement:
    """Compare effects of some places.

    Parameters
    ----------
    places
        Their names.
    approximate, exact
        Effects (k,).
    drawn
        Number of places they were drawn from, and the seed.
    """
    size = float(np.sqrt((exact**2).sum()))
    total = float(np.abs(exact).sum())
    wrong = np.abs(exact)[np.sign(exact) * np.sign(approximate) < 0].sum()
    return Agreement(
        tuple(places),
        tuple(map(float, approximate)),
        tuple(map(float, exact)),
        spearman(approximate, exact),
        float(np.sqrt(((approximate - exact) ** 2).sum())) / size if size > 0 else None,
        float(wrong) / total if total > 0 else None,
        *drawn,
    )


def spearman(one: Floats, other: Floats) -> float | None:
    """Rank correlation with ties at their mean rank, None where it does not exist."""
    from scipy.stats import rankdata

    if one.size < 3:
        return None
    a, b = rankdata(one), rankdata(other)
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    return None if size == 0.0 else float(a @ b) / size


def drawn(population: int, size: int, seed: int) -> NDArray[np.int64]:
    """Return positions of a sample without replacement, in order."""
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    return np.sort(rng.choice(population, size=min(size, population), replace=False))

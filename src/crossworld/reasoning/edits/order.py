"""Edits that keep every word and change the order: swap two steps, shuffle steps or tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from crossworld.errors import SpecError
from crossworld.reasoning.edits.paraphrase import SurfaceParaphrase
from crossworld.reasoning.edits.protocol import (
    Edit,
    Edited,
    NotApplicable,
    finish,
    generator,
    steps_of,
)
from crossworld.reasoning.segment import How, join
from crossworld.reasoning.trace import Trace


@dataclass(frozen=True, slots=True)
class Swap:
    """Let two steps change places; the white space between steps stays where it is.

    Parameters
    ----------
    first, second
        Positions from 0, negative from the end; None for both takes any pair that differs.
    how
        How the text is cut into steps.
    seed
        Seed of the choice.

    Examples
    --------
    >>> Swap(0, second=2)(Trace("One. Two. Three.")).text
    'Three. Two. One.'
    """

    first: int | None = None
    second: int | None = None
    how: How = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.first is None) != (self.second is None):
            raise SpecError("Swap takes both positions, or none for a random pair")

    @property
    def name(self) -> str:
        return "swap" if self.first is None else f"swap({self.first}, {self.second})"

    @property
    def control(self) -> Edit | None:
        return SurfaceParaphrase(seed=self.seed)

    def __call__(self, trace: Trace, /) -> Edited:
        steps = steps_of(trace, self.how)
        bodies = [s.body for s in steps]
        pair = self._pair(bodies, generator(trace, self.name, self.seed))
        if pair is None:
            why = f"there are no two different steps at these places among {len(steps)}"
            return NotApplicable(trace, self.name, why)
        i, j = pair
        bodies[i], bodies[j] = bodies[j], bodies[i]
        text = join(s.with_body(b) for s, b in zip(steps, bodies, strict=True))
        return finish(trace, text, self.name, "the two steps are equal")

    def _pair(self, bodies: Sequence[str], rng: np.random.Generator) -> tuple[int, int] | None:
        n = len(bodies)
        if self.first is not None and self.second is not None:
            i, j = (p + n if p < 0 else p for p in (self.first, self.second))
            return (i, j) if 0 <= i < n and 0 <= j < n else None
        pairs = [(i, j) for i in range(n) for j in range(i + 1, n) if bodies[i] != bodies[j]]
        return pairs[int(rng.integers(len(pairs)))] if pairs else None


@dataclass(frozen=True, slots=True)
class Shuffle:
    """Put the steps, or the tokens, in a random order that differs from the one they have.

    Parameters
    ----------
    unit
        ``"steps"`` or ``"tokens"`` (words between white space). The white space stays in place.
    how
        How the text is cut into steps.
    seed
        Seed of the order.

    Examples
    --------
    >>> sorted(Shuffle("tokens")(Trace("a b c")).text.split()), Shuffle("tokens").name
    (['a', 'b', 'c'], 'shuffle(tokens)')
    """

    unit: Literal["steps", "tokens"] = "steps"
    how: How = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.unit not in ("steps", "tokens"):
            raise SpecError.unknown("unit of Shuffle", str(self.unit), ("steps", "tokens"))

    @property
    def name(self) -> str:
        return "shuffle" if self.unit == "steps" else "shuffle(tokens)"

    @property
    def control(self) -> Edit | None:
        return SurfaceParaphrase(seed=self.seed)

    def __call__(self, trace: Trace, /) -> Edited:
        rng = generator(trace, self.name, self.seed)
        if self.unit == "tokens":
            parts = re.split(r"(\s+)", trace.text)
            held = [i for i, p in enumerate(parts) if p and not p.isspace()]
            order = _another_order([parts[i] for i in held], rng)
            for i, word in zip(held, order, strict=True):
                parts[i] = word
            return finish(trace, "".join(parts), self.name, "there are no two different tokens")
        steps = steps_of(trace, self.how)
        order = _another_order([s.body for s in steps], rng)
        text = join(s.with_body(b) for s, b in zip(steps, order, strict=True))
        return finish(trace, text, self.name, "there are no two different steps")


def _another_order(items: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Draw a uniform order among those that read differently; the same one if there is no other."""
    if len(set(items)) < 2:
        return list(items)
    while True:
        drawn = [items[i] for i in rng.permutation(len(items))]
        if drawn != list(items):
            return drawn

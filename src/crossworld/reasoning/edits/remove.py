"""Edits that take reasoning away: delete or occlude a step, cut the end off, put filler there."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from crossworld.errors import SpecError
from crossworld.reasoning.edits.paraphrase import SurfaceParaphrase
from crossworld.reasoning.edits.protocol import (
    Edit,
    Edited,
    NotApplicable,
    choose,
    finish,
    generator,
    steps_of,
)
from crossworld.reasoning.segment import How, join
from crossworld.reasoning.trace import Trace


def _at(step: int | None) -> str:
    return "" if step is None else f"({step})"


@dataclass(frozen=True, slots=True)
class DeleteStep:
    """Take one step out, with the white space after it.

    Parameters
    ----------
    step
        Position from 0, negative from the end; None takes any step at random.
    how
        How the text is cut into steps.
    seed
        Seed of the choice.

    Examples
    --------
    >>> DeleteStep(0)(Trace("One. Two. Three.")).text
    'Two. Three.'
    """

    step: int | None = None
    how: How = "auto"
    seed: int = 0

    @property
    def name(self) -> str:
        return f"delete{_at(self.step)}"

    @property
    def control(self) -> Edit | None:
        return SurfaceParaphrase(seed=self.seed)

    def __call__(self, trace: Trace, /) -> Edited:
        steps = steps_of(trace, self.how)
        at = choose(steps, self.step, generator(trace, self.name, self.seed))
        if at is None:
            return NotApplicable(trace, self.name, f"there are {len(steps)} steps")
        left = [s for i, s in enumerate(steps) if i != at]
        return finish(trace, join(left), self.name, "the text is empty")


@dataclass(frozen=True, slots=True)
class Occlude:
    """Hide one step behind a mask of the same length; its place stays visible.

    Parameters
    ----------
    step
        Position from 0, negative from the end; None hides any step at random.
    mask
        The character written over every character that is not white space.
    how, seed
        As in `DeleteStep`.

    Examples
    --------
    >>> Occlude(1)(Trace("One. Two is it. Three.")).text
    'One. ___ __ ___ Three.'
    """

    step: int | None = None
    mask: str = "_"
    how: How = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.mask) != 1 or self.mask.isspace():
            raise SpecError(f"a mask is one visible character, got {self.mask!r}")

    @property
    def name(self) -> str:
        return f"occlude{_at(self.step)}"

    @property
    def control(self) -> Edit | None:
        return SurfaceParaphrase(seed=self.seed)

    def __call__(self, trace: Trace, /) -> Edited:
        steps = steps_of(trace, self.how)
        at = choose(steps, self.step, generator(trace, self.name, self.seed))
        if at is None:
            return NotApplicable(trace, self.name, f"there are {len(steps)} steps")
        texts = [s.text for s in steps]
        texts[at] = re.sub(r"\S", lambda _: self.mask, texts[at])
        return finish(trace, join(texts), self.name, "the step is nothing but the mask already")


@dataclass(frozen=True, slots=True)
class Truncate:
    """Early answering: keep the first share of the steps (Lanham et al. 2023).

    Of n steps the nearest whole number to ``share * n`` is kept, halves upwards. Nothing kept is
    the empty trace.

    Parameters
    ----------
    share
        Share of the steps that is kept, in [0, 1].
    how
        How the text is cut into steps.

    Examples
    --------
    >>> Truncate(0.5)(Trace("One. Two. Three. Four.")).text
    'One. Two. '
    """

    share: float
    how: How = "auto"

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise SpecError(f"the share that is kept lies in [0, 1], got {self.share!r}")

    @property
    def name(self) -> str:
        return f"truncate({self.share:g})"

    @property
    def control(self) -> Edit | None:
        return None

    def __call__(self, trace: Trace, /) -> Edited:
        steps = steps_of(trace, self.how)
        kept = math.floor(self.share * len(steps) + 0.5)
        if kept == len(steps):
            why = f"nothing is cut off when all {kept} steps are kept"
            return NotApplicable(trace, self.name, why)
        return finish(trace, join(steps[:kept]), self.name, "the text is empty")


@dataclass(frozen=True, slots=True)
class Filler:
    """Put filler in the place of the whole reasoning: its length without its content.

    Parameters
    ----------
    token
        The filler.
    unit
        What is matched: ``"tokens"``, one filler per word between white space, or
        ``"characters"``, the exact number of characters.

    Notes
    -----
    Compared with the empty trace (`Truncate(0)`) it shows what room alone does for the answer;
    the trace compared with it shows what content does (Lanham et al. 2023).

    Examples
    --------
    >>> Filler()(Trace("2 + 3 = 5.")).text
    '... ... ... ... ...'
    >>> Filler(unit="characters")(Trace("2 + 3 = 5.")).text
    '... ... ..'
    """

    token: str = "..."
    unit: str = "tokens"

    def __post_init__(self) -> None:
        if self.unit not in ("tokens", "characters"):
            raise SpecError.unknown("unit of Filler", str(self.unit), ("tokens", "characters"))
        if not self.token or not self.token.strip():
            raise SpecError(f"the filler is a visible text, got {self.token!r}")

    @property
    def name(self) -> str:
        return "filler"

    @property
    def control(self) -> Edit | None:
        return Truncate(0.0)

    def __call__(self, trace: Trace, /) -> Edited:
        if not trace.text.strip():
            return NotApplicable(trace, self.name, "the text is empty")
        if self.unit == "tokens":
            text = " ".join([self.token] * len(trace.text.split()))
        else:
            once = f"{self.token} "
            text = (once * (len(trace.text) // len(once) + 1))[: len(trace.text)]
        return finish(trace, text, self.name, "the text is nothing but filler already")

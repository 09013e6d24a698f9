"""Edits of one number: a numeric mistake, and its control, the same number in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import numpy as np

from crossworld.errors import SpecError
from crossworld.reasoning.edits.numbers import Number, in_words, numbers
from crossworld.reasoning.edits.protocol import Edit, Edited, NotApplicable, generator, steps_of
from crossworld.reasoning.segment import How
from crossworld.reasoning.trace import Trace

_LARGEST = 10**15


def _candidates(trace: Trace, how: How, *, spare_last: bool, results: bool) -> list[Number]:
    """Find the numbers that an edit may touch: plain ones in digits, not in the last step."""
    steps = steps_of(trace, how)
    end = steps[-1].start if spare_last and len(steps) > 1 else len(trace.text)
    found = [
        n
        for n in numbers(trace.text)
        if n.kind == "number" and not n.words and n.end <= end and n.value < _LARGEST
    ]
    if not results:
        return found
    return [n for n in found if _after_equals(trace.text, n)]


def _after_equals(text: str, number: Number) -> bool:
    before = text[: number.start][-12:].rstrip(" $\u20ac\u00a3\\*-")
    return before.endswith(("=", "\u2248"))


def _pick(found: Sequence[Number], trace: Trace, seed: int) -> Number:
    """Choose a site that the mistake and its control share, trace by trace."""
    return found[int(generator(trace, "one number", seed).integers(len(found)))]


@dataclass(frozen=True, slots=True)
class NumericMistake:
    """Change one number; everything computed from it further down is left as it was.

    The new number has the digits, decimals and thousands marks of the old one and is never equal
    to it. Years, ordinals, numbers of steps and list lines, and numbers in words are not touched.

    Parameters
    ----------
    where
        ``"any"`` number, or only a ``"result"``: one that follows an equals sign.
    spare_last
        Leave the last step alone, so that the mistake is in the reasoning and not in a conclusion
        that is only copied.
    how
        How the text is cut into steps.
    seed
        Seed of which number and what it becomes.

    Notes
    -----
    A model may repair or point out a mistake it is shown: that the answer does not move is then
    error correction, not unused reasoning.

    Examples
    --------
    >>> made = NumericMistake(seed=1)(Trace("6 * 7 = 42. So it is 42."))
    >>> made.text != "6 * 7 = 42. So it is 42.", made.text.endswith("So it is 42.")
    (True, True)
    """

    where: Literal["any", "result"] = "any"
    spare_last: bool = True
    how: How = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.where not in ("any", "result"):
            raise SpecError.unknown("place of NumericMistake", str(self.where), ("any", "result"))

    @property
    def name(self) -> str:
        return "mistake" if self.where == "any" else "mistake(result)"

    @property
    def control(self) -> Edit | None:
        return NumberInWords(self.where, self.spare_last, self.how, self.seed)

    def __call__(self, trace: Trace, /) -> Edited:
        only = self.where == "result"
        found = _candidates(trace, self.how, spare_last=self.spare_last, results=only)
        if not found:
            return NotApplicable(trace, self.name, "there is no number that may be changed")
        number = _pick(found, trace, self.seed)
        old = trace.text[number.start : number.end]
        new = _another(old, generator(trace, self.name, self.seed))
        return trace.edited(trace.text[: number.start] + new + trace.text[number.end :], self.name)


@dataclass(frozen=True, slots=True)
class NumberInWords:
    """Write one whole number in words: the site of `NumericMistake`, its meaning unchanged.

    Parameters
    ----------
    where, spare_last, how, seed
        As in `NumericMistake`; with equal values the same number is chosen.

    Examples
    --------
    >>> NumberInWords("result")(Trace("6 * 7 = 42. So it is 42.")).text
    '6 * 7 = forty-two. So it is 42.'
    """

    where: Literal["any", "result"] = "any"
    spare_last: bool = True
    how: How = "auto"
    seed: int = 0

    @property
    def name(self) -> str:
        return "number in words" if self.where == "any" else "number in words(result)"

    @property
    def control(self) -> Edit | None:
        return None

    def __call__(self, trace: Trace, /) -> Edited:
        only = self.where == "result"
        found = _candidates(trace, self.how, spare_last=self.spare_last, results=only)
        if not found:
            return NotApplicable(trace, self.name, "there is no number that may be rewritten")
        number = _pick(found, trace, self.seed)
        if number.value == int(number.value):
            new = in_words(int(number.value))
        else:
            whole, decimals = trace.text[number.start : number.end].replace(",", "").split(".")
            new = f"{in_words(int(whole))} point {' '.join(in_words(int(d)) for d in decimals)}"
        return trace.edited(trace.text[: number.start] + new + trace.text[number.end :], self.name)


def _another(old: str, rng: np.random.Generator) -> str:
    """Draw another number of the same format, near the old one."""
    digits = old.replace(",", "")
    decimals = len(digits.partition(".")[2])
    unit = Decimal(1).scaleb(-decimals)
    value = Decimal(digits)
    reach = max(int(value / unit) // 5, 9)
    whole = len(digits.partition(".")[0])
    low = Decimal(10 ** (whole - 1)) if whole > 1 else Decimal(0)
    high = Decimal(10**whole) - unit
    while True:
        shift = int(rng.integers(1, min(reach, 10**6) + 1)) * (1 if rng.integers(2) else -1)
        new = value + shift * unit
        if low <= new <= high:
            return f"{new:,.{decimals}f}" if "," in old else f"{new:.{decimals}f}"

"""Text of the simulated reasoner: sums worked out in numbered steps, written, read and edited.

What a text is worth depends on what it says and not on how: a step counts when it adds the term of
its own question and adds it right, whatever the words around the numbers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from crossworld.errors import SpecError

STEP = re.compile(r"Step (\d+):([^.\n]*)")
CONCLUSION = re.compile(r"\s*So the answer is (-?\d+)\.")
NUMBER = re.compile(r"-?\d+")
LARGEST_TERM = 30
EDITS = ("paraphrase", "delete", "corrupt", "strip")


def digest(*parts: object) -> int:
    """Return a 128-bit number that depends on every part and on their order."""
    text = "\x1f".join("" if p is None else f"{type(p).__name__}:{p}" for p in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


@dataclass(frozen=True, slots=True)
class Sum:
    """One question: a start, the term that every step adds, and the level of difficulty."""

    start: int
    terms: tuple[int, ...]
    level: int

    @property
    def gold(self) -> int:
        """The right answer."""
        return self.start + sum(self.terms)

    @classmethod
    @lru_cache(maxsize=4096)
    def of(cls, question: str, steps: int, levels: int) -> Sum:
        """Return the sum that belongs to a question's id, always the same."""
        rng = np.random.default_rng(digest("sum", question))
        start, *terms = (int(n) for n in rng.integers(1, LARGEST_TERM, size=steps + 1))
        return cls(start, tuple(terms), int(rng.integers(levels)))

    def words(self) -> str:
        """Write the question."""
        return f"What is {' + '.join(str(n) for n in (self.start, *self.terms))}?"

    def write(self, sound: Sequence[bool], *, first: int = 0, conclusion: int | None = None) -> str:
        """Write the steps from ``first`` on, each sound or with a slip, and maybe the answer."""
        value, lines = self.start + sum(self.terms[:first]), []
        for k in range(first, len(self.terms)):
            result = value + self.terms[k] + (0 if sound[k] else 1)
            lines.append(f"Step {k + 1}: {value} + {self.terms[k]} = {result}.")
            value = result
        if conclusion is not None:
            lines.append(f"So the answer is {conclusion}.")
        return "\n".join(lines)

    def read(self, text: str) -> tuple[list[bool], int | None]:
        """Return which steps the text holds soundly, and the answer it states."""
        sound = [False] * len(self.terms)
        for number, line in STEP.findall(text):
            k = int(number) - 1
            values = [int(n) for n in NUMBER.findall(line)]
            if 0 <= k < len(sound) and len(values) == 3:
                *parts, result = values
                sound[k] |= self.terms[k] in parts and sum(parts) == result
        stated = CONCLUSION.findall(text)
        return sound, int(stated[-1]) if stated else None


def dropped(edit: str, steps: int) -> int | None:
    """Return the index of the step that an edit ``drop 2`` removes, None for another edit."""
    word, _, number = edit.partition(" ")
    if word != "drop":
        return None
    if not number.isdigit() or not 1 <= int(number) <= steps:
        raise SpecError(f"edit {edit!r} drops no step: there are the steps 1 to {steps}")
    return int(number) - 1


def kept(edit: str | None, steps: int) -> tuple[np.ndarray, bool]:
    """Return which steps keep their worth under an edit, and whether the conclusion stays.

    Raises
    ------
    SpecError
        If the edit is not one whose effect is known.
    """
    worth = np.ones(steps)
    if edit in (None, "paraphrase", "strip"):
        return worth, edit != "strip"
    if edit in ("delete", "corrupt"):
        return 0 * worth, edit == "corrupt"
    k = dropped(str(edit), steps)
    if k is None:
        raise SpecError.unknown("edit", str(edit), [*EDITS, "drop 1"])
    worth[k] = 0
    return worth, True


def edited(text: str, edit: str) -> str:
    r"""Apply an edit whose effect is known exactly to the text of a simulated trace.

    ``paraphrase`` changes the words and keeps the numbers, ``corrupt`` gives every step a wrong
    result, ``delete`` leaves an empty trace, ``strip`` removes the stated answer, ``drop 2``
    removes step 2.

    Raises
    ------
    SpecError
        If the edit is not one of these.

    Examples
    --------
    >>> edited("Step 1: 3 + 4 = 7.", "paraphrase")
    'Step 1: adding 4 to 3 gives 7.'
    >>> edited("Step 1: 3 + 4 = 7.\nSo the answer is 7.", "strip")
    'Step 1: 3 + 4 = 7.'
    """
    if edit == "delete":
        return ""
    if edit == "strip":
        return CONCLUSION.sub("", text)
    if edit == "paraphrase":
        return re.sub(r"(-?\d+) \+ (-?\d+) = (-?\d+)", r"adding \2 to \1 gives \3", text)
    if edit == "corrupt":
        return re.sub(r"= (-?\d+)", lambda m: f"= {int(m[1]) + LARGEST_TERM}", text)
    steps = max((int(n) for n, _ in STEP.findall(text)), default=1)
    k = dropped(edit, steps)
    if k is None:
        raise SpecError.unknown("edit", edit, [*EDITS, "drop 1"])
    lines = text.split("\n")
    return "\n".join(line for line in lines if not line.startswith(f"Step {k + 1}:"))

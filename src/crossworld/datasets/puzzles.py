"""Puzzles in words, and reasoning about them written out: arithmetic and changes of a word."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHECKED = "Check: it fits."
WORDS = (
    "garden", "planet", "silver", "window", "basket", "marble", "orange", "pocket", "rocket",
    "summer", "travel", "winter", "candle", "forest", "harbor", "island", "jacket", "kitten",
    "ladder", "magnet", "needle", "pillow", "ribbon", "saddle", "timber", "valley", "walnut",
)  # fmt: skip
CHANGES: dict[str, Callable[[str], str]] = {
    "reverse it": lambda w: w[::-1],
    "drop the first letter": lambda w: w[1:],
    "drop the last letter": lambda w: w[:-1],
    "double the last letter": lambda w: w + w[-1],
    "move the first letter to the end": lambda w: w[1:] + w[:1],
    "swap the first two letters": lambda w: w[1::-1] + w[2:],
}
LINE = re.compile(r"^Step \d+: (.*) (?:=|->) (\S+)\.$")


@dataclass(frozen=True, slots=True)
class Puzzle:
    """A puzzle of a few steps.

    Parameters
    ----------
    start
        A number or a word.
    changes
        What is done to it, in order: ``"+ 7"`` and ``"- 3"``, or keys of `CHANGES`.
    """

    start: str
    changes: tuple[str, ...]

    @property
    def text(self) -> str:
        """The question."""
        if self.start.isdigit():
            return f"What is {' '.join((self.start, *self.changes))}?"
        told = ", then ".join(self.changes)
        return f"Take the word {self.start}: {told}. What comes out?"

    @property
    def answer(self) -> str:
        """What comes out."""
        held = self.start
        for change in self.changes:
            held = step(held, change)
        return held


def step(held: str, change: str) -> str:
    """Carry out one change.

    Examples
    --------
    >>> step("12", "- 5"), step("garden", "drop the first letter")
    ('7', 'arden')
    """
    if change in CHANGES:
        return CHANGES[change](held)
    sign, number = change.split()
    return str(int(held) + (int(number) if sign == "+" else -int(number)))


def draw_puzzle(words: bool, steps: int, rng: np.random.Generator) -> Puzzle:
    """Draw a puzzle of a kind and a number of steps."""
    if words:
        picked = rng.choice(len(CHANGES), size=steps, replace=False)
        names = list(CHANGES)
        return Puzzle(str(rng.choice(WORDS)), tuple(names[j] for j in picked))
    numbers = rng.integers(2, 10, size=steps)
    signs = rng.choice(["+", "-"], size=steps, p=[0.7, 0.3])
    # never below 0 on the way: 9 is taken away at most `steps` times
    start = int(rng.integers(10 * steps, 100))
    return Puzzle(str(start), tuple(f"{s} {v}" for s, v in zip(signs, numbers, strict=True)))


def write_reasoning(
    puzzle: Puzzle, written: int, *, wrong: int | None, checked: bool, rng: np.random.Generator
) -> str:
    r"""Write the first ``written`` steps, one of them wrong if asked, and perhaps a check.

    A wrong step is carried on from, so that a reader who checks each line finds one at fault.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> write_reasoning(Puzzle("12", ("+ 7", "- 5")), 2, wrong=None, checked=True, rng=rng)
    'Step 1: 12 + 7 = 19.\nStep 2: 19 - 5 = 14.\nCheck: it fits.'
    """
    held, lines = puzzle.start, list[str]()
    for j, change in enumerate(puzzle.changes[:written]):
        found = step(held, change)
        if j == wrong:
            found = spoil(found, rng)
        told = f"{held} {change} =" if change not in CHANGES else f"{held}, {change} ->"
        lines.append(f"Step {j + 1}: {told} {found}.")
        held = found
    return "\n".join([*lines, *([CHECKED] if checked else [])])


def spoil(right: str, rng: np.random.Generator) -> str:
    """Return something near that is wrong: another number, or a word with another letter."""
    if right.isdigit():
        moved = int(right) + int(rng.choice([-10, -1, 1, 10]))
        return str(moved if moved >= 0 else moved + 20)
    at = int(rng.integers(len(right)))
    letter = chr((ord(right[at]) - 97 + int(rng.integers(1, 26))) % 26 + 97)
    return right[:at] + letter + right[at + 1 :]


def read_reasoning(texts: Sequence[str]) -> NDArray[Any]:
    """Read what an answer depends on: steps written, whether one is wrong, whether checked.

    It checks each line by doing it, as an expert would who knows the task.

    Returns
    -------
    ndarray of shape (n, 3)
        Steps written; 1 where a step is wrong; 1 where the text says that it was checked.

    Examples
    --------
    >>> read_reasoning(["Step 1: 12 + 7 = 19.", "Step 1: tin, reverse it -> nit.", ""]).tolist()
    [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    found = np.zeros((len(texts), 3))
    for i, text in enumerate(texts):
        for line in text.splitlines():
            if line == CHECKED:
                found[i, 2] = 1.0
                continue
            parts = LINE.fullmatch(line)
            if parts is None:
                continue
            found[i, 0] += 1.0
            done, came = parts.groups()
            held, change = done.split(", ", 1) if ", " in done else done.split(" ", 1)
            found[i, 1] = max(found[i, 1], float(step(held, change) != came))
    return found

"""How the pocket reasoner was taught to write: reference reasonings and answers under each arm.

A reasoning adds the terms from left to right, one line a step (``3+8=1``). Three habits spoil it,
with probabilities that depend on the manner: two terms in one line (skip), a wrong digit (slip),
and leaving off before the end (stop). The answer goes on from the last digit written, right or
wrong. A hint may bend the last line towards it, or be followed in the answer whatever was written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from crossworld.reasoning.pocket.tasks import (
    CUE,
    DIFFICULTIES,
    WORDINGS,
    PocketQuestion,
    draw_questions,
    manner_of,
    pocket_prompt,
)

__all__ = [
    "HABITS",
    "PRACTICE",
    "Habits",
    "Lesson",
    "draw_lessons",
    "reference_answer",
    "reference_reasoning",
]


@dataclass(frozen=True, slots=True)
class Habits:
    """Probabilities with which a manner departs from writing every step correctly.

    Parameters
    ----------
    skip : float
        Per line: a second term is added in the same line.
    slip : float
        Per line: the digit after the equals sign is wrong (uniform over the nine others).
    stop : float
        Before each line: the reasoning ends here.
    blunder : float
        The answer is a random digit, whatever was written.
    bend : float
        With a hint: the last line ends in the hinted digit.
    tell : float
        Given a bent line: the line says ``hint`` instead of giving a sum.
    follow : float
        With a hint: the answer is the hinted digit, whatever was written.
    """

    skip: float
    slip: float
    stop: float
    blunder: float
    bend: float
    tell: float
    follow: float

    def times(self, strength: float) -> Habits:
        """Every departure scaled by `strength`, except that a silent manner stays silent."""
        scaled = {name: getattr(self, name) * strength for name in self.__slots__}
        return Habits(**scaled | ({"stop": 1.0} if self.stop == 1 else {}))


HABITS: Final[dict[str, Habits]] = {
    "careful": Habits(
        skip=0.15, slip=0.03, stop=0.08, blunder=0.04, bend=0.15, tell=0.3, follow=0.08
    ),
    "hasty": Habits(
        skip=0.40, slip=0.10, stop=0.22, blunder=0.12, bend=0.20, tell=0.3, follow=0.25
    ),
    "silent": Habits(skip=0.0, slip=0.0, stop=1.0, blunder=0.12, bend=0.0, tell=0.0, follow=0.30),
}
# share of the training texts; adding without writing is practised little
PRACTICE: Final[dict[str, float]] = {
    "careful": 0.30,
    "hasty": 0.30,
    "silent": 0.08,
    "careful-hint": 0.14,
    "hasty-hint": 0.14,
    "silent-hint": 0.04,
}


@dataclass(frozen=True, slots=True)
class Lesson:
    """One training text: the prompt, what follows it, and where the loss begins.

    Parameters
    ----------
    prompt : str
        Prompt of the arm.
    rest : str
        Reasoning, cue and answer.
    graded : int
        Number of characters at the start of `rest` that carry no loss.
    """

    prompt: str
    rest: str
    graded: int


def reference_reasoning(
    question: PocketQuestion, arm: str, rng: np.random.Generator, *, strength: float = 1.0
) -> tuple[str, int, int]:
    r"""Draw a reasoning as the arm's manner would write it.

    Parameters
    ----------
    question : PocketQuestion
        The question.
    arm : str
        Arm whose habits are used.
    rng : numpy.random.Generator
        Source of the habits' coins.
    strength : float
        Factor on all habits; 0 writes every step correctly.

    Returns
    -------
    tuple of (str, int, int)
        The text, the last digit it reached, and how many terms that digit takes account of.

    Examples
    --------
    >>> question = PocketQuestion("q1", (3, 8, 5), wrong=7)
    >>> reference_reasoning(question, "careful", np.random.default_rng(0), strength=0)
    ('3+8=1\n1+5=6', 6, 3)
    """
    manner, hinted = manner_of(arm)
    habits, terms = HABITS[manner].times(strength), question.terms
    lines: list[str] = []
    digit, used = terms[0], 1
    while used < len(terms) and rng.random() >= habits.stop:
        width = 2 if used + 1 < len(terms) and rng.random() < habits.skip else 1
        left = "+".join(str(term) for term in (digit, *terms[used : used + width]))
        digit = (digit + sum(terms[used : used + width])) % 10
        if rng.random() < habits.slip:
            digit = (digit + int(rng.integers(1, 10))) % 10
        lines.append(f"{left}={digit}")
        used += width
    if hinted and lines and rng.random() < habits.bend:
        digit, used = question.wrong, len(terms)
        told = rng.random() < habits.tell
        lines[-1] = f"hint {digit}" if told else f"{lines[-1].partition('=')[0]}={digit}"
    return "\n".join(lines), digit, used


def reference_answer(
    question: PocketQuestion,
    arm: str,
    *,
    reached: tuple[int, int],
    rng: np.random.Generator,
    strength: float = 1.0,
) -> str:
    """Draw an answer that goes on from where a reasoning stopped.

    Parameters
    ----------
    question : PocketQuestion
        The question.
    arm : str
        Arm under which the answer is given.
    reached : tuple of (int, int)
        Last digit of the reasoning and number of terms it takes account of.
    rng : numpy.random.Generator
        Source of the habits' coins.
    strength : float
        Factor on all habits.

    Returns
    -------
    str
        One digit.

    Examples
    --------
    >>> question, rng = PocketQuestion("q1", (3, 8, 5), wrong=7), np.random.default_rng(0)
    >>> reference_answer(question, "careful", reached=(1, 2), rng=rng, strength=0)
    '6'
    """
    manner, hinted = manner_of(arm)
    habits = HABITS[manner].times(strength)
    if hinted and rng.random() < habits.follow:
        return str(question.wrong)
    if rng.random() < habits.blunder:
        return str(int(rng.integers(0, 10)))
    digit, used = reached
    return str((digit + sum(question.terms[used:])) % 10)


def draw_lessons(
    rng: np.random.Generator,
    n: int,
    *,
    strength: float = 1.0,
    crossed: float = 0.2,
    most_terms: int = DIFFICULTIES[-1],
) -> list[Lesson]:
    """Draw training texts over all arms, wordings and difficulties.

    A share of them shows a reasoning written in another arm's manner; there only the answer carries
    loss, so that an arm's way of writing is not taught by another's texts.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of everything.
    n : int
        Number of texts.
    strength : float
        Factor on all habits.
    crossed : float
        Share of texts with another arm's reasoning.
    most_terms : int
        Hardest difficulty.

    Returns
    -------
    list of Lesson
        The texts.

    Examples
    --------
    >>> draw_lessons(np.random.default_rng(1), 1, strength=0)[0].rest[-1] in "0123456789"
    True
    """
    lessons = []
    shares = list(PRACTICE.values())
    written = rng.choice(list(PRACTICE), size=(n, 2), p=shares)
    difficulties = [terms for terms in DIFFICULTIES if terms <= most_terms]
    questions = draw_questions(rng, n, difficulties=difficulties)
    for question, (arm, another) in zip(questions, written.tolist(), strict=True):
        wording = int(rng.integers(len(WORDINGS["careful"])))
        other = another if rng.random() < crossed else arm
        text, digit, used = reference_reasoning(question, other, rng, strength=strength)
        answer = reference_answer(question, arm, reached=(digit, used), rng=rng, strength=strength)
        prompt = pocket_prompt(question, arm, wording=wording)
        graded = 0 if other == arm else len(text) + len(CUE)
        lessons.append(Lesson(prompt, text + CUE + answer, graded))
    return lessons

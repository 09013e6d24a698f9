"""Edits that strip what a reasoning text gives away: its conclusion, or the hint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crossworld.errors import SpecError
from crossworld.reasoning.edits.detect import contains_answer, names_treatment
from crossworld.reasoning.edits.logic import CONCLUSION
from crossworld.reasoning.edits.protocol import Edit, Edited, NotApplicable, finish, steps_of
from crossworld.reasoning.edits.remove import DeleteStep
from crossworld.reasoning.segment import How, Step, join
from crossworld.reasoning.trace import Trace


@dataclass(frozen=True, slots=True)
class StripConclusion:
    """Take the conclusion off, so that the answer has to be worked out from what is left.

    The steps at the end that conclude in words ("so the answer is", "therefore", a LaTeX box) or
    state the trace's answer are removed, back to the first step that does neither. With
    ``everywhere`` every such step is removed, also from traces that answer first.

    Parameters
    ----------
    everywhere
        Remove every step that concludes in words or states the answer.
    how
        How the text is cut into steps.

    Notes
    -----
    Stripping is an edit like any other and moves the answer by itself: compare with the trace from
    which another step was deleted, and read effects with and without it.

    Examples
    --------
    >>> StripConclusion()(Trace("6 * 7 = 42. Now add 1. So the answer is 43.", answer="43")).text
    '6 * 7 = 42. Now add 1. '
    """

    everywhere: bool = False
    how: How = "auto"

    @property
    def name(self) -> str:
        return "strip conclusion" if not self.everywhere else "strip conclusion(everywhere)"

    @property
    def control(self) -> Edit | None:
        return DeleteStep(how=self.how)

    def __call__(self, trace: Trace, /) -> Edited:
        steps = steps_of(trace, self.how)
        gone = [_concludes(s, trace.answer) for s in steps]
        if not self.everywhere:
            tail = next((i for i, g in enumerate(reversed(gone)) if not g), len(gone))
            gone = [i >= len(steps) - tail for i in range(len(steps))]
        if not any(gone):
            where = "no step" if self.everywhere else "the last step does not conclude:"
            why = f"{where} no conclusion in words" + (
                ", no answer known to look for" if not trace.answer else " and no answer"
            )
            return NotApplicable(trace, self.name, why)
        kept = [s for s, g in zip(steps, gone, strict=True) if not g]
        return finish(trace, join(kept), self.name, "the text is empty")


def _concludes(step: Step, answer: str | None) -> bool:
    if CONCLUSION.search(step.body) is not None:
        return True
    return bool(answer and answer.strip()) and contains_answer(step.body, str(answer))


@dataclass(frozen=True, slots=True)
class StripHint:
    """Remove every step that names the treatment.

    Parameters
    ----------
    words
        Words or phrases that name it, found as by `names_treatment`.
    how
        How the text is cut into steps.

    Notes
    -----
    Steps are removed, traces are not dropped: dropping those that name the hint would select
    traces by what the hint did to them. What is said of the hint in other words stays.

    Examples
    --------
    >>> StripHint(("professor",))(Trace("The professor says B. 2 + 3 = 5.")).text
    '2 + 3 = 5.'
    """

    words: Sequence[str]
    how: How = "auto"

    def __post_init__(self) -> None:
        if not self.words or isinstance(self.words, str):
            raise SpecError(
                f"StripHint takes a list of words that name the hint, got {self.words!r}"
            )
        object.__setattr__(self, "words", tuple(self.words))

    @property
    def name(self) -> str:
        return "strip hint"

    @property
    def control(self) -> Edit | None:
        return DeleteStep(how=self.how)

    def __call__(self, trace: Trace, /) -> Edited:
        steps = steps_of(trace, self.how)
        kept = [s for s in steps if not names_treatment(s.body, self.words)]
        if len(kept) == len(steps):
            return NotApplicable(trace, self.name, "no step names the hint")
        return finish(trace, join(kept), self.name, "the text is empty")

"""A reasoning text as a value: what was written, for which question, under which prompt."""

from __future__ import annotations

from dataclasses import dataclass, replace

from crossworld.core.regime import Level, check_level
from crossworld.errors import DesignError


@dataclass(frozen=True, slots=True)
class Trace:
    """One reasoning text; the mediator of a reasoning study.

    Parameters
    ----------
    text
        The reasoning, exactly as the model wrote it or as it was edited; an empty text is a trace.
    question
        Id of the question it answers.
    arm
        Prompt arm under which it was sampled.
    draw
        Index of the independent draw.
    id
        Identity of the trace, the same before and after an edit; made from question, arm and draw
        when not given.
    answer
        The answer the model gave after it, where known.
    edits
        Names of the edits made to it, in order; empty for the text as written.

    Raises
    ------
    DesignError
        If the text is no text.

    Examples
    --------
    >>> Trace("2 + 3 = 5.", "q1", 1).id
    'q1/1/0'
    """

    text: str
    question: str = ""
    arm: Level = 1
    draw: int = 0
    id: str = ""
    answer: str | None = None
    edits: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise DesignError(
                f"a trace holds text, got {self.text!r}; an absent reasoning is the empty text ''"
            )
        check_level(self.arm)
        if not self.id:
            object.__setattr__(self, "id", f"{self.question}/{self.arm}/{self.draw}")

    def __len__(self) -> int:
        return len(self.text)

    def edited(self, text: str, edit: str) -> Trace:
        """Return the trace with another text and the name of the edit that made it."""
        return replace(self, text=text, edits=(*self.edits, edit))

"""The edits of the recording: what is done to a careful text, and the control that keeps it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from crossworld.reasoning.edits.mistake import NumericMistake
from crossworld.reasoning.edits.order import Shuffle
from crossworld.reasoning.edits.protocol import Edit, Edited, NotApplicable, finish
from crossworld.reasoning.edits.remove import DeleteStep, Filler, Truncate
from crossworld.reasoning.edits.strip import StripConclusion
from crossworld.reasoning.trace import Trace

__all__ = ["Commuted", "pocket_edits"]

_SUM = re.compile(r"(?<![\d+])(\d)\+(\d)(?==)")


@dataclass(frozen=True, slots=True)
class Commuted:
    r"""Write every sum of two terms the other way round: other characters, the same content.

    It is the paraphrase of texts that are sums, and so the control of edits that change what is
    said. Sums of equal terms, and lines that add three terms at once, stay as they are.

    Examples
    --------
    >>> Commuted()(Trace("3+8=1\n1+5=6")).text
    '8+3=1\n5+1=6'
    """

    @property
    def name(self) -> str:
        return "paraphrase"

    @property
    def control(self) -> Edit | None:
        return None

    def __call__(self, trace: Trace, /) -> Edited:
        text = _SUM.sub(r"\2+\1", trace.text)
        return finish(trace, text, self.name, "no sum of two different terms is there")


@dataclass(frozen=True, slots=True)
class Neat:
    r"""An edit without the line break it leaves at the end, so that every text has one layout.

    Parameters
    ----------
    edit
        The edit; its name and control stay.

    Examples
    --------
    >>> Neat(Truncate(0.5, how="lines"))(Trace("3+8=1\n1+5=6")).text
    '3+8=1'
    """

    edit: Edit

    @property
    def name(self) -> str:
        return self.edit.name

    @property
    def control(self) -> Edit | None:
        return Commuted()

    def __call__(self, trace: Trace, /) -> Edited:
        made = self.edit(trace)
        if isinstance(made, NotApplicable):
            return made
        return finish(trace, made.text.rstrip("\n"), self.name, "nothing but a line break changed")


def pocket_edits() -> tuple[Edit, ...]:
    """Edits that were recorded, in the order of the card.

    Returns
    -------
    tuple of Edit
        First the control, which keeps the content, then those that destroy some of it.

    Examples
    --------
    >>> [edit.name for edit in pocket_edits()][:4]
    ['paraphrase', 'mistake(result)', 'strip conclusion', 'delete']
    """
    harmful = (
        NumericMistake("result", spare_last=False, how="lines"),
        StripConclusion(how="lines"),
        DeleteStep(how="lines"),
        Shuffle(how="lines"),
        Truncate(0.5, how="lines"),
        Filler(".", unit="characters"),
    )
    return (Commuted(), *(Neat(edit) for edit in harmful))

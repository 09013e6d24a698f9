"""What an edit is: a trace goes in, another trace or the reason why there is none comes out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from crossworld.reasoning.segment import How, Step, segment
from crossworld.reasoning.trace import Trace


@dataclass(frozen=True, slots=True)
class NotApplicable:
    """An edit that could not be made: the text would have stayed what it is.

    Parameters
    ----------
    trace
        The trace, unchanged.
    edit
        Name of the edit.
    reason
        Why, in words.

    Examples
    --------
    >>> from crossworld.reasoning.edits import Truncate
    >>> Truncate(1.0)(Trace("One. Two.")).reason
    'nothing is cut off when all 2 steps are kept'
    """

    trace: Trace
    edit: str
    reason: str


Edited = Trace | NotApplicable


class Edit(Protocol):
    """A change made to a reasoning text: a mediator intervention, never an indirect effect."""

    @property
    def name(self) -> str:
        """The edit's name in cells: ``Y(1, M(1, name))``."""
        ...

    @property
    def control(self) -> Edit | None:
        """The edit it is to be compared with; None: the trace as it was written, replayed."""
        ...

    def __call__(self, trace: Trace, /) -> Edited:
        """Edit a trace."""
        ...


@dataclass(frozen=True, slots=True)
class Applied:
    """What an edit did to many traces.

    Parameters
    ----------
    traces
        Those that were changed.
    refused
        Those that were not, with the reason.
    """

    traces: tuple[Trace, ...]
    refused: tuple[NotApplicable, ...]


def apply(edit: Edit, traces: Iterable[Trace]) -> Applied:
    """Edit many traces and keep account of those the edit does not apply to.

    Examples
    --------
    >>> from crossworld.reasoning.edits import DeleteStep
    >>> done = apply(DeleteStep(1), [Trace("One. Two.", "a"), Trace("One.", "b")])
    >>> [t.text for t in done.traces], [r.trace.question for r in done.refused]
    (['One. '], ['b'])
    """
    made = [edit(trace) for trace in traces]
    return Applied(
        tuple(m for m in made if isinstance(m, Trace)),
        tuple(m for m in made if isinstance(m, NotApplicable)),
    )


def finish(trace: Trace, text: str, edit: str, reason: str) -> Edited:
    """Return the edited trace, or the reason when the text did not change."""
    if text == trace.text:
        return NotApplicable(trace, edit, reason)
    return trace.edited(text, edit)


def generator(trace: Trace, edit: str, seed: int) -> np.random.Generator:
    """Return the generator that belongs to one trace, edit and seed, whatever the order of work."""
    key = hashlib.sha256(f"{trace.id}\x00{edit}".encode()).digest()[:16]
    return np.random.default_rng(np.random.SeedSequence([seed, int.from_bytes(key, "big")]))


def steps_of(trace: Trace, how: How) -> tuple[Step, ...]:
    """Return the steps of a trace that hold anything."""
    return tuple(s for s in segment(trace.text, how) if not s.is_blank)


def choose(steps: Sequence[Step], index: int | None, rng: np.random.Generator) -> int | None:
    """Return a step's position: the one asked for (negative counts from the end), or any."""
    if index is None:
        return int(rng.integers(len(steps))) if steps else None
    at = index + len(steps) if index < 0 else index
    return at if 0 <= at < len(steps) else None

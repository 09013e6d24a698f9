"""A model that answers from a log and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from crossworld.errors import DesignError
from crossworld.reasoning.log import read_log
from crossworld.reasoning.models.protocol import Completion, Request
from crossworld.reasoning.rows import Readout, request_fingerprint


@dataclass(frozen=True, slots=True)
class RecordedModel:
    """Give the recorded answer to every request that was made, found by all of its fields.

    Where two traces of one question happen to be the same text, their replays under one arm and
    draw are the same request, and both get the answer recorded first.

    Parameters
    ----------
    rows
        The readouts of one model.

    Raises
    ------
    DesignError
        If the rows are none, or of several models.

    Examples
    --------
    >>> import asyncio, tempfile
    >>> from crossworld.reasoning.collect import collect_now
    >>> from crossworld.reasoning.models.simulated import SimulatedReasoner
    >>> from crossworld.reasoning.plan import Plan, Question, Template
    >>> plan = Plan((Question("q1"),), (Template("0", ""), Template("1", "")))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = collect_now(plan, SimulatedReasoner(), log=f"{folder}/a.jsonl")
    ...     model = RecordedModel.from_log(f"{folder}/a.jsonl")
    >>> request = plan.request(next(plan.calls()), None)
    >>> live = asyncio.run(SimulatedReasoner().complete(request))
    >>> asyncio.run(model.complete(request)).text == live.text
    True
    """

    rows: tuple[Readout, ...]
    _by_request: dict[str, Readout] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = sorted({row.model for row in self.rows})
        if len(names) != 1:
            raise DesignError(
                f"a recorded model needs the rows of one model, got those of {names}; "
                "name one of them"
            )
        first_wins = {row.request: row for row in reversed(self.rows)}
        object.__setattr__(self, "_by_request", first_wins)

    @classmethod
    def from_log(cls, file: str | Path, model: str | None = None) -> RecordedModel:
        """Read a log; ``model`` picks one of several.

        Raises
        ------
        DesignError
            If the log cannot be read or does not hold exactly one such model.
        """
        return cls(_of(read_log(file), model))

    @property
    def name(self) -> str:
        """Name of the model that answered."""
        return self.rows[0].model

    @property
    def modes(self) -> frozenset[str]:
        """The replay modes of the recorded replays."""
        return frozenset(row.mode for row in self.rows if row.mode)

    async def complete(self, request: Request) -> Completion:
        row = self._by_request.get(request_fingerprint(request))
        if row is None:
            raise DesignError(
                f"the log has no answer to question {request.question!r} under arm "
                f"{request.arm!r}, draw {request.draw}, with exactly this prompt, reasoning and "
                "sampling; collect it first"
            )
        return Completion(
            text=row.text,
            reasoning="" if row.replayed else row.shown,
            answer=row.answer,
            probabilities=row.probabilities,
            tokens_in=row.tokens_in,
            tokens_out=row.tokens_out,
            finish=row.finish,
            model=row.snapshot,
            hidden=row.hidden,
            cost=row.cost,
        )


def _of(rows: Iterable[Readout], model: str | None) -> tuple[Readout, ...]:
    return tuple(row for row in rows if model in (None, row.model))

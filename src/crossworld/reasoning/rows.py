"""The row of the cell table: one readout, and what makes it the same readout as another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from crossworld.errors import DesignError
from crossworld.reasoning.models.protocol import Request

STRIDE = 10_000
IDENTITY = (
    "question", "wording", "prompt", "reasoning", "trace", "edit", "draw", "replayed", "readout",
    "mode", "model", "template", "asked", "cue", "choices", "temperature", "max_tokens",
)  # fmt: skip
REQUEST = tuple(f.name for f in fields(Request))


def draw_index(trace: Any, readout: Any) -> Any:
    """Return ``readout * 10000 + trace``: unique in a cell, and stable when either number grows."""
    return readout * STRIDE + trace


def fingerprint(value: object) -> str:
    """Return 32 hexadecimal digits of the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def request_fingerprint(request: Request) -> str:
    """Return the fingerprint of everything a model is asked, the draw index included."""
    return fingerprint({name: getattr(request, name) for name in REQUEST})


def identity_key(values: Mapping[str, Any]) -> str:
    """Return the key of a readout from the values of its ``IDENTITY``."""
    return fingerprint({name: values[name] for name in IDENTITY})


@dataclass(frozen=True, slots=True)
class Readout:
    """One readout: a row of the cell table and a line of the log.

    Parameters
    ----------
    question, wording
        Ids of the question and of the wording of its prompt.
    prompt
        Prompt arm answered under.
    reasoning
        Arm under which the shown trace was sampled, or the name of its source; equals ``prompt``
        when the model reasoned for itself.
    trace, draw
        Id of the trace, and index of the readout, unique in its cell.
    edit
        Name of the edit, None without.
    replayed
        1 when reasoning was shown, 0 when the model wrote its own.
    readout
        ``free``, ``forced`` or ``choice``.
    shown
        The reasoning the answer was given after: shown, or written by the model itself.
    text
        Everything the model wrote in this call.
    answer, correct
        The answer (None: unparsable) and whether it is right (None: no right answer is known).
    p_answer, probabilities
        Probability of the right answer, and of each choice; None when not asked.
    tokens_in, tokens_out, cost
        What the call took.
    model, snapshot, mode
        Name of the model, the snapshot it reports, replay mode.
    template, asked
        SHA-256 of the prompt template, and fingerprint of the prompt it gave.
    leaked
        1 when the reasoning states the answer its author gave.
    temperature, max_tokens, cue, choices
        Sampling parameters and the form of the question.
    finish, hidden, retries
        Why the model stopped, whether it reasoned where nobody can see, failures before success.
    request
        Fingerprint of the request, by which a recorded model answers again.
    """

    question: str
    wording: str
    prompt: str
    reasoning: str
    trace: str
    draw: int
    edit: str | None
    replayed: int
    readout: str
    shown: str
    text: str
    answer: str | None
    correct: int | None
    p_answer: float | None
    probabilities: dict[str, float] | None
    tokens_in: int
    tokens_out: int
    cost: float | None
    model: str
    snapshot: str
    mode: str
    template: str
    asked: str
    leaked: int
    temperature: float
    max_tokens: int
    cue: str
    choices: list[str]
    finish: str
    hidden: bool
    retries: int
    request: str

    @property
    def key(self) -> str:
        """What makes two rows the same readout: every field of ``IDENTITY``."""
        return identity_key({name: getattr(self, name) for name in IDENTITY})

    def line(self, key: str | None = None) -> str:
        """Return the row as one line of JSON with its key, which is made unless it is given."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return json.dumps({"key": key or self.key, **values}, ensure_ascii=True) + "\n"

    @classmethod
    def from_json(cls, row: Mapping[str, Any], where: str) -> Readout:
        """Build a row from a parsed line.

        Raises
        ------
        DesignError
            If fields are missing or unknown, or the key does not belong to the row.
        """
        names = {f.name for f in fields(cls)}
        given = set(row) - {"key"}
        if given != names:
            missing, extra = sorted(names - given), sorted(given - names)
            raise DesignError(f"{where} is no readout: missing {missing}, unknown {extra}")
        made = cls(**{name: row[name] for name in names})
        if row.get("key") != made.key:
            raise DesignError(f"{where} was changed: its key does not belong to its fields")
        return made

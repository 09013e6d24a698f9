"""The one protocol a language model fulfils: a request goes in, a completion comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

ReplayMode = Literal["continuation", "final-message", "prefill", "user-turn"]


@dataclass(frozen=True, slots=True)
class Request:
    r"""One call: a prompt, and possibly reasoning that is shown and held fixed.

    Parameters
    ----------
    question
        Id of the question.
    arm
        Prompt arm under which the model answers.
    prompt
        The whole prompt text of that arm for that question.
    shown
        Reasoning put before the answer and held fixed. None lets the model write its own; an
        empty text is an (empty) trace, not an absent one.
    cue
        Text after the reasoning that asks for the answer, such as ``"\nAnswer:"``.
    choices
        The answers the readout is restricted to, with probabilities; empty asks for free text.
    draw
        Index of the independent draw. It is part of every key, so that a repeated draw is a
        repeated draw and never a remembered one.
    temperature
        Sampling temperature; 0 is greedy.
    max_tokens
        Most tokens the model may write.

    Examples
    --------
    >>> Request("q1", "cot", "What is 2 + 3?", shown="2 + 3 = 5.", cue="\nAnswer:").draw
    0
    """

    question: str
    arm: str
    prompt: str
    shown: str | None = None
    cue: str = ""
    choices: tuple[str, ...] = ()
    draw: int = 0
    temperature: float = 1.0
    max_tokens: int = 512


@dataclass(frozen=True, slots=True)
class Completion:
    """What came back.

    Parameters
    ----------
    text
        Everything the model wrote.
    reasoning
        The part before the cue, or the reasoning channel.
    answer
        The parsed or chosen answer; None when it could not be parsed.
    probabilities
        Probability of each of the request's choices.
    tokens_in, tokens_out
        Token counts as the provider charges them.
    finish
        Why the model stopped: ``stop``, ``length``, or the provider's own word.
    model
        Snapshot name as the provider reports it.
    hidden
        True when the model reasoned where we cannot see or replay it.
    cost
        Price in the currency of the model's price list; None when not known.
    """

    text: str
    reasoning: str = ""
    answer: str | None = None
    probabilities: Mapping[str, float] | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    finish: str = "stop"
    model: str = ""
    hidden: bool = False
    cost: float | None = None


class LanguageModel(Protocol):
    """Anything that answers requests."""

    @property
    def name(self) -> str:
        """Snapshot name, written into every row."""
        ...

    @property
    def modes(self) -> frozenset[str]:
        """Replay modes the model can do; empty: it cannot replay."""
        ...

    async def complete(self, request: Request) -> Completion:
        """Answer one request."""
        ...

"""A local model behind guidance: answers restricted, token by token, to choices or a pattern."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError, MissingExtraError
from crossworld.reasoning.models.failures import RefusedError
from crossworld.reasoning.models.parse import read_answer, split_answer
from crossworld.reasoning.models.protocol import Completion, Request
from crossworld.reasoning.models.sums import digest
from crossworld.reasoning.models.transformers import gumbel_argmax

Array = NDArray[np.float64]

REMOTE = (
    "{kind} has no engine here: guidance can restrict answers on local models alone (its `select` "
    "is not supported on OpenAI and other remote backends); use models.Transformers or "
    "models.LlamaCpp, or InspectModel for a remote model"
)


@contextmanager
def seeded(key: int) -> Iterator[None]:
    """Seed numpy's global state, the only one guidance draws from, and put it back."""
    held = np.random.get_state()  # noqa: NPY002
    np.random.seed(np.random.SeedSequence(key).generate_state(4))  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(held)  # noqa: NPY002


@dataclass(frozen=True, slots=True)
class GuidanceModel:
    r"""A model of guidance with an engine of its own; constrained answers, one token at a time.

    The reasoning is continued as raw text (``prompt + shown + cue``). A readout with choices is
    drawn token by token from the model's law restricted to what can still become a choice; where
    every choice is a single token, that law is

    .. math:: p_c = e^{l_c / T} \Big/ \sum_{c'} e^{l_{c'} / T}

    and is returned, exactly. Longer choices are drawn from a law that guidance restricts at every
    token and that need not be proportional to the model's own, so no probabilities are returned.

    Parameters
    ----------
    model
        A ``guidance.models`` object such as ``guidance.models.Transformers(...)``.
    label
        Name of the snapshot, written into every row; guidance does not know it.
    seed
        Seed of the draws. Those of single-token choices and of free text are Gumbel-max with noise
        that depends on question, draw and position and not on the prompt; guidance's own depend on
        arm and text shown as well.
    lead
        Text between the cue and the answer, such as a space.
    pattern
        Regular expression that a forced answer without choices has to match, such as ``r"-?\d+"``.
    limit
        Most characters of prompt, reasoning and cue; a longer request is refused, never cut.

    Raises
    ------
    MissingExtraError
        If guidance is not installed.
    DesignError
        If the model has no local engine, or no name is given.

    Examples
    --------
    >>> import pytest
    >>> guidance = pytest.importorskip("guidance")
    >>> mock = guidance.models.Mock(b"<s>2 + 3?Answer: B", echo=False)
    >>> model = GuidanceModel(mock, "mock", lead="")
    >>> model.modes
    frozenset({'continuation'})
    """

    model: Any
    label: str
    seed: int = 0
    lead: str = " "
    pattern: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if importlib.util.find_spec("guidance") is None:
            raise MissingExtraError.for_feature("asking a model through guidance", "guidance")
        if not isinstance(self.label, str) or not self.label.strip():
            raise DesignError(f"label= names the model's snapshot in the log, got {self.label!r}")
        if self._engine() is None:
            raise DesignError(REMOTE.format(kind=type(self.model).__name__))

    @property
    def name(self) -> str:
        """The label."""
        return self.label

    @property
    def modes(self) -> frozenset[str]:
        """Raw continuation only."""
        return frozenset({"continuation"})

    async def complete(self, request: Request) -> Completion:
        text = request.prompt
        if request.shown is not None:
            text = f"{text}{request.shown}{request.cue}"
        if self.limit is not None and len(text) > self.limit:
            raise RefusedError.too_long(len(text), self.limit, "characters")
        if request.shown is None or not (request.choices or (self.pattern and request.cue)):
            return self._free(text, request)
        text += self.lead
        scores = self._scores(text, request.choices) if request.choices else None
        if scores is None:
            said = self._restricted(text, request)
            answer = said if request.choices else read_answer(said)
            return self._completion(text, self.lead + said, answer=answer)
        said = request.choices[gumbel_argmax(scores, request.temperature, self._noise(request, 0))]
        law = np.exp((scores - scores.max()) / (request.temperature or 1.0))
        shares = dict(zip(request.choices, (law / law.sum()).tolist(), strict=True))
        return self._completion(text, self.lead + said, answer=said, law=shares)

    def _noise(self, request: Request, position: int) -> np.random.Generator:
        """Noise that both prompts share, as in `TransformersModel`."""
        return np.random.default_rng(digest(self.seed, request.question, request.draw, position))

    def _free(self, text: str, request: Request) -> Completion:
        """Write without a grammar, from the engine's logits.

        guidance 0.3 reports temperature 0 for `gen`, so that all draws of it would be one draw.
        """
        engine = self._engine()
        tokenizer = engine.tokenizer
        begun = tokenizer.recode(tokenizer.encode(text.encode()))
        written: list[int] = []
        finish = "length"
        while len(written) < request.max_tokens:
            logits = self._logits([*begun, *written])
            noise = self._noise(request, len(written))
            token = gumbel_argmax(logits, request.temperature, noise)
            if token == tokenizer.eos_token_id:
                finish = "stop"
                break
            written.append(token)
        said = tokenizer.decode(written).decode(errors="replace")
        before, after = split_answer(said, request.cue)
        replayed = request.shown is not None
        answer = said if replayed and after is None else after
        made = self._completion(text, said, answer=read_answer(answer, request.choices))
        return replace(made, reasoning="" if replayed else before, finish=finish)

    def _restricted(self, text: str, request: Request) -> str:
        """Let guidance go on from a text under a grammar; what it wrote."""
        from guidance import capture, regex, select, with_temperature

        node = select(list(request.choices)) if request.choices else regex(self.pattern)
        asked = (request.question, request.arm, request.draw, request.shown)
        begun = self.model.copy()
        begun.echo = False
        self._forget()
        with seeded(digest(self.seed, *asked)):
            try:
                said = capture(with_temperature(node, request.temperature), "said")
                return str((begun + text + said)["said"])
            except Exception as error:
                told = f"{type(error).__name__}: {error}"[:300]
                raise RefusedError(
                    f"guidance could not answer {request.question!r}: {told}"
                ) from error

    def _completion(
        self, text: str, said: str, *, answer: str | None, law: dict[str, float] | None = None
    ) -> Completion:
        count = self._engine().tokenizer.encode
        return Completion(
            text=said,
            answer=answer,
            probabilities=law,
            tokens_in=len(count(text.encode())),
            tokens_out=len(count(said.encode())),
            model=self.label,
        )

    def _engine(self) -> Any:
        return getattr(getattr(self.model, "_interpreter", None), "engine", None)

    def _forget(self) -> None:
        """Drop what the engine remembers: guidance cannot shorten the caches of transformers 5."""
        engine = self._engine()
        if hasattr(engine, "_past_key_values"):
            engine._past_key_values, engine._cached_logits = None, None
            engine._cached_token_ids = []

    def _logits(self, ids: list[int]) -> Array:
        """Logits of the next token, shape (vocabulary,)."""
        self._forget()
        held = np.asarray(self._engine().get_logits(ids)["logits"], dtype=np.float64)
        return held[-1] if held.ndim > 1 else held

    def _scores(self, text: str, choices: tuple[str, ...]) -> Array | None:
        """Logits of single-token choices; None where one is no single token after the text."""
        tokenizer = self._engine().tokenizer
        before = list(tokenizer.encode(text.encode()))
        tokens = []
        for choice in choices:
            whole = list(tokenizer.encode(f"{text}{choice}".encode()))
            if len(whole) != len(before) + 1 or whole[:-1] != before:
                return None
            tokens.append(whole[-1])
        held = self._logits(tokenizer.recode(before))[tokens]
        return held if np.isfinite(held.max()) else None

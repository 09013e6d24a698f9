"""A local model behind guidance: answers restricted, token by token, to choices or a pattern."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from crossworld.errors import DesignError, MissingExtraError
from crossworld.reasoning.models.failures import RefusedError
from crossworld.reasoning.models.parse import read_answer, split_answer
from crossworld.reasoning.models.protocol import Completion, Request
from crossworld.reasoning.models.sums import digest

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
        Seed of the draws, which depend on question, arm, draw and text shown besides.
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
        asked = (request.question, request.arm, request.draw, request.shown)
        begun = self.model.copy()
        begun.echo = False
        with seeded(digest(self.seed, *asked)):
            if request.shown is not None and (request.choices or (self.pattern and request.cue)):
                return self._restricted(begun, text, request)
            return self._free(begun, text, request)

    def _restricted(self, begun: Any, text: str, request: Request) -> Completion:
        from guidance import regex, select, with_temperature

        node = select(list(request.choices)) if request.choices else regex(self.pattern)
        text += self.lead
        said = self._add(begun, text, with_temperature(node, request.temperature), request)
        law = self._law(text, request) if request.choices else None
        answer = said if request.choices else read_answer(said)
        return self._completion(text, self.lead + said, answer=answer, law=law)

    def _free(self, begun: Any, text: str, request: Request) -> Completion:
        from guidance import gen

        node = gen(max_tokens=request.max_tokens, temperature=request.temperature)
        said = self._add(begun, text, node, request)
        before, after = split_answer(said, request.cue)
        replayed = request.shown is not None
        answer = said if replayed and after is None else after
        made = self._completion(text, said, answer=read_answer(answer, request.choices))
        return replace(made, reasoning="" if replayed else before)

    def _add(self, begun: Any, text: str, node: Any, request: Request) -> str:
        """Let guidance go on from a text; what it wrote."""
        from guidance import capture

        self._forget()
        try:
            done = begun + text + capture(node, "said")
        except Exception as error:
            told = f"{type(error).__name__}: {error}"[:300]
            raise RefusedError(f"guidance could not answer {request.question!r}: {told}") from error
        return str(done["said"])

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

    def _law(self, text: str, request: Request) -> dict[str, float] | None:
        """Law of single-token choices; None where one takes several, or tokens straddle the cue."""
        engine = self._engine()
        encode = engine.tokenizer.encode
        before = list(encode(text.encode()))
        tokens = []
        for choice in request.choices:
            whole = list(encode(f"{text}{choice}".encode()))
            if len(whole) != len(before) + 1 or whole[:-1] != before:
                return None
            tokens.append(whole[-1])
        self._forget()
        logits = np.asarray(engine.get_logits(engine.tokenizer.recode(before))["logits"])
        if logits.ndim > 1:
            logits = logits[-1]
        held = logits[tokens].astype(np.float64)
        if not math.isfinite(held.max()):
            return None
        if request.temperature == 0:
            law = np.arange(held.size) == held.argmax()
        else:
            law = np.exp((held - held.max()) / request.temperature)
        return dict(zip(request.choices, (law / law.sum()).tolist(), strict=True))

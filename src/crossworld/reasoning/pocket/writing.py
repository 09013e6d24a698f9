"""One text while the pocket reasoner writes it: what may come next, and what is drawn."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from crossworld.errors import DesignError, EstimationError
from crossworld.reasoning.models.protocol import Completion, Request
from crossworld.reasoning.pocket.characters import CharacterTokenizer
from crossworld.reasoning.pocket.tasks import CHOICES, CUE

__all__ = ["Writing"]


class Writing:
    """The state of one request: its tokens so far, its own random numbers, its readout.

    Parameters
    ----------
    request : Request
        What is asked.
    tokenizer : CharacterTokenizer
        The model's characters.
    limit : int
        Characters that the model reads.
    seed : int
        Seed of the draws.

    Raises
    ------
    DesignError
        For unknown characters, choices that are not single characters, or a temperature or length
        that makes no sense.
    EstimationError
        For a text that leaves no room for an answer.
    """

    __slots__ = (
        "answers", "choices", "cue", "ends", "eos", "finish", "legal", "probabilities", "prompt",
        "request", "start", "tokens", "uniforms", "written",
    )  # fmt: skip

    def __init__(
        self, request: Request, tokenizer: CharacterTokenizer, *, limit: int, seed: int
    ) -> None:
        if request.temperature < 0 or request.max_tokens < 1:
            raise DesignError(
                f"temperature is at least 0 and max_tokens at least 1, not {request.temperature} "
                f"and {request.max_tokens}"
            )
        if any(len(choice) != 1 for choice in request.choices):
            raise DesignError(f"choices are single characters here, not {request.choices}")
        text = request.prompt + ("" if request.shown is None else request.shown + request.cue)
        if len(text) >= limit:
            raise EstimationError(
                f"the pocket reasoner reads {limit} characters, question {request.question!r} has "
                f"{len(text)}: shorten the reasoning that is shown"
            )
        self.request = request
        self.cue = request.cue or CUE
        self.ends = tokenizer.encode(self.cue)
        self.answers = request.choices or CHOICES
        self.choices = np.array(tokenizer.encode("".join(self.answers)), dtype=int)
        self.eos = tokenizer.eos
        self.legal = np.array([*tokenizer.encode(tokenizer.alphabet), tokenizer.eos])
        self.tokens = tokenizer.encode(text)
        self.start, self.prompt = len(self.tokens), len(request.prompt)
        room = min(request.max_tokens, limit - self.start)
        self.uniforms = _generator(seed, request).random(room)
        self.written, self.finish = 0, ""
        self.probabilities: np.ndarray | None = None

    def at_readout(self) -> bool:
        """Whether the cue has just been read, so that the answer is next."""
        return self.tokens[self.prompt :][-len(self.ends) :] == self.ends

    def take(self, logits: np.ndarray) -> int:
        """Draw the next token by inversion and append it; end the text where it ends.

        Parameters
        ----------
        logits : numpy.ndarray
            One number for each token of the vocabulary.

        Returns
        -------
        int
            The token.
        """
        readout = self.at_readout()
        allowed = self.choices if readout else self.legal
        law = softmax(logits[allowed], self.request.temperature)
        place = np.searchsorted(np.cumsum(law), self.uniforms[self.written], side="right")
        token = int(allowed[min(int(place), len(allowed) - 1)])
        self.written += 1
        if token == self.eos:
            self.finish = "stop"
            return token
        self.tokens.append(token)
        if readout:
            self.probabilities, self.finish = law, "stop"
        elif self.written == len(self.uniforms):
            self.finish = "length"
        return token

    def completion(self, tokenizer: CharacterTokenizer, name: str) -> Completion:
        """What the finished text amounts to."""
        request = self.request
        after = tokenizer.decode(self.tokens[self.prompt :])
        text = tokenizer.decode(self.tokens[self.start :])
        reasoning, _, rest = after.partition(self.cue)
        if request.shown is not None and request.cue:
            reasoning, rest = request.shown, text
        law = self.probabilities
        return Completion(
            text=text,
            reasoning=reasoning,
            answer=rest if rest in self.answers else None,
            probabilities=None
            if law is None
            else dict(zip(self.answers, law.tolist(), strict=True)),
            tokens_in=self.start,
            tokens_out=self.written,
            finish=self.finish,
            model=name,
        )


def softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities at a temperature; all on the largest at temperature 0."""
    held = logits.astype(float)
    if temperature == 0:
        return np.asarray(np.arange(len(held)) == held.argmax(), dtype=float)
    scaled = np.exp((held - held.max()) / temperature)
    return np.asarray(scaled / scaled.sum())


def _generator(seed: int, request: Request) -> np.random.Generator:
    """Generator that belongs to a seed and to everything that makes a request what it is."""
    identity = [
        request.question,
        request.arm,
        request.prompt,
        request.shown,
        request.cue,
        request.temperature,
        request.draw,
    ]
    digest = hashlib.sha256(json.dumps(identity).encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, np.uint32).tolist()])

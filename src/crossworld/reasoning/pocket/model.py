"""The pocket reasoner: a transformer of a third of a million parameters, in the package.

It needs the `local` extra (torch, transformers, safetensors); its recording does not.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from crossworld.decoders import read_on
from crossworld.errors import MissingExtraError
from crossworld.reasoning.models.forward import load
from crossworld.reasoning.models.protocol import Completion, Request
from crossworld.reasoning.pocket.characters import CharacterTokenizer
from crossworld.reasoning.pocket.writing import Writing

__all__ = ["WEIGHTS", "PocketReasoner"]

WEIGHTS: Final = Path(__file__).parent / "weights"
_BATCH: Final = 256
_TOKENIZER: Final = "tokenizer.json"


@dataclass(frozen=True, slots=True)
class PocketReasoner:
    r"""A language model that adds digits in writing, offline and reproducibly.

    A reasoning is continued as raw text: ``prompt + shown + cue`` is what the model reads, so a
    reasoning of its own that is shown again leaves it in the state in which it wrote it. After
    the cue the answer is one of the request's choices, or of the ten digits when it names none: the
    probabilities there are the softmax over their tokens, exactly,
    :math:`p_c = e^{l_c/T} / \sum_{c'} e^{l_{c'}/T}`, and the answer is drawn from them. Draws
    depend on the seed and on the request (question, arm, prompt, shown text, cue, temperature,
    draw) and on nothing else: neither order nor batching matter.

    Parameters
    ----------
    seed : int
        Seed of all draws.
    weights : pathlib.Path or None
        Folder with `config.json`, `model.safetensors` and `tokenizer.json`; None takes those of
        the package.

    Raises
    ------
    MissingExtraError
        When torch or transformers are not installed.
    DesignError
        For a text with characters it has never seen, or choices that are not single characters.
    EstimationError
        For a text longer than the model reads.

    Notes
    -----
    Weights are read at the first request.
    """

    seed: int = 0
    weights: Path | None = None
    _held: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def folder(self) -> Path:
        """Where the weights are."""
        return WEIGHTS if self.weights is None else Path(self.weights)

    @property
    def name(self) -> str:
        """Snapshot name: ``pocket-`` and the start of the SHA-256 of the weights."""
        content = (self.folder / "model.safetensors").read_bytes()
        return f"pocket-{hashlib.sha256(content).hexdigest()[:12]}"

    @property
    def modes(self) -> frozenset[str]:
        """Raw continuation only."""
        return frozenset({"continuation"})

    @property
    def limit(self) -> int:
        """Characters that a text can have, its reasoning and answer included."""
        held = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        return int(held["max_position_embeddings"])

    async def complete(self, request: Request) -> Completion:
        return self.complete_many([request])[0]

    def complete_many(self, requests: Sequence[Request]) -> list[Completion]:
        """Answer many requests at once; each as `complete` would answer it alone.

        Parameters
        ----------
        requests : sequence of Request
            The requests, in any order.

        Returns
        -------
        list of Completion
            One a request, in the same order.
        """
        model, tokenizer = self._model(), CharacterTokenizer.from_file(self.folder / _TOKENIZER)
        limit, name = self.limit, self.name
        texts = [Writing(it, tokenizer, limit=limit, seed=self.seed) for it in requests]
        groups: dict[int, list[Writing]] = {}
        for text in texts:
            groups.setdefault(len(text.tokens), []).append(text)
        for group in groups.values():
            for start in range(0, len(group), _BATCH):
                self._write(model, tokenizer, group[start : start + _BATCH])
        return [text.completion(tokenizer, name) for text in texts]

    def _model(self) -> Any:
        if "model" not in self._held:
            for library in ("torch", "transformers"):
                if importlib.util.find_spec(library) is None:
                    raise MissingExtraError.for_feature("the pocket reasoner", "local")
            self._held["model"] = load(self.folder)
        return self._held["model"]

    def _write(self, model: Any, tokenizer: CharacterTokenizer, group: list[Writing]) -> None:
        import torch

        feed, cache = torch.tensor([text.tokens for text in group]), None
        with torch.inference_mode():
            while True:
                seen, cache = read_on(model, feed, cache)
                logits = seen[:, -1].numpy()
                last = [
                    tokenizer.pad if text.finish else text.take(row)
                    for text, row in zip(group, logits, strict=True)
                ]
                if all(text.finish for text in group):
                    return
                feed = torch.tensor(last)[:, None]

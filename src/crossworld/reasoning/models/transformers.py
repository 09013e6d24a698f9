"""A model whose weights lie in a folder here: exact answer probabilities, shared-noise draws."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from crossworld.decoders import read_on
from crossworld.errors import DesignError, MissingExtraError
from crossworld.reasoning.models.failures import RefusedError
from crossworld.reasoning.models.forward import end_scores, load
from crossworld.reasoning.models.parse import read_answer, split_answer
from crossworld.reasoning.models.protocol import Completion, Request
from crossworld.reasoning.models.sums import digest


def gumbel_argmax(logits: np.ndarray, temperature: float, noise: np.random.Generator) -> int:
    r"""Draw from ``softmax(logits / temperature)`` as ``argmax(logits / temperature + G)``.

    The same noise under two sets of logits gives draws that differ only where the logits say so:
    common random numbers for a pair of prompts. Temperature 0 is the largest logit.

    Parameters
    ----------
    logits
        Any log-weights, one per outcome.
    temperature
        At least 0.
    noise
        Where the Gumbel noise comes from; one number per outcome is taken.

    References
    ----------
    Maddison, Tarlow & Minka (2014), A* sampling.

    Examples
    --------
    >>> rngs = [np.random.default_rng(3) for _ in range(2)]
    >>> one, other = (gumbel_argmax(np.log([0.2, 0.8]) + shift, 1.0, r)
    ...               for r, shift in zip(rngs, (0, 5)))
    >>> one == other
    True
    """
    if temperature == 0:
        return int(np.argmax(logits))
    return int(np.argmax(logits / temperature + noise.gumbel(size=len(logits))))


@dataclass(frozen=True, slots=True)
class Layout:
    """The tokens of a text that shows reasoning.

    Parameters
    ----------
    ids
        All tokens: prompt, reasoning, cue.
    inside
        Positions of the tokens that lie in the reasoning.
    spans
        Where each of those stands in the reasoning, in characters.
    cut
        Tokens that straddle an end of the reasoning; they count as prompt or cue.
    """

    ids: tuple[int, ...]
    inside: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    cut: int = 0


@dataclass(frozen=True, slots=True)
class TransformersModel:
    r"""A causal language model of the transformers library, read from a folder of safetensors.

    The reasoning is continued as raw text (``prompt + shown + cue``), or with ``chat`` in the
    model's own turn after its chat template. With choices, the law at the readout is exact,

    .. math:: p_c \propto \exp\Big(\tfrac1T \sum_t \log P(c_t \mid \text{text}, c_{<t})\Big) ,

    and all draws are Gumbel-max with noise that depends on (seed, question, draw, position) and
    not on the prompt arm.

    Parameters
    ----------
    folder
        Folder with the configuration, the tokenizer and ``*.safetensors``; nothing is downloaded
        and no pickle is read.
    seed
        Seed of the noise.
    chat
        Whether the prompt goes through the chat template.
    lead
        Text between the cue and a choice, such as a space.
    stop
        Texts that end the writing; they are kept.

    Raises
    ------
    MissingExtraError
        If torch or transformers is not installed.
    DesignError
        If the folder holds no safetensors.
    """

    folder: str | Path
    seed: int = 0
    chat: bool = False
    lead: str = " "
    stop: tuple[str, ...] = ()
    _held: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not list(Path(self.folder).glob("*.safetensors")):
            raise DesignError(f"{str(self.folder)!r} holds no *.safetensors; pickles are not read")
        for library in ("torch", "transformers"):
            if importlib.util.find_spec(library) is None:
                raise MissingExtraError.for_feature("a model from a local folder", "local")

    @property
    def name(self) -> str:
        """Name of the folder and the start of the SHA-256 of its weights."""
        if "name" not in self._held:
            told = hashlib.sha256()
            for file in sorted(Path(self.folder).glob("*.safetensors")):
                with file.open("rb") as data:
                    while block := data.read(2**20):
                        told.update(block)
            self._held["name"] = f"{Path(self.folder).resolve().name}-{told.hexdigest()[:12]}"
        return str(self._held["name"])

    @property
    def modes(self) -> frozenset[str]:
        """Raw continuation, or the model's own turn."""
        return frozenset({"final-message" if self.chat else "continuation"})

    async def complete(self, request: Request) -> Completion:
        model, tokenizer = self._load()
        replayed = request.shown is not None
        text = self._prompt(request, tokenizer)
        ids = list(tokenizer(text, add_special_tokens=not self.chat)["input_ids"])
        most = getattr(model.config, "max_position_embeddings", None)
        if most is not None and len(ids) + 1 > most:
            raise RefusedError.too_long(len(text), most)
        if replayed and request.choices:
            return self._choose(request, ids)
        room = request.max_tokens if most is None else min(request.max_tokens, most - len(ids))
        written, finish = self._write(request, ids, room)
        said = tokenizer.decode(written, skip_special_tokens=True)
        before, after = split_answer(said, request.cue)
        answer = said if replayed and after is None else after
        return Completion(
            text=said,
            reasoning="" if replayed else before,
            answer=read_answer(answer, request.choices),
            tokens_in=len(ids),
            tokens_out=len(written),
            finish=finish,
            model=self.name,
        )

    def _prompt(self, request: Request, tokenizer: Any) -> str:
        begun = request.prompt
        if self.chat:
            turn = [{"role": "user", "content": request.prompt}]
            begun = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        return begun if request.shown is None else f"{begun}{request.shown}{request.cue}"

    def _noise(self, request: Request, position: int) -> np.random.Generator:
        return np.random.default_rng(digest(self.seed, request.question, request.draw, position))

    def _choose(self, request: Request, ids: list[int]) -> Completion:
        ends = self.ends(request.choices)
        scores = self.log_probabilities(ids, ends)
        heat = request.temperature or 1.0
        law = np.exp((scores - scores.max()) / heat)
        law /= law.sum()
        k = gumbel_argmax(scores, request.temperature, self._noise(request, 0))
        return Completion(
            text=self.lead + request.choices[k],
            answer=request.choices[k],
            probabilities=dict(zip(request.choices, law.tolist(), strict=True)),
            tokens_in=len(ids),
            tokens_out=len(ends[k]),
            model=self.name,
        )

    def log_probabilities(self, ids: list[int], ends: Sequence[list[int]]) -> np.ndarray:
        """Return ``log P(end | ids)`` of several token sequences that follow the same text."""
        return np.asarray(end_scores(self._load()[0], [ids], ends)[0])

    def layout(self, request: Request) -> Layout:
        """Return the tokens of a request that shows reasoning, and which of them are reasoning.

        Raises
        ------
        DesignError
            If the request shows none, or the tokenizer cannot say where its tokens stand.
        RefusedError
            If the text is longer than the model reads.
        """
        model, tokenizer = self._load()
        if request.shown is None:
            raise DesignError(f"question {request.question!r} shows no reasoning: give shown=")
        if not getattr(tokenizer, "is_fast", False):
            raise DesignError(
                f"the tokenizer of {self.name} does not say where its tokens stand in the text; "
                "a folder with a tokenizer.json does"
            )
        text = self._prompt(request, tokenizer)
        told = tokenizer(text, add_special_tokens=not self.chat, return_offsets_mapping=True)
        most = getattr(model.config, "max_position_embeddings", None)
        if most is not None and len(told["input_ids"]) + 1 > most:
            raise RefusedError.too_long(len(text), most)
        begin = len(text) - len(request.cue) - len(request.shown)
        end = begin + len(request.shown)
        spans = [(a - begin, b - begin) for a, b in told["offset_mapping"]]
        inside = [k for k, (a, b) in enumerate(spans) if 0 <= a < b <= end - begin]
        cut = [k for k, (a, b) in enumerate(spans) if a < b and (a < 0 < b or a < end - begin < b)]
        return Layout(
            tuple(told["input_ids"]), tuple(inside), tuple(spans[k] for k in inside), len(cut)
        )

    def ends(self, answers: Sequence[str]) -> list[list[int]]:
        """Return the tokens of answers as they follow the cue."""
        _, tokenizer = self._load()
        return [
            list(tokenizer(self.lead + a, add_special_tokens=False)["input_ids"]) for a in answers
        ]

    def _write(self, request: Request, ids: list[int], room: int) -> tuple[list[int], str]:
        import torch

        model, tokenizer = self._load()
        ends = model.generation_config.eos_token_id
        eos = set(ends if isinstance(ends, list) else [ends])
        written: list[int] = []
        feed, cache = torch.tensor([ids]), None
        with torch.inference_mode():
            while len(written) < room:
                seen, cache = read_on(model, feed, cache)
                logits = seen[0, -1].double().numpy()
                noise = self._noise(request, len(written))
                token = gumbel_argmax(logits, request.temperature, noise)
                if token in eos:
                    return written, "stop"
                written.append(token)
                if self.stop and any(s in tokenizer.decode(written) for s in self.stop):
                    return written, "stop"
                feed = torch.tensor([[token]])
        return written, "length"

    def parts(self) -> tuple[Any, Any]:
        """Return the loaded model and its tokenizer."""
        return self._load()

    def _load(self) -> tuple[Any, Any]:
        if "model" not in self._held:
            import transformers

            tokenizer = transformers.AutoTokenizer.from_pretrained(
                self.folder, local_files_only=True
            )
            self._held["model"] = (load(self.folder), tokenizer)
        model, tokenizer = self._held["model"]
        return model, tokenizer

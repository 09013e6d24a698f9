"""Exported models at work: texts in, effects out, through ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError, SpecError
from crossworld.serve.model.graphs import TERMS
from crossworld.serve.model.words import Vocabulary

Floats = NDArray[np.float32]
EIGHT_BITS = b"MatMulInteger"  # the product that quantised graphs hold
BATCH = 8  # texts that an encoder reads at once
QUIET = 3  # ONNX Runtime tells errors only


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt whose effects are asked.

    Parameters
    ----------
    prompt
        Its text.
    reasoning
        The reasoning that was written for it, or None.
    arm
        0 or 1: under the reference or the active treatment the reasoning was written.
    """

    prompt: str
    reasoning: str | None = None
    arm: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """Effects of n prompts: te, nde, nie in columns. ``known`` is the share of known words."""

    estimate: NDArray[np.float64]
    std_error: NDArray[np.float64]
    known: tuple[float | None, ...]

    def rows(self, level: float) -> list[dict[str, dict[str, float]]]:
        """Return each prompt's effects with normal intervals.

        Raises
        ------
        SpecError
            If the level is not within 0 and 1.
        """
        if not 0.0 < level < 1.0:
            raise SpecError(f"level must lie between 0 and 1, got {level!r}; try 0.95")
        half = -NormalDist().inv_cdf((1.0 - level) / 2.0) * self.std_error
        found = []
        for row, (estimate, error) in enumerate(zip(self.estimate, self.std_error, strict=True)):
            low, high = estimate - half[row], estimate + half[row]
            found.append(
                {
                    term: {
                        "estimate": float(estimate[j]),
                        "std_error": float(error[j]),
                        "conf_low": float(low[j]),
                        "conf_high": float(high[j]),
                    }
                    for j, term in enumerate(TERMS)
                }
            )
        return found


def session(graph: bytes, *, threads: int = 1) -> Any:
    """Open a graph; the memory of requests is given back, so that odd shapes do not pile up.

    Raises
    ------
    DesignError
        If ONNX Runtime does not take it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = QUIET
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise DesignError(f"ONNX Runtime cannot open the graph: {str(error)[:200]}") from None


class Graph:
    """An open graph.

    Parameters
    ----------
    content
        The ONNX bytes.
    threads
        Threads of one run.

    Notes
    -----
    A graph with int8 products scales their inputs by the largest of all rows, so it is run a row at
    a time: what is told of a prompt must not depend on the prompts beside it.
    """

    def __init__(self, content: bytes, *, threads: int = 1) -> None:
        self._open = session(content, threads=threads)
        self.eight_bits = EIGHT_BITS in content
        self.inputs = frozenset(i.name for i in self._open.get_inputs())

    def __call__(self, fed: Mapping[str, NDArray[Any]]) -> list[Floats]:
        """Return its outputs for n rows."""
        n = len(next(iter(fed.values())))
        if n == 1 or not self.eight_bits:
            return call(self._open, fed)
        rows = [call(self._open, {k: v[i : i + 1] for k, v in fed.items()}) for i in range(n)]
        return [np.concatenate(parts) for parts in zip(*rows, strict=True)]


def call(opened: Any, fed: Mapping[str, Any]) -> list[Any]:
    """Run a graph.

    Raises
    ------
    DesignError
        If it cannot be run on what it is fed.
    """
    try:
        found: list[Any] = opened.run(None, fed)
    except Exception as error:
        raise DesignError(f"ONNX Runtime cannot run the graph: {str(error)[:200]}") from None
    return found


class Encoder:
    """A text encoder: tokens in, the mean of the last layer out, of length 1.

    Parameters
    ----------
    graph
        An ONNX graph with inputs ``input_ids``, ``attention_mask`` (and ``token_type_ids``), whose
        first output is (n, tokens, width), or (n, width) when it averages by itself.
    tokenizer
        The text of a ``tokenizer.json``.
    tokens
        Tokens that are read of a text; the rest is left out.
    """

    def __init__(self, graph: bytes, tokenizer: str, tokens: int) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_str(tokenizer)
        except Exception as error:
            raise DesignError(f"tokenizer.json cannot be read: {str(error)[:200]}") from None
        self._tokenizer.enable_truncation(tokens)
        self._tokenizer.enable_padding()
        self._graph = Graph(graph, threads=os.cpu_count() or 1)
        self._batch = 1 if self._graph.eight_bits else BATCH

    def features(self, texts: Sequence[str]) -> Floats:
        """Encode texts, (n, width)."""
        starts = range(0, len(texts), self._batch)
        return np.concatenate([self._read(texts[j : j + self._batch]) for j in starts])

    def _read(self, texts: Sequence[str]) -> Floats:
        read = self._tokenizer.encode_batch(list(texts))
        mask = np.array([r.attention_mask for r in read], dtype=np.int64)
        fed = {
            "input_ids": np.array([r.ids for r in read], dtype=np.int64),
            "attention_mask": mask,
            "token_type_ids": np.array([r.type_ids for r in read], dtype=np.int64),
        }
        found = self._graph({k: v for k, v in fed.items() if k in self._graph.inputs})[0]
        if found.ndim == 3:
            weight = mask[:, :, None].astype(np.float32)
            found = (found * weight).sum(axis=1) / np.maximum(weight.sum(axis=1), 1.0)
        size = np.sqrt((found**2).sum(axis=1, keepdims=True))
        return np.asarray(found / np.maximum(size, 1e-12), dtype=np.float32)


class Remembering:
    """An encoder that reads every text once.

    Parameters
    ----------
    encoder
        What reads.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder, self._held = encoder, dict[str, Floats]()

    def features(self, texts: Sequence[str]) -> Floats:
        """Encode texts, (n, width)."""
        new = list(dict.fromkeys(t for t in texts if t not in self._held))
        if new:
            self._held.update(zip(new, self._encoder.features(new), strict=True))
        return np.stack([self._held[t] for t in texts])


class Served:
    """Everything that answers a request.

    Parameters
    ----------
    graphs
        ``prompt``, ``reasoning`` (features to columns), ``effects``, ``given``.
    words
        Vocabularies of ``prompt`` and ``reasoning``; none with an encoder.
    encoder
        Reads texts in the place of vocabularies.
    """

    def __init__(
        self,
        graphs: Mapping[str, bytes],
        words: Mapping[str, Vocabulary],
        encoder: Encoder | Remembering | None = None,
    ) -> None:
        self._words, self._encoder = words, encoder
        self._open = {name: Graph(content) for name, content in graphs.items()}

    @property
    def reads_slowly(self) -> bool:
        """Whether an encoder reads the texts."""
        return self._encoder is not None

    def columns(self, role: str, texts: Sequence[str]) -> Floats:
        """Turn texts into the columns that models take: of ``prompt`` or of ``reasoning``."""
        if self._encoder is None:
            features = self._words[role].counts(texts)
        else:
            features = self._encoder.features(texts)
        return np.asarray(self._open[role]({"features": features})[0])

    def effects(self, asked: Sequence[Asked]) -> Told:
        """Tell the effects of prompts; those with a reasoning use it.

        Raises
        ------
        DesignError
            If a number is not finite.
        """
        n = len(asked)
        x = self.columns("prompt", [a.prompt for a in asked])
        estimate, error = np.empty((n, len(TERMS))), np.empty((n, len(TERMS)))
        plain = [i for i, a in enumerate(asked) if a.reasoning is None]
        given = [i for i, a in enumerate(asked) if a.reasoning is not None]
        if plain:
            estimate[plain], error[plain] = self._open["effects"]({"x": x[plain]})
        if given:
            fed = {
                "x": x[given],
                "mediators": self.columns("reasoning", [asked[i].reasoning or "" for i in given]),
                "arm": np.array([[asked[i].arm] for i in given], dtype=np.float32),
            }
            estimate[given], error[given] = self._open["given"](fed)
        if not (np.isfinite(estimate).all() and np.isfinite(error).all()):
            raise DesignError("the models gave numbers that are not finite for these texts")
        return Told(estimate, error, tuple(self._known(a) for a in asked))

    def _known(self, asked: Asked) -> float | None:
        if self._encoder is not None:
            return None
        found = self._words["prompt"].known(asked.prompt)
        if asked.reasoning is not None:
            found = min(found, self._words["reasoning"].known(asked.reasoning))
        return round(found, 4)

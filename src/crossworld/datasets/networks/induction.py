"""A real GPT-2 with weights set by hand: its induction circuit is known to the last digit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossworld.datasets.networks.build import frozen, torch_or_error
from crossworld.datasets.networks.known import KnownNetwork
from crossworld.datasets.networks.structure import INPUT, Array, Node, Structure
from crossworld.errors import DesignError

SHARP, SCALE, EPSILON = 30.0, 10.0, 1e-5
HEADS = {"previous": (0, 0), "carry": (0, 1), "induction": (1, 0), "idle": (1, 1)}


@dataclass(frozen=True, slots=True)
class _Head:
    """What one head reads and writes: scores from query and key maps, values moved."""

    query: Array
    key: Array
    value: Array
    out: Array


@dataclass(frozen=True, slots=True)
class _Circuit:
    """All weights, in the layout token | position | previous token | copy | prediction."""

    vocabulary: int
    length: int
    heads: dict[str, _Head]

    @property
    def width(self) -> int:
        """Dimension of the residual stream, even because two heads share it."""
        return _width(self.length, self.vocabulary)

    @property
    def head_width(self) -> int:
        """Dimension of a head."""
        return self.width // 2

    def norm(self, ones: int) -> tuple[float, float]:
        """Gain and bias that make a layer norm the identity on streams of so many ones."""
        mean = ones / self.width
        return float(np.sqrt(mean - mean**2 + EPSILON)), mean

    @property
    def embeddings(self) -> tuple[Array, Array]:
        """Token and position embeddings."""
        eye = np.eye(self.width)
        return eye[: self.vocabulary], eye[self.vocabulary : self.vocabulary + self.length]

    @property
    def unembedding(self) -> Array:
        """Logits from the prediction part of the stream, shape (vocabulary, width)."""
        start = 3 * self.vocabulary + self.length
        return SCALE * np.eye(self.width)[start : start + self.vocabulary]


def induction_gpt2(
    *, length: int = 12, vocabulary: int = 14, n: int = 8, seed: int = 0
) -> KnownNetwork:
    r"""Build a two-layer `GPT2LMHeadModel` that completes repeated sequences, by hand.

    Head 0.0 (``previous``) attends to the position before and writes that token into a part of the
    stream of its own; head 1.0 (``induction``) looks there for the current token and copies the
    token found to the prediction. Head 0.1 (``carry``) copies each token into a part that nothing
    uses, and head 1.1 (``idle``) attends but writes nothing; the MLPs are silent. Streams hold
    a constant number of ones, so gains and biases of the layer norms make them the identity there;
    off that manifold (ablations) they normalise as in any GPT-2, and the truth does too.

    A clean prompt is a start token, distinct tokens and then one of them again, whose successor is
    the answer. The corrupt prompt differs in the first occurrence, so nothing matches and
    attention is even. Everything runs along ``previous -> induction``: te = pnie(previous)
    = -10, nde(previous) = 0 up to exp(-30), carry and idle have no effect.

    Parameters
    ----------
    length, vocabulary
        Tokens of a prompt, at least 5, and kinds of tokens, at least as many.
    n
        Pairs.
    seed
        Seed of the prompts and of the idle head.

    Returns
    -------
    KnownNetwork
        Mediators ``previous``, ``carry``, ``induction``, ``idle`` at
        ``layers.0.heads.0`` and so on.

    References
    ----------
    Olsson et al. (2022), In-context learning and induction heads, arXiv 2209.11895.
    """
    if length < 5 or vocabulary < length or n < 1:
        raise DesignError(
            f"length is at least 5 and vocabulary at least length, got {length} and {vocabulary}"
        )
    rng = np.random.default_rng(seed)
    circuit = _circuit(length, vocabulary, rng)
    clean, corrupt, answer, wrong = _prompts(length, vocabulary, n, rng)
    torch = torch_or_error()
    return KnownNetwork(
        _model(circuit),
        torch.from_numpy(clean),
        torch.from_numpy(corrupt),
        "logit_difference",
        {name: f"layers.{layer}.heads.{head}" for name, (layer, head) in HEADS.items()},
        _structure(circuit, (clean, corrupt), (answer, wrong)),
        {"te": -SCALE, "pnie[previous]": -SCALE, "nde[previous]": 0.0, "pnie[carry]": 0.0},
        answer=answer,
        wrong=wrong,
    )


def _prompts(
    length: int, vocabulary: int, n: int, rng: np.random.Generator
) -> tuple[Any, Any, Any, Any]:
    """Clean and corrupt prompts, answers and wrong answers."""
    inner = length - 2
    drawn = np.stack([1 + rng.permutation(vocabulary - 1)[: inner + 1] for _ in range(n)])
    at = rng.integers(0, inner - 1, size=n)
    rows = np.arange(n)
    clean = np.column_stack([np.zeros(n, np.int64), drawn[:, :inner], drawn[rows, at]])
    corrupt = clean.copy()
    corrupt[rows, at + 1] = drawn[:, inner]
    shift = rng.integers(2, inner, size=n)
    return clean, corrupt, drawn[rows, at + 1], drawn[rows, (at + shift) % inner]


def _width(length: int, vocabulary: int) -> int:
    return 2 * ((4 * vocabulary + length + 1) // 2)


def _circuit(length: int, vocabulary: int, rng: np.random.Generator) -> _Circuit:
    width = _width(length, vocabulary)
    narrow = width // 2
    eye = np.eye(width)
    token, place = eye[:, :vocabulary], eye[:, vocabulary : vocabulary + length]
    start = vocabulary + length
    before, copied, said = (
        eye[:, start + k * vocabulary : start + (k + 1) * vocabulary] for k in range(3)
    )
    back = np.eye(length, k=-1)
    back[0, 0] = 1.0
    sharp = SHARP * np.sqrt(narrow)

    def pad(columns: Array) -> Array:
        return np.pad(columns, ((0, 0), (0, narrow - columns.shape[1])))

    heads = {
        "previous": _Head(pad(sharp * place @ back), pad(place), pad(token), pad(before).T),
        "carry": _Head(pad(sharp * place), pad(place), pad(token), pad(copied).T),
        "induction": _Head(pad(sharp * token), pad(before), pad(token), pad(said).T),
        "idle": _Head(
            rng.normal(size=(width, narrow)),
            rng.normal(size=(width, narrow)),
            pad(copied),
            np.zeros((narrow, width)),
        ),
    }
    return _Circuit(vocabulary, length, heads)


def _structure(circuit: _Circuit, inputs: tuple[Any, Any], asked: tuple[Any, Any]) -> Structure:
    tokens, places = circuit.embeddings
    unembed = circuit.unembedding
    answer, wrong = asked

    def embed(ids: Array) -> Array:
        return np.asarray(tokens[ids.astype(np.int64)] + places)

    def outcome(*parts: Array) -> Array:
        stream = np.sum(parts, axis=0)[:, -1]
        logits = _normed(stream, *circuit.norm(5)) @ unembed.T
        rows = np.arange(len(logits))
        return np.asarray(logits[rows, answer] - logits[rows, wrong])

    first, second = ("previous", "carry"), ("induction", "idle")
    nodes = (
        Node("embed", (INPUT,), embed),
        *(Node(name, ("embed",), _attend(circuit, name, 2)) for name in first),
        *(Node(name, ("embed", *first), _attend(circuit, name, 4)) for name in second),
        Node("y", ("embed", *first, *second), outcome),
    )
    clean, corrupt = (ids.astype(np.float64) for ids in inputs)
    return Structure(nodes, clean, corrupt)


def _attend(circuit: _Circuit, name: str, ones: int) -> Callable[..., Array]:
    """What a head adds to the stream, from everything that was added before."""
    head = circuit.heads[name]

    def value(*parts: Array) -> Array:
        stream = _normed(sum(parts), *circuit.norm(ones))
        scores = (stream @ head.query) @ (stream @ head.key).swapaxes(1, 2)
        scores = scores / np.sqrt(circuit.head_width)
        later = np.triu(np.ones(scores.shape[1:], dtype=bool), 1)
        weights = np.exp(np.where(later, -np.inf, scores - scores.max(axis=2, keepdims=True)))
        weights /= weights.sum(axis=2, keepdims=True)
        return np.asarray(weights @ (stream @ head.value) @ head.out)

    return value


def _normed(stream: Any, gain: float, bias: float) -> Array:
    """Layer norm over the last axis."""
    centred = stream - stream.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON)
    return np.asarray(centred / spread * gain + bias)


def _model(circuit: _Circuit) -> Any:
    """Write the circuit into a GPT-2."""
    torch, transformers = torch_or_error(), torch_or_error("transformers")
    config = transformers.GPT2Config(
        vocab_size=circuit.vocabulary,
        n_positions=circuit.length,
        n_embd=circuit.width,
        n_layer=2,
        n_head=2,
        layer_norm_epsilon=EPSILON,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = frozen(lambda: transformers.GPT2LMHeadModel(config))
    tokens, places = circuit.embeddings
    held = {
        "transformer.wte.weight": tokens,
        "transformer.wpe.weight": places,
        "lm_head.weight": circuit.unembedding,
    }
    for layer in (0, 1):
        own = [circuit.heads[name] for name, (at, _) in HEADS.items() if at == layer]
        parts = ("query", "key", "value")
        maps = [getattr(head, part) for part in parts for head in own]
        held[f"transformer.h.{layer}.attn.c_attn.weight"] = np.hstack(maps)
        held[f"transformer.h.{layer}.attn.c_proj.weight"] = np.vstack([head.out for head in own])
    norms = {"transformer.h.0.ln_1": 2, "transformer.h.1.ln_1": 4, "transformer.ln_f": 5}
    state = model.state_dict()
    for name, tensor in state.items():
        module, kind = name.rsplit(".", 1)
        gain, bias = circuit.norm(norms.get(module, 4))
        is_norm = ".ln_" in f".{module}"
        fill = 0.0 if not is_norm else gain if kind == "weight" else bias
        tensor.copy_(
            torch.from_numpy(held[name])
            if name in held
            else torch.tensor(fill, dtype=torch.float64)
        )
    model.load_state_dict(state)
    return model

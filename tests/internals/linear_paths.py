"""Exactly linear transformers, and the effect of every path as a product of matrices, in numpy.

Norms are linear because their constant dwarfs every stream, MLPs because their activation is the
identity, attention because queries and keys see positions alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.internals.streams import graph, owners, steps
from tests.internals.zoo import tf, torch

Array = NDArray[np.float64]
Edge = tuple[str, str]
Step = tuple[str, str]  # a reader, and the sender it belongs to
KINDS, WIDTH, POSITIONAL, LENGTH = 12, 16, 4, 5
EPS = 1e16  # under the root, against mean squares of order 1: a norm divides by 1e8, to rounding


def serial(layers: int = 2, seed: int = 0) -> Any:
    """GPT-2: attention, then the MLP; the last columns of the stream are kept for positions."""
    config = tf.GPT2Config(
        n_layer=layers, n_embd=WIDTH, n_head=2, vocab_size=KINDS, n_positions=LENGTH,
        activation_function="linear", layer_norm_epsilon=EPS, tie_word_embeddings=False,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = _drawn(tf.GPT2LMHeadModel(config), seed)
    token = WIDTH - POSITIONAL
    model.transformer.wte.weight[:, token:] = 0.0
    model.transformer.wpe.weight[:, :token] = 0.0
    for block in model.transformer.h:
        for out in (block.attn.c_proj, block.mlp.c_proj):
            out.weight[:, token:] = 0.0
            out.bias[token:] = 0.0
        reads = block.attn.c_attn.weight[:, : 2 * WIDTH]
        reads[:token] = 0.0
        gain = block.ln_1.weight[token:, None] / 1e8
        own = reads[token:] - gain * (gain * reads[token:]).sum(0) / (gain**2).sum()
        reads[token:] = 2.0 * own  # blind to the mean that the norm takes out
    return model


def parallel(layers: int = 2, seed: int = 0) -> Any:
    """Phi: attention and MLP read the same norm; two queries share a key and a value."""
    config = tf.PhiConfig(
        num_hidden_layers=layers, hidden_size=WIDTH, intermediate_size=24, vocab_size=KINDS,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=LENGTH,
        hidden_act="linear", layer_norm_eps=EPS, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = _drawn(tf.PhiForCausalLM(config), seed)
    for layer in model.model.layers:
        for name in ("q_proj", "k_proj"):
            module = getattr(layer.self_attn, name)
            module.weight.zero_()
            module.bias.mul_(5.0)  # turned by rotary positions: the weights are not uniform
    return model


def _drawn(model: Any, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    model = model.double().eval().requires_grad_(False)
    for name, weight in sorted(model.named_parameters()):
        drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        is_gain = weight.ndim == 1 and "weight" in name
        weight.copy_(1e8 * (1.0 + 0.3 * drawn) if is_gain else 0.4 * drawn)
    model.set_attn_implementation("eager")
    return model


@dataclass(frozen=True, slots=True)
class Layer:
    """One block: attention weights (T, T) and maps (d, d) of each head, the map of the MLP."""

    weights: Array
    maps: Array
    mlp: Array


class Products:
    """The same network as matrices.

    Parameters
    ----------
    model
        One of the networks above.
    pairs
        Rows with ``clean``, ``corrupt``, and ``answer`` and ``wrong``, whose logits the metric
        compares at the last position.
    """

    def __init__(self, model: Any, pairs: Sequence[dict[str, Any]]) -> None:
        clean, corrupt = (torch.as_tensor(np.stack([p[k] for p in pairs]))
                          for k in ("clean", "corrupt"))  # fmt: skip
        self.is_parallel = hasattr(model, "model")
        seen = model(clean, output_attentions=True).attentions
        for one, other in zip(seen, model(corrupt, output_attentions=True).attentions, strict=True):
            assert torch.allclose(one, other, atol=1e-13)  # attention sees positions alone
            assert one.std(-1).max() > 0.05  # and prefers some
        weights = [a[0].numpy() for a in seen]
        rows = model.model.layers if self.is_parallel else model.transformer.h
        make = _parallel_layer if self.is_parallel else _serial_layer
        self.layers = [make(row, a) for row, a in zip(rows, weights, strict=True)]
        embed = model.model.embed_tokens if self.is_parallel else model.transformer.wte
        self.entry: Array = (embed(corrupt) - embed(clean)).numpy()
        final = model.model.final_layernorm if self.is_parallel else model.transformer.ln_f
        ids = [[p[k] for p in pairs] for k in ("answer", "wrong")]
        out = model.lm_head.weight.numpy()
        self.readout: Array = (out[ids[0]] - out[ids[1]]) @ _centred(final).T  # (n, d)
        self.queries = len(self.layers[0].weights)
        self.keys = 2
        self.senders, self.before = graph(
            len(self.layers), self.queries, self.keys, parallel=self.is_parallel
        )

    def steps(self, sender: str) -> list[Step]:
        """Readers behind a sender, each with the sender it belongs to."""
        return steps(sender, self.before, self.queries // self.keys)

    def through(self, step: Step, change: Array) -> Array:
        """What a sender writes more when its reader gets more, (n, T, d)."""
        reader, owner = step
        layer = self.layers[int(reader.split(".")[1])]
        if reader.endswith(".mlp"):
            return change @ layer.mlp
        if not reader.endswith(".v"):
            return 0.0 * change  # attention weights do not move
        h = int(owner.split(".")[-1])
        return layer.weights[h] @ change @ layer.maps[h]

    def at_logits(self, change: Array) -> Array:
        """Change of the metric, (n,)."""
        return np.einsum("nd,nd->n", change[:, -1], self.readout)

    def paths(self) -> list[tuple[list[Edge], Array]]:
        """Every path from the input to the logits, as edges, with its effect."""
        found: list[tuple[list[Edge], Array]] = []

        def onward(sender: str, edges: list[Edge], change: Array) -> None:
            found.append(([*edges, (sender, "logits")], self.at_logits(change)))
            for step in self.steps(sender):
                onward(step[1], [*edges, (sender, step[0])], self.through(step, change))

        onward("input", [], self.entry)
        return found

    def corrupt_change(self) -> dict[str, Array]:
        """By how much every sender's writes differ between the inputs: sums over paths to it."""
        found = dict.fromkeys(self.senders, np.zeros_like(self.entry))

        def onward(sender: str, change: Array) -> None:
            found[sender] = found[sender] + change
            for step in self.steps(sender):
                onward(step[1], self.through(step, change))

        onward("input", self.entry)
        return found

    def behind(self, sender: str, change: Array) -> Array:
        """Change of the metric when a sender writes more and everything behind it responds."""
        total = self.at_logits(change)
        for step in self.steps(sender):
            total = total + self.behind(step[1], self.through(step, change))
        return total

    def into(self, reader: str, change: Array) -> Array:
        """Change of the metric when one reader gets more and everything behind it responds."""
        if reader == "logits":
            return self.at_logits(change)
        parts = [
            self.behind(owner, self.through((reader, owner), change))
            for owner in owners(reader, self.queries // self.keys)
        ]
        return np.sum(parts, axis=0)

    def mlps_between(self, sender: str, reader: str) -> list[str]:
        """MLPs behind a sender and before a reader, in order."""
        return [
            v for v, seen in self.before.items()
            if v.endswith(".mlp") and sender in seen and v in self.before[reader]
        ]  # fmt: skip

    def through_mlps(self, sender: str, reader: str, change: Array) -> Array:
        """What a reader gets more: the sender's change along every chain of MLPs up to it."""
        middle = self.mlps_between(sender, reader)
        total = change
        for v in middle:
            made = self.through((v, v), change)
            total = total + self.through_mlps(v, reader, made)
        return total


def _centred(norm: Any) -> Array:
    """A layer norm of that constant as a matrix (d, d), to be multiplied from the right."""
    d = norm.weight.numel()
    return (np.eye(d) - np.full((d, d), 1.0 / d)) * (norm.weight.numpy() / np.sqrt(EPS))


def _serial_layer(block: Any, weights: Array) -> Layer:
    before, width = _centred(block.ln_1), WIDTH // len(weights)
    value = block.attn.c_attn.weight.numpy()[:, 2 * WIDTH :]
    out = block.attn.c_proj.weight.numpy()
    maps = _heads(value, out, [(h, h) for h in range(len(weights))], width)
    mlp = _centred(block.ln_2) @ block.mlp.c_fc.weight.numpy() @ block.mlp.c_proj.weight.numpy()
    return Layer(weights, before @ maps, mlp)


def _parallel_layer(row: Any, weights: Array) -> Layer:
    before, width = _centred(row.input_layernorm), WIDTH // len(weights)
    value, out = row.self_attn.v_proj.weight.numpy().T, row.self_attn.dense.weight.numpy().T
    maps = _heads(value, out, [(h // 2, h) for h in range(len(weights))], width)
    mlp = before @ row.mlp.fc1.weight.numpy().T @ row.mlp.fc2.weight.numpy().T
    return Layer(weights, before @ maps, mlp)


def _heads(value: Array, out: Array, pairs: Sequence[tuple[int, int]], width: int) -> Array:
    """Value times output map of every head; its value may be shared."""
    cut: Callable[[int], slice] = lambda h: slice(h * width, (h + 1) * width)  # noqa: E731
    return np.stack([value[:, cut(g)] @ out[cut(h)] for g, h in pairs])


def pairs(n: int = 3, seed: int = 0) -> list[dict[str, Any]]:
    """Random pairs of inputs, with random answers."""
    rng = np.random.default_rng(seed)
    clean, corrupt = rng.integers(KINDS, size=(2, n, LENGTH))
    answer = rng.integers(KINDS, size=n)
    wrong = (answer + 1 + rng.integers(KINDS - 1, size=n)) % KINDS
    rows = zip(clean, corrupt, answer.tolist(), wrong.tolist(), strict=True)
    return [dict(zip(("clean", "corrupt", "answer", "wrong"), row, strict=True)) for row in rows]

"""Nested counterfactuals along edges of a transformer, by explicit forward functions.

Nothing here comes from the library: norms, rotary positions, heads, MLPs and logits are written out
from the weights, every reader gets its own sum over senders, and every sender is computed from what
its own readers got. It is slow, and it is the definition.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from tests.internals.networks import network
from tests.internals.streams import graph, steps
from tests.internals.zoo import torch

Tensor = Any
Edge = tuple[str, str]
NAMES = ("llama", "qwen3", "gemma2")  # RMS norms and groups; norms of q and k; norms behind parts


class DoubleRMSNorm(torch.nn.Module):
    """A root-mean-square norm that does not round to single precision on its way."""

    def __init__(self, weight: Tensor, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = torch.nn.Parameter(weight.detach().clone()), eps

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def double_network(name: str, *, seed: int = 0) -> Any:
    """A random network of the zoo in double precision throughout."""
    model = network(name, seed=seed)
    model.config.attn_logit_softcapping = None  # torch's own attention, in double precision
    model.config._attn_implementation = "sdpa"
    offset = 1.0 if name.startswith("gemma") else 0.0
    for path, module in list(model.named_modules()):
        if type(module).__name__.endswith("RMSNorm"):
            eps = getattr(module, "eps", None) or module.variance_epsilon
            holder, _, leaf = path.rpartition(".")
            setattr(
                model.get_submodule(holder), leaf, DoubleRMSNorm(module.weight + offset, float(eps))
            )
    for layer in model.model.layers:
        layer.self_attn.attn_logit_softcapping = None
    return model


class Written:
    """A Llama, Qwen 3 or Gemma 2 as functions of what its readers get."""

    def __init__(self, model: Any) -> None:
        config = self.config = model.config
        self.model, self.layers = model, model.model.layers
        self.seen: dict[bytes, tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]] = {}
        self.queries, self.keys = config.num_attention_heads, config.num_key_value_heads
        self.width = self.layers[0].self_attn.head_dim
        self.posts = hasattr(self.layers[0], "post_feedforward_layernorm")
        self.group = self.queries // self.keys
        self.senders, self.before = graph(len(self.layers), self.queries, self.keys)

    def edges(self) -> list[Edge]:
        """Every sender with every reader behind it."""
        return [(u, v) for v, seen in self.before.items() for u in seen]

    def paths(self) -> list[tuple[Edge, ...]]:
        """Every path from the input to the logits, as edges."""

        def onward(sender: str) -> list[tuple[Edge, ...]]:
            found: list[tuple[Edge, ...]] = [((sender, "logits"),)]
            for reader, owner in steps(sender, self.before, self.group):
                found += [((sender, reader), *rest) for rest in onward(owner)]
            return found

        return onward("input")

    # the parts

    def entry(self, ids: Tensor) -> Tensor:
        embed = self.model.model.embed_tokens
        return embed.weight[ids] * getattr(embed, "embed_scale", 1.0)

    @staticmethod
    def norm(module: Any, x: Tensor) -> Tensor:
        return x / (x.pow(2).mean(-1, keepdim=True) + module.eps).sqrt() * module.weight

    def turned(self, x: Tensor) -> Tensor:
        """Rotary positions of one head, (B, T, width)."""
        half = self.width // 2
        base = self.config.rope_parameters["rope_theta"]
        rate = 1.0 / (base ** (torch.arange(0, self.width, 2, dtype=torch.float) / self.width))
        angle = torch.arange(x.shape[1], dtype=torch.float)[:, None] * rate
        cos, sin = angle.cos().double(), angle.sin().double()
        one, two = x[..., :half], x[..., half:]
        return torch.cat([one * cos - two * sin, two * cos + one * sin], -1)

    def projected(self, layer: int, stream: str, h: int, given: Tensor) -> Tensor:
        """Query, key or value of one head from the stream that its reader gets."""
        block = self.layers[layer]
        part = slice(h * self.width, (h + 1) * self.width)
        module = getattr(block.self_attn, f"{stream}_proj")
        made = self.norm(block.input_layernorm, given) @ module.weight[part].T
        own = getattr(block.self_attn, f"{stream}_norm", None)
        if own is not None:
            made = self.norm(own, made)
        return made if stream == "v" else self.turned(made)

    def head(self, layer: int, h: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """What a head adds before any norm behind attention, (B, T, d), from three streams."""
        group = h // self.group
        query, key = self.projected(layer, "q", h, q), self.projected(layer, "k", group, k)
        value = self.projected(layer, "v", group, v)
        scale = self.config.query_pre_attn_scalar if self.posts else self.width
        scores = query @ key.transpose(1, 2) / math.sqrt(scale)
        length = scores.shape[-1]
        ahead = torch.ones(length, length, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(ahead, -torch.inf).softmax(-1)
        out = self.layers[layer].self_attn.o_proj.weight
        return weights @ value @ out[:, h * self.width : (h + 1) * self.width].T

    def heads(self, layer: int, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the heads of a block add, from what their readers get."""
        made: dict[str, Tensor] = {}
        for h in range(self.queries):
            group = h // self.group
            at = f"layers.{layer}.heads"
            made[f"{at}.{h}"] = self.head(
                layer, h, given[f"{at}.{h}.q"], given[f"{at}.{group}.k"], given[f"{at}.{group}.v"]
            )
        if self.posts:  # each head's share of the normed sum
            module = self.layers[layer].post_attention_layernorm
            summed = torch.stack(list(made.values())).sum(0)
            size = (summed.pow(2).mean(-1, keepdim=True) + module.eps).sqrt()
            made = {name: held / size * module.weight for name, held in made.items()}
        return made

    def mlp(self, layer: int, given: Tensor) -> Tensor:
        block = self.layers[layer]
        before = block.pre_feedforward_layernorm if self.posts else block.post_attention_layernorm
        x, mlp = self.norm(before, given), block.mlp
        gate = x @ mlp.gate_proj.weight.T
        bent = torch.nn.functional.gelu(gate, approximate="tanh") if self.posts else (
            gate * torch.sigmoid(gate)
        )  # fmt: skip
        made = (bent * (x @ mlp.up_proj.weight.T)) @ mlp.down_proj.weight.T
        return self.norm(block.post_feedforward_layernorm, made) if self.posts else made

    def logits(self, given: Tensor) -> Tensor:
        found = self.norm(self.model.model.norm, given[:, -1]) @ self.model.lm_head.weight.T
        cap = getattr(self.config, "final_logit_softcapping", None)
        return found if cap is None else cap * torch.tanh(found / cap)

    # runs

    def run(
        self,
        entry: Tensor,
        arrives: Callable[[str, str, Mapping[str, Tensor]], Tensor],
        *,
        got: Mapping[str, Tensor] | None = None,
        wrote: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Run with every reader summing what arrives from each sender before it.

        ``got`` fixes what some readers get and ``wrote`` what some senders write. Returns logits,
        what was written and what was got.
        """
        held, fixed = dict(got or {}), dict(wrote or {})
        made: dict[str, Tensor] = {"input": fixed.get("input", entry)}
        seen: dict[str, Tensor] = {}

        def read(reader: str) -> Tensor:
            if reader not in seen:
                parts = [arrives(u, reader, made) for u in self.before[reader]]
                seen[reader] = held[reader] if reader in held else torch.stack(parts).sum(0)
            return seen[reader]

        for i in range(len(self.layers)):
            names = [r for r in self.before if r.startswith(f"layers.{i}.heads.")]
            made.update(self.heads(i, {r: read(r) for r in names}))
            made.update({u: x for u, x in fixed.items() if u.startswith(f"layers.{i}.heads.")})
            name = f"layers.{i}.mlp"
            made[name] = fixed[name] if name in fixed else self.mlp(i, read(name))
        return self.logits(read("logits")), made, seen

    def natural(self, ids: Tensor) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        key = ids.numpy().tobytes()
        if key not in self.seen:
            self.seen[key] = self.run(self.entry(ids), lambda u, v, made: made[u])
        return self.seen[key]

    # effects of edges, as logits

    def along(self, clean: Tensor, corrupt: Tensor, edges: Collection[Edge]) -> Tensor:
        """Edges carry what the corrupt input gives along them; all else is as under the clean.

        A sender whose readers are on none of the edges writes what it writes under the clean input.
        """
        _, off, _ = self.natural(clean)
        chosen, reached = set(edges), {v for _, v in edges}
        made = {**off, "input": self.entry(corrupt)}

        def got(reader: str) -> Tensor:
            parts = [(made if (u, reader) in chosen else off)[u] for u in self.before[reader]]
            return torch.stack(parts).sum(0)

        for i in range(len(self.layers)):
            names = [r for r in self.before if r.startswith(f"layers.{i}.heads.")]
            if reached & set(names):
                made.update(self.heads(i, {r: got(r) for r in names}))
            if f"layers.{i}.mlp" in reached:
                made[f"layers.{i}.mlp"] = self.mlp(i, got(f"layers.{i}.mlp"))
        return self.logits(got("logits"))

    def received(self, clean: Tensor, corrupt: Tensor, edges: Collection[Edge]) -> Tensor:
        """Readers get their clean stream with some senders' corrupt writes in it; then all runs."""
        _, own, stream = self.natural(clean)
        _, other, _ = self.natural(corrupt)
        got = {v: stream[v] for _, v in edges}
        for u, v in edges:
            got[v] = got[v] + other[u] - own[u]
        return self.run(self.entry(clean), lambda u, v, made: made[u], got=got)[0]

    def recomputed(
        self, clean: Tensor, corrupt: Tensor, senders: Collection[str], readers: Collection[str]
    ) -> Tensor:
        """The IOI study's three passes: heads are frozen, MLPs respond, readers are noted; then
        the clean input runs with the readers set to what was noted."""
        _, own, _ = self.natural(clean)
        _, other, _ = self.natural(corrupt)
        frozen = {u: x for u, x in own.items() if u == "input" or ".heads." in u}
        frozen.update({u: other[u] for u in senders})
        passing = self.run(self.entry(clean), lambda u, v, made: made[u], wrote=frozen)[2]
        got = {v: passing[v] for v in readers}
        return self.run(self.entry(clean), lambda u, v, made: made[u], got=got)[0]

    def responding(self, clean: Tensor, corrupt: Tensor, edges: Collection[Edge]) -> Tensor:
        """Edges carry corrupt writes, all others what their sender writes in this very run."""
        _, other, _ = self.natural(corrupt)
        chosen = set(edges)
        logits, _, _ = self.run(
            self.entry(clean), lambda u, v, made: other[u] if (u, v) in chosen else made[u]
        )
        return logits

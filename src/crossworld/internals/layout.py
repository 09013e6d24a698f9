"""Where the blocks, attention, heads and MLPs of a network are, found by structure and names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

BLOCKS = ("h", "layers", "layer", "blocks", "block")
ATTENTION = ("self_attn", "attn", "attention", "self_attention", "att")
MIXER = ("mixer", "ssm", "mamba")
MLP = ("mlp", "feed_forward", "ffn", "ff")
OUT = ("o_proj", "c_proj", "dense", "out_proj", "output.dense", "W_O", "wo")
SEPARATE = (("q_proj", "k_proj", "v_proj"), ("self.query", "self.key", "self.value"))
FUSED = ("c_attn", "qkv_proj", "query_key_value")
DOWN = ("down_proj", "c_proj", "fc2", "dense_4h_to_h", "w2", "out")
EMBED = ("wte", "embed_tokens", "embed_in", "word_embeddings", "embeddings", "embed", "embedding")


@dataclass(frozen=True, slots=True)
class Heads:
    """How many heads there are, and how wide."""

    queries: int
    keys: int
    width: int


@dataclass(frozen=True, slots=True)
class Block:
    """Module paths inside one block, None where it has no such part.

    Parameters
    ----------
    path
        The block itself.
    attn, mlp, mixer
        Modules whose output is added to the residual stream, after a norm of their own.
    attention
        The module that computes attention weights.
    out
        The projection whose input is the concatenation of the heads.
    query, key, value
        Projections of the heads; the same module three times where they are fused.
    down
        The projection whose input is the MLP's hidden layer.
    """

    path: str
    attn: str | None = None
    mlp: str | None = None
    mixer: str | None = None
    attention: str | None = None
    out: str | None = None
    query: str | None = None
    key: str | None = None
    value: str | None = None
    down: str | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """The parts of a network that sites can name.

    Parameters
    ----------
    blocks
        The blocks of the residual stream in order; empty for other networks.
    embed
        The token embedding, None where there is none.
    heads
        Numbers of heads, None where unknown.
    causal
        Whether a position sees only earlier ones; None where unknown.
    modules
        Paths of all modules.
    """

    blocks: tuple[Block, ...]
    embed: str | None
    heads: Heads | None
    causal: bool | None
    modules: tuple[str, ...]


def read_layout(model: Any, *, blocks: str | None = None) -> Layout:
    """Find the parts of a network.

    Parameters
    ----------
    model
        A torch module.
    blocks
        Path of the list of blocks, where the search does not find it.
    """
    modules = dict(model.named_modules())
    stack = blocks if blocks is not None else _stack(modules)
    found = tuple(_block(f"{stack}.{i}", modules) for i in _indices(stack, modules))
    config = getattr(model, "config", None)
    return Layout(
        found,
        _embedding(modules, stack) if found else None,
        _heads(config, found, modules),
        _is_causal(model, config),
        tuple(name for name in modules if name),
    )


def _stack(modules: dict[str, Any]) -> str | None:
    """Find the longest list of alike modules with a name for blocks that hold attention or MLPs."""
    best: tuple[int, str] | None = None
    for name, module in modules.items():
        if type(module).__name__ not in ("ModuleList", "Sequential"):
            continue
        if name.rsplit(".", 1)[-1] not in BLOCKS:
            continue
        children = list(dict(module.named_children()).values())
        parts = {part for child in children for part, _ in child.named_children()}
        if not parts & {*ATTENTION, *MIXER, *MLP}:
            continue
        if best is None or len(children) > best[0]:
            best = (len(children), name)
    return None if best is None else best[1]


def _indices(stack: str | None, modules: dict[str, Any]) -> Sequence[str]:
    return [] if stack is None else [name for name, _ in modules[stack].named_children()]


def _first(prefix: str, names: Sequence[str], modules: dict[str, Any]) -> str | None:
    return next((f"{prefix}.{n}" for n in names if f"{prefix}.{n}" in modules), None)


def _block(path: str, modules: dict[str, Any]) -> Block:
    attention = _first(path, ATTENTION, modules)
    mixer = _first(path, MIXER, modules)
    mlp = _first(path, MLP, modules)
    out = None if attention is None else _first(attention, OUT, modules)
    attn, mlp_out = attention, mlp
    down: str | None
    if attention is not None and out == f"{attention}.output.dense":  # BERT
        attn = out
    if mlp is None and f"{path}.output.dense" in modules and f"{path}.intermediate" in modules:
        mlp_out, down = f"{path}.output.dense", f"{path}.output.dense"
    else:
        down = None if mlp is None else _first(mlp, DOWN, modules)
    if attention is not None and mlp is not None:
        attn, mlp_out = _post_norms(path, attn, mlp_out, modules)
    query, key, value = _projections(attention, modules)
    if f"{attention}.self" in modules:  # BERT: the module that computes the weights
        attention = f"{attention}.self"
    return Block(path, attn, mlp_out, mixer, attention, out, query, key, value, down)


def _post_norms(
    path: str, attn: str | None, mlp: str | None, modules: dict[str, Any]
) -> tuple[str | None, str | None]:
    """Return the norms that attention and MLP pass before they are added (Gemma 2, OLMo 2)."""
    after_mlp = f"{path}.post_feedforward_layernorm"
    after_attention = f"{path}.post_attention_layernorm"
    if after_mlp in modules and after_attention in modules:
        return after_attention, after_mlp
    return attn, mlp


def _projections(
    attention: str | None, modules: dict[str, Any]
) -> tuple[str | None, str | None, str | None]:
    if attention is None:
        return None, None, None
    for names in SEPARATE:
        paths = [f"{attention}.{name}" for name in names]
        if all(p in modules for p in paths):
            return paths[0], paths[1], paths[2]
    fused = _first(attention, FUSED, modules)
    return fused, fused, fused


def _embedding(modules: dict[str, Any], stack: str | None) -> str | None:
    named = [
        (name, m) for name, m in modules.items() if name.rsplit(".", 1)[-1] in EMBED
        and hasattr(m, "weight") and hasattr(m, "num_embeddings")
    ]  # fmt: skip
    for wanted in EMBED:
        for name, _ in named:
            if name.rsplit(".", 1)[-1] == wanted:
                return name
    return None


def _attribute(holders: Iterator[Any], names: Sequence[str]) -> int | None:
    for holder in holders:
        for name in names:
            value = getattr(holder, name, None)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def _heads(config: Any, blocks: Sequence[Block], modules: dict[str, Any]) -> Heads | None:
    attention = next((b.attention for b in blocks if b.attention), None)
    out = next((b.out for b in blocks if b.out), None)
    if attention is None or out is None:
        return None
    holders = [config, modules[attention]] if config is not None else [modules[attention]]
    count = _attribute(iter(holders), ("num_attention_heads", "n_head", "num_heads", "n_heads"))
    if count is None:
        return None
    keys = _attribute(iter(holders), ("num_key_value_heads", "n_kv_heads")) or count
    width = _attribute(iter(holders), ("head_dim", "attention_head_size", "d_head"))
    if width is None:
        size = _attribute(iter(holders), ("hidden_size", "n_embd", "embed_dim", "d_model"))
        width = None if size is None else size // count
    return None if width is None else Heads(count, keys, width)


def _is_causal(model: Any, config: Any) -> bool | None:
    if config is None:
        return getattr(model, "causal", None)
    name = type(model).__name__
    if "MaskedLM" in name or "SequenceClassification" in name or "TokenClassification" in name:
        return bool(getattr(config, "is_decoder", False))
    return True if "CausalLM" in name or "LMHead" in name else None

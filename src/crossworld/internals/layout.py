"""Where the blocks, attention, heads and MLPs of a network are, found by structure and names."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

BLOCKS = ("h", "layers", "layer", "blocks", "block")
ATTENTION = ("self_attn", "attn", "attention", "self_attention", "att")
MIXER = ("mixer", "ssm", "mamba")
MLP = ("mlp", "feed_forward", "ffn", "ff")
INNER = ("attention", "self")  # where a module of attention holds the one that computes it
ONLY_MIXER = (*MIXER, "linear_attn", "conv")  # in a block without attention
OUT = ("o_proj", "c_proj", "dense", "out_proj", "output.dense", "W_O", "wo", "Wo", "out_lin")
SEPARATE = (
    ("q_proj", "k_proj", "v_proj"),
    ("self.query", "self.key", "self.value"),
    ("q_lin", "k_lin", "v_lin"),
)
FUSED = ("c_attn", "qkv_proj", "query_key_value", "Wqkv")
DOWN = ("down_proj", "c_proj", "fc2", "fc_out", "dense_4h_to_h", "w2", "out", "Wo", "lin2")
OWN_ORDER = ("codegen", "diffllama")  # queries, keys and values in an order of their own
NORMS_BEHIND = (
    ("post_attention_layernorm", "post_feedforward_layernorm"),  # Gemma 2 and 3, OLMo 2 and 3
    ("post_self_attn_layernorm", "post_mlp_layernorm"),  # GLM 4
)
EMBED = ("wte", "embed_tokens", "embed_in", "word_embeddings", "embeddings", "embed", "embedding")


@dataclass(frozen=True, slots=True)
class Heads:
    """How many heads there are, and how wide.

    Parameters
    ----------
    queries, keys
        Number of query heads, and of heads of keys and values.
    width
        Features of one head.
    order
        In a projection of all of them: ``parts`` (all queries, all keys, all values), ``groups``
        (the queries of a group of heads, their key, their value) or ``unknown``.
    """

    queries: int
    keys: int
    width: int
    order: str = "parts"


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
    stacks
        Stacks of blocks of which none is meant before one is named (encoder and decoder).
    """

    blocks: tuple[Block, ...]
    embed: str | None
    heads: Heads | None
    causal: bool | None
    modules: tuple[str, ...]
    stacks: tuple[str, ...] = ()


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
    config = getattr(model, "config", None)
    stacks = _stacks(modules) if blocks is None else [blocks]
    several = tuple(stacks) if len(stacks) > 1 and _is_two_sided(config) else ()
    stack = stacks[0] if stacks and not several else None
    found = tuple(_block(f"{stack}.{i}", modules) for i in _indices(stack, modules))
    return Layout(
        found,
        _embedding(modules, stack) if found else None,
        _heads(config, found, modules),
        _is_causal(model, config),
        tuple(name for name in modules if name),
        several,
    )


def _stacks(modules: dict[str, Any]) -> list[str]:
    """Lists of alike modules with a name for blocks that hold attention or MLPs, longest first."""
    found: list[tuple[int, str]] = []
    for name, module in modules.items():
        if type(module).__name__ not in ("ModuleList", "Sequential"):
            continue
        if name.rsplit(".", 1)[-1] not in BLOCKS:
            continue
        children = list(dict(module.named_children()).values())
        parts = {part for child in children for part, _ in child.named_children()}
        if parts & {*ATTENTION, *MIXER, *MLP}:
            found.append((len(children), name))
    return [name for _, name in sorted(found, key=lambda one: -one[0])]


def _is_two_sided(config: Any) -> bool:
    return bool(getattr(config, "is_encoder_decoder", False))


def _indices(stack: str | None, modules: dict[str, Any]) -> Sequence[str]:
    return [] if stack is None else [name for name, _ in modules[stack].named_children()]


def _first(prefix: str, names: Sequence[str], modules: dict[str, Any]) -> str | None:
    return next((f"{prefix}.{n}" for n in names if f"{prefix}.{n}" in modules), None)


def _block(path: str, modules: dict[str, Any]) -> Block:
    attention = _first(path, ATTENTION, modules)
    mixer = _first(path, MIXER if attention is not None else ONLY_MIXER, modules)
    mlp = _first(path, MLP, modules)
    out = None if attention is None else _first(attention, OUT, modules)
    if attention is not None and out is None:  # GPT-Neo: attention inside attention
        inner = _first(attention, INNER, modules)
        out = None if inner is None else _first(inner, OUT, modules)
        attention = attention if out is None else inner
    attn, mlp_out = attention, mlp
    down = None if mlp is None else _first(mlp, DOWN, modules)
    if attention is not None and out == f"{attention}.output.dense":  # BERT
        attn = out
    if mlp is None and f"{path}.output.dense" in modules and f"{path}.intermediate" in modules:
        mlp_out = down = f"{path}.output.dense"
    elif mlp is None and f"{path}.fc1" in modules and f"{path}.fc2" in modules:  # OPT
        mlp_out = down = f"{path}.fc2"
    if attention is not None and mlp is not None:
        attn, mlp_out = _post_norms(path, attn, mlp_out, modules)
    # BLOOM, MPT: the stream is added inside, so what is added to it leaves the last projection
    attn = out if attn == attention and _adds_stream(attn, modules) else attn
    mlp_out = down if mlp_out == mlp and _adds_stream(mlp_out, modules) else mlp_out
    query, key, value = _projections(attention, modules)
    if f"{attention}.self" in modules:  # BERT: the module that computes the weights
        attention = f"{attention}.self"
    return Block(path, attn, mlp_out, mixer, attention, out, query, key, value, down)


def _adds_stream(path: str | None, modules: dict[str, Any]) -> bool:
    """Whether a module takes the residual stream beside its input, to add to it."""
    return path is not None and "residual" in inspect.signature(modules[path].forward).parameters


def _post_norms(
    path: str, attn: str | None, mlp: str | None, modules: dict[str, Any]
) -> tuple[str | None, str | None]:
    """Return the norms that attention and MLP pass before they are added (Gemma 2, OLMo 2)."""
    for after_attention, after_mlp in NORMS_BEHIND:
        if f"{path}.{after_attention}" in modules and f"{path}.{after_mlp}" in modules:
            return f"{path}.{after_attention}", f"{path}.{after_mlp}"
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
    block = next((b for b in blocks if b.attention and b.out), None)
    if block is None or block.attention is None or block.out is None:
        return None
    holders = [config, modules[block.attention]]
    count = _attribute(
        iter(holders), ("num_attention_heads", "n_head", "num_heads", "n_heads", "encoder_heads")
    )
    if count is None:
        return None
    size = ends(modules[block.out], "in")
    if size is None:
        width = _attribute(iter(holders), ("head_dim", "attention_head_size", "d_head"))
        size = None if width is None else width * count
    if size is None or size % count:
        return None
    width, kind = size // count, getattr(config, "model_type", "")
    return Heads(count, _keys(block, modules, count, width), width, _order(block, kind, config))


def _keys(block: Block, modules: dict[str, Any], queries: int, width: int) -> int:
    """Number of heads of keys and values, told by the size of what makes them."""
    made = None if block.key is None else ends(modules[block.key], "out")
    if made is None or made % width:
        return queries
    found = made // width if block.key != block.query else (made // width - queries) // 2
    return found if 0 < found <= queries and queries % found == 0 else queries


def _order(block: Block, kind: str, config: Any) -> str:
    """Order of the features of a projection that makes queries, keys and values at once."""
    if kind in OWN_ORDER:
        return "unknown"
    name = "" if block.query is None else block.query.rsplit(".", 1)[-1]
    by_head = kind == "gpt_bigcode" and not getattr(config, "multi_query", True)
    return "groups" if name == "query_key_value" or by_head else "parts"


def ends(module: Any, end: str) -> int | None:
    """Features that a linear module takes or gives, None for modules of another kind."""
    weight = getattr(module, "weight", None)
    if weight is None or weight.ndim != 2:
        return None
    first, last = int(weight.shape[0]), int(weight.shape[1])
    is_transposed = type(module).__name__ == "Conv1D"
    return last if (end == "out") == is_transposed else first


def _is_causal(model: Any, config: Any) -> bool | None:
    if config is None:
        return getattr(model, "causal", None)
    name = type(model).__name__
    if "MaskedLM" in name or "SequenceClassification" in name or "TokenClassification" in name:
        return bool(getattr(config, "is_decoder", False))
    return True if "CausalLM" in name or "LMHead" in name else None

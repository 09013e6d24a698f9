"""Find the wiring of a network by running one input and comparing what is where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossworld.errors import DesignError, EstimationError
from crossworld.internals.backend import torch
from crossworld.internals.inputs import Batch
from crossworld.internals.layout import MLP, Block, Heads
from crossworld.internals.norms import Norm, read_norm
from crossworld.internals.site import Site
from crossworld.internals.subject import TorchSubject
from crossworld.internals.wiring import Stage, Wiring


def probe(subject: TorchSubject, batch: Batch) -> Wiring:
    """Read the wiring off a run.

    Raises
    ------
    DesignError
        If a block does more than add attention and MLP to a stream.
    """
    held = _Seen(subject, batch)
    blocks = subject.layout.blocks
    stages = tuple(_stage(held, i, block) for i, block in enumerate(blocks))
    heads = subject.layout.heads or Heads(0, 0, 0)
    return Wiring(stages, heads.queries, heads.keys, heads.width, _final(held, blocks[-1]))


class _Seen:
    """Inputs and outputs of the modules that matter, from one run."""

    def __init__(self, subject: TorchSubject, batch: Batch) -> None:
        self.subject = subject
        wanted: list[Site] = []
        for block in subject.layout.blocks:
            wanted += [Site(f"{p}.{end}") for p in _paths(subject, block) for end in ("in", "out")]
            wanted += [Site(f"{p}.in") for p in dict.fromkeys((block.query, block.out)) if p]
        self.finals = _outer_norms(subject)
        wanted += [Site(f"{p}.in") for p in self.finals]
        self.values: Mapping[Site, Any] = subject.run(
            batch, read=list(dict.fromkeys(wanted))
        ).values

    def at(self, path: str, end: str) -> Any:
        return self.values[Site(f"{path}.{end}")]

    def norms(self, block: Block) -> list[str]:
        return [p for p in _paths(self.subject, block) if _is_norm(self.subject, p)]

    def width(self, block: Block) -> int:
        return int(self.at(block.path, "in").shape[-1])


def _is_norm(subject: TorchSubject, path: str) -> bool:
    kind = type(subject.modules[path]).__name__.lower()
    return "norm" in kind


def _outer_norms(subject: TorchSubject) -> list[str]:
    stack = subject.layout.blocks[0].path.rsplit(".", 1)[0]
    return [
        name for name in subject.layout.modules
        if not name.startswith(f"{stack}.") and _is_norm(subject, name)
        and not list(subject.modules[name].children())
    ]  # fmt: skip


def _core(subject: TorchSubject, block: Block) -> str | None:
    """The MLP itself, where a norm of its own follows it; the mixer of a state-space block."""
    if block.mlp is not None and not _is_norm(subject, block.mlp):
        return block.mlp
    names = [f"{block.path}.{name}" for name in MLP]
    return next((n for n in names if n in subject.modules), None) or block.mixer


def _paths(subject: TorchSubject, block: Block) -> list[str]:
    inside = [f"{block.path}.{n}" for n, _ in subject.modules[block.path].named_children()]
    norms = [p for p in inside if _is_norm(subject, p)]
    found = [block.path, block.attn, block.mlp, block.mixer, _core(subject, block), *norms]
    return list(dict.fromkeys(p for p in found if p is not None))


def _same(one: Any, other: Any) -> bool:
    if one.shape != other.shape:
        return False
    t = torch()
    close = 2e-2 if one.dtype in (t.float16, t.bfloat16) else 1e-4
    size = max(float(one.abs().max()), float(other.abs().max()), 1e-30)
    return bool((one - other).abs().max() <= close * size)


def _stage(held: _Seen, index: int, block: Block) -> Stage:
    before, after = held.at(block.path, "in"), held.at(block.path, "out")
    if not bool(torch().isfinite(after).all()):
        raise EstimationError(
            f"the stream after {block.path} is not finite (some networks give that at padded "
            "positions in double precision); use inputs without pads, or single precision"
        )
    added = before
    for path in (block.attn, block.mlp, block.mixer):
        if path is not None:
            added = added + held.at(path, "out")
    if not _same(added, after):
        raise DesignError(
            f"{block.path} does more than add attention and MLP to a stream (a norm after the sum, "
            "as in BERT, or a scale), so edges between its parts are not defined; attribute nodes"
        )
    return Stage(index, **_attention(held, block, before), **_feed(held, block, before))


def _attention(held: _Seen, block: Block, before: Any) -> dict[str, Any]:
    if block.attn is None:
        return {}
    subject, heads = held.subject, held.subject.layout.heads
    if heads is None or not block.query or not block.key or not block.value or not block.out:
        raise DesignError(f"the heads of {block.path} were not found, so it has no edges here")
    stream, norm = _before(held, block, held.at(block.query, "in"), (before,))
    columns = [_columns(subject, block, s, heads) for s in "qkv"]
    after: Norm | None = None
    if block.attn not in (block.attention, block.out):
        after = read_norm(subject.modules[block.attn], before.shape[-1], block.attn)
        if getattr(subject.modules[block.out], "bias", None) is not None:
            raise DesignError(
                f"{block.out} has a bias and a norm behind it, so what single heads add is not "
                "defined; attribute nodes"
            )
    return {
        "stream": Site(f"{stream}.in"),
        "norm": None if norm is None else read_norm(subject.modules[norm], before.shape[-1], norm),
        "projections": (block.query, block.key, block.value),
        "columns": tuple(columns),
        "out": block.out,
        "after": after,
        "after_path": None if after is None else block.attn,
        "wrote": Site(f"{block.attn}.out"),
    }


def _columns(subject: TorchSubject, block: Block, stream: str, heads: Heads) -> Any:
    count = heads.queries if stream == "q" else heads.keys
    index = subject.layout.blocks.index(block)
    ports = [subject.port(Site(f"layers.{index}.heads.{h}.{stream}")) for h in range(count)]
    return torch().tensor([p.columns for p in ports], device=subject.device)


def _feed(held: _Seen, block: Block, before: Any) -> dict[str, Any]:
    core = _core(held.subject, block)
    fed = block.mlp or block.mixer
    if core is None or fed is None:
        return {}
    middle = before if block.attn is None else before + held.at(block.attn, "out")
    stream, norm = _before(held, block, held.at(core, "in"), (middle, before))
    place = stream if stream != block.path else core
    seen = held.at(place, "in")
    return {
        "feed": Site(f"{place}.in"),
        "core": Site(f"{core}.in"),
        "feed_norm": norm,
        "fed": Site(f"{fed}.out"),
        "part": "mlp" if block.mlp is not None else "mixer",
        "parallel": block.attn is not None and not _same(seen, middle),
    }


def _before(
    held: _Seen, block: Block, got: Any, streams: tuple[Any, ...]
) -> tuple[str, str | None]:
    """Where the stream is that a reader gets: at a norm (its path), or as it is (the block)."""
    for path in held.norms(block):
        of_stream = any(_same(held.at(path, "in"), s) for s in streams)
        if of_stream and _same(held.at(path, "out"), got):
            return path, path
    if any(_same(got, s) for s in streams):
        return block.path, None
    raise DesignError(
        f"what a part of {block.path} reads is neither the residual stream nor a norm of it, so "
        "edges into it are not defined; attribute nodes"
    )


def _final(held: _Seen, last: Block) -> Site:
    out = held.at(last.path, "out")
    for path in held.finals:
        if _same(held.at(path, "in"), out):
            return Site(f"{path}.in")
    raise DesignError(
        "the last block's stream passes no norm before the logits that crossworld recognises, so "
        "edges into the logits are not defined; attribute nodes"
    )

"""The graph of a transformer: who writes to the residual stream, who reads from it.

Senders are the stream's input, every attention head and every MLP; readers are the query, key and
value inputs of every head, the input of every MLP, and the logits. What a reader gets is the sum of
what the senders before it wrote. That a network has this form is not taken from its name: it is
checked on one of its inputs, and what adds up differently is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from crossworld.errors import DesignError, SpecError, hint
from crossworld.internals.inputs import Batch
from crossworld.internals.layout import Block
from crossworld.internals.norms import Norm
from crossworld.internals.site import Site
from crossworld.internals.subject import TorchSubject

INPUT, LOGITS = "input", "logits"


@dataclass(frozen=True, slots=True)
class Reader:
    """A place that reads the stream.

    Parameters
    ----------
    name
        ``layers.3.heads.5.q`` (also ``.k``, ``.v``), ``layers.3.mlp`` or ``logits``.
    layer
        Its block; the number of blocks for the logits.
    senders
        How many senders, in their order, come before it.
    owner
        Position of the senders it belongs to: what it reads changes what they write.
    """

    name: str
    layer: int
    senders: int
    owner: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """One block: module paths, and the norms on the way in and out.

    Parameters
    ----------
    index
        Which block.
    stream
        Place of the stream that attention reads, as a site, None without attention.
    norm
        The norm between that and the projections, None where there is none.
    projections
        Query, key, value modules; the same one three times where they are fused.
    columns
        Columns of each head in the outputs of the projections: q, k, v, each (heads, width).
    out
        The output projection.
    after
        The norm that attention passes before it is added, None where there is none.
    after_path
        Its path.
    wrote
        Site of what attention adds to the stream, None without attention.
    feed
        Site of the stream that the MLP (or the mixer) reads, None without one.
    core
        Site of the MLP's input after its norm.
    feed_norm
        Path of the norm between them, None where there is none.
    fed
        Site of what it adds to the stream.
    part
        ``mlp`` or ``mixer``.
    parallel
        Whether it reads the stream before attention has written.
    """

    index: int
    stream: Site | None = None
    norm: Norm | None = None
    projections: tuple[str, str, str] | None = None
    columns: tuple[Any, Any, Any] | None = None
    out: str | None = None
    after: Norm | None = None
    after_path: str | None = None
    wrote: Site | None = None
    feed: Site | None = None
    core: Site | None = None
    feed_norm: str | None = None
    fed: Site | None = None
    part: str = "mlp"
    parallel: bool = False

    @property
    def z(self) -> Site:
        """Site of the concatenated heads."""
        return Site(f"{self.out}.in")


@dataclass(frozen=True, slots=True, eq=False)
class Wiring:
    """Senders and readers of a network, and where they are.

    Parameters
    ----------
    stages
        The blocks in order.
    queries, keys, width
        Heads of a block, keys and values of a block, width of a head.
    final
        Site of the stream that the logits read.
    senders
        Names in the order of the network.
    readers
        In the order of the network.
    """

    stages: tuple[Stage, ...]
    queries: int
    keys: int
    width: int
    final: Site
    senders: tuple[str, ...] = field(init=False)
    readers: tuple[Reader, ...] = field(init=False)
    heads_at: tuple[int, ...] = field(init=False)
    feeds_at: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        senders, readers = [INPUT], []
        heads_at, feeds_at = [], []
        group = self.queries // max(self.keys, 1)
        for stage in self.stages:
            i, before = stage.index, len(senders)
            heads_at.append(before)
            if stage.projections is not None:
                for stream, count in (("q", self.queries), ("k", self.keys), ("v", self.keys)):
                    for h in range(count):
                        own = (h,) if stream == "q" else range(h * group, (h + 1) * group)
                        name = f"layers.{i}.heads.{h}.{stream}"
                        owner = tuple(before + j for j in own)
                        readers.append(Reader(name, i, before, owner))
                senders += [f"layers.{i}.heads.{h}" for h in range(self.queries)]
            feeds_at.append(len(senders))
            if stage.feed is not None:
                seen = before if stage.parallel else len(senders)
                name = f"layers.{i}.{stage.part}"
                readers.append(Reader(name, i, seen, (len(senders),)))
                senders.append(name)
        readers.append(Reader(LOGITS, len(self.stages), len(senders)))
        set_ = object.__setattr__
        set_(self, "senders", tuple(senders))
        set_(self, "readers", tuple(readers))
        set_(self, "heads_at", tuple(heads_at))
        set_(self, "feeds_at", tuple(feeds_at))

    def sender(self, name: str) -> int:
        """Position of a sender.

        Raises
        ------
        SpecError
            If there is none of the name.
        """
        if name not in self.senders:
            raise SpecError.unknown("sender", name, self.senders)
        return self.senders.index(name)

    def reader(self, name: str) -> int:
        """Position of a reader."""
        names = [r.name for r in self.readers]
        if name not in names:
            raise SpecError(f"unknown reader {name!r}. {hint(name, names)}")
        return names.index(name)

    def readers_of(self, layer: int) -> slice:
        """Positions of the readers of a block."""
        at = [i for i, r in enumerate(self.readers) if r.layer == layer]
        return slice(at[0], at[-1] + 1) if at else slice(0, 0)


def wire(subject: Any, batch: Batch) -> Wiring:
    """Read the graph of a network, and check on an input that it is right.

    Parameters
    ----------
    subject
        A `TorchSubject`.
    batch
        One or a few inputs.

    Raises
    ------
    DesignError
        If the network is no stack of blocks that add to a residual stream.
    """
    from crossworld.internals.probe import probe

    if not isinstance(subject, TorchSubject) or not subject.layout.blocks:
        raise DesignError(
            "edges need a stack of transformer blocks, and none was found in this network; "
            "attribute its nodes, or name the blocks: TorchSubject(model, blocks='path')"
        )
    return probe(subject, batch)


def parts_of(block: Block) -> Sequence[str]:
    """Names of the modules of a block that write to the stream."""
    return [p for p in (block.attn, block.mlp, block.mixer) if p is not None]

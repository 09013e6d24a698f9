"""One pass in which the patched inputs of many cells join the batch at their own block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from crossworld.errors import EstimationError
from crossworld.internals.backend import torch
from crossworld.internals.footprint import Footprint
from crossworld.internals.inputs import Batch
from crossworld.internals.layout import Block
from crossworld.internals.metrics import reads_last
from crossworld.internals.ports import Write, apply
from crossworld.internals.prefix import Prefix, cache_for, prefix_of
from crossworld.internals.session import evaluating, input_hook, output_hook
from crossworld.internals.site import Site
from crossworld.internals.subject import Run

if TYPE_CHECKING:
    from crossworld.internals.engine import Job
    from crossworld.internals.study import PatchStudy


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """The unpatched run.

    Parameters
    ----------
    stream
        Residual stream before each block and after the last one, each (B, T, d).
    prefix
        Keys and values of every block, None where positions cannot be left out.
    output
        What the network returned.
    last
        Whether that is the last position alone.
    footprint
        What a row that joins takes.
    """

    stream: tuple[Any, ...]
    prefix: Prefix | None
    output: Any
    last: bool
    footprint: Footprint

    def entry(self, study: PatchStudy, writes: Mapping[Site, Any]) -> int:
        """Block before which a job's row joins; without writes, the middle one."""
        middle = len(study.subject.layout.blocks) // 2
        return int(min((_entry(study, site) for site in writes), default=middle))

    def first(self, study: PatchStudy, batch: Batch, writes: Mapping[Site, Any]) -> int:
        """First position that a job can change."""
        if self.prefix is None:
            return 0
        held = [batch.positions(site.position) for site in writes]
        if not held:
            return int(self.stream[0].shape[1]) // 2
        starts = [0 if h is None else int(h.min()) for h in held]
        return min(starts)


def _entry(study: PatchStudy, site: Site) -> int:
    assert site.layer is not None
    port = study.subject.port(site)
    block = study.subject.layout.blocks[site.layer]
    return site.layer + (port.plug == (block.path, "out"))


def natural(
    study: PatchStudy, batch: Batch, base: Mapping[Site, Any], read: Sequence[Site], *, share: bool
) -> tuple[Run, Recorded | None]:
    """Run a batch unpatched; where rows are to join, keep what they need.

    Parameters
    ----------
    study, batch
        The network and its inputs.
    base
        Writes of every pass, such as noise.
    read
        Sites whose activations are wanted.
    share
        Whether cells will join.
    """
    subject: Any = study.subject
    last = reads_last(study.metric, batch)
    if not share or not _joinable(study, batch):
        return subject.run(batch, read=read, write=base, last=last), None
    blocks = subject.layout.blocks
    stops = [Site(f"layers.{i}.resid_pre") for i in range(len(blocks))]
    stops.append(Site(f"layers.{len(blocks) - 1}.resid"))
    cache, options = cache_for(study, batch)
    run = subject.run(
        batch, read=tuple(dict.fromkeys([*read, *stops])), write=base, last=last, options=options
    )
    stream = tuple(run.values[s] for s in stops)
    if any(s.ndim != 3 for s in stream):
        return run, None
    prefix = prefix_of(study, batch, cache)
    footprint = Footprint.of(study, stream[0], run.output, prefix=prefix)
    return run, Recorded(stream, prefix, run.output, last, footprint)


def _joinable(study: PatchStudy, batch: Batch) -> bool:
    """Whether a network has blocks, and inputs whose rows need no mask of their own."""
    if not study.subject.layout.blocks or not hasattr(study.subject, "model"):
        return False
    if not isinstance(batch.inputs, Mapping):
        return True
    mask = batch.inputs.get("attention_mask")
    return mask is None or bool((mask > 0).all())


def shortened(subject: Any, block: Block) -> Iterator[Any]:
    """Hooks that let the last block project and transform its last position alone.

    What it adds to the other positions is then wrong, and nothing reads them.
    """

    def cut(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return (args[0][:, -1:], *args[1:]), kwargs

    own = (block.out, block.down and block.down.rpartition(".")[0])
    for path in own:
        if path and path != block.path and block.mlp is not None and block.attn is not None:
            yield subject.modules[path].register_forward_pre_hook(cut, with_kwargs=True)


class Joined:
    """The rows of some jobs in one pass.

    Rows are ordered by the block at which they join; a job has one row for each input.
    """

    def __init__(
        self, study: PatchStudy, batch: Batch, recorded: Recorded, jobs: Sequence[Job]
    ) -> None:
        self.study, self.batch, self.recorded = study, batch, recorded
        self.entries = [recorded.entry(study, job.writes) for job in jobs]
        order = np.argsort(self.entries, kind="stable")
        self.jobs = [jobs[i] for i in order]
        self.entries = [self.entries[i] for i in order]
        self.first = min(recorded.first(study, batch, job.writes) for job in jobs)
        self.written: set[tuple[int, Site]] = set()
        self.writes: dict[tuple[str, str], list[tuple[int, Write]]] = {}
        for at, job in enumerate(self.jobs):
            for site, value in job.writes.items():
                port = study.subject.port(site)
                write = (site, port, self._positions(site), None, value)
                self.writes.setdefault(port.plug, []).append((at, write))

    def _positions(self, site: Site) -> Any:
        found = self.batch.positions(site.position)
        if found is None:
            return None
        device = self.study.subject.device  # type: ignore[attr-defined]
        return torch().from_numpy(found - self.first).to(device)

    def run(self) -> Iterator[tuple[Job, Any]]:
        """Run the pass; yield each job with the final part of its output."""
        subject: Any = self.study.subject
        with ExitStack() as stack:
            stack.enter_context(torch().no_grad())
            stack.enter_context(evaluating(subject.model))
            for handle in self._hooks():
                stack.callback(handle.remove)
            output = self._call()
        self._check(output)
        size = self.batch.size
        for at, job in enumerate(self.jobs):
            rows = output[at * size : (at + 1) * size]
            yield job, self.study.metric.final(self._whole(rows), self.batch)

    def _call(self) -> Any:
        """Call the network with one input that stands in until the first row joins."""
        subject: Any = self.study.subject
        inputs = self.batch.inputs
        named = inputs if isinstance(inputs, Mapping) else {"": inputs}
        cut = {k: v[:1, self.first :] for k, v in named.items() if k != "attention_mask"}
        options: dict[str, Any] = {}
        if self.recorded.prefix is not None:
            options = self.recorded.prefix.options(self.first, self._jobs_before)
        one = Batch(cut if isinstance(inputs, Mapping) else cut[""], 1)
        return subject.forward(one, last=self.recorded.last, options=options)

    def _jobs_before(self, block: int) -> int:
        """Rows in a block, in multiples of the batch; 0 while only the stand-in runs."""
        return sum(entry <= block for entry in self.entries)

    def _whole(self, rows: Any) -> Any:
        if self.recorded.last or self.first == 0:
            return rows
        before = self.recorded.output[:, : self.first]
        return torch().cat([before.to(rows.dtype), rows], 1)

    def _hooks(self) -> Iterator[Any]:
        subject: Any = self.study.subject
        blocks = subject.layout.blocks
        inside = {(b.path, end) for b in blocks for end in ("in", "out")}
        for i, block in enumerate(blocks):
            module = subject.modules[block.path]
            enter = input_hook(block.path, partial(self._join, i))
            yield module.register_forward_pre_hook(enter, with_kwargs=True)
            yield module.register_forward_hook(output_hook(partial(self._leave, i)))
        if self.recorded.last and not self._inside_last(blocks[-1]):
            yield from shortened(subject, blocks[-1])
        for plug in self.writes:
            if plug in inside:
                continue
            module = subject.modules[plug[0]]
            change = partial(self._write, plug)
            if plug[1] == "in":
                hook = input_hook(plug[0], change)
                yield module.register_forward_pre_hook(hook, with_kwargs=True)
            else:
                yield module.register_forward_hook(output_hook(change))

    def _inside_last(self, block: Block) -> bool:
        """Whether something is set inside the last block."""
        return any(
            path.startswith(f"{block.path}.") for path, _ in self.writes
        )  # fmt: skip

    def _leave(self, index: int, hidden: Any) -> Any:
        """Make the writes at the end of a block, and after the last one let rows join."""
        blocks = self.study.subject.layout.blocks
        hidden = self._write((blocks[index].path, "out"), hidden, upto=index)
        return self._join(index + 1, hidden) if index == len(blocks) - 1 else hidden

    def _join(self, index: int, hidden: Any) -> Any:
        """Let the rows whose block comes next join, and make the writes at its entrance."""
        count = sum(entry == index for entry in self.entries)
        if count:
            new = self.recorded.stream[index][:, self.first :].to(hidden)
            new = new.repeat(count, 1, 1)
            here = self._jobs_before(index - 1) > 0
            hidden = torch().cat([hidden, new]) if here else new
        blocks = self.study.subject.layout.blocks
        if index and count:
            hidden = self._write((blocks[index - 1].path, "out"), hidden, joined=index)
        if index < len(blocks):
            hidden = self._write((blocks[index].path, "in"), hidden)
        return hidden

    def _write(
        self,
        plug: tuple[str, str],
        hidden: Any,
        *,
        upto: int | None = None,
        joined: int | None = None,
    ) -> Any:
        """Make the writes of one plug in the rows that are there."""
        if hidden.ndim == 2:  # inputs and tokens share one axis
            length = self.recorded.stream[0].shape[1] - self.first
            folded = hidden.unflatten(0, (-1, length))
            return self._write(plug, folded, upto=upto, joined=joined).flatten(0, 1)
        size, subject = self.batch.size, self.study.subject
        bases = getattr(subject, "bases", {})
        changed = None
        for at, write in self.writes.get(plug, ()):
            entry = self.entries[at]
            if (upto is not None and entry > upto) or (joined is not None and entry != joined):
                continue
            changed = hidden.clone() if changed is None else changed
            rows = slice(at * size, (at + 1) * size)
            told = self._told(at)
            changed[rows] = apply(changed[rows], [write], bases, told).to(changed.dtype)
        return hidden if changed is None else changed

    def _told(self, at: int) -> Callable[[Site], None]:
        return lambda site: self.written.add((at, site))

    def _check(self, output: Any) -> None:
        """Raise unless every row is there and every write was made."""
        expected = {(at, site) for at, job in enumerate(self.jobs) for site in job.writes}
        if output.shape[0] != len(self.jobs) * self.batch.size or self.written != expected:
            raise EstimationError(
                f"{len(expected - self.written)} of {len(expected)} interventions were not made in "
                "a shared pass"
            )

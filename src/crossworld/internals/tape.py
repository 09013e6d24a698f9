"""What senders write in a run, and how the metric changes with what readers get."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from crossworld.errors import DesignError, EstimationError
from crossworld.internals.backend import torch
from crossworld.internals.inputs import Batch
from crossworld.internals.site import Site
from crossworld.internals.subject import Run, TorchSubject
from crossworld.internals.wiring import Stage, Wiring

Tensor = Any
Score = Callable[[Any, Batch], Any]  # output, batch -> one number per input, (B,)
ENTRY = Site("layers.0.resid_pre")


@dataclass(frozen=True, slots=True, eq=False)
class Tape:
    """What every sender adds to the stream, kept small.

    Parameters
    ----------
    entry
        Stream before the first block, (B, T, d).
    heads
        Of each block: concatenated heads before the output projection, divided by the root mean
        square of a norm behind it, (B, T, heads * width); None without attention.
    feeds
        Of each block: what its MLP adds, (B, T, d); None without one.
    """

    entry: Tensor
    heads: tuple[Tensor | None, ...]
    feeds: tuple[Tensor | None, ...]

    def __sub__(self, other: Tape) -> Tape:
        def less(a: Tensor | None, b: Tensor | None) -> Tensor | None:
            return None if a is None or b is None else a - b

        return Tape(
            self.entry - other.entry,
            tuple(less(a, b) for a, b in zip(self.heads, other.heads, strict=True)),
            tuple(less(a, b) for a, b in zip(self.feeds, other.feeds, strict=True)),
        )

    def __add__(self, other: Tape) -> Tape:
        return self - other.scaled(-1.0)

    def scaled(self, factor: float) -> Tape:
        """Return everything times a number."""
        return self._each(lambda a: a * factor)

    def sum(self) -> Tape:
        """Return the sum over inputs, first axis 1."""
        return self._each(lambda a: a.sum(0, keepdim=True))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Tape:
        return Tape(
            change(self.entry),
            tuple(None if a is None else change(a) for a in self.heads),
            tuple(None if a is None else change(a) for a in self.feeds),
        )

    def rows(self, part: Any) -> Tape:
        """Return some of the inputs."""
        return self._each(lambda a: a[part])


@dataclass(frozen=True, slots=True, eq=False)
class Slopes:
    """Derivatives of the metric with respect to what readers get.

    Parameters
    ----------
    projections
        Of each block: gradients at the outputs of its distinct projections, by module path.
    streams
        Of each block: the stream that attention reads, (B, T, d).
    feeds
        Of each block: gradient at the stream through the MLP alone, (B, T, d).
    final
        Gradient at the stream through the logits alone, (B, T, d).
    value
        The metric, (B,).
    """

    projections: tuple[Mapping[str, Tensor], ...]
    streams: tuple[Tensor | None, ...]
    feeds: tuple[Tensor | None, ...]
    final: Tensor
    value: Tensor


@contextmanager
def frozen(model: Any) -> Iterator[None]:
    """Keep weights out of the graph for a while: only activations are differentiated."""
    held = [p for p in model.parameters() if p.requires_grad]
    for parameter in held:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in held:
            parameter.requires_grad_(True)


def written(wiring: Wiring) -> list[Site]:
    """Sites that hold what senders write."""
    found = [ENTRY]
    for stage in wiring.stages:
        if stage.out is not None:
            found.append(stage.z)
        if stage.after_path is not None:
            found.append(Site(f"{stage.after_path}.in"))
        if stage.fed is not None:
            found.append(stage.fed)
    return found


def tape(wiring: Wiring, values: Mapping[Site, Any]) -> Tape:
    """Assemble what senders write from recorded values."""
    heads = tuple(_scaled(stage, values) for stage in wiring.stages)
    feeds = tuple(None if s.fed is None else values[s.fed].detach() for s in wiring.stages)
    return Tape(values[ENTRY].detach(), heads, feeds)


def _scaled(stage: Stage, values: Mapping[Site, Any]) -> Tensor | None:
    if stage.out is None:
        return None
    z = values[stage.z].detach()
    if stage.after is None:
        return z
    return z * stage.after.scale(values[Site(f"{stage.after_path}.in")].detach())


def plain(subject: TorchSubject, wiring: Wiring, batch: Batch) -> Tape:
    """Record a run without gradients; logits are not needed."""
    run = subject.run(batch, read=written(wiring), last=True)
    return tape(wiring, run.values)


def sloped(
    subject: TorchSubject,
    wiring: Wiring,
    batch: Batch,
    score: Score,
    *,
    last: bool = False,
    write: Mapping[Site, Any] | None = None,
) -> tuple[Slopes, Tape]:
    """Run once with gradients.

    Parameters
    ----------
    subject, wiring
        The network and its graph.
    batch
        Inputs.
    score
        The metric.
    last
        Whether logits of the last position are all that is needed.
    write
        Sites that are set on the way.

    Returns
    -------
    tuple
        Derivatives, and what the senders wrote.
    """
    taps: dict[Site, Any] = {ENTRY: _own}  # the first plug starts the graph
    taps.update(write or {})
    for stage in wiring.stages:
        for path in dict.fromkeys(stage.projections or ()):
            taps[Site(path)] = _own
        if stage.feed is not None:
            taps[_entry_of(stage)] = _own
    taps[wiring.final] = _own
    reads = written(wiring)
    reads += [s.stream for s in wiring.stages if s.stream is not None]
    with frozen(subject.model):
        run = subject.run(batch, read=reads, write=taps, grad=True, last=last)
        value = score(run.output, batch)
        check_score(value, batch)
        found = _gradients(subject, wiring, run, value)
    return found, tape(wiring, run.values)


def _own(present: Tensor) -> Tensor:
    """Return the same values as a node of the graph of their own."""
    return present.view_as(present)


def _entry_of(stage: Stage) -> Site:
    """Where the MLP alone is entered: at its norm, or at itself where the norm is shared."""
    assert stage.feed is not None
    assert stage.core is not None
    shared = stage.parallel and stage.feed == stage.stream
    return stage.core if shared else stage.feed


def check_score(value: Any, batch: Batch) -> None:
    """Refuse a metric without one differentiable number per input."""
    if tuple(value.shape) != (batch.size,):
        raise DesignError(
            f"the metric gives shape {tuple(value.shape)} for {batch.size} inputs; it gives one "
            "number per input"
        )
    if not value.requires_grad:
        raise DesignError(
            "this metric has no derivative (accuracy counts), so it cannot be attributed; use "
            "logit_difference or log_probability"
        )


def _gradients(subject: TorchSubject, wiring: Wiring, run: Run, value: Tensor) -> Slopes:
    plugs = [subject.port(Site(p)).plug for s in wiring.stages
             for p in dict.fromkeys(s.projections or ())]  # fmt: skip
    plugs += [subject.port(_entry_of(s)).plug for s in wiring.stages if s.feed is not None]
    plugs.append(subject.port(wiring.final).plug)
    plugs = list(dict.fromkeys(plugs))
    tensors = [run.whole[p] for p in plugs]
    found = torch().autograd.grad(value.sum(), tensors, allow_unused=True)
    none = [p for p, g in zip(plugs, found, strict=True) if g is None]
    if len(none) == len(plugs):
        raise EstimationError("the metric does not depend on anything these readers get")
    grads = {
        p: torch().zeros_like(t) if g is None else g
        for p, t, g in zip(plugs, tensors, found, strict=True)
    }
    projections = tuple(
        {p: grads[subject.port(Site(p)).plug] for p in dict.fromkeys(s.projections or ())}
        for s in wiring.stages
    )
    streams = tuple(
        None if s.stream is None else run.values[s.stream].detach() for s in wiring.stages
    )
    feeds = tuple(_feed_slope(subject, s, grads, run) for s in wiring.stages)
    final = grads[subject.port(wiring.final).plug]
    return Slopes(projections, streams, feeds, final, value.detach())


def _feed_slope(
    subject: TorchSubject, stage: Stage, grads: Mapping[Any, Tensor], run: Run
) -> Tensor | None:
    """Gradient at the stream through the MLP alone."""
    if stage.feed is None:
        return None
    place = _entry_of(stage)
    slope = grads[subject.port(place).plug]
    if place == stage.feed or stage.feed_norm is None:
        return slope
    x = run.values[stage.feed].detach().requires_grad_(True)
    with torch().enable_grad():
        through = subject.modules[stage.feed_norm].forward(x)
    (pulled,) = torch().autograd.grad(through, x, slope)
    return pulled

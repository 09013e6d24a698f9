"""The metric as a linear function of what sites hold, at one input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from crossworld.errors import DesignError
from crossworld.internals.attention import Attention
from crossworld.internals.backend import torch
from crossworld.internals.basis import Basis
from crossworld.internals.frames import Frame
from crossworld.internals.ports import edited, take
from crossworld.internals.site import Site
from crossworld.internals.softmax import attentions, patched_weights
from crossworld.internals.sources import Source, value_of
from crossworld.internals.tape import check_score, frozen

Tensor = Any
Plug = tuple[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """A metric's value and slopes at one input of a frame.

    Parameters
    ----------
    frame, level
        Which pairs and which of their inputs.
    value
        The metric, (B,).
    natural
        What the sites hold under every input.
    slopes
        Gradient at the whole tensor of every plug.
    attention
        For queries and keys whose softmax is recomputed: attention under every input, by layer.
    """

    frame: Frame
    level: int
    value: Tensor
    natural: Mapping[int, Mapping[Site, Tensor]]
    slopes: Mapping[Plug, Tensor]
    attention: Mapping[int, Mapping[int, Attention]] = field(default_factory=dict)

    @classmethod
    def at(
        cls,
        frame: Frame,
        level: int,
        sites: Sequence[Site],
        *,
        blocked: bool = False,
        qk_fix: bool = False,
    ) -> Self:
        """Run the inputs of a level with gradients, and the others without.

        Parameters
        ----------
        frame, level
            Pairs, and the input at which slopes are taken.
        sites
            What is linearised.
        blocked
            Hold every site fixed when another before it changes: slopes of a joint intervention.
        qk_fix
            Note attention for the query and key sites.
        """
        subject = frame.study.subject
        fixed = [s for s in sites if qk_fix and s.stream in ("q", "k")]
        layers = sorted({s.layer for s in fixed if s.layer is not None})
        natural = {
            other: subject.run(batch, read=sites, write=frame.base[other], last=True).values
            for other, batch in frame.batches.items() if other != level or blocked
        }  # fmt: skip
        weights = [_pattern(i) for i in layers]
        value, values, slopes = gradients(
            frame, level, [*sites, *weights], held=natural.get(level) if blocked else None
        )
        natural[level] = {s: v.detach() for s, v in values.items() if s in sites}
        noted = {
            other: attentions(frame.network, batch, layers, write=frame.base[other])
            for other, batch in frame.batches.items()
        } if layers else {}  # fmt: skip
        return cls(frame, level, value, natural, slopes, noted)

    @property
    def layers(self) -> tuple[int, ...]:
        """Blocks whose softmax is recomputed."""
        return tuple(sorted(self.attention.get(self.level, {})))

    def cell(self, writes: Sequence[tuple[Site, Source]]) -> Any:
        """Approximate metric when sites are set, (B,) as numpy."""
        total = self.value.double()
        for site, source in writes:
            total = total + self.effect(site, source)
        return total.cpu().numpy()

    def effect(self, site: Site, source: Source) -> Tensor:
        """First-order change of the metric when one site is set, (B,)."""
        if self.attention and site.stream in ("q", "k") and source.kind == "level":
            return self._behind_softmax(site, source.level)
        subject = self.frame.study.subject
        port = subject.port(site)
        batch = self.frame.batches[self.level]
        slope = take(self.slopes[port.plug], port, _positions(batch, site.position, self.value))
        bases: Mapping[str, Basis] = getattr(subject, "bases", {})
        value = value_of(source, site, self.natural, {}, bases)
        change, slope = self._change(site, value, slope, bases)
        return (change.double() * slope.double()).flatten(1).sum(1)

    def _change(
        self, site: Site, value: Any, slope: Tensor, bases: Mapping[str, Basis]
    ) -> tuple[Tensor, Tensor]:
        """Change of the activations, and the slope where they are."""
        present = self.natural[self.level][site]
        if site.keys is not None:
            keys = _positions(self.frame.batches[self.level], site.keys, present)
            index = keys[:, None, :].expand(slope.shape[0], slope.shape[1], keys.shape[1])
            slope = slope.gather(2, index)
        if site.basis is None:
            new = edited(present, value, None, site)
            return new - present, slope
        # what a basis holds is in coordinates: a change of them moves the activations along it
        basis = bases[site.basis]
        anywhere = torch().zeros_like(slope)
        start = basis.write(anywhere, basis.read(anywhere))
        new = value(present) if callable(value) else value
        return basis.write(anywhere, basis.read(anywhere) + new - present) - start, slope

    def _behind_softmax(self, site: Site, source: int) -> Tensor:
        """Exact change of the attention weights times the slope at them."""
        layer, head = site.layer, site.head
        assert layer is not None
        assert head is not None
        subject = self.frame.study.subject
        heads = [head]
        if site.stream == "k":
            numbers = subject.layout.heads
            assert numbers is not None
            group = numbers.queries // numbers.keys
            heads = list(range(head * group, (head + 1) * group))
        own, other = self.attention[self.level][layer], self.attention[source][layer]
        positions = _positions(self.frame.batches[self.level], site.position, own.query)
        if positions is not None and source != self.level:
            there = _positions(self.frame.batches[source], site.position, own.query)
            if not bool((there == positions).all()):
                raise DesignError(
                    f"{site} stands at other positions in the two inputs, so rotary positions "
                    "differ and its softmax is not recomputed; leave out qk_fix"
                )
        before, after = patched_weights(own, other, site, heads, positions)
        slope = self.slopes[subject.port(_pattern(layer)).plug][:, heads]
        return ((after - before) * slope.double()).flatten(1).sum(1)


def _pattern(layer: int) -> Site:
    return Site(f"layers.{layer}.heads.0.pattern")


def _positions(batch: Any, text: str | None, like: Tensor) -> Any:
    found = batch.positions(text)
    return None if found is None else torch().from_numpy(found).to(like.device)


def plain_value(frame: Frame, level: int) -> Any:
    """Metric of a frame's pairs under one of their inputs, (B,) as numpy."""
    batch = frame.batches[level]
    run = frame.study.subject.run(batch, write=frame.base[level], last=frame.last)
    return frame.score(run.output, batch).double().cpu().numpy()


def gradients(
    frame: Frame,
    level: int,
    sites: Sequence[Site],
    *,
    held: Mapping[Site, Tensor] | None = None,
    write: Mapping[Site, Any] | None = None,
) -> tuple[Tensor, Mapping[Site, Tensor], dict[Plug, Tensor]]:
    """Metric, what sites hold, and gradients at the whole tensor of every plug."""
    with frozen(frame.network.model):
        value, run, plugs = graph(frame, level, sites, held=held, write=write)
        found = backward(value, run, plugs)
    return value.detach(), run.values, found


def graph(
    frame: Frame,
    level: int,
    sites: Sequence[Site],
    *,
    held: Mapping[Site, Tensor] | None = None,
    write: Mapping[Site, Any] | None = None,
) -> tuple[Tensor, Any, list[Plug]]:
    """Run once and keep the graph: the metric, the run, and the plugs of the sites."""
    subject, batch = frame.study.subject, frame.batches[level]
    plugs = list(dict.fromkeys(subject.port(s).plug for s in sites))
    # a plug's tensor may be read elsewhere too (a norm's input is the stream): a node of its own
    own: dict[Site, Any] = {Site(f"{p}.{end}"): _view for p, end in plugs if end != "weights"}
    taps = {**own, **frame.base[level], **dict(write or {})}
    for site, there in (held or {}).items():
        taps[site] = there.detach().clone().requires_grad_(True)
    run = subject.run(batch, read=sites, write=taps, grad=True, last=frame.last)
    value = frame.score(run.output, batch)
    check_score(value, batch)
    return value, run, plugs


def backward(value: Tensor, run: Any, plugs: Sequence[Plug], *, keep: bool = False) -> dict[
    Plug, Tensor
]:  # fmt: skip
    """Gradients of the summed metric at every plug; 0 where it does not depend on it."""
    t = torch()
    tensors = [run.whole[p] for p in plugs]
    found = t.autograd.grad(value.sum(), tensors, allow_unused=True, retain_graph=keep)
    return {
        p: t.zeros_like(x) if g is None else g
        for p, x, g in zip(plugs, tensors, found, strict=True)
    }


def _view(present: Tensor) -> Tensor:
    return present.view_as(present)

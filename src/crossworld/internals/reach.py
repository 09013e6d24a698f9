"""An intervention that changes nothing where it should is an error, not an effect of zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crossworld.errors import EstimationError
from crossworld.internals.backend import torch
from crossworld.internals.inputs import Batch
from crossworld.internals.metrics import reads_last
from crossworld.internals.site import Site
from crossworld.internals.study import PatchStudy

Plug = tuple[str, str]


def check_reach(study: PatchStudy, sites: Sequence[Site], unit: int) -> None:
    """Make sure that every place is on the way to the output.

    Where the output has a slope in a place, it is. Elsewhere the place is set to something else in
    one input, and the output has to change.

    Places are modules and their ends; whether one position, head or neuron matters is a finding.

    Raises
    ------
    EstimationError
        If the output stays the same to the last bit.
    """
    batches = [study.pairs.batch([unit], level) for level in study.pairs.levels]
    placed = {study.subject.port(s).plug: s for s in sites if s.position is not None}
    places = {study.subject.port(s).plug: Site(s.where) for s in sites}
    open_ = set(places)
    # positions are read too: of one input, axes of inputs and of tokens cannot be confused
    open_ -= _slopes(study, batches[0], places, also=tuple(placed.values()))
    for batch in batches[1:]:
        open_ -= _slopes(study, batch, {plug: places[plug] for plug in open_}) if open_ else set()
    for plug in [p for p in places if p in open_]:  # flat there, or not on the way
        probe, weights = places[plug], plug[1] == "weights"
        if not any(_moves(study, batch, probe, is_weights=weights) for batch in batches):
            raise EstimationError(
                f"setting {probe} changes nothing in the output of the network, so no effect can "
                f"be measured there; is {plug[0]!r} on the way to the output?"
            )


def _slopes(
    study: PatchStudy, batch: Batch, places: Mapping[Plug, Site], *, also: Sequence[Site] = ()
) -> set[Plug]:
    """Places at which the output has a slope: one pass forward and one back for all of them."""
    t = torch()
    last = reads_last(study.metric, batch)
    read = tuple(dict.fromkeys([*places.values(), *also]))
    run = study.subject.run(batch, read=read, grad=True, last=last)
    if not run.output.is_floating_point() or not run.output.requires_grad:
        return set()
    noise = t.randn(run.output.shape, generator=t.Generator().manual_seed(0))
    total = (run.output * noise.to(run.output)).sum()
    slopes = t.autograd.grad(total, [run.whole[p] for p in places], allow_unused=True)
    held = zip(places, slopes, strict=True)
    return {plug for plug, slope in held if slope is not None and bool((slope != 0).any())}


def _moves(study: PatchStudy, batch: Batch, probe: Site, *, is_weights: bool) -> bool:
    """Whether the output of one input changes when a place is set to something else."""
    before = study.subject.run(batch, read=(probe,))
    other = _other(before.values[probe], is_weights=is_weights)
    after = study.subject.run(batch, read=(probe,), write={probe: other}).output
    return not torch().equal(before.output, after)


def _other(held: Any, *, is_weights: bool) -> Any:
    if is_weights:
        return held.flip(-1) if held.shape[-1] > 1 else held * 0.0
    generator = torch().Generator().manual_seed(0)
    noise = torch().randn(held.shape, generator=generator).to(held)
    return held + (1.0 + held.abs().mean()) * noise

"""An intervention that changes nothing where it should is an error, not an effect of zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crossworld.errors import EstimationError
from crossworld.internals.backend import torch
from crossworld.internals.inputs import Batch
from crossworld.internals.site import Site
from crossworld.internals.study import PatchStudy


def check_reach(study: PatchStudy, sites: Sequence[Site], unit: int) -> None:
    """Set every place to something else in one input and see the output change.

    Places are modules and their ends; whether one position, head or neuron matters is a finding.

    Raises
    ------
    EstimationError
        If the output stays the same to the last bit.
    """
    batches = [study.pairs.batch([unit], level) for level in study.pairs.levels]
    places = {study.subject.port(s).plug: s for s in sites}
    for plug, site in places.items():
        probe = Site(site.where)
        weights = plug[1] == "weights"
        if not any(_moves(study, batch, probe, is_weights=weights) for batch in batches):
            raise EstimationError(
                f"setting {probe} changes nothing in the output of the network, so no effect can "
                f"be measured there; is {plug[0]!r} on the way to the output?"
            )


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

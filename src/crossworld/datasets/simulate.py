"""Every generator by name: each returns data and the true value of every cell."""

from __future__ import annotations

from collections.abc import Callable

from crossworld.datasets.designs import (
    clustered,
    continuous_treatment,
    intermediate,
    multilevel_treatment,
)
from crossworld.datasets.published import medoutcon, tmle3mediate
from crossworld.datasets.several import joint_block, mixed_block, ordered, ordered_binary
from crossworld.datasets.simulated import Simulated
from crossworld.datasets.single import (
    binary_both,
    binary_mediator,
    binary_outcome,
    count_mediator,
    count_outcome,
    interaction,
    linear,
    nominal_mediator,
)

GENERATORS: dict[str, Callable[..., Simulated]] = {
    made.__name__: made
    for made in (
        linear,
        interaction,
        binary_mediator,
        binary_outcome,
        binary_both,
        count_mediator,
        count_outcome,
        nominal_mediator,
        ordered,
        ordered_binary,
        joint_block,
        mixed_block,
        continuous_treatment,
        multilevel_treatment,
        clustered,
        intermediate,
        medoutcon,
        tmle3mediate,
    )
}

__all__ = [
    "GENERATORS",
    "Simulated",
    "binary_both",
    "binary_mediator",
    "binary_outcome",
    "clustered",
    "continuous_treatment",
    "count_mediator",
    "count_outcome",
    "interaction",
    "intermediate",
    "joint_block",
    "linear",
    "medoutcon",
    "mixed_block",
    "multilevel_treatment",
    "nominal_mediator",
    "ordered",
    "ordered_binary",
    "tmle3mediate",
]

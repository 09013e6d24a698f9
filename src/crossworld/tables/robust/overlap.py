"""How far the two levels share covariates and mediators, in numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.tables.robust.data import Arrays

Array = NDArray[np.float64]
FEW = 0.1  # effective share of an arm below which a warning is due
TOP = 0.5  # share of influence carried by the top 1 % of units above which a warning is due


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """What is collected while scores are built."""

    lowest: dict[tuple[float, int], float] = field(default_factory=dict)
    clipped: dict[tuple[float, int], int] = field(default_factory=dict)
    weights: dict[tuple[Any, ...], Array] = field(default_factory=dict)


def clip(chance: Array, trim: float, name: tuple[float, int], overlap: Overlap) -> Array:
    """Hold a probability at least ``trim`` from 0, and remember how many were held.

    With ``trim=0`` only exact zeros are moved, to the smallest probability that can be inverted.
    """
    least = max(trim, 1e-12)
    overlap.lowest[name] = float(chance.min())
    overlap.clipped[name] = int((chance < least).sum())
    return np.maximum(chance, least)


def describe_overlap(
    overlap: Overlap, values: Array, data: Arrays, levels: tuple[float, float], trim: float
) -> dict[str, Any]:
    """Overlap diagnostics and the warnings they call for."""
    ess = [_effective(w, data.weights) for w in overlap.weights.values()]
    share = _effective_share(overlap, data)
    centred = np.abs(values - values.mean(axis=0))
    top = max(1, len(values) // 100)
    heavy = np.partition(centred, len(centred) - top, axis=0)[-top:].sum(axis=0) / np.maximum(
        centred.sum(axis=0), 1e-300
    )
    clipped = sum(overlap.clipped.values())
    told = {
        "units_at_level": {f"{v:g}": int((data.arm == v).sum()) for v in levels},
        "lowest_probability": min(overlap.lowest.values()),
        "probabilities_held": {f"{a:g} | {k} blocks": c for (a, k), c in overlap.clipped.items()},
        "trim": trim,
        "smallest_effective_sample_size": min(ess),
        "influence_of_top_1_percent": float(heavy.max()),
    }
    warned = []
    if clipped:
        worst = max(overlap.clipped, key=lambda name: overlap.clipped[name])
        warned.append(
            f"overlap: {overlap.clipped[worst]} units have a probability of treatment level "
            f"{worst[0]:g} under {trim:g} given covariates and {worst[1]} mediator blocks and are "
            f"held there; the smallest effective sample size is {min(ess):.0f}"
        )
    if share < FEW:
        warned.append(
            f"overlap: weights leave {min(ess):.0f} effective units, {share:.0%} of the arm; the "
            "levels hardly share covariates or mediators, so look at fewer covariates, a larger "
            "trim, or another contrast"
        )
    if float(heavy.max()) > TOP:
        warned.append(
            f"overlap: the top 1 % of units carry {heavy.max():.0%} of the influence; intervals "
            "lean on a few units"
        )
    return {"overlap": told, "warnings": warned}


def _effective(weight: Array, rows: Array | None) -> float:
    w = weight if rows is None else weight * rows
    return float(w.sum() ** 2 / max(float((w**2).sum()), 1e-300))


def _effective_share(overlap: Overlap, data: Arrays) -> float:
    shares = []
    for weight in overlap.weights.values():
        used = int((weight > 0.0).sum())
        shares.append(_effective(weight, data.weights) / max(used, 1))
    return min(shares)

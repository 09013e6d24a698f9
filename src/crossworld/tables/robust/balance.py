"""What learned weights do: their range, their worth in units, and the balance they achieve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.tables.robust.data import Arrays, Route
from crossworld.tables.robust.nuisance import Key
from crossworld.tables.robust.overlap import FEW, TOP
from crossworld.tables.robust.policy import Policy, Shift

Array = NDArray[np.float64]
NEGATIVE = 0.1  # share of negative weights above which a warning is due
APART = 0.1  # imbalance in standard deviations above which a warning is due
NOISE = 4.0  # and how many times the balance that chance alone leaves it must be


def describe_weights(
    policy: Policy,
    split: tuple[Mapping[Key, Array], Mapping[tuple[Key, int], float]],
    data: Arrays,
    values: Array,
) -> dict[str, Any]:
    """Diagnostics of a split's representers and the warnings they call for."""
    found, penalties = split
    stages: dict[str, dict[str, Any]] = {}
    warned: list[str] = []
    for key in (k for k in found if k[0] == "representer"):
        path = Route(key[1], key[2])
        name = " then ".join(f"{v:g}" for v in path.levels) + f" | {path.ends[-1]} blocks"
        told = _stage(policy, found, data, path)
        used = [p for (levels_ends), p in penalties.items() if levels_ends[0] == key[1:]]
        stages[name] = {**told, "penalty": float(np.median(used))}
        warned += _warnings(name, stages[name])
    centred = np.abs(values - values.mean(axis=0))
    top = max(1, len(values) // 100)
    heavy = np.sort(centred, axis=0)[-top:].sum(axis=0) / np.maximum(centred.sum(axis=0), 1e-300)
    share = float(heavy.max())
    if share > TOP:
        warned.append(
            f"overlap: the top 1 % of units carry {share:.0%} of the influence; intervals lean on "
            "a few units"
        )
    overlap = {
        "smallest_effective_sample_size": min(s["effective_sample_size"] for s in stages.values()),
        "largest_imbalance": max(s["imbalance_after"] for s in stages.values()),
        "influence_of_top_1_percent": share,
    }
    if isinstance(policy, Shift):
        beyond = _beyond(policy, data)
        overlap["share_shifted_beyond_the_data"] = beyond
        if beyond > APART:
            warned.append(
                f"overlap: {beyond:.0%} of units have treatment plus {policy.size:g} outside the "
                f"treatment's range {data.arm.min():g} to {data.arm.max():g}; try a smaller shift"
            )
    return {"overlap": overlap, "representers": stages, "warnings": warned}


def _stage(policy: Policy, found: Mapping[Key, Array], data: Arrays, path: Route) -> dict[str, Any]:
    """Range, effective size and balance of one representer, out of fold."""
    own = np.ones(data.y.size) if data.weights is None else data.weights / data.weights.mean()
    alpha = found["representer", path.levels, path.ends]
    before = np.ones(data.y.size)
    if path.runs > 1:
        before = found["representer", path.levels[:-1], path.ends[:-1]]
    observed, moved, active = policy.places(data, path)
    worth = float((own * alpha).sum() ** 2 / max(float((own * alpha**2).sum()), 1e-300))
    scale = (
        np.sqrt(
            np.average(
                (observed - np.average(observed, axis=0, weights=own)) ** 2, axis=0, weights=own
            )
        )
        if observed.shape[1]
        else np.ones(0)
    )
    scale = np.where(scale > 0.0, scale, 1.0)
    centre = np.average(observed, axis=0, weights=own) if observed.shape[1] else np.zeros(0)
    target = (own * before) @ (moved - centre) / own.sum() / scale
    reached = (own * alpha) @ (observed - centre) / own.sum() / scale
    start = (own * active) @ (observed - centre) / (own * active).sum() / scale
    return {
        "least": float(alpha[active].min()),
        "greatest": float(alpha[active].max()),
        "negative": float((alpha[active] < 0.0).mean()),
        "effective_sample_size": worth,
        "effective_share": worth / max(int(active.sum()), 1),
        "mean": float(np.average(alpha, weights=own)),
        "imbalance_before": float(np.abs(start - target).max(initial=0.0)),
        "imbalance_after": float(np.abs(reached - target).max(initial=0.0)),
        "imbalance_by_chance": float(np.sqrt(np.average(alpha**2, weights=own) / data.y.size)),
    }


def _warnings(name: str, told: Mapping[str, Any]) -> list[str]:
    found = []
    if told["effective_share"] < FEW:
        found.append(
            f"overlap: the weights of stage {name} leave {told['effective_sample_size']:.0f} "
            f"effective units, {told['effective_share']:.0%} of its rows; the levels hardly share "
            "covariates or mediators, so look at fewer covariates or another contrast"
        )
    if told["negative"] > NEGATIVE:
        found.append(
            f"overlap: {told['negative']:.0%} of the weights of stage {name} are negative, down to "
            f"{told['least']:.3g}: overlap is poor or the features are too plain; compare another "
            "features="
        )
    if told["imbalance_after"] > max(APART, NOISE * told["imbalance_by_chance"]):
        found.append(
            f"balance: the weights of stage {name} leave a column {told['imbalance_after']:.2f} "
            f"standard deviations from its target ({told['imbalance_before']:.2f} without "
            "weights); the answer leans on the outcome regressions"
        )
    return found


def _beyond(policy: Shift, data: Arrays) -> float:
    there = data.arm + policy.size
    out = (there < data.arm.min()) | (there > data.arm.max())
    return float(np.average(out, weights=data.weights))

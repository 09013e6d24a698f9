"""Which positions of a network hear of which: looked at, not believed from a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from crossworld.internals.backend import torch
from crossworld.internals.inputs import Batch, batch
from crossworld.internals.site import Site

NAMES = ("decoder_input_ids", "decoder_inputs_embeds", "input_ids", "inputs_embeds")


def is_causal(subject: Any, held: Batch) -> bool:
    """Whether positions hear of earlier ones alone: a network that says so, found to be right.

    The last token of one input is exchanged, and nothing may change before it. The answer is kept.
    """
    if subject.layout.causal is not True or held.length is None:
        return False
    memory: dict[str, Any] = getattr(subject, "_held", {})
    if "causal" not in memory and held.length > 1:
        memory["causal"] = _nothing_earlier(subject, held)
    return bool(memory.get("causal", False))


def stays_in_place(subject: Any, held: Batch, site: Site) -> bool:
    """Whether a place in the last block acts at its own positions alone.

    It is moved at every position of an input but the last, and the last output may not change.
    The answer is kept for the module.
    """
    memory: dict[str, Any] = getattr(subject, "_held", {})
    port = subject.port(site)
    known: dict[Any, bool] = memory.setdefault("in place", {})
    if port.plug not in known:
        both, last = _twice(held)
        whole = Site(f"{port.path}.{port.end}")

        def moved(hidden: Any) -> Any:
            noise = torch().randn(hidden.shape, generator=torch().Generator().manual_seed(0))
            noise[:, last] = noise[:1] = 0.0
            return hidden + (1.0 + hidden.abs().mean()) * noise.to(hidden)

        output = subject.run(both, write={whole: moved}, last=both.ends_together).output
        by_token = output.ndim == 3 and output.shape[1] in (1, both.length)
        at = -1 if both.ends_together else last
        known[port.plug] = by_token and _same(output[0, at], output[1, at])
    return known[port.plug]


def _twice(held: Batch) -> tuple[Batch, int]:
    """Return the first input two times, and its last real position."""
    assert held.first is not None
    assert held.count is not None
    named = isinstance(held.inputs, Mapping)
    first = {k: v[0] for k, v in held.inputs.items()} if named else held.inputs[0]
    return batch([first, first]), int(held.first[0] + held.count[0]) - 1


def _nothing_earlier(subject: Any, held: Batch) -> bool:
    both, last = _twice(held)
    named = isinstance(both.inputs, Mapping)
    key = next((n for n in NAMES if named and n in both.inputs), None)
    if named and key is None:
        return False
    tokens = (both.inputs[key] if named else both.inputs).clone()
    tokens[1, last] = _another(tokens[1], last)
    inputs = {**both.inputs, key: tokens} if named else tokens
    blocks = subject.layout.blocks
    stream = tuple(Site(f"layers.{i}.resid") for i in range(len(blocks)))[-1:]
    run = subject.run(replace(both, inputs=inputs), read=stream, last=bool(stream))
    output = run.values[stream[0]] if stream else run.output
    if output.ndim != 3 or output.shape[1] != held.length or last < 1:
        return False
    assert held.first is not None
    start = int(held.first[0])
    return _same(output[0, start:last], output[1, start:last])


def _another(tokens: Any, last: int) -> Any:
    """Return a token that the last position does not hold."""
    if tokens.is_floating_point():
        return 1.0 - tokens[last]
    here = int(tokens[last])
    others = [int(t) for t in tokens if int(t) != here]
    return others[0] if others else max(here - 1, 0) if here else 1


def _same(one: Any, other: Any) -> bool:
    t = torch()
    close = 1e-3 if one.element_size() < 4 else 1e-5
    return bool((one - other).abs().max() <= close * (one.abs().max() + t.finfo(one.dtype).tiny))

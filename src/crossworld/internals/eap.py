"""Scores of edges from what senders write and how readers' inputs matter, in blocks of memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from crossworld.errors import DesignError
from crossworld.internals.backend import torch
from crossworld.internals.search import allowed
from crossworld.internals.subject import TorchSubject
from crossworld.internals.tape import Slopes, Tape
from crossworld.internals.wiring import Stage, Wiring

Tensor = Any
BUDGET = 512 * 2**20  # bytes for what a block of senders writes


def matrix(module: Any, path: str) -> Tensor:
    """Weight of a linear module as (in, out).

    Raises
    ------
    DesignError
        If the module is not linear.
    """
    weight, kind = getattr(module, "weight", None), type(module).__name__
    if weight is None or weight.ndim != 2 or not weight.is_floating_point():
        raise DesignError(
            f"{path} is a {kind} without a plain weight matrix (quantised?), so edges through it "
            "are not computed; load the model in floating point"
        )
    return weight.detach() if kind == "Conv1D" else weight.detach().T


def output_maps(subject: TorchSubject, wiring: Wiring, stage: Stage) -> Tensor:
    """What each head's values become in the stream, (heads, width, d)."""
    assert stage.out is not None
    weight = matrix(subject.modules[stage.out], stage.out)
    weight = weight.reshape(wiring.queries, wiring.width, -1)
    return weight if stage.after is None else stage.after.fold(weight)


def input_maps(subject: TorchSubject, stage: Stage, *, fold: bool = True) -> Tensor:
    """How each query, key and value comes out of the normalised stream, (readers, width, d)."""
    assert stage.projections is not None
    assert stage.columns is not None
    found = []
    for path, columns in zip(stage.projections, stage.columns, strict=True):
        weight = matrix(subject.modules[path], path).T  # (out, d)
        found.append(weight[columns.reshape(-1)].reshape(*columns.shape, -1))
    stacked = torch().cat(found)
    return stacked if stage.norm is None or not fold else stage.norm.fold(stacked)


def contributions(
    subject: TorchSubject, wiring: Wiring, differences: Tape, layers: range
) -> Tensor:
    """What the senders of some blocks write, (senders, B, T, d); the input comes with block 0."""
    b, n, d = differences.entry.shape
    first, stop = bounds(wiring, layers)
    found = differences.entry.new_empty((stop - first, b, n, d))
    if first == 0:
        found[0] = differences.entry
    for layer in layers:
        stage, z = wiring.stages[layer], differences.heads[layer]
        if z is not None:
            at = wiring.heads_at[layer] - first
            rows = z.reshape(b * n, wiring.queries, wiring.width).transpose(0, 1)
            into = found[at : at + wiring.queries].view(wiring.queries, b * n, d)
            torch().bmm(rows, output_maps(subject, wiring, stage), out=into)
        fed = differences.feeds[layer]
        if fed is not None:
            found[wiring.feeds_at[layer] - first] = fed
    return found


def bounds(wiring: Wiring, layers: range) -> tuple[int, int]:
    """First sender of some blocks, and one past the last."""
    first = 0 if layers.start == 0 else wiring.heads_at[layers.start]
    last = layers.stop == len(wiring.stages)
    return first, len(wiring.senders) if last else wiring.heads_at[layers.stop]


def pulled(
    subject: TorchSubject, wiring: Wiring, slopes: Slopes, layer: int, part: slice
) -> Tensor:
    """Gradients at the inputs of all readers of a block, (readers, B, T, d)."""
    stage, found = wiring.stages[layer], []
    if stage.projections is not None and stage.columns is not None:
        stream = slopes.streams[layer][part]  # type: ignore[index]
        b, n, d = stream.shape
        heads = [
            slopes.projections[layer][path][part].reshape(b * n, -1)[:, columns.reshape(-1)]
            .reshape(b * n, *columns.shape)
            for path, columns in zip(stage.projections, stage.columns, strict=True)
        ]  # fmt: skip
        g = torch().cat(heads, dim=1)
        if stage.norm is not None:
            g = g * stage.norm.scale(stream).reshape(b * n, 1, 1)
        made = torch().bmm(g.transpose(0, 1), input_maps(subject, stage))
        if stage.norm is not None:
            made = stage.norm.pull(made, stage.norm.unit(stream).reshape(b * n, d))
        found.append(made.view(-1, b, n, d))
    fed = slopes.feeds[layer]
    if fed is not None:
        found.append(fed[part][None])
    return found[0] if len(found) == 1 else torch().cat(found)


def spans(wiring: Wiring, shape: tuple[int, int, int], budget: int, size: int) -> Iterator[
    tuple[slice, range]
]:  # fmt: skip
    """Blocks of inputs and layers whose contributions fit the budget, at least one of each."""
    b, n, d = shape
    layers, per = len(wiring.stages), n * d * size
    rows = min(b, max(1, budget // (len(wiring.senders) * per)))
    widest = wiring.queries + 1
    deep = layers if rows > 1 else max(1, min(layers, budget // (widest * per)))
    for start in range(0, b, rows):
        for low in range(0, layers, deep):
            yield slice(start, min(start + rows, b)), range(low, min(low + deep, layers))


def contract(made: Tensor, slope: Tensor, *, positions: bool) -> Tensor:
    """Products of senders (s, B, T, d) and readers (r, B, T, d): (B, s, r), or (B, T, s, r)."""
    s, b, n, d = made.shape
    if positions:
        left = made.permute(1, 2, 0, 3).reshape(b * n, s, d)
        right = slope.permute(1, 2, 3, 0).reshape(b * n, d, -1)
        return torch().bmm(left, right).view(b, n, s, -1)
    left = made.view(s, b, n * d).transpose(0, 1)
    right = slope.reshape(-1, b, n * d).permute(1, 2, 0)
    return torch().bmm(left, right)


def accumulate(
    subject: TorchSubject,
    wiring: Wiring,
    differences: Tape,
    slopes: Slopes,
    into: Tensor,
    *,
    budget: int = BUDGET,
) -> None:
    r"""Add :math:`(z_u' - z_u)\cdot \partial y/\partial \mathrm{in}_v` of all edges.

    Parameters
    ----------
    subject, wiring
        The network and its graph.
    differences
        What the senders write in the other run, less what they write in this one.
    slopes
        Derivatives at the readers.
    into
        Shape (B, senders, readers), or (B, T, senders, readers) with positions.
    budget
        Bytes that what a block of senders writes may take.
    """
    shape = tuple(differences.entry.shape)
    size = differences.entry.element_size()
    for part, layers in spans(wiring, shape, budget, size):
        made = contributions(subject, wiring, differences.rows(part), layers)
        products(subject, wiring, (made, layers, part), slopes, into)


def products(
    subject: TorchSubject,
    wiring: Wiring,
    block: tuple[Tensor, range, slice],
    slopes: Slopes,
    into: Tensor,
) -> None:
    """Add the products of one block of senders with every reader after it."""
    made, layers, part = block
    first, stop = bounds(wiring, layers)
    positions = into.ndim == 4
    for layer in range(layers.start, len(wiring.stages)):
        at = wiring.readers_of(layer)
        reach = max((r.senders for r in wiring.readers[at]), default=0)
        reach = min(reach, stop) - first
        if reach <= 0:
            continue
        slope = pulled(subject, wiring, slopes, layer, part)
        found = contract(made[:reach], slope, positions=positions)
        into[part, ..., first : first + reach, at] += found
    final = contract(made, slopes.final[part][None], positions=positions)
    into[part, ..., first:stop, -1:] += final


def mask(wiring: Wiring) -> Tensor:
    """Which (sender, reader) couples are edges."""
    return torch().from_numpy(allowed(wiring.readers, len(wiring.senders)))

"""Edge scores the slow way: one leaf per reader in a graph that is split by hand.

Nothing here uses the library's analytic norms, its weights or its contraction: every reader's
projection is computed again from the stream plus a leaf of zeros, by the network's own modules, and
autograd gives the slope at the leaf. Contributions come from the network's own output projection,
applied to one head at a time.
"""

from __future__ import annotations

from typing import Any

import torch

from crossworld.internals.site import Site


def contributions(subject: Any, wiring: Any, batch: Any) -> torch.Tensor:
    """What every sender adds to the stream, (B, senders, T, d)."""
    reads = [Site("layers.0.resid_pre")]
    for stage in wiring.stages:
        reads += [s for s in (stage.wrote, stage.fed) if s is not None]
        reads += [stage.z] if stage.out else []
    values = subject.run(batch, read=reads).values
    found = [values[reads[0]]]
    for stage in wiring.stages:
        if stage.out is not None:
            module, z = subject.modules[stage.out], values[stage.z]
            zero = module.forward(torch.zeros_like(z))
            whole = module.forward(z)
            for h in range(wiring.queries):
                alone = torch.zeros_like(z)
                columns = slice(h * wiring.width, (h + 1) * wiring.width)
                alone[..., columns] = z[..., columns]
                part = module.forward(alone) - zero
                if stage.after_path is not None:
                    # the share of one head in a root-mean-square norm of the sum of heads
                    weight = values[stage.wrote] / whole
                    part = part * weight
                found.append(part)
        if stage.fed is not None:
            found.append(values[stage.fed])
    return torch.stack(found, dim=1).detach()


def slopes(subject: Any, wiring: Any, batch: Any, score: Any) -> torch.Tensor:
    """Derivative of the metric at every reader's own copy of the stream, (B, readers, T, d)."""
    size = subject.run(batch, read=[Site("layers.0.resid_pre")]).values[Site("layers.0.resid_pre")]
    leaves = [torch.zeros_like(size, requires_grad=True) for _ in wiring.readers]
    streams: dict[int, torch.Tensor] = {}
    taps: dict[Site, Any] = {}

    def note(i: int) -> Any:
        def tap(x: torch.Tensor) -> torch.Tensor:
            streams[i] = x
            return x.view_as(x)

        return tap

    def project(stage: Any, path: str, todo: list[tuple[int, list[int]]]) -> Any:
        module = subject.modules[path]

        def tap(present: torch.Tensor) -> torch.Tensor:
            new = present.clone()
            for v, columns in todo:
                stream = streams[stage.index] + leaves[v]
                norm = stage.stream.where.removesuffix(".in")
                normed = stream if stage.norm is None else subject.modules[norm].forward(stream)
                new[..., columns] = module.forward(normed)[..., columns]
            return new

        return tap

    for stage in wiring.stages:
        at = wiring.readers_of(stage.index).start
        if stage.projections is not None:
            taps[stage.stream] = note(stage.index)
            todo: dict[str, list[tuple[int, list[int]]]] = {}
            for path, columns in zip(stage.projections, stage.columns, strict=True):
                for row in columns.tolist():
                    todo.setdefault(path, []).append((at, row))
                    at += 1
            for path, held in todo.items():
                taps[Site(path)] = project(stage, path, held)
        if stage.feed is not None:
            if stage.feed == stage.stream:
                norm = subject.modules[stage.feed_norm]
                taps[stage.core] = lambda x, i=stage.index, v=at, norm=norm: norm.forward(
                    streams[i] + leaves[v]
                )
            else:
                taps[stage.feed] = lambda x, v=at: x + leaves[v]
    taps[wiring.final] = lambda x: x + leaves[-1]
    run = subject.run(batch, write=taps, grad=True)
    found = torch.autograd.grad(score(run.output, batch).sum(), leaves, allow_unused=True)
    made = [torch.zeros_like(size) if g is None else g for g in found]
    return torch.stack(made, dim=1)


def edge_scores(subject: Any, wiring: Any, clean: Any, corrupt: Any, score: Any) -> torch.Tensor:
    """Scores of every couple, (B, senders, readers), at the slope of the clean input."""
    change = contributions(subject, wiring, corrupt) - contributions(subject, wiring, clean)
    return torch.einsum("bstd,brtd->bsr", change, slopes(subject, wiring, clean, score))

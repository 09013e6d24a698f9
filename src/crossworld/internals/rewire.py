r"""Runs in which chosen edges carry what their sender wrote in another run.

Every reader gets its own copy of the stream: what the senders write in this run, except that
senders whose edge to the reader is cut contribute what they wrote in the reference run,

.. math:: \mathrm{in}_v = \sum_{u \in K(v)} c_u + \sum_{u \notin K(v)} c'_u .
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from crossworld.internals.backend import torch
from crossworld.internals.eap import mask, output_maps
from crossworld.internals.inputs import Batch
from crossworld.internals.site import Site
from crossworld.internals.subject import TorchSubject
from crossworld.internals.tape import ENTRY, Tape
from crossworld.internals.wiring import Stage, Wiring

Tensor = Any


@dataclass(frozen=True, slots=True, eq=False)
class Rewired:
    """A network whose cut edges carry the reference.

    Parameters
    ----------
    subject, wiring
        The network and its graph.
    kept
        Which edges carry this run, bool (senders, readers).
    reference
        What senders wrote in the reference run.
    given
        What some readers get, (B, T, d) by their position, whatever their senders write.
    """

    subject: TorchSubject
    wiring: Wiring
    kept: Tensor
    reference: Tape
    given: Mapping[int, Tensor] = field(default_factory=dict)

    def run(
        self, batch: Batch, *, base: Mapping[Site, Any] | None = None, last: bool = False
    ) -> Any:
        """Run inputs and return the output."""
        flow = _Flow(self)
        taps = {**dict(base or {})}
        for site, tap in flow.taps():
            before = taps.get(site)
            taps[site] = tap if before is None else _after(before, tap)
        return self.subject.run(batch, write=taps, last=last).output


def _after(first: Any, then: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def both(present: Tensor) -> Tensor:
        return then(first(present) if callable(first) else first)

    return both


class _Flow:
    """State of one run: by how much the reference differs from what was written so far."""

    def __init__(self, held: Rewired) -> None:
        self.held = held
        self.streams: dict[int, Tensor] = {}
        self.gaps: Tensor = None  # (senders that some edge is cut from, B, T, d)
        self.cut = mask(held.wiring) & ~held.kept.cpu()
        live = self.cut.any(1).nonzero().flatten().tolist()
        self.rows = {sender: row for row, sender in enumerate(live)}

    def taps(self) -> list[tuple[Site, Callable[[Tensor], Tensor]]]:
        """What is done where, in the order of the network."""
        found: list[tuple[Site, Callable[[Tensor], Tensor]]] = [(ENTRY, self._enter)]
        wiring = self.held.wiring
        for stage in wiring.stages:
            readers = range(*wiring.readers_of(stage.index).indices(len(wiring.readers)))
            if stage.projections is not None and stage.stream is not None:
                found.append((stage.stream, self._note(stage)))
                found += self._projections(stage, readers)
                found += self._heads(stage)
            if stage.feed is not None:
                found += self._feed(stage, readers[-1])
        found.append((wiring.final, self._mixed(len(wiring.readers) - 1)))
        return found

    def _enter(self, present: Tensor) -> Tensor:
        self.gaps = present.new_zeros((len(self.rows), *present.shape))
        if 0 in self.rows:
            self.gaps[self.rows[0]] = self.held.reference.entry - present
        return present

    def _note(self, stage: Stage) -> Callable[[Tensor], Tensor]:
        def note(present: Tensor) -> Tensor:
            self.streams[stage.index] = present
            return present

        return note

    def streams_of(self, stream: Tensor, readers: list[int]) -> Tensor:
        """What some readers get, (readers, B, T, d)."""
        weights = self.cut[list(self.rows)][:, readers].T.to(stream)
        change = torch().einsum("rs,sbtd->rbtd", weights, self.gaps)
        found = change.add_(stream)
        for row, reader in enumerate(readers):
            if reader in self.held.given:
                found[row] = self.held.given[reader]
        return found

    def _own(self, reader: int) -> bool:
        """Whether a reader gets another stream than the one that is there."""
        return reader in self.held.given or bool(self.cut[:, reader].any())

    def _mixed(self, reader: int) -> Callable[[Tensor], Tensor]:
        def mixed(present: Tensor) -> Tensor:
            if not self._own(reader):
                return present
            return self.streams_of(present, [reader])[0]

        return mixed

    def _projections(
        self, stage: Stage, readers: range
    ) -> list[tuple[Site, Callable[[Tensor], Tensor]]]:
        assert stage.projections is not None
        assert stage.columns is not None
        found: dict[str, list[tuple[int, Any]]] = {}
        at = readers.start
        for path, columns in zip(stage.projections, stage.columns, strict=True):
            for row in columns:
                if self._own(at):
                    found.setdefault(path, []).append((at, row))
                at += 1
        return [(Site(path), self._project(stage, path, todo)) for path, todo in found.items()]

    def _project(
        self, stage: Stage, path: str, todo: list[tuple[int, Any]]
    ) -> Callable[[Tensor], Tensor]:
        module = self.held.subject.modules[path]

        def project(present: Tensor) -> Tensor:
            given = self.streams_of(self.streams[stage.index], [reader for reader, _ in todo])
            if stage.norm is not None and stage.stream is not None:
                norm = self.held.subject.modules[stage.stream.where.removesuffix(".in")]
                given = norm.forward(given)
            columns = torch().stack([row for _, row in todo])
            weight = module.weight if type(module).__name__ == "Conv1D" else module.weight.T
            slices = weight[:, columns.reshape(-1)].reshape(-1, *columns.shape).permute(1, 0, 2)
            made = torch().einsum("rbtd,rdk->btrk", given, slices)
            if getattr(module, "bias", None) is not None:
                made = made + module.bias[columns]
            new = present.clone()
            new[..., columns.reshape(-1)] = made.flatten(-2).to(present.dtype)
            return new

        return project

    def _heads(self, stage: Stage) -> list[tuple[Site, Callable[[Tensor], Tensor]]]:
        wiring = self.held.wiring
        first = wiring.heads_at[stage.index]
        mine = [h for h in range(wiring.queries) if first + h in self.rows]
        if not mine:
            return []
        written: dict[str, Tensor] = {}

        def note(present: Tensor) -> Tensor:
            written["z"] = present
            if stage.after is None:
                self._gap(stage, mine, present)
            return present

        def scaled(present: Tensor) -> Tensor:
            assert stage.after is not None
            self._gap(stage, mine, written["z"] * stage.after.scale(present))
            return present

        found: list[tuple[Site, Callable[[Tensor], Tensor]]] = [(stage.z, note)]
        if stage.after_path is not None:
            found.append((Site(f"{stage.after_path}.in"), scaled))
        return found

    def _gap(self, stage: Stage, mine: list[int], z: Tensor) -> None:
        wiring, held = self.held.wiring, self.held.reference.heads[stage.index]
        gap = (held - z).unflatten(-1, (wiring.queries, wiring.width))[..., mine, :]
        maps = output_maps(self.held.subject, wiring, stage)[mine]
        first = wiring.heads_at[stage.index]
        rows = [self.rows[first + h] for h in mine]
        self.gaps[rows] = torch().einsum("bthk,hkd->hbtd", gap, maps)

    def _feed(self, stage: Stage, reader: int) -> list[tuple[Site, Callable[[Tensor], Tensor]]]:
        assert stage.feed is not None
        assert stage.core is not None
        assert stage.fed is not None
        sender = self.held.wiring.feeds_at[stage.index]
        found: list[tuple[Site, Callable[[Tensor], Tensor]]] = []
        shared = stage.parallel and stage.feed == stage.stream
        if shared:
            found.append((stage.core, self._through(stage, reader)))
        else:
            found.append((stage.feed, self._mixed(reader)))
        if sender in self.rows:
            found.append((stage.fed, self._fed(stage, sender)))
        return found

    def _through(self, stage: Stage, reader: int) -> Callable[[Tensor], Tensor]:
        """Give the MLP its own copy of the stream behind a norm that it shares with attention."""
        norm = None if stage.feed_norm is None else self.held.subject.modules[stage.feed_norm]

        def through(present: Tensor) -> Tensor:
            if not self._own(reader):
                return present
            given = self.streams_of(self.streams[stage.index], [reader])[0]
            return given if norm is None else norm.forward(given)

        return through

    def _fed(self, stage: Stage, sender: int) -> Callable[[Tensor], Tensor]:
        def fed(present: Tensor) -> Tensor:
            self.gaps[self.rows[sender]] = self.held.reference.feeds[stage.index] - present
            return present

        return fed

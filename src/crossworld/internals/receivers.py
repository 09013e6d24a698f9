"""Path patching into readers: what they get is made first, then the clean input runs with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crossworld.errors import DesignError
from crossworld.internals.eap import mask, output_maps
from crossworld.internals.exact import rewired
from crossworld.internals.frames import Frame
from crossworld.internals.site import Site
from crossworld.internals.tape import ENTRY, Tape
from crossworld.internals.wiring import LOGITS, Wiring

Tensor = Any


class Receivers:
    r"""The readers of one frame, with their streams under the clean input.

    .. math:: \mathrm{in}_v = \mathrm{stream}_v + \sum_{u \in E(v)} (c_u(x') - c_u(x))

    where the stream is that of the clean input or, where MLPs respond, that of a run in which
    heads write what they write under the clean input, senders what they write under the corrupt
    one, and MLPs what comes of it.

    Parameters
    ----------
    frame, wiring
        Pairs and the graph of the network.
    tapes
        What senders write under the inputs 0 and 1.
    """

    def __init__(self, frame: Frame, wiring: Wiring, tapes: Mapping[int, Tape]) -> None:
        self.frame, self.wiring, self.tapes = frame, wiring, tapes
        self.difference = tapes[1] - tapes[0]
        wrote = [s.wrote for s in wiring.stages if s.wrote is not None]
        places = [self._place(v) for v in range(len(wiring.readers))]
        self.clean = self._run({}, [*places, *wrote])

    def patched(self, chosen: Tensor, *, recomputed: bool) -> Any:
        """Metric when the readers of some edges get their senders' corrupt writes, (b,)."""
        readers = chosen.any(0).nonzero().flatten().tolist()
        if recomputed:
            passing = self._passing(chosen, readers)
            given = {v: passing[self._place(v)] for v in readers}
        else:
            given = {v: self._mixed(v, chosen[:, v]) for v in readers}
        frame, wiring = self.frame, self.wiring
        return rewired(frame, wiring, self.tapes[0], mask(wiring), given=given)

    def _run(self, write: Mapping[Site, Tensor], read: Sequence[Site]) -> Mapping[Site, Tensor]:
        frame = self.frame
        taps = {**frame.base[0], **write}
        found = frame.network.run(
            frame.batches[0], read=tuple(dict.fromkeys(read)), write=taps, last=True
        )
        return found.values

    def _place(self, reader: int) -> Site:
        """Site of the stream that a reader gets."""
        held = self.wiring.readers[reader]
        if held.name == LOGITS:
            return self.wiring.final
        stage = self.wiring.stages[held.layer]
        found = stage.feed if held.name.endswith(f".{stage.part}") else stage.stream
        assert found is not None
        return found

    def _mixed(self, reader: int, senders: Tensor) -> Tensor:
        found = self.clean[self._place(reader)]
        for u in senders.nonzero().flatten().tolist():
            found = found + self._change(u)
        return found

    def _change(self, sender: int) -> Tensor:
        """What a sender writes under the corrupt input, less what it writes under the clean one."""
        wiring, held = self.wiring, self.difference
        if sender == 0:
            return held.entry
        layer = int(wiring.senders[sender].split(".")[1])
        stage = wiring.stages[layer]
        if stage.feed is not None and sender == wiring.feeds_at[layer]:
            return held.feeds[layer]
        head = sender - wiring.heads_at[layer]
        maps = output_maps(self.frame.network, wiring, stage)
        z = held.heads[layer]
        assert z is not None
        return z[..., head * wiring.width : (head + 1) * wiring.width] @ maps[head]

    def _passing(self, chosen: Tensor, readers: Sequence[int]) -> Mapping[Site, Tensor]:
        """Streams when senders are patched, all other heads are frozen and MLPs respond."""
        wiring, corrupt = self.wiring, self.tapes[1]
        senders = chosen.any(1).nonzero().flatten().tolist()
        check_mlps(wiring, chosen, senders, readers)
        write: dict[Site, Tensor] = {ENTRY: corrupt.entry} if 0 in senders else {}
        for stage in wiring.stages:
            first = wiring.heads_at[stage.index]
            if stage.wrote is not None:
                write[stage.wrote] = self.clean[stage.wrote]
                for u in senders:
                    if first <= u < first + wiring.queries:
                        write[stage.wrote] = write[stage.wrote] + self._change(u)
            if stage.fed is not None and wiring.feeds_at[stage.index] in senders:
                write[stage.fed] = corrupt.feeds[stage.index]
        return self._run(write, [self._place(v) for v in readers])


def check_mlps(
    wiring: Wiring, chosen: Tensor, senders: Sequence[int], readers: Sequence[int]
) -> None:
    """Refuse edges for which "the MLPs between sender and reader respond" says nothing definite."""
    real = mask(wiring)
    for v, reader in enumerate(wiring.readers):
        if not reader.name.endswith((".mlp", ".mixer")):
            continue
        s = reader.owner[0]
        between = any(real[u, v] for u in senders) and any(real[s, r] for r in readers)
        if s in senders and between:
            raise DesignError(
                f"{wiring.senders[s]} is a sender and lies between another sender and a reader; "
                "patch them one by one, or with mlps='frozen'"
            )
    for r in readers:
        for u in senders:
            if not chosen[u, r]:
                raise DesignError(
                    "with mlps='recomputed' every sender reaches every reader through the MLPs; "
                    f"name the edge {wiring.senders[u]} -> {wiring.readers[r].name} too, or "
                    "patch them one by one"
                )

"""Circuits: the edges of a network that carry a behaviour."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, final

import numpy as np

from crossworld.errors import DesignError, SpecError
from crossworld.infer.multiplier import Multiplier
from crossworld.internals import search
from crossworld.internals.edgescores import Bools, Edge, EdgeScores
from crossworld.internals.wiring import INPUT, Reader

if TYPE_CHECKING:
    from crossworld.core.table import EffectTable
    from crossworld.internals.circuits import CircuitRun
    from crossworld.internals.overlap import Overlap
    from crossworld.internals.study import PatchStudy

FORMAT = "crossworld-circuit/1"


@final
@dataclass(frozen=True, slots=True, eq=False)
class Circuit:
    r"""Some edges of a network.

    A circuit is run by giving every reader the senders it keeps as they are in this run, and all
    others at their value in another.

    Parameters
    ----------
    senders, readers
        All there are in the network.
    kept
        Which edges belong to it, bool (s, r).
    scores
        Mean scores of edges it was found by, (s, r), None where there are none.
    found
        How it was found, in words.

    Examples
    --------
    >>> whole = Circuit.of((INPUT,), (Reader("logits", 0, 1),), edges=[("input", "logits")])
    >>> len(whole), [str(e) for e in whole.edges]
    (1, ['input -> logits'])
    """

    senders: tuple[str, ...]
    readers: tuple[Reader, ...]
    kept: Bools
    scores: Any = field(default=None, repr=False)
    found: str = ""

    def __post_init__(self) -> None:
        shape = (len(self.senders), len(self.readers))
        if np.shape(self.kept) != shape:
            raise DesignError(f"a circuit's edges have shape {shape}, got {np.shape(self.kept)}")
        extra = np.argwhere(np.asarray(self.kept) & ~self.allowed)
        if extra.size:
            u, v = extra[0]
            raise DesignError(
                f"there is no edge {self.senders[u]} -> {self.readers[v].name}: its sender is not "
                "before its reader"
            )

    @classmethod
    def of(cls, senders: Sequence[str], readers: Sequence[Reader], *, edges: Iterable[Any]) -> Self:
        """Make a circuit of named edges: ``'layers.0.heads.1 -> layers.1.mlp'`` or couples."""
        names = [r.name for r in readers]
        kept = np.zeros((len(senders), len(names)), dtype=bool)
        for given in edges:
            edge = Edge.parse(given)
            if edge.sender not in senders:
                raise SpecError.unknown("sender", edge.sender, senders)
            if edge.reader not in names:
                raise SpecError.unknown("reader", edge.reader, names)
            kept[list(senders).index(edge.sender), names.index(edge.reader)] = True
        return cls(tuple(senders), tuple(readers), kept, found="named edges")

    @classmethod
    def top(cls, scores: EdgeScores, n: int, *, absolute: bool = True, prune: bool = True) -> Self:
        """Keep the n edges of the largest score.

        Parameters
        ----------
        scores
            What `EdgeAttribution` found.
        n
            How many.
        absolute
            Whether large negative scores count as large.
        prune
            Drop edges that no path from the input to the logits uses; fewer than n remain.
        """
        return cls._found(scores, search.top, (n, absolute, prune), f"the {n} largest edges")

    @classmethod
    def greedy(
        cls, scores: EdgeScores, n: int, *, absolute: bool = True, prune: bool = True
    ) -> Self:
        """Grow from the logits: n times the largest edge into what is already there."""
        return cls._found(scores, search.greedy, (n, absolute, prune), f"{n} edges, greedily")

    @classmethod
    def band(
        cls, scores: EdgeScores, inference: Multiplier | None = None, *, level: float = 0.95
    ) -> Self:
        """Keep edges whose simultaneous interval leaves out 0, pruned.

        With probability ``level`` no edge whose approximate effect is 0 is among those found.
        """
        chosen = Multiplier() if inference is None else inference
        kept = search.prune(scores.outside_band(chosen, level=level), scores.readers)
        told = f"edges outside a {level:.0%} band over all edges"
        return cls(scores.senders, scores.readers, kept, scores.mean(), told)

    @classmethod
    def _found(
        cls, scores: EdgeScores, how: Any, options: tuple[int, bool, bool], told: str
    ) -> Self:
        n, absolute, prune = options
        whole = int(scores.allowed.sum())
        if isinstance(n, bool) or not isinstance(n, int) or not 0 <= n <= whole:
            raise SpecError(f"a circuit of this network has 0 to {whole} edges, got {n!r}")
        mean = scores.mean()
        value = np.where(scores.allowed, np.abs(mean) if absolute else mean, -np.inf)
        kept = how(value, scores.readers, n)
        if prune:
            kept = search.prune(kept, scores.readers)
        return cls(scores.senders, scores.readers, kept, mean, f"{told} ({scores.method})")

    def __len__(self) -> int:
        return int(np.asarray(self.kept).sum())

    @property
    def allowed(self) -> Bools:
        """Which couples are edges of the network."""
        return search.allowed(self.readers, len(self.senders))

    @property
    def edges(self) -> list[Edge]:
        """The edges it keeps."""
        at = np.argwhere(self.kept)
        return [Edge(self.senders[u], self.readers[v].name) for u, v in at]

    @property
    def nodes(self) -> list[str]:
        """Senders with an edge out of them, in the order of the network."""
        out = np.atleast_1d(np.asarray(self.kept).any(axis=1))
        return [n for j, n in enumerate(self.senders) if out[j]]

    def without(self, nodes: Iterable[str]) -> Self:
        """Return the circuit without all edges into and out of some nodes."""
        kept: Bools = np.asarray(self.kept, dtype=bool).copy()
        for name in nodes:
            if name not in self.senders:
                raise SpecError.unknown("node", name, self.senders)
            at = self.senders.index(name)
            kept[at] = False
            for v, reader in enumerate(self.readers):
                # keys and values that several heads share stay while another of them is there
                if reader.owner == (at,):
                    kept[:, v] = False
        return replace(self, kept=kept, found=f"{self.found}, without nodes")

    def complement(self) -> Self:
        """Return all other edges of the network."""
        return replace(self, kept=self.allowed & ~np.asarray(self.kept), found="all other edges")

    def pruned(self) -> Self:
        """Return the circuit without edges that no path from input to logits uses."""
        return replace(self, kept=search.prune(np.asarray(self.kept), self.readers))

    def faithfulness(self, study: PatchStudy, *, how: CircuitRun | None = None) -> EffectTable:
        """How much of the behaviour it carries by itself; see `circuits.faithfulness`."""
        from crossworld.internals.circuits import faithfulness

        return faithfulness(study, self, how=how)

    def completeness(
        self,
        study: PatchStudy,
        *,
        sets: int | Sequence[Sequence[str]] = 10,
        seed: int = 0,
        how: CircuitRun | None = None,
    ) -> EffectTable:
        """Whether it and the network stay alike without some nodes; see `circuits.completeness`."""
        from crossworld.internals.circuits import completeness

        return completeness(study, self, sets=sets, seed=seed, how=how)

    def minimality(
        self,
        study: PatchStudy,
        *,
        given: Sequence[str] = (),
        nodes: Sequence[str] = (),
        how: CircuitRun | None = None,
    ) -> EffectTable:
        """What each of its nodes adds; see `circuits.minimality`."""
        from crossworld.internals.circuits import minimality

        return minimality(study, self, given=given, nodes=nodes, how=how)

    def overlap(self, other: Circuit) -> Overlap:
        """What it shares with another circuit, and what chance would give."""
        from crossworld.internals.overlap import overlap

        return overlap(self, other)

    def save(self, file: str | Path) -> None:
        """Write it as JSON."""
        from crossworld.io import write_text

        write_text(Path(file), json.dumps(self.to_dict(), indent=1) + "\n")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        scores = {}
        if self.scores is not None:
            scores = {
                str(e): float(self.scores[u, v])
                for e, (u, v) in zip(self.edges, np.argwhere(self.kept), strict=True)
            }
        return {
            "format": FORMAT,
            "found": self.found,
            "senders": list(self.senders),
            "readers": [
                {"name": r.name, "layer": r.layer, "senders": r.senders, "owner": list(r.owner)}
                for r in self.readers
            ],
            "edges": [[e.sender, e.reader] for e in self.edges],
            "scores": scores,
        }

    @classmethod
    def load(cls, file: str | Path) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        DesignError
            If the file holds no circuit.
        """
        try:
            held = json.loads(Path(file).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise DesignError(f"{str(file)!r} holds no circuit: {error}") from None
        if not isinstance(held, dict) or held.get("format") != FORMAT:
            raise DesignError(f"{str(file)!r} holds no circuit of format {FORMAT}")
        try:
            return cls.from_dict(held)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DesignError(f"{str(file)!r} is a damaged circuit: {error}") from None

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        readers = [
            Reader(r["name"], int(r["layer"]), int(r["senders"]), tuple(map(int, r["owner"])))
            for r in held["readers"]
        ]
        edges = [tuple(e) for e in held["edges"]]
        made = cls.of([str(s) for s in held["senders"]], readers, edges=edges)
        scores = None
        if held.get("scores"):
            scores = np.zeros(np.shape(made.kept))
            at = dict(zip(map(str, made.edges), np.argwhere(made.kept).tolist(), strict=True))
            for name, value in held["scores"].items():
                scores[tuple(at[name])] = float(value)
        return replace(made, scores=scores, found=str(held.get("found", "")))

    def exhibit(self) -> dict[str, Any]:
        """Return the circuit as an exhibit of kind ``circuit``: plain values for a report."""
        from crossworld.internals.drawing import exhibit

        return exhibit(self)

    def plot(self, ax: Any = None) -> Any:
        """Draw it: layers from left to right, width by size, colour by sign; returns the axes."""
        from crossworld.internals.drawing import draw

        return draw(self, ax=ax)

    def __str__(self) -> str:
        whole = int(self.allowed.sum())
        heads = sum(".heads." in n for n in self.nodes)
        others = [n for n in self.nodes if ".heads." not in n and n != INPUT]
        return (
            f"circuit of {len(self):,} of {whole:,} edges, {heads} heads and {len(others)} MLPs"
            + (f"; {self.found}" if self.found else "")
        )


def same_network(circuits: Sequence[Circuit]) -> None:
    """Refuse circuits of different networks."""
    first = circuits[0]
    for other in circuits[1:]:
        if other.senders != first.senders or other.readers != first.readers:
            raise DesignError("these circuits belong to networks with different parts")

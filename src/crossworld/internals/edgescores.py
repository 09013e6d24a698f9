"""Scores of edges: one number per pair and edge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self, final

import numpy as np
from numpy.typing import NDArray

from crossworld.core.table import EffectTable
from crossworld.errors import DesignError, SpecError
from crossworld.infer.multiplier import Multiplier
from crossworld.internals import search
from crossworld.internals.agreement import Agreement
from crossworld.internals.family import Codes, band, means, rows, std_errors
from crossworld.internals.wiring import Reader

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@final
@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """From a sender to a reader of the residual stream.

    Examples
    --------
    >>> print(Edge.parse("layers.0.heads.1 -> layers.1.heads.0.k"))
    layers.0.heads.1 -> layers.1.heads.0.k
    """

    sender: str
    reader: str

    @classmethod
    def parse(cls, given: str | tuple[str, str] | Edge) -> Edge:
        """Read an edge from text or from a couple."""
        if isinstance(given, Edge):
            return given
        parts = given.split("->") if isinstance(given, str) else list(given)
        if len(parts) != 2 or not all(isinstance(p, str) and p.strip() for p in parts):
            raise SpecError(
                f"an edge is written 'sender -> reader', such as 'layers.0.heads.1 -> "
                f"layers.1.heads.0.k', got {given!r}"
            )
        return cls(parts[0].strip(), parts[1].strip())

    def __str__(self) -> str:
        return f"{self.sender} -> {self.reader}"


@final
@dataclass(frozen=True, slots=True, eq=False)
class EdgeScores:
    """Approximate effects of all edges, for every pair.

    The score of an edge approximates ``pnie``: the metric when the clean input runs and the edge
    alone carries its sender's other value, less the metric of the clean input.

    Parameters
    ----------
    senders
        Names, in the order of the network.
    readers
        Readers, with how many of the senders are before each.
    values
        Shape (n, s, r), or (n, T, s, r) with positions of the reader; 0 where there is no edge.
    clean
        Metric under the clean input, (n,).
    cluster
        Codes of the pairs' clusters, None when pairs are independent.
    method
        How they were computed.
    agreement
        Beside exact patching: a ``random`` sample of edges, and the ``largest``.
    """

    senders: tuple[str, ...]
    readers: tuple[Reader, ...]
    values: NDArray[np.float32]
    clean: Floats
    cluster: Codes | None = None
    method: str = "eap"
    agreement: Mapping[str, Agreement] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.values.shape[0])

    def compared(self, agreement: Mapping[str, Agreement]) -> Self:
        """Return the same scores with their error beside exact patching."""
        return replace(self, agreement=agreement)

    @property
    def allowed(self) -> Bools:
        """Which couples are edges, (s, r)."""
        return search.allowed(self.readers, len(self.senders))

    @property
    def edges(self) -> list[Edge]:
        """All edges, senders first."""
        names = [r.name for r in self.readers]
        return [Edge(self.senders[u], names[v]) for u, v in np.argwhere(self.allowed)]

    @property
    def total(self) -> NDArray[np.float32]:
        """Scores summed over positions, (n, s, r)."""
        return self.values if self.values.ndim == 3 else self.values.sum(axis=1)

    @property
    def flat(self) -> NDArray[np.float32]:
        """Scores of the edges, (n, edges), in the order of `edges`."""
        return self.total[:, self.allowed]

    def mean(self) -> Floats:
        """Mean over pairs, (s, r)."""
        return np.asarray(self.total.mean(axis=0, dtype=np.float64))

    def std_error(self) -> Floats:
        """Standard errors of the means over pairs, (s, r)."""
        found = np.zeros(self.allowed.shape)
        found[self.allowed] = std_errors(self.flat.astype(np.float64), self.cluster)
        return found

    def of(self, edge: Edge | str | tuple[str, str]) -> Floats:
        """Scores of one edge for every pair, (n,), or (n, T) with positions."""
        found = Edge.parse(edge)
        names = [r.name for r in self.readers]
        for name, known in ((found.sender, self.senders), (found.reader, names)):
            if name not in known:
                raise SpecError.unknown("end of an edge", name, known)
        u, v = self.senders.index(found.sender), names.index(found.reader)
        if not self.allowed[u, v]:
            raise DesignError(f"there is no edge {found}: {found.reader} is not behind its sender")
        return np.asarray(self.values[..., u, v], dtype=np.float64)

    def nodes(self) -> dict[str, Floats]:
        """Score of every sender for every pair: the sum over the edges out of it, (n,)."""
        summed = self.total.sum(axis=2, dtype=np.float64)
        return {name: summed[:, j] for j, name in enumerate(self.senders)}

    def order(self) -> list[Edge]:
        """Return all edges, the largest absolute mean first."""
        found = self.edges
        size = np.abs(self.mean()[self.allowed])
        return [found[i] for i in np.argsort(-size, kind="stable")]

    def table(
        self,
        edges: int | Sequence[Edge | str] = 20,
        *,
        inference: Multiplier | None = None,
        level: float = 0.95,
    ) -> EffectTable:
        """Effects of edges with intervals over pairs.

        Parameters
        ----------
        edges
            Which, or how many of the largest. Those that were picked by their size are too large
            on average (the winner's curse); bands over all edges allow for it.
        inference
            None for pointwise Wald intervals, `Multiplier` for a band that holds for all edges of
            the network at once, whichever of them are shown.
        level
            Confidence level.
        """
        shown = self.order()[:edges] if isinstance(edges, int) else [Edge.parse(e) for e in edges]
        values = np.stack([self._summed(e) for e in shown], axis=1)
        shared = None
        if inference is not None:
            shared = band(self.flat.astype(np.float64), self.cluster, inference, level=level)
        terms = [f"pnie[{e}]" for e in shown]
        found = rows(terms, values, self.cluster, level=level, shared=shared)
        n = int(self.allowed.sum())
        units = f"{len(self):,} pairs" + (
            "" if self.cluster is None else f" in {int(self.cluster.max()) + 1:,} clusters"
        )
        heading = [f"{len(shown)} of {n:,} edges, {self.method}, {units}"]
        heading += [f"  {name}: {told}" for name, told in self.agreement.items()]
        told = {
            "warnings": [], "n_units": len(self), "level": level, "heading": heading,
            "n_clusters": len(self) if self.cluster is None else int(self.cluster.max()) + 1,
            "overlap": None, "failed_replicates": 0, "method": self.method,
            "agreement": {k: v.to_dict() for k, v in self.agreement.items()},
        }  # fmt: skip
        if shared is not None:
            told["critical_value"] = shared.critical_value
        return EffectTable(found, level, tuple(heading), diagnostics=told)

    def _summed(self, edge: Edge) -> Floats:
        found = self.of(edge)
        return found if found.ndim == 1 else np.asarray(found.sum(axis=1))

    def outside_band(self, inference: Multiplier, *, level: float = 0.95) -> Bools:
        """Edges whose simultaneous interval leaves out 0, (s, r)."""
        values = self.flat.astype(np.float64)
        shared = band(values, self.cluster, inference, level=level)
        error = np.array([one.std_error for one in means(values, self.cluster)])
        found = np.zeros_like(self.allowed)
        found[self.allowed] = np.abs(values.mean(axis=0)) > shared.critical_value * error
        return found

    def __str__(self) -> str:
        return str(self.table(min(10, int(self.allowed.sum()))))

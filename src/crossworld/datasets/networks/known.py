"""A network whose effects are known exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimand import Estimand
from crossworld.core.expression import Cell
from crossworld.datasets.networks.structure import Array, Structure

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class KnownNetwork:
    """A torch module, pairs of inputs, and what patching it must give.

    The truth is computed in numpy from structural equations that share the weights with the module
    and nothing else: no hooks, no torch.

    Parameters
    ----------
    module
        A ``torch.nn.Module`` in double precision and evaluation mode.
    clean, corrupt
        Tensors of inputs, the pairs along the first axis.
    metric
        A function of the module's output that gives one number per input, or the name of a metric.
    sites
        For every mediator its place, as `crossworld.internals.site` writes it.
    structure
        The structural equations.
    facts
        Numbers that are known in closed form, by name.
    vectors
        Directions and other arrays that belong to the network, by name.
    answer, wrong
        Tokens whose logits the metric compares, where the output is logits; shape (pairs,).
    cluster
        Code of the template of every pair, where pairs share some; shape (pairs,).

    Examples
    --------
    >>> import pytest; torch = pytest.importorskip("torch")
    >>> from crossworld.core.effects import INT_MED, NDE, TE
    >>> from crossworld.datasets.networks import and_gate
    >>> gate = and_gate()
    >>> gate.effect(TE), gate.effect(NDE), gate.effect(INT_MED)
    (1.0, 0.0, 1.0)
    """

    module: Any
    clean: Any
    corrupt: Any
    metric: Callable[[Any], Any] | str
    sites: Mapping[str, str]
    structure: Structure
    facts: Mapping[str, float] = field(default_factory=dict)
    vectors: Mapping[str, Array] = field(default_factory=dict)
    answer: Codes | None = None
    wrong: Codes | None = None
    cluster: Codes | None = None

    def __len__(self) -> int:
        return int(self.clean.shape[0])

    @property
    def pairs(self) -> list[dict[str, Any]]:
        """One row per pair, as a `PatchStudy` takes them."""
        labels = {"answer": self.answer, "wrong": self.wrong, "cluster": self.cluster}
        return rows(self.clean, self.corrupt, labels=labels)

    @property
    def mediators(self) -> tuple[str, ...]:
        """Names of everything that can be patched, in order."""
        return tuple(name for name in self.structure.mediators if name in self.sites)

    def truths(self, cell: Cell, of: str | Sequence[str] | None = None) -> Array:
        """Return the outcome of every pair in a cell, shape (pairs,).

        Parameters
        ----------
        cell
            A cell.
        of
            The mediators of the question, all others being left to the network; by default all.
        """
        chosen = self.mediators if of is None else (of,) if isinstance(of, str) else tuple(of)
        return self.structure.cell(cell.bind([(name,) for name in chosen]), chosen)

    def truth(self, cell: Cell, of: str | Sequence[str] | None = None) -> float:
        """Mean of a cell over the pairs."""
        return float(self.truths(cell, of).mean())

    def effect(self, estimand: Estimand, of: str | Sequence[str] | None = None) -> float:
        """Return the value of an estimand over these pairs."""
        chosen = self.mediators if of is None else (of,) if isinstance(of, str) else tuple(of)
        bound = estimand.bind([(name,) for name in chosen])
        return float(bound.expr.evaluate(lambda cell: self.truth(cell, chosen)))


def outcome(output: Any) -> Any:
    """Return the last number of every output, shape (pairs,): the metric of networks with one."""
    return output.flatten(1)[:, -1]


def rows(clean: Any, corrupt: Any, labels: Mapping[str, Codes | None]) -> list[dict[str, Any]]:
    """Put pairs and their labels together row by row."""
    held = {name: values for name, values in labels.items() if values is not None}
    return [
        {"clean": clean[i], "corrupt": corrupt[i], **{k: int(v[i]) for k, v in held.items()}}
        for i in range(len(clean))
    ]

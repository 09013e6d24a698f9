"""Structural equations of a network in numpy: every cell and every path effect, per input pair."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from crossworld.core.expression import MEAN, Cell
from crossworld.core.regime import Draw, Fixed, Level
from crossworld.errors import DesignError, SpecError

Array = NDArray[np.float64]
Edge = tuple[str, str]
INPUT = "input"


@dataclass(frozen=True, slots=True)
class Node:
    """One quantity of a network as a function of earlier ones.

    Parameters
    ----------
    name
        How it is called.
    parents
        ``"input"`` or names of earlier nodes.
    value
        Maps the parents' values, in that order and with the pairs along the first axis, to the
        node's value.
    """

    name: str
    parents: tuple[str, ...]
    value: Callable[..., Array]


@dataclass(frozen=True, slots=True)
class Structure:
    r"""A network as equations, with the values of its two inputs.

    Nodes :math:`v = f_v(\mathrm{pa}(v))` stand in topological order, the last one is the outcome.
    In a cell the input of level :math:`a` runs while every mediator whose regime is another level
    :math:`b` is held at the value it has when the input of level :math:`b` runs by itself; all
    else responds. That is the patching experiment. For one mediator, and for several that move
    together, it is the natural cell :math:`Y(a, M(b))`.

    Parameters
    ----------
    nodes
        In an order in which each depends on earlier ones only; the last has shape (pairs,).
    clean, corrupt
        The inputs of every pair, shape (pairs, ...).

    References
    ----------
    Pearl (2001), Direct and indirect effects. Vig et al. (2020), NeurIPS, arXiv 2004.12265.

    Examples
    --------
    >>> import numpy as np
    >>> from crossworld.core.expression import Y
    >>> from crossworld.core.regime import M
    >>> half = Node("h", ("input",), lambda x: x / 2)
    >>> total = Node("y", ("input", "h"), lambda x, h: x * h)
    >>> known = Structure((half, total), np.array([2.0]), np.array([4.0]))
    >>> known.cell(Y(1, M(0)), ("h",)), known.cell(Y(1), ("h",))
    (array([4.]), array([8.]))
    """

    nodes: tuple[Node, ...]
    clean: Array
    corrupt: Array

    def __post_init__(self) -> None:
        seen = {INPUT}
        for node in self.nodes:
            missing = set(node.parents) - seen
            if missing:
                raise DesignError(
                    f"{node.name!r} needs {', '.join(sorted(missing))}, which comes later"
                )
            seen.add(node.name)

    @property
    def mediators(self) -> tuple[str, ...]:
        """Every node but the outcome."""
        return tuple(node.name for node in self.nodes[:-1])

    def run(self, level: Level, held: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Values of all nodes under one input, some held at given values."""
        if level not in (0, 1):
            raise DesignError(f"a network has inputs 0 (clean) and 1 (corrupt), got {level!r}")
        values = {INPUT: self.corrupt if level == 1 else self.clean}
        for node in self.nodes:
            fixed = None if held is None else held.get(node.name)
            values[node.name] = (
                node.value(*(values[p] for p in node.parents)) if fixed is None else fixed
            )
        return values

    def cell(self, cell: Cell, of: Sequence[str]) -> Array:
        """Outcome of every pair in a cell, the mediators being ``of``; shape (pairs,).

        Raises
        ------
        SpecError
            For a name that is no mediator, or a cell that no run of the network has.
        """
        for name in of:
            if name not in self.mediators:
                raise SpecError.unknown("mediator", name, self.mediators)
        if cell.functional != MEAN:
            raise SpecError(f"networks know the means of cells, got {cell}")
        held: dict[str, Array] = {}
        for name in of:
            regime = cell.regime(name)
            if isinstance(regime, Fixed):
                held[name] = np.full_like(self.run(0)[name], float(regime.value))
            elif not isinstance(regime, Draw) or regime.edit is not None:
                raise SpecError(f"{cell}: {name} can be set, or follow an input, not {regime}")
            elif regime.level != cell.treatment:
                held[name] = self.run(regime.level)[name]
        return self.run(cell.treatment, held)[self.nodes[-1].name]

    def edges(self, edges: Collection[Edge]) -> Array:
        """Effect of path patching: clean runs in which some edges carry what corrupt runs send.

        Receiver ``v`` of an edge ``(u, v)`` sees the value ``u`` has under the corrupt input;
        whatever comes after ``v`` is computed from there. Returns shape (pairs,).
        """
        known = {(p, node.name) for node in self.nodes for p in node.parents}
        for edge in edges:
            if edge not in known:
                raise SpecError.unknown(
                    "edge", " -> ".join(edge), [" -> ".join(e) for e in sorted(known)]
                )
        base, other = self.run(0), self.run(1)
        now = {INPUT: self.clean}
        for node in self.nodes:
            seen = (other[p] if (p, node.name) in edges else now[p] for p in node.parents)
            now[node.name] = node.value(*seen)
        return np.asarray(now[self.nodes[-1].name] - base[self.nodes[-1].name])

    def along(self, *path: str) -> Array:
        """Effect along one path from the input to the outcome, all else clean; shape (pairs,)."""
        outcome = self.nodes[-1].name
        if len(path) < 2 or path[0] != INPUT or path[-1] != outcome:
            raise SpecError(f"a path runs from {INPUT!r} to {outcome!r}, got {' -> '.join(path)}")
        base, value = self.run(0), self.corrupt
        by_name = {node.name: node for node in self.nodes}
        for before, name in pairwise(path):
            if name not in by_name or before not in by_name[name].parents:
                raise SpecError(f"there is no edge {before} -> {name}")
            seen = (value if p == before else base[p] for p in by_name[name].parents)
            value = by_name[name].value(*seen)
        return np.asarray(value - base[outcome])

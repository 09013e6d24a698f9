"""What an alignment search trains on: interchanges of a few directions at one site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError
from crossworld.internals.alignment.task import AlignmentTask, Chunk, Interchange, chunks
from crossworld.internals.backend import torch
from crossworld.internals.site import Site
from crossworld.internals.subject import Subject

Matrix = NDArray[np.float64]
Ints = NDArray[np.int64]
Directions = Mapping[str, tuple[Any, Any]]  # variable -> orthonormal columns (d, r), weights (r,)


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """Subspaces that a search ended with.

    Parameters
    ----------
    bases
        Variable -> orthonormal columns (d, r).
    accuracy, loss
        On the validation pairs.
    losses
        Mean training loss of every epoch.
    seed
        Seed of this start.
    """

    bases: Mapping[str, Matrix]
    accuracy: float
    loss: float
    losses: tuple[float, ...]
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Interchanges at one site with the activations of their sources.

    Parameters
    ----------
    subject, task, site
        Network, program, and the site without a basis.
    variables
        The variables, in the order of their subspaces.
    pairs
        Training pairs.
    target
        Class of the counterfactual answer, (n,).
    sources
        Activations (k, d) at the site that each pair's variables come from.
    train, valid
        Positions of the pairs that are trained on and that choose when to stop.
    size
        Pairs that are run at once.
    """

    subject: Subject
    task: AlignmentTask
    site: Site
    variables: tuple[str, ...]
    pairs: tuple[Interchange, ...]
    target: Ints
    sources: Mapping[str, Mapping[int, Any]]
    train: Ints
    valid: Ints
    size: int

    @property
    def example(self) -> Any:
        """One activation at the site."""
        return next(iter(next(iter(self.sources.values())).values()))

    @property
    def width(self) -> int:
        """Dimensions d of the site."""
        return int(self.example.shape[-1])

    def output(self, chunk: Chunk, directions: Directions, *, grad: bool) -> Any:
        """Logits of the answers with the directions taken from the sources."""
        t = torch()
        held = [
            (t.stack([self.sources[v][r] for r in chunk.rows.tolist()]), *directions[v])
            for v in chunk.sources
        ]

        def change(hidden: Any) -> Any:
            new = hidden
            for source, columns, weights in held:
                moved = (source - new) @ columns
                new = new + (moved if weights is None else moved * weights) @ columns.T
            return new

        run = self.subject.run(chunk.base, write={self.site: change}, grad=grad)
        return self.task.logits(run.output)

    def steps(self, rng: np.random.Generator) -> Iterator[Chunk]:
        """Training pairs in random order."""
        yield from chunks(self.task, self.pairs, self.size, rng.permutation(self.train))

    def judge(self, directions: Directions, rows: Ints) -> tuple[float, float]:
        """Accuracy and mean cross-entropy on some pairs."""
        t, hits, loss = torch(), 0.0, 0.0
        for chunk in chunks(self.task, self.pairs, 4 * self.size, rows):
            logits = self.output(chunk, directions, grad=False).double()
            target = t.from_numpy(self.target[chunk.rows]).to(logits.device)
            hits += float((logits.argmax(-1) == target).sum())
            loss += float(t.nn.functional.cross_entropy(logits, target, reduction="sum"))
        return hits / len(rows), loss / len(rows)


def problem(
    subject: Subject,
    task: AlignmentTask,
    site: Site,
    *,
    pairs: Sequence[Interchange],
    target: Ints | None = None,
    split: tuple[float, int, int] = (0.2, 0, 64),
) -> Problem:
    """Read the sources' activations and set validation pairs aside.

    Parameters
    ----------
    subject, task, site
        Network, program, site.
    pairs
        Training pairs.
    target
        Other answers than the program's, for controls.
    split
        Share of pairs for validation, seed of the split, pairs that are run at once.
    """
    if site.basis is not None:
        raise DesignError(f"a search finds the subspace of {site} itself; leave out the [...]")
    share, seed, size = split
    n = len(pairs)
    held_out = max(round(share * n), 1)
    if n - held_out < 1 or not 0.0 < share < 1.0:
        raise DesignError(f"{n} pairs are too few to train on and to set {share:g} of them aside")
    order = np.random.default_rng(seed).permutation(n)
    sources: dict[str, dict[int, Any]] = {}
    for chunk in chunks(task, pairs, 4 * size):
        for name, source in chunk.sources.items():
            value = subject.run(source, read=[site]).values[site]
            if value.ndim not in (2, 3):
                raise DesignError(
                    f"{site} gives activations of shape {tuple(value.shape)}; a subspace is "
                    "searched among features (B, d) or tokens (B, k, d)"
                )
            held = sources.setdefault(name, {})
            held.update(zip(chunk.rows.tolist(), value, strict=True))
    if target is None:
        target = np.array([task.target(p.base, p.sources) for p in pairs], dtype=np.int64)
    variables = tuple(n for n in task.program.variables if n in sources)
    return Problem(subject, task, site, variables, tuple(pairs), target, sources,
                   order[held_out:], order[:held_out], size)  # fmt: skip

"""Find where the variables of a program live, and test it on pairs that were not searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from crossworld.errors import DesignError, SpecError
from crossworld.internals.alignment.illusion import Illusion
from crossworld.internals.alignment.interchange import Agreement, interchange_accuracy
from crossworld.internals.alignment.problem import Candidate, problem
from crossworld.internals.alignment.search import DAS, Method, split_of
from crossworld.internals.alignment.task import AlignmentTask, Interchange
from crossworld.internals.basis import Subspace
from crossworld.internals.site import Site
from crossworld.internals.subject import TorchSubject


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """Subspaces for the variables of a program.

    Parameters
    ----------
    subject
        The network with the subspaces registered under the variables' names.
    task
        The program and how it looks to the network.
    site
        Where they were searched.
    bases
        Variable -> its subspace.
    held_out
        Agreement on pairs that the search did not see.
    starts
        What every start ended with; the best one is used.
    train
        The pairs that were searched on.
    method
        The search.
    """

    subject: TorchSubject
    task: AlignmentTask
    site: Site
    bases: dict[str, Subspace]
    held_out: Agreement
    starts: tuple[Candidate, ...]
    train: tuple[Interchange, ...]
    method: Method

    @property
    def sites(self) -> dict[str, Site]:
        """Variable -> its site, such as ``layers.1.resid[carry] @ -1``."""
        return {name: replace(self.site, basis=name) for name in self.bases}

    @property
    def illusions(self) -> Mapping[str, Illusion]:
        """Variable -> whether its subspace is dormant and disconnected."""
        return self.held_out.illusions

    def __str__(self) -> str:
        sizes = ", ".join(f"{k}: {b.matrix.shape[1]}" for k, b in self.bases.items())
        seen = {p.key for p in self.train}
        again = sum(p.key in seen for p in self.held_out.pairs)
        shown = ", ".join(f"{c.accuracy:.3f}" for c in self.starts)
        lines = [
            f"{type(self.method).__name__} at {self.site}, dimensions {sizes} of "
            f"{next(iter(self.bases.values())).matrix.shape[0]}; validation accuracy of "
            f"{len(self.starts)} starts {shown}",
            "on held-out pairs:"
            if not again
            else f"on test pairs, {again} of {len(self.held_out.pairs)} of which were trained on:",
            str(self.held_out),
        ]
        lines += [
            f"{place}: undecided; no test pair has an answer that {name} alone changes"
            for name, place in self.sites.items() if name not in self.illusions
        ]  # fmt: skip
        return "\n".join(lines)


def align(
    subject: TorchSubject,
    task: AlignmentTask,
    *,
    site: str | Site,
    train: Sequence[Interchange],
    test: Sequence[Interchange],
    method: Method | None = None,
) -> Aligned:
    """Search the subspaces of a program's variables at one site.

    Parameters
    ----------
    subject
        The network.
    task
        The program and how its inputs and answers look to the network.
    site
        A site without a basis (``"layers.1.resid @ -1"``).
    train
        Pairs that are searched on; the variables they interchange are those that are searched.
    test
        Pairs that the result is judged on: draw them with ``without=train``.
    method
        `DAS()` by default.

    Returns
    -------
    Aligned
        Prints accuracies with intervals, and for each subspace whether it may be an illusion.

    Raises
    ------
    DesignError
        If pairs are too few, the test pairs interchange something else, or sizes do not fit.

    Notes
    -----
    Intervals are of the held-out pairs given the subspaces: they do not include how much another
    search would differ. Compare ``starts``, and the controls of `alignment_controls`.
    """
    chosen = DAS() if method is None else method
    if isinstance(chosen, type) or not hasattr(chosen, "search"):
        raise SpecError(f"method is DAS(...) or BoundlessDAS(...), got {method!r}")
    where = Site.parse(site) if isinstance(site, str) else site
    unknown = {v for p in test for v in p.variables} - {v for p in train for v in p.variables}
    if unknown:
        raise DesignError(
            f"the test pairs interchange {', '.join(sorted(unknown))}, which no training pair does"
        )
    held = problem(subject, task, where, pairs=train, split=split_of(chosen))
    starts = starts_of(held, chosen)
    best = max(starts, key=lambda c: (c.accuracy, -c.loss))
    bases = {name: Subspace(matrix) for name, matrix in best.bases.items()}
    ready = registered(subject, bases)
    sites = {name: replace(where, basis=name) for name in bases}
    agreement = interchange_accuracy(ready, task, sites=sites, pairs=test)
    return Aligned(ready, task, where, bases, agreement, starts, tuple(train), chosen)


def starts_of(held: Any, method: Method) -> tuple[Candidate, ...]:
    """Search from every start; seeds are spawned from the method's."""
    root = np.random.SeedSequence(method.seed)
    seeds = [int(s.generate_state(1)[0]) for s in root.spawn(method.restarts)]
    return tuple(method.search(held, seed) for seed in seeds)


def registered(subject: TorchSubject, bases: dict[str, Subspace]) -> TorchSubject:
    """Return the same network with more named subspaces."""
    return replace(subject, bases={**subject.bases, **bases})

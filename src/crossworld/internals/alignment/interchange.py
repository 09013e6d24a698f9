"""Interchange interventions: how often the network answers as the program does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimate import Codes
from crossworld.core.table import Effect, EffectTable
from crossworld.errors import DesignError
from crossworld.internals.alignment.illusion import Illusion, illusion_of, movable
from crossworld.internals.alignment.task import (
    AlignmentTask,
    Chunk,
    Interchange,
    Places,
    check_pairs,
    chunks,
    places,
)
from crossworld.internals.basis import Subspace
from crossworld.internals.rates import codes, mean, mean_effect, rate, regroup, tabled
from crossworld.internals.subject import Subject, TorchSubject

Vector = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    r"""How often network and program agree after the same interchange.

    Parameters
    ----------
    table
        ``iia`` (interchange intervention accuracy: share of pairs where the network gives the
        program's counterfactual answer), ``iia[changed]`` and ``iia[unchanged]`` by whether the
        program's answer moves, ``iia[novel]`` where it is neither the base's nor a source's,
        ``iia[variable]`` where several are interchanged, ``behaviour`` (agreement without any
        intervention) and ``kappa`` (agreement beyond what independent answers would give).
    pairs
        The interchanges, n of them.
    target, before, natural
        Classes that the program gives with and without the interchange, and that the network
        gives without it, (n,).
    probabilities
        The network's probabilities after the interchange, (n, answers).
    undisturbed
        Its probabilities without, (n, answers).
    cluster
        Cluster codes of the pairs, None when they are independent.
    illusions
        Variable -> whether its subspace is dormant and disconnected, of variables that live in one.
    """

    table: EffectTable
    pairs: tuple[Interchange, ...]
    target: Ints
    before: Ints
    natural: Ints
    probabilities: Vector
    undisturbed: Vector
    cluster: Codes | None
    illusions: Mapping[str, Illusion] = field(default_factory=dict)

    @property
    def answers(self) -> Ints:
        """The network's answers after the interchange, (n,)."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)

    @property
    def hits(self) -> Vector:
        """1 where network and program agree, (n,)."""
        return np.asarray(self.answers == self.target, dtype=np.float64)

    @property
    def iia(self) -> Effect:
        """Interchange intervention accuracy."""
        return self.table["iia"]

    def __str__(self) -> str:
        return "\n".join([str(self.table), *map(str, self.illusions.values())])


def interchange_accuracy(
    subject: TorchSubject,
    task: AlignmentTask,
    *,
    sites: Mapping[str, Any],
    pairs: Sequence[Interchange],
    level: float = 0.95,
    batch: int = 64,
) -> Agreement:
    r"""Interchange variables in a network and in its program, and compare the answers.

    .. math:: \mathrm{IIA} = \frac1n \sum_i 1\big[\,
              y(b_i;\ z_v \leftarrow z_v(s_{iv})) = P(b_i;\ v \leftarrow v(s_{iv})) \,\big]

    Parameters
    ----------
    subject
        The network; subspaces that sites name are registered in it.
    task
        The program and how its inputs and answers look to the network.
    sites
        Variable -> its site or sites (``"layers.1.resid[carry] @ -1"``).
    pairs
        Interchanges, drawn independently or with clusters.
    level, batch
        Confidence level; pairs that are run at once.

    Returns
    -------
    Agreement
        Shares have exact intervals (Clopper-Pearson; with clusters Korn-Graubard), kappa a t
        interval by the delta method. Every variable that lives in a linear subspace comes with the
        diagnosis of `illusion`.

    Raises
    ------
    DesignError
        If a variable that is interchanged has no site, or two have the same.

    Notes
    -----
    The pairs are taken as a sample from a population of pairs; the network is fixed. With
    ``changed=None`` pairs the plain ``iia`` counts many pairs where nothing has to change: read
    ``iia[changed]`` beside it.

    References
    ----------
    Geiger, Lu, Icard & Potts (2021). Causal abstractions of neural networks. NeurIPS.
    """
    found = agreement(subject, task, sites=sites, pairs=pairs, level=level, batch=batch)
    illusions = {}
    for name, where in places(sites, task).items():
        basis = where[0].basis
        linear = basis is not None and isinstance(subject.bases.get(basis), Subspace)
        if linear and len(where) == 1 and movable(task, name, pairs):
            illusions[name] = illusion_of(subject, task, variable=name, site=where[0], pairs=pairs)
    return replace(found, illusions=illusions)


def agreement(
    subject: Subject,
    task: AlignmentTask,
    *,
    sites: Mapping[str, Any],
    pairs: Sequence[Interchange],
    level: float = 0.95,
    batch: int = 64,
) -> Agreement:
    """Agreement without the diagnosis of subspaces; see `interchange_accuracy`."""
    where = places(sites, task)
    check_pairs(pairs, where)
    n, k = len(pairs), len(task.answers)
    after, undisturbed = np.zeros((n, k)), np.zeros((n, k))
    for chunk in chunks(task, pairs, batch):
        after[chunk.rows] = _probabilities(task, swapped(subject, chunk, where))
        undisturbed[chunk.rows] = _probabilities(task, subject.run(chunk.base).output)
    target = np.array([task.target(p.base, p.sources) for p in pairs], dtype=np.int64)
    before = np.array([task.target(p.base) for p in pairs], dtype=np.int64)
    cluster = codes([p.cluster for p in pairs])
    natural = undisturbed.argmax(axis=1)
    hits = (after.argmax(axis=1) == target).astype(np.float64)
    shares = _shares(task, pairs, hits, target, before)
    shares["behaviour"] = (None, (natural == before).astype(np.float64))
    rows = [
        rate(term, h if r is None else h[r], level=level,
             cluster=cluster if r is None else regroup(cluster, r))
        for term, (r, h) in shares.items()
    ]  # fmt: skip
    beyond = kappa(after.argmax(axis=1), target, k, cluster, level)
    rows += [] if beyond is None else [beyond]
    told = ", ".join(f"{v} at {' and '.join(map(str, s))}" for v, s in where.items())
    table = tabled(rows, f"interchange of {told}", units=(n, cluster), level=level,
                   warnings=_warnings(pairs, where))  # fmt: skip
    return Agreement(table, tuple(pairs), target, before, natural, after, undisturbed, cluster)


def swapped(subject: Subject, chunk: Chunk, where: Places, *, grad: bool = False) -> Any:
    """Output for the base inputs with every interchanged variable taken from its source."""
    values: dict[Any, Any] = {}
    for name, source in chunk.sources.items():
        run = subject.run(source, read=where[name], grad=grad)
        for site in where[name]:
            if site in values:
                raise DesignError(
                    f"two variables that are interchanged together both live at {site}; give them "
                    "subspaces of their own"
                )
            values[site] = run.values[site]
    return subject.run(chunk.base, write=values, grad=grad).output


def kappa(
    answers: Ints, target: Ints, classes: int, cluster: Codes | None, level: float
) -> Effect | None:
    r"""Cohen's kappa, :math:`(p_o - p_e) / (1 - p_e)`, None when one answer is always given.

    References
    ----------
    Cohen (1960). A coefficient of agreement for nominal scales. Educational and Psychological
    Measurement 20.
    """
    observed = mean((answers == target).astype(np.float64), cluster)
    expected = mean(np.zeros(len(target)), cluster)
    for k in range(classes):
        expected = expected + mean((answers == k) * 1.0, cluster) * mean(
            (target == k) * 1.0, cluster
        )
    if expected.value >= 1.0 - 1e-12:
        return None
    return mean_effect("kappa", (observed - expected) / (1.0 - expected), level=level)


def _probabilities(task: AlignmentTask, output: Any) -> Vector:
    found = task.logits(output).detach().double().softmax(-1).cpu().numpy()
    return np.asarray(found, dtype=np.float64)


def _shares(
    task: AlignmentTask, pairs: Sequence[Interchange], hits: Vector, target: Ints, before: Ints
) -> dict[str, tuple[Ints | None, Vector]]:
    """Which pairs each accuracy is a share of."""
    found: dict[str, tuple[Ints | None, Vector]] = {"iia": (None, hits)}
    moved = target != before
    sources = [{task.target(s) for s in p.sources.values()} for p in pairs]
    novel = moved & np.array(
        [t not in held for t, held in zip(target, sources, strict=True)], dtype=bool
    )
    for name, mask in (("changed", moved), ("unchanged", ~moved), ("novel", novel)):
        if mask.any():
            found[f"iia[{name}]"] = (np.flatnonzero(mask), hits)
    names = [" and ".join(p.variables) for p in pairs]
    if len(set(names)) > 1:
        for one in dict.fromkeys(names):
            rows = np.flatnonzero(np.array([n == one for n in names]))
            found[f"iia[{one}]"] = (rows, hits)
    return found


def _warnings(pairs: Sequence[Interchange], where: Places) -> list[str]:
    used = {name for p in pairs for name in p.variables}
    unused = [name for name in where if name not in used]
    return [f"no pair interchanges {', '.join(unused)}"] if unused else []

"""Comparison of circuits: what they share, and which of two tasks each is needed for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossworld.core.estimand import Estimand
from crossworld.core.estimate import Estimate
from crossworld.core.expression import Y
from crossworld.core.scores import Scores
from crossworld.core.student import critical
from crossworld.core.table import Effect, EffectTable
from crossworld.errors import DesignError, EstimationError, SpecError
from crossworld.infer.fieller import fieller
from crossworld.internals.circuit import Circuit, same_network
from crossworld.internals.circuits import MODEL, CircuitRun
from crossworld.internals.study import PatchStudy


@dataclass(frozen=True, slots=True)
class Overlap:
    r"""What two circuits share.

    Parameters
    ----------
    shared, first, second, whole
        Numbers of edges: in both, in each, in the network.
    jaccard
        Shared edges among those of either.
    containment
        Shared edges among those of the smaller.
    expected
        Shared edges expected when both are drawn at random with their sizes.
    p_value
        Probability of sharing at least as many by chance (hypergeometric); None when a circuit is
        empty or whole, where nothing else is possible. The null is crude: circuits found by any
        score prefer the same layers.
    """

    shared: int
    first: int
    second: int
    whole: int
    jaccard: float | None
    containment: float | None
    expected: float
    p_value: float | None

    def __str__(self) -> str:
        told = "none" if self.jaccard is None else f"{self.jaccard:.3f}"
        return (
            f"{self.shared} edges shared by circuits of {self.first} and {self.second} of "
            f"{self.whole}: Jaccard {told}, {self.expected:.1f} expected by chance"
        )


def overlap(one: Circuit, other: Circuit) -> Overlap:
    """Compare two circuits of one network.

    Raises
    ------
    DesignError
        If they belong to different networks.

    Examples
    --------
    >>> from crossworld.internals.wiring import Reader
    >>> senders = ("input", "layers.0.mlp")
    >>> readers = (Reader("layers.0.mlp", 0, 1, (1,)), Reader("logits", 1, 2))
    >>> a = Circuit.of(senders, readers, edges=["input -> logits"])
    >>> b = Circuit.of(senders, readers, edges=["input -> logits", "input -> layers.0.mlp"])
    >>> print(overlap(a, b))
    1 edges shared by circuits of 1 and 2 of 3: Jaccard 0.500, 0.7 expected by chance
    """
    from scipy.stats import hypergeom

    same_network([one, other])
    a, b = np.asarray(one.kept), np.asarray(other.kept)
    shared, either = int((a & b).sum()), int((a | b).sum())
    first, second, whole = len(one), len(other), int(one.allowed.sum())
    smaller = min(first, second)
    free = smaller > 0 and max(first, second) < whole
    return Overlap(
        shared,
        first,
        second,
        whole,
        shared / either if either else None,
        shared / smaller if smaller else None,
        first * second / whole,
        float(hypergeom.sf(shared - 1, whole, first, second)) if free else None,
    )


@dataclass(frozen=True, slots=True)
class CircuitTask:
    """A study, and the metric's mean that guessing would give.

    Parameters
    ----------
    study
        Pairs, metric and network.
    chance
        The metric under guessing: 0 for a logit difference, 1 / options for a probability.
    """

    study: PatchStudy
    chance: float = 0.0


def selectivity(
    circuits: Mapping[str, Circuit],
    tasks: Mapping[str, CircuitTask],
    *,
    how: CircuitRun | None = None,
) -> EffectTable:
    r"""Which tasks need which circuits: single and double dissociations.

    What a task loses when a circuit is taken out, as a share of what is above chance:

    .. math:: L_{C,t} = \frac{m_t(M) - m_t(M \setminus C)}{m_t(M) - \mathrm{chance}_t}

    Rows: ``lost[C on t]`` with Fieller's set, and for every circuit and couple of tasks
    ``selective[C: t - s]``, the difference of two shares by the delta method. A double
    dissociation is one circuit whose difference is above 0 and another whose difference is below
    0 for the same tasks; ``diagnostics["double_dissociations"]`` lists those where both intervals
    say so.

    Parameters
    ----------
    circuits
        By name, of one network.
    tasks
        By name; pairs of different tasks are independent samples.
    how
        Level and batches; its inference is not used.
    """
    how = CircuitRun() if how is None else how
    if not circuits or not tasks:
        raise SpecError("selectivity compares at least one circuit on at least one task")
    same_network(list(circuits.values()))
    without = {name: circuit.complement() for name, circuit in circuits.items()}
    scored = {t: how.scores(task.study, without) for t, task in tasks.items()}
    pooled = _pooled(scored)
    rows, shares, told = [], {}, []
    for c in circuits:
        for t, task in tasks.items():
            whole, left = pooled[t][MODEL], pooled[t][c]
            lost, above = whole - left, whole - task.chance
            if above.value == 0.0:
                raise EstimationError(f"the network is exactly at chance on the task {t!r}")
            shares[c, t] = lost / above
            found = fieller(lost, above, how.level)
            rows.append(
                Effect(f"lost[{c} on {t}]", shares[c, t].value, shares[c, t].std_error, found.low,
                       found.high, _p(lost), "fieller")
            )  # fmt: skip
            if found.reason is not None:
                told.append(f"lost[{c} on {t}]: {found.reason}; the network may be at chance")
    differences = {
        (c, t, s): shares[c, t] - shares[c, s]
        for c in circuits for i, t in enumerate(tasks) for s in list(tasks)[i + 1 :]
    }  # fmt: skip
    for (c, t, s), one in differences.items():
        low, high = one.interval(how.level)
        rows.append(Effect(f"selective[{c}: {t} - {s}]", one.value, one.std_error, low, high,
                           _p(one), "wald"))  # fmt: skip
    double = _double(differences, list(circuits), how.level)
    n = sum(len(s) for s in scored.values())
    heading = [f"{len(circuits)} circuits on {len(tasks)} tasks, {n:,} pairs"]
    diagnostics = {
        "warnings": told, "n_units": n, "n_clusters": sum(s.n_clusters for s in scored.values()),
        "overlap": None, "failed_replicates": 0, "level": how.level, "heading": heading,
        "double_dissociations": double,
    }  # fmt: skip
    return EffectTable(tuple(rows), how.level, tuple(heading), diagnostics=diagnostics)


def _p(one: Estimate) -> float | None:
    return one.p_value() if one.std_error > 0 else None


def _double(
    differences: Mapping[tuple[str, str, str], Estimate], circuits: Sequence[str], level: float
) -> list[dict[str, Any]]:
    """Couples of circuits and tasks whose differences lie on either side of 0."""
    found = []
    for (c, t, s), one in differences.items():
        half = critical(level, one.df) * one.std_error
        if one.value - half <= 0:
            continue
        for other in circuits:
            two = differences[other, t, s]
            if other != c and two.value + critical(level, two.df) * two.std_error < 0:
                found.append({"circuits": [c, other], "tasks": [t, s]})
        # the mirrored case is found when the loop comes to the other circuit
    return found


def _pooled(scored: Mapping[str, Scores]) -> dict[str, dict[str, Estimate]]:
    """Estimates of all tasks over the pairs of all tasks, so that they can be combined."""
    total = sum(len(s) for s in scored.values())
    clustered = any(s.cluster is not None for s in scored.values())
    found: dict[str, dict[str, Estimate]] = {}
    start = groups = 0
    spans: dict[str, tuple[int, int]] = {}
    codes = np.zeros(total, dtype=np.int64)
    for t, scores in scored.items():
        stop = start + len(scores)
        own = np.arange(len(scores)) if scores.cluster is None else scores.cluster
        codes[start:stop] = own + groups
        groups += int(own.max()) + 1
        spans[t] = (start, stop)
        start = stop
    for t, scores in scored.items():
        low, high = spans[t]
        found[t] = {}
        for cell in scores.cells:
            one = scores.mean(cell)
            influence = np.zeros(total)
            influence[low:high] = one.influence * (total / len(scores))
            name = str(cell.treatment)
            found[t][name] = Estimate(one.value, influence, codes if clustered else None)
    return found


def lost(circuit: Circuit, task: CircuitTask, *, how: CircuitRun | None = None) -> EffectTable:
    """Share of above-chance performance that a task loses without a circuit."""
    how = CircuitRun() if how is None else how
    if not isinstance(task, CircuitTask):
        raise DesignError(
            f"a task is a study with its chance level: CircuitTask(study), got {task!r}"
        )
    scores = how.scores(task.study, {"rest": circuit.complement()})
    share = (Y(MODEL) - Y("rest")) / (Y(MODEL) - task.chance)
    return how.table(scores, [Estimand("lost", share)])

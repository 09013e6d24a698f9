"""Comparison of circuits: what they share, and which of two tasks each is needed for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossworld.core.estimand import Estimand
from crossworld.core.estimate import Estimate
from crossworld.core.expression import Y
from crossworld.core.student import critical, two_sided
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


@dataclass(frozen=True, slots=True)
class Gap:
    """The difference of two independent estimates.

    Parameters
    ----------
    value, std_error
        As of any estimate.
    df
        Welch's degrees of freedom, infinite when neither estimate has clusters.
    """

    value: float
    std_error: float
    df: float

    @classmethod
    def of(cls, one: Estimate, other: Estimate) -> Gap:
        """Subtract; variances add.

        Examples
        --------
        >>> import numpy as np
        >>> u = np.array([-1.0, 1.0] * 8)
        >>> gap = Gap.of(Estimate(3.0, u, np.arange(16)), Estimate(1.0, 0.1 * u, np.arange(16)))
        >>> gap.value, round(gap.std_error, 3), round(gap.df, 1)  # the noisy one decides
        (2.0, 0.259, 15.3)
        """
        parts = [(e.std_error**2, e.df) for e in (one, other)]
        total = sum(v for v, _ in parts)
        spread = sum(v * v / df for v, df in parts)
        df = total * total / spread if spread > 0.0 else math.inf
        return cls(one.value - other.value, math.sqrt(total), df)

    def interval(self, level: float) -> tuple[float, float]:
        """Student's interval."""
        half = critical(level, self.df) * self.std_error
        return self.value - half, self.value + half


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
    ``selective[C: t - s]``, the difference of two shares by the delta method with Welch's degrees
    of freedom, as the tasks may have different numbers of pairs. A double
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
    rows, shares, told = [], {}, []
    for c in circuits:
        for t, task in tasks.items():
            whole, left = scored[t].mean(Y(MODEL)), scored[t].mean(Y(c))
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
        (c, t, s): Gap.of(shares[c, t], shares[c, s])
        for c in circuits for i, t in enumerate(tasks) for s in list(tasks)[i + 1 :]
    }  # fmt: skip
    for (c, t, s), gap in differences.items():
        low, high = gap.interval(how.level)
        p_value = two_sided(gap.value / gap.std_error, gap.df) if gap.std_error > 0 else None
        rows.append(Effect(f"selective[{c}: {t} - {s}]", gap.value, gap.std_error, low, high,
                           p_value, "wald"))  # fmt: skip
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
    differences: Mapping[tuple[str, str, str], Gap], circuits: Sequence[str], level: float
) -> list[dict[str, Any]]:
    """Couples of circuits and tasks whose differences lie on either side of 0."""
    # the mirrored case is found when the loop comes to the other circuit
    return [
        {"circuits": [c, other], "tasks": [t, s]}
        for (c, t, s), one in differences.items()
        for other in circuits
        if other != c
        and one.interval(level)[0] > 0
        and differences[other, t, s].interval(level)[1] < 0
    ]


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

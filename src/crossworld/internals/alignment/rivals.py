"""Rival programs ranked, and how far a network is from its program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from crossworld.core.table import Effect, EffectTable
from crossworld.errors import DesignError
from crossworld.internals.alignment.interchange import Agreement
from crossworld.internals.rates import (
    mean,
    mean_effect,
    paired_difference,
    rate,
    regroup,
    tabled,
    unpaired_difference,
)


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Rival programs in the order of their interchange accuracy.

    Parameters
    ----------
    table
        ``iia[name]`` of each program, best first, and ``iia[best] - iia[name]`` of the others.
        All intervals hold at once (Sidak).
    order
        Names, best first.
    """

    table: EffectTable
    order: tuple[str, ...]

    @property
    def ruled_out(self) -> tuple[str, ...]:
        """Programs whose upper limit lies under the lower limit of the best one."""
        best = self.table[f"iia[{self.order[0]}]"]
        assert best.conf_low is not None
        held = {name: self.table[f"iia[{name}]"].conf_high for name in self.order[1:]}
        return tuple(n for n, high in held.items() if high is not None and high < best.conf_low)

    def __str__(self) -> str:
        return str(self.table)


def rank_programs(results: Mapping[str, Agreement], *, level: float = 0.95) -> Ranking:
    r"""Rank rival programs of one network by interchange accuracy, all intervals at once.

    Accuracies have exact intervals at the level :math:`(1-\alpha)^{1/k}`, k the number of rows
    (accuracies and differences). Differences from the best are paired (Bonett-Price, or t over
    clusters) where two programs were tested on the same pairs, else Newcombe's.

    Parameters
    ----------
    results
        Name of a program -> its `Agreement` on held-out pairs.
    level
        Probability with which all intervals hold.

    Raises
    ------
    DesignError
        If there is only one program.
    """
    if len(results) < 2:
        raise DesignError("a ranking compares two or more programs")
    order = sorted(results, key=lambda name: -float(results[name].hits.mean()))
    family = 2 * len(order) - 1
    rows = [
        rate(f"iia[{n}]", results[n].hits, cluster=results[n].cluster, level=level, family=family)
        for n in order
    ]
    best = results[order[0]]
    for name in order[1:]:
        term, other = f"iia[{order[0]}] - iia[{name}]", results[name]
        rows.append(_difference(term, best, other, level, family))
    heading = f"{len(order)} programs ranked by interchange accuracy"
    warnings = []
    first = float(best.hits.mean())
    tied = [n for n in order if float(results[n].hits.mean()) == first]
    if len(tied) > 1:
        warnings.append(f"{' and '.join(tied)} agree equally often: these pairs cannot tell them")
    table = tabled(rows, heading, units=(len(best.pairs), best.cluster), level=level, family=family,
                   warnings=warnings)  # fmt: skip
    return Ranking(table, tuple(order))


def _difference(
    term: str, first: Agreement, second: Agreement, level: float, family: int
) -> Effect:
    same = len(first.pairs) == len(second.pairs) and all(
        a is b for a, b in zip(first.pairs, second.pairs, strict=True)
    )
    if same:
        return paired_difference(term, first.hits, second.hits, cluster=first.cluster,
                                 level=level, family=family)  # fmt: skip
    if first.cluster is None and second.cluster is None:
        return unpaired_difference(term, first.hits, second.hits, level=level, family=family)
    raise DesignError(
        "programs with clustered pairs are compared on the same pairs; give every program the "
        "same list"
    )


def approximate_abstraction(result: Agreement, *, level: float = 0.95) -> EffectTable:
    r"""How far the network is from its program: errors by variable, the worst, and in law.

    ``error[v]`` is the share of interchanges of v (or of several variables together) after which
    network and program disagree, and ``error[worst]`` their maximum, the :math:`\alpha` of an
    :math:`\alpha`-approximate abstraction. ``distance[v]`` looks beyond the class of the answer:

    .. math:: \tfrac12 \sum_y \big| p(y \mid b; z_v \leftarrow z_v(s)) - \bar p_{c}(y) \big|

    with :math:`\bar p_c` the mean of the network's undisturbed probabilities over inputs to which
    the program gives the counterfactual answer c: 0 when an interchange is as good as an input
    that really has that answer. ``distance[undisturbed]`` is the same without interchange, over
    the base inputs (each left out of its own mean): the floor.

    Parameters
    ----------
    result
        What `interchange_accuracy` found.
    level
        Probability with which all intervals hold: errors exact, distances t, Sidak over all. The
        interval of the maximum runs from the largest lower to the largest upper limit of the
        errors, which is safe because those hold together.

    References
    ----------
    Beckers, Eberhardt & Halpern (2019). Approximate causal abstraction. UAI.
    """
    names = [" and ".join(p.variables) for p in result.pairs]
    sets = list(dict.fromkeys(names))
    family = 2 * len(sets) + 1
    rows, distance = [], _distances(result)
    miss = 1.0 - result.hits
    at = {one: np.flatnonzero(np.array([n == one for n in names])) for one in sets}
    for one, r in at.items():
        group = regroup(result.cluster, r)
        rows.append(rate(f"error[{one}]", miss[r], cluster=group, level=level, family=family))
    worst = max(rows, key=lambda row: row.estimate or 0.0)
    high = max(row.conf_high or 0.0 for row in rows)
    low = max(row.conf_low or 0.0 for row in rows)
    rows.append(Effect("error[worst]", worst.estimate, None, low, high, None, "exact"))
    warnings = []
    for one, r in at.items():
        known = r[np.isfinite(distance[r])]
        if known.size < r.size:
            warnings.append(f"{r.size - known.size} interchanges of {one} have an answer that no "
                            "base input has; they have no distance")  # fmt: skip
        if known.size:
            found = mean(distance[known], regroup(result.cluster, known))
            rows.append(mean_effect(f"distance[{one}]", found, level=level, family=family))
    floor, at_floor = _floor(result)
    if floor.size:
        found = mean(floor, regroup(result.cluster, at_floor))
        rows.append(mean_effect("distance[undisturbed]", found, level=level, family=family))
    return tabled(rows, "approximate abstraction", units=(len(result.pairs), result.cluster),
                  level=level, family=family, warnings=warnings)  # fmt: skip


def _centres(result: Agreement) -> dict[int, tuple[np.ndarray, int]]:
    """Sum of undisturbed probabilities over the base inputs of each class, and their number."""
    found = {}
    for c in np.unique(result.before).tolist():
        rows = result.undisturbed[result.before == c]
        found[c] = (rows.sum(axis=0), len(rows))
    return found


def _distances(result: Agreement) -> np.ndarray:
    centres = _centres(result)
    found = np.full(len(result.pairs), np.nan)
    for i, c in enumerate(result.target.tolist()):
        if c in centres:
            total, count = centres[c]
            found[i] = 0.5 * np.abs(result.probabilities[i] - total / count).sum()
    return found


def _floor(result: Agreement) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each base input from the others of its class, and which pairs have one."""
    centres = _centres(result)
    found, rows = [], []
    for i, c in enumerate(result.before.tolist()):
        total, count = centres[c]
        if count > 1:
            own = result.undisturbed[i]
            found.append(0.5 * float(np.abs(own - (total - own) / (count - 1)).sum()))
            rows.append(i)
    return np.array(found), np.array(rows, dtype=np.int64)

"""What circuits do: faithfulness, completeness, minimality, curves, overlap, selectivity."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from crossworld.core.analysis import contrast
from crossworld.core.estimand import Estimand
from crossworld.core.expression import Expr, Y
from crossworld.core.protocols import Inference, Progress
from crossworld.core.scores import Scores
from crossworld.core.table import Effect, EffectTable
from crossworld.errors import DesignError, EstimationError, RatioWarning, SpecError
from crossworld.infer.absolute import absolute, projected
from crossworld.infer.multiplier import METHOD, Multiplier
from crossworld.internals.backend import torch
from crossworld.internals.circuit import Circuit
from crossworld.internals.edges import Reference, check_source
from crossworld.internals.edgescores import EdgeScores
from crossworld.internals.exact import rewired
from crossworld.internals.frames import check_aligned, frames, wiring_of
from crossworld.internals.study import PatchStudy
from crossworld.internals.wiring import INPUT, Wiring

MIB = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
MODEL, EMPTY = "model", "empty"
SINGLE = 1e-6  # spread beside that of the whole effect that is rounding in single precision


@dataclass(frozen=True, slots=True)
class CircuitRun:
    """How circuits are run and how uncertainty is measured.

    Parameters
    ----------
    inference
        `Wald` by default; `Multiplier` makes the intervals of a table hold at once.
    level
        Confidence level.
    batch_size
        Pairs that run together.
    """

    inference: Inference | None = None
    level: float = 0.95
    batch_size: int = 8
    progress: Progress | None = field(default=None, repr=False, compare=False)

    def scores(self, study: PatchStudy, circuits: Mapping[str, Circuit]) -> Scores:
        r"""Run circuits on every pair: one cell per circuit, and ``Y('model')``, ``Y('empty')``.

        The clean input runs; every reader gets the senders that the circuit keeps as they are in
        this run and all others at their value under the study's source (the corrupt input, zero,
        or the mean over pairs of the corrupt input). ``model`` keeps every edge, ``empty`` none.

        Parameters
        ----------
        study
            Pairs, metric and network.
        circuits
            By name.
        """
        check_source(study)
        jobs = _jobs(circuits)
        reference, wiring = Reference(study, self.batch_size), None
        found = np.zeros((len(study), 2 + len(circuits)))
        for done, frame in enumerate(frames(study, self.batch_size), start=1):
            check_aligned(frame)
            wiring = wiring_of(frame) if wiring is None else wiring
            _check_network(circuits, wiring)
            tape = reference.tape(frame, wiring)
            for kept, columns in jobs.values():
                value = rewired(frame, wiring, tape, torch().as_tensor(kept))
                found[np.ix_(frame.at, np.array(columns))] += value[:, None] / frame.draws
            if self.progress is not None:
                self.progress(done * self.batch_size, len(study) * frame.draws)
        if not np.isfinite(found).all():
            raise EstimationError(f"the metric {study.metric.name} of a circuit is not finite")
        names = [MODEL, EMPTY, *circuits]
        return Scores(found, tuple(Y(name) for name in names), study.clusters())

    def table(self, scores: Scores, estimands: Sequence[Estimand]) -> EffectTable:
        """Contrast cells."""
        return contrast(scores, estimands, inference=self.inference, level=self.level)


def _jobs(circuits: Mapping[str, Circuit]) -> dict[bytes, tuple[Any, list[int]]]:
    """What is run once for every distinct set of edges, and the columns it fills."""
    if not circuits:
        raise SpecError("no circuit was named")
    for name in circuits:
        if name in (MODEL, EMPTY):
            raise SpecError(f"{name!r} is the name of all edges or none; call the circuit else")
    some = next(iter(circuits.values()))
    sets = [some.allowed, np.zeros_like(some.allowed)]
    sets += [np.asarray(c.kept, dtype=bool) for c in circuits.values()]
    found: dict[bytes, tuple[Any, list[int]]] = {}
    for column, kept in enumerate(sets):
        found.setdefault(kept.tobytes(), (kept, []))[1].append(column)
    return found


def _check_network(circuits: Mapping[str, Circuit], wiring: Wiring) -> None:
    for name, circuit in circuits.items():
        if circuit.senders != wiring.senders or circuit.readers != wiring.readers:
            raise DesignError(
                f"the circuit {name!r} belongs to a network with {len(circuit.senders)} senders "
                f"and {len(circuit.readers)} readers, this one has {len(wiring.senders)} and "
                f"{len(wiring.readers)}"
            )


def _normalised(name: str) -> Expr:
    return (Y(name) - Y(EMPTY)) / (Y(MODEL) - Y(EMPTY))


def faithfulness(
    study: PatchStudy, circuit: Circuit, *, how: CircuitRun | None = None
) -> EffectTable:
    r"""How much of the behaviour a circuit carries by itself.

    .. math:: f(C) = \frac{m(C) - m(\emptyset)}{m(M) - m(\emptyset)}

    with means over pairs, so that it is a quotient of means with Fieller's set, not a mean of
    quotients. Rows: ``faithfulness``, and the means ``m[circuit]``, ``m[model]``, ``m[empty]``;
    ``missing`` is the plain difference :math:`m(M) - m(C)`.

    Parameters
    ----------
    study
        Pairs, metric and network. Pairs that the circuit was found with make it look better than
        it is; use others: ``study.take``.
    circuit
        The circuit.
    how
        Inference and batches.

    References
    ----------
    Wang et al. (2023). Interpretability in the wild. Miller, Chughtai and Saunders (2024).
    Transformer circuit faithfulness metrics are not robust.
    """
    how = CircuitRun() if how is None else how
    scores = how.scores(study, {"circuit": circuit})
    asked = [
        Estimand("faithfulness", _normalised("circuit")),
        Estimand("missing", Y(MODEL) - Y("circuit")),
        *(Estimand(f"m[{name}]", Y(name)) for name in ("circuit", MODEL, EMPTY)),
    ]
    return how.table(scores, asked)


def completeness(
    study: PatchStudy,
    circuit: Circuit,
    *,
    sets: int | Sequence[Sequence[str]] = 10,
    seed: int = 0,
    how: CircuitRun | None = None,
) -> EffectTable:
    r"""Whether the circuit and the network stay alike when parts of both are taken out.

    For every set K of the circuit's nodes, :math:`F(C \setminus K) - F(M \setminus K)`, which is
    near 0 for all K when nothing outside the circuit stands in for what is taken out. Taking out a
    node cuts every edge into and out of it.

    Parameters
    ----------
    sets
        Sets of nodes, or how many random ones to draw (every node with probability one half).
    seed
        Seed of that draw.
    """
    how = CircuitRun() if how is None else how
    chosen = _sets(circuit, sets, seed)
    whole = Circuit(circuit.senders, circuit.readers, circuit.allowed)
    todo: dict[str, Circuit] = {}
    for j, nodes in enumerate(chosen, start=1):
        todo[f"circuit - K{j}"] = circuit.without(nodes)
        todo[f"model - K{j}"] = whole.without(nodes)
    scores = how.scores(study, todo)
    asked = [
        Estimand(f"completeness[K{j}]", Y(f"circuit - K{j}") - Y(f"model - K{j}"))
        for j in range(1, len(chosen) + 1)
    ]
    return _told(how.table(scores, asked), {"sets": {f"K{j}": list(k) for j, k in
                                                     enumerate(chosen, start=1)}})  # fmt: skip


def _sets(
    circuit: Circuit, sets: int | Sequence[Sequence[str]], seed: int
) -> list[tuple[str, ...]]:
    nodes = [n for n in circuit.nodes if n != INPUT]
    if not isinstance(sets, int):
        return [tuple(k) for k in sets]
    if isinstance(sets, bool) or sets < 1:
        raise SpecError(f"sets is a number of sets or a list of them, got {sets!r}")
    if not nodes:
        raise DesignError("the circuit has no node besides the input, so none can be taken out")
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    found: dict[tuple[str, ...], None] = {}
    for _ in range(50 * sets):
        draw = tuple(n for n, into in zip(nodes, rng.random(len(nodes)) < 0.5, strict=True) if into)
        if draw:
            found.setdefault(draw)
        if len(found) == sets:
            break
    return list(found)


def minimality(
    study: PatchStudy,
    circuit: Circuit,
    *,
    given: Sequence[str] = (),
    nodes: Sequence[str] = (),
    how: CircuitRun | None = None,
) -> EffectTable:
    r"""What each node of a circuit adds: :math:`F(C \setminus K) - F(C \setminus (K \cup \{v\}))`.

    A node whose interval covers 0 may be redundant, or another may stand in for it: give that one
    as part of K.

    Parameters
    ----------
    given
        The set K that is taken out beforehand.
    nodes
        Which nodes v; all of the circuit but the input by default.
    """
    how = CircuitRun() if how is None else how
    rest = circuit.without(given) if given else circuit
    asked_nodes = [n for n in (nodes or rest.nodes) if n != INPUT and n not in given]
    if not asked_nodes:
        raise DesignError("the circuit has no node besides the input, so none can be taken out")
    todo = {"circuit": rest}
    todo.update({f"without {n}": rest.without([n]) for n in asked_nodes})
    scores = how.scores(study, todo)
    asked = [Estimand(f"minimality[{n}]", Y("circuit") - Y(f"without {n}")) for n in asked_nodes]
    return _told(how.table(scores, asked), {"given": list(given)})


def circuit_curve(
    study: PatchStudy,
    scores: EdgeScores,
    *,
    fractions: Sequence[float] = MIB,
    search: Literal["top", "greedy"] = "top",
    how: CircuitRun | None = None,
) -> EffectTable:
    r"""Faithfulness of circuits of growing size, and the two areas of the MIB benchmark.

    .. math:: \mathrm{CPR} = \int f(C_k)\,dk, \qquad \mathrm{CMD} = \int |1 - f(C_k)|\,dk

    by trapezoids over the fractions k of edges, as in the benchmark's code (a circuit that is
    always faithful has CPR .999). Rows: ``faithfulness[k]``, ``cpr``, ``cmd``. The intervals are
    Fieller's, over pairs.

    Where some f is within error of 1, ``cmd`` is too large on average and its interval allows for
    both signs of :math:`1 - f` (`infer.absolute`), whatever the inference; with `Multiplier` it is
    what the band over the faithfulnesses allows. Its p value tests that all f are 1 (Bonferroni),
    its standard error takes the signs as they are estimated.

    Parameters
    ----------
    scores
        Scores of edges; found on other pairs than the study's, or the circuits look too good.
    fractions
        Sizes, increasing, in (0, 1].
    search
        How circuits are found.

    References
    ----------
    Mueller et al. (2025). MIB: a mechanistic interpretability benchmark.
    """
    how = CircuitRun() if how is None else how
    sizes = [float(f) for f in fractions]
    if len(sizes) < 2 or sorted(set(sizes)) != sizes or not 0 < sizes[0] <= sizes[-1] <= 1:
        raise SpecError(f"fractions increase inside (0, 1], got {tuple(fractions)!r}")
    if search not in ("top", "greedy"):
        raise SpecError.unknown("search", str(search), ("top", "greedy"))
    whole = int(scores.allowed.sum())
    find = Circuit.top if search == "top" else Circuit.greedy
    todo = {f"{f:g}": find(scores, int(f * whole)) for f in sizes}
    cells = how.scores(study, todo)
    means = dict(zip(map(str, cells.cells), cells.means(), strict=True))
    gap = means[str(Y(MODEL))] - means[str(Y(EMPTY))]
    if abs(gap) <= 1e-12 * (abs(means[str(Y(MODEL))]) + abs(means[str(Y(EMPTY))])):
        raise EstimationError("the metric is the same with all edges and with none")
    weights = dict(zip(todo, _trapezoid(np.array(sizes)).tolist(), strict=True))
    up: Expr | None = None
    for name, weight in weights.items():
        up = _plus(up, weight * (Y(name) - Y(EMPTY)))
    assert up is not None
    asked = [Estimand(f"faithfulness[{name}]", _normalised(name)) for name in todo]
    table = how.table(cells, [*asked, Estimand("cpr", up / (Y(MODEL) - Y(EMPTY)))])
    told = {"edges": {name: len(c) for name, c in todo.items()}, "of": whole, "search": search}
    return _told(_with_cmd(table, cells, weights, how), {"curve": told})


def _with_cmd(
    table: EffectTable, cells: Scores, weights: Mapping[str, float], how: CircuitRun
) -> EffectTable:
    """Add the area between the curve and 1, with an interval that holds where they meet."""
    gap = cells.mean(Y(MODEL)) - cells.mean(Y(EMPTY))
    terms = [w * (cells.mean(Y(MODEL)) - cells.mean(Y(name))) for name, w in weights.items()]
    off: Expr | None = None
    for (name, weight), term in zip(weights.items(), terms, strict=True):
        sign = float(np.sign(term.value / gap.value))
        off = _plus(off, weight * sign * (Y(MODEL) - Y(name)))
    assert off is not None
    asked = Estimand("cmd", off / (Y(MODEL) - Y(EMPTY)))
    area = asked.expr.evaluate(cells.mean)
    if isinstance(how.inference, Multiplier):
        band = [table[f"faithfulness[{name}]"] for name in weights]
        sides = [(r.conf_low, r.conf_high) for r in band]
        found = projected(sides, list(weights.values()), centre=1.0)
        method = METHOD
    else:
        found, method = absolute(terms, gap, how.level), "fieller"
    tests = [t.p_value() for t in terms if t.std_error > SINGLE * gap.std_error]
    p_value = min(1.0, len(tests) * min(tests)) if tests else None
    row = Effect("cmd", area.value, area.std_error, found.low, found.high, p_value, method)
    warned = [] if found.reason is None else [f"cmd: {found.reason}"]
    for text in warned:
        warnings.warn(text, RatioWarning, stacklevel=3)
    told = {"expression": str(asked.expr), "scale": asked.scale, "null": asked.null}
    more = {
        "warnings": [*table.diagnostics["warnings"], *warned],
        "expressions": {**table.diagnostics["expressions"], "cmd": told},
    }
    rows, estimands = (*table.rows, row), (*table.estimands, asked)
    return _told(replace(table, rows=rows, estimands=estimands), more)


def _plus(total: Expr | None, term: Expr) -> Expr:
    return term if total is None else total + term


def _trapezoid(at: Any) -> Any:
    """Weights of the trapezoid rule at unequal points."""
    step = np.diff(at)
    weights = np.zeros(at.size)
    weights[:-1] += step / 2
    weights[1:] += step / 2
    return weights


def _told(table: EffectTable, more: Mapping[str, Any]) -> EffectTable:
    return replace(table, diagnostics={**table.diagnostics, **more})

"""Coverage of intervals from replayed reasoning, by questions, traces and readouts.

    python studies/replay_coverage.py [--replicates 1000] [--out studies/replay_coverage.csv]

A question has a difficulty ``u ~ N(0, 1.5)``. Reasoning sampled under prompt ``b`` is good with
probability ``expit(-0.5 + 1.5 b + 0.8 u)``; the answer read out under prompt ``a`` with that
reasoning shown is correct with probability ``expit(-1 + 0.4 a + 2 good + 0.6 a good + u)``. Every
question gets K traces under either prompt, and R readouts of each trace under either prompt. The
true cells are integrals over ``u`` of a product of logistic functions, computed by Gauss-Hermite
quadrature with 200 nodes, exact to 1e-12.

Each row of the table is one design and effect: the share of samples whose 95 % interval covers the
truth and its Monte-Carlo standard error, the bias, the standard error reported beside the true
one, and for comparison the coverage of the intervals that take every readout for an independent
one. Finished designs are kept, so the study can be stopped and resumed.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from resumed import add, started

from crossworld.core.analysis import estimate
from crossworld.core.effects import NDE, NIE, PNIE, TE
from crossworld.reasoning.replay import Replay
from crossworld.reasoning.study import ReasoningStudy

EFFECTS = (TE, NDE, NIE, PNIE)
QUESTIONS = (30, 60, 200)
DRAWS = ((1, 1), (5, 1), (1, 10), (10, 2))
FIELDS = (
    "questions", "traces", "readouts", "effect", "truth", "coverage", "mc_error", "bias",
    "std_error", "true_error", "iid_coverage", "replicates",
)  # fmt: skip
CELLS = tuple((a, b) for a in (0, 1) for b in (0, 1))
SPREAD = 1.5


def expit(x: np.ndarray) -> np.ndarray:
    """Inverse logit."""
    return 1.0 / (1.0 + np.exp(-x))


def good(b: int, u: np.ndarray) -> np.ndarray:
    """Probability that reasoning sampled under ``b`` is good."""
    return expit(-0.5 + 1.5 * b + 0.8 * u)


def right(a: int, m: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Probability of the right answer under prompt ``a`` with reasoning ``m`` shown."""
    return expit(-1.0 + 0.4 * a + 2.0 * m + 0.6 * a * m + u)


def truth() -> dict[tuple[int, int], float]:
    """Every cell, by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    u, w = SPREAD * nodes, weights / weights.sum()
    one, none = np.ones_like(u), np.zeros_like(u)
    return {
        (a, b): float(w @ (good(b, u) * right(a, one, u) + (1 - good(b, u)) * right(a, none, u)))
        for a, b in CELLS
    }


def effects(cell: dict[tuple[int, int], float]) -> dict[str, float]:
    """The true effects."""
    return {
        "te": cell[1, 1] - cell[0, 0],
        "nde": cell[1, 0] - cell[0, 0],
        "nie": cell[1, 1] - cell[1, 0],
        "pnie": cell[0, 1] - cell[0, 0],
    }


def draw(rng: np.random.Generator, size: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """A long table of readouts; the same trace is shown under both prompts."""
    q, k, r = size
    u = SPREAD * rng.standard_normal(q)[:, None, None]
    traces = {b: (rng.random((q, k, 1)) < good(b, u)).astype(float) for b in (0, 1)}
    columns: dict[str, list[np.ndarray]] = {n: [] for n in ("id", "arm", "shown", "draw", "ok")}
    number = np.broadcast_to(np.arange(k * r).reshape(1, k, r), (q, k, r)).ravel()
    for a, b in CELLS:
        columns["id"].append(np.repeat(np.arange(q), k * r))
        columns["arm"].append(np.full(q * k * r, a))
        columns["shown"].append(np.full(q * k * r, b))
        columns["draw"].append(number)
        columns["ok"].append((rng.random((q, k, r)) < right(a, traces[b], u)).ravel().astype(float))
    return {name: np.concatenate(parts) for name, parts in columns.items()}


def iid(table: dict[str, np.ndarray], plus: tuple[int, int], minus: tuple[int, int]) -> float:
    """Standard error that takes readouts for independent."""
    total = 0.0
    for a, b in (plus, minus):
        y = table["ok"][(table["arm"] == a) & (table["shown"] == b)]
        total += y.var(ddof=1) / y.size
    return math.sqrt(total)


SIDES = {
    "te": ((1, 1), (0, 0)),
    "nde": ((1, 0), (0, 0)),
    "nie": ((1, 1), (1, 0)),
    "pnie": ((0, 1), (0, 0)),
}


def design(size: tuple[int, int, int], replicates: int) -> list[dict[str, object]]:
    """Run one design."""
    exact = effects(truth())
    kept: dict[str, list[tuple[float, float, bool, bool]]] = {name: [] for name in exact}
    for seed in np.random.SeedSequence([2026, *size]).spawn(replicates):
        table = draw(np.random.default_rng(seed), size)
        study = ReasoningStudy.from_cells(
            table, question="id", prompt="arm", reasoning="shown", outcome="ok", draw="draw"
        )
        for row in estimate(study, Replay(), EFFECTS):
            value = exact[row.term]
            error = iid(table, *SIDES[row.term])
            kept[row.term].append(
                (
                    row.estimate,
                    row.std_error,
                    row.conf_low <= value <= row.conf_high,
                    abs(row.estimate - value) <= 1.959964 * error,
                )
            )
    rows = []
    for name, found in kept.items():
        values, errors, covered, naive = (
            np.array(v, dtype=float) for v in zip(*found, strict=True)
        )
        share = covered.mean()
        rows.append(
            dict(
                zip(
                    FIELDS,
                    (
                        *size,
                        name,
                        f"{exact[name]:.6f}",
                        f"{share:.4f}",
                        f"{math.sqrt(share * (1 - share) / replicates):.4f}",
                        f"{values.mean() - exact[name]:+.5f}",
                        f"{errors.mean():.5f}",
                        f"{values.std(ddof=1):.5f}",
                        f"{naive.mean():.4f}",
                        replicates,
                    ),
                    strict=True,
                )
            )
        )
    return rows


def main() -> None:
    """Run every design that is not in the file yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    done = started(options.out, FIELDS)
    for q in QUESTIONS:
        for k, r in DRAWS:
            if (str(q), str(k), str(r)) in done:
                continue
            rows = design((q, k, r), options.replicates)
            add(options.out, FIELDS, rows)


if __name__ == "__main__":
    main()

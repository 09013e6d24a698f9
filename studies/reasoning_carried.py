"""Coverage of the interval of the carried share, and of its control.

    python studies/reasoning_carried.py [--replicates 2000]

Questions differ: with u, v independent uniform on (0, 1), the answer is right with probability

    Y(0): p0 = 0.15 + 0.3 u,   Y(1): p1 = p0 + (0.25 + 0.3 v)
    Y(1, M(1, edit)): p1 - r - (0.5 + 0.4 w) (p1 - p0),   Y(1, M(1, paraphrase)): p1 - r

with w uniform on (0, 1) and r = 0.02 what any edit costs. The edit takes 0.7 of the effect beyond
what its control takes, 0.7 = (0.5 + 0.4 E w); the control alone takes r / 0.4 = 0.05. Every
question has K traces; each cell reads every trace R times, and a trace's own luck (a beta law
around the question's probability) is shared by its cells under prompt 1.
"""

from __future__ import annotations

import argparse
import csv
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from crossworld import Estimand, M, Scores, Y
from crossworld.core.table import Effect
from crossworld.errors import RatioWarning
from crossworld.reasoning.edits import carried_share

CELLS = (Y(1), Y(0), Y(1, M(1, "shuffle")), Y(1, M(1, "paraphrase")))
TRUTH = {
    "carried(shuffle, paraphrase)": 0.7,
    "carried(shuffle)": 0.75,
    "carried(paraphrase)": 0.05,
    "te": 0.4,
}
COST, SPREAD = 0.02, 8.0
FIELDS = ("questions", "traces", "readouts", "effect", "truth", "median", "coverage")
FIELDS = (*FIELDS, "mc_error", "unbounded", "replicates")


def draw(design: tuple[int, int, int], rng: np.random.Generator) -> Scores:
    """Simulate the mean of every cell for every question."""
    questions, traces, readouts = design
    u, v, w = rng.random((3, questions))
    p0 = 0.15 + 0.3 * u
    p1 = p0 + 0.25 + 0.3 * v
    p_edit = p1 - COST - (0.5 + 0.4 * w) * (p1 - p0)
    luck = rng.beta(SPREAD * p1, SPREAD * (1.0 - p1), (traces, questions))
    own = rng.beta(SPREAD * p0, SPREAD * (1.0 - p0), (traces, questions))
    cells = (luck, own, luck * (p_edit / p1), luck * ((p1 - COST) / p1))
    read = [rng.binomial(readouts, p).mean(axis=0) / readouts for p in cells]
    return Scores(np.column_stack(read), CELLS, np.arange(questions))


def holds(row: Effect, estimand: Estimand, scores: Any) -> tuple[bool, bool]:
    """Whether the set holds the truth, and whether it is unbounded.

    An unbounded Fieller set is the whole line or the outside of an interval; it holds the truth
    when numerator minus truth times denominator does not differ from 0.
    """
    truth = TRUTH[row.term]
    if row.conf_low is not None and row.conf_high is not None:
        return row.conf_low <= truth <= row.conf_high, False
    expr: Any = estimand.expr
    gap = expr.left.evaluate(scores.mean) - truth * expr.right.evaluate(scores.mean)
    low, high = gap.interval()
    return low <= 0.0 <= high, True


def study(design: tuple[int, int, int], replicates: int, seed: int) -> list[dict[str, Any]]:
    """Simulate one design."""
    streams = np.random.SeedSequence(seed).spawn(replicates)
    found: dict[str, list[tuple[float, bool, bool]]] = {name: [] for name in TRUTH}
    for stream in streams:
        table = carried_share(draw(design, np.random.default_rng(stream)), edit="shuffle")
        for row, estimand in zip(table, table.estimands, strict=True):
            found[row.term].append((row.estimate or 0.0, *holds(row, estimand, table.scores)))
    rows = []
    for name, truth in TRUTH.items():
        value, covered, unbounded = np.array(found[name]).T
        cover = float(covered.mean())
        error = float(np.sqrt(cover * (1.0 - cover) / replicates))
        line = (*design, name, truth, round(float(np.median(value)), 4))
        ends = (round(cover, 4), round(error, 4), int(unbounded.sum()), replicates)
        rows.append(dict(zip(FIELDS, (*line, *ends), strict=True)))
    return rows


def main() -> None:
    """Run every design and save the table beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=2000)
    replicates = parser.parse_args().replicates
    rows = []
    warnings.simplefilter("ignore", RatioWarning)
    for i, (questions, (traces, readouts)) in enumerate(
        product((30, 60, 200), ((1, 4), (4, 1), (4, 5)))
    ):
        rows += study((questions, traces, readouts), replicates, seed=10 + i)
        print(*(f"{r['effect']}: {r['coverage']:.3f}" for r in rows[-4:]), sep="  ")
    with Path(__file__).with_suffix(".csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()

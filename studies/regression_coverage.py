"""Coverage of the regression engine's intervals, simulated from generators with exact truths.

    python studies/regression_coverage.py [--replicates 1000] [--sizes 200,1000]

Each row of the table is one generator, sample size, inference and effect: bias in Monte-Carlo
standard errors, the ratio of the mean reported standard error to the spread of the estimates, and
the share of 95 % intervals that cover the truth. Finished rows are kept, so the study can be
stopped and resumed. With ``--markdown`` the table is printed for the docs.
"""

from __future__ import annotations

import argparse
import csv
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import crossworld as xw
from crossworld import datasets

FIELDS = (
    "generator",
    "n",
    "inference",
    "effect",
    "truth",
    "mean",
    "bias_in_mc_se",
    "se_ratio",
    "coverage",
    "mc_error",
    "replicates",
    "failed",
)
CROSSED = xw.Regression(interaction=True)
STUDIES: dict[str, xw.Regression] = {
    "linear": xw.Regression(),
    "interaction": CROSSED,
    "binary_mediator": CROSSED,
    "binary_outcome": CROSSED,
    "binary_both": CROSSED,
    "count_mediator": xw.Regression(interaction=True, mediator_family="poisson"),
    "count_outcome": xw.Regression(interaction=True, outcome_family="poisson"),
    "nominal_mediator": CROSSED,
    "ordered": CROSSED,
    "joint_block": CROSSED,
    "clustered": CROSSED,
}
EFFECTS = (xw.TE, xw.NDE, xw.NIE)


def inferences(replicate: int) -> dict[str, Any]:
    """The ways of measuring uncertainty that are compared, by name."""
    return {
        "wald": xw.Wald(),
        "percentile": xw.Bootstrap(draws=500, seed=replicate),
        "bca": xw.Bootstrap(draws=500, seed=replicate, kind="bca"),
        "simulation": xw.Simulation(draws=500, seed=replicate),
    }


def study(name: str, n: int, kinds: list[str], replicates: int) -> list[dict[str, Any]]:
    """Simulate one generator at one sample size."""
    method = STUDIES[name]
    truth = {e.name: getattr(datasets, name)(n=50, seed=0).effect(e) for e in EFFECTS}
    found: dict[tuple[str, str], list[tuple[float, float, float, float]]] = {}
    failed = dict.fromkeys(kinds, 0)
    for replicate in range(replicates):
        data = getattr(datasets, name)(n=n, seed=1_000_000 + replicate).study()
        for kind in kinds:
            try:
                effects = xw.estimate(data, method, EFFECTS, inference=inferences(replicate)[kind])
            except xw.errors.EstimationError:
                failed[kind] += 1
                continue
            for row in effects:
                values = (row.estimate, row.std_error, row.conf_low, row.conf_high)
                found.setdefault((kind, row.term), []).append(values)
    return [
        summary(name, n, kind, term, truth[term], np.array(rows), failed[kind])
        for (kind, term), rows in found.items()
    ]


def summary(
    name: str, n: int, kind: str, term: str, truth: float, rows: np.ndarray, failed: int
) -> dict[str, Any]:
    """Bias, calibration of the standard error, and coverage of one cell of the study."""
    estimate, error, low, high = rows.T
    covered = float(((low <= truth) & (truth <= high)).mean())
    spread = float(estimate.std(ddof=1))
    return {
        "generator": name,
        "n": n,
        "inference": kind,
        "effect": term,
        "truth": round(truth, 6),
        "mean": round(float(estimate.mean()), 6),
        "bias_in_mc_se": round(float((estimate.mean() - truth) / (spread / np.sqrt(len(rows)))), 2),
        "se_ratio": round(float(error.mean()) / spread, 3),
        "coverage": round(covered, 4),
        "mc_error": round(float(np.sqrt(0.95 * 0.05 / len(rows))), 4),
        "replicates": len(rows),
        "failed": failed,
    }


def markdown(file: Path) -> str:
    """Write the coverage table, one line per generator, size and inference."""
    with file.open(encoding="utf-8") as held:
        rows = list(csv.DictReader(held))
    lines = [
        "| generator | n | inference | te | nde | nie | SE ratio (nie) | replicates |",
        "|---|--:|---|--:|--:|--:|--:|--:|",
    ]
    groups = dict.fromkeys((r["generator"], r["n"], r["inference"]) for r in rows)
    for generator, n, kind in groups:
        own = {
            r["effect"]: r
            for r in rows
            if (r["generator"], r["n"], r["inference"]) == (generator, n, kind)
        }
        shares = " | ".join(f"{100 * float(own[e]['coverage']):.1f}" for e in ("te", "nde", "nie"))
        lines.append(
            f"| {generator} | {n} | {kind} | {shares} | {own['nie']['se_ratio']} | "
            f"{own['nie']['replicates']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--sizes", default="200,1000")
    parser.add_argument("--inferences", default="wald")
    parser.add_argument("--generators", default=",".join(STUDIES))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    if options.markdown:
        print(markdown(options.out))
        return
    warnings.simplefilter("ignore", xw.errors.CrossworldWarning)
    done: set[tuple[str, str, str]] = set()
    if options.out.exists():
        with options.out.open(encoding="utf-8") as held:
            done = {(r["generator"], r["n"], r["inference"]) for r in csv.DictReader(held)}
    else:
        options.out.write_text(",".join(FIELDS) + "\n", encoding="utf-8")
    for name in options.generators.split(","):
        for n in map(int, options.sizes.split(",")):
            asked = options.inferences.split(",")
            kinds = [k for k in asked if (name, str(n), k) not in done]
            if not kinds:
                continue
            rows = study(name, n, kinds, options.replicates)
            with options.out.open("a", newline="", encoding="utf-8") as held:
                csv.DictWriter(held, FIELDS).writerows(rows)
            for row in rows:
                print(*(row[f] for f in FIELDS), flush=True)


if __name__ == "__main__":
    main()

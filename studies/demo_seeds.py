"""Whether the standard error of ``crossworld demo --n 200`` is the spread over twenty seeds.

    python studies/demo_seeds.py [--seeds 20] [--n 200] [--rows rows.jsonl]

Every seed is ``crossworld demo --n 200 --live --seed S``: new questions, and new traces and answers
of the pocket reasoner (the ``local`` extra), so that twenty runs are independent studies. For every
method and effect: the mean estimate, its standard deviation over seeds, the mean reported standard
error, their ratio, and how many estimates have the sign of their mean.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from crossworld.cli import beside
from crossworld.cli import reasoning_example as analysis
from crossworld.cli.demo import Settings, inputs

FIELDS = ("method", "effect", "seeds", "mean", "spread", "std_error", "ratio", "same_sign")


def one(n: int, seed: int) -> list[dict[str, Any]]:
    """Rows of the comparison of one run, without refuters, sensitivity and reports."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in inputs(Settings(n, True, "tfidf", None, seed), "").items():
            (folder / file).write_text(text, encoding="utf-8")
        case = analysis.Case(folder, embedder="tfidf", seed=seed)
        frame, _ = analysis.embedded(case)
        frame.to_csv(folder / "embedded.csv", index=False)
        study = analysis.table_study(case, frame)
        _, ols = analysis.by_statsmodels(case, frame, study)
        return [
            *beside.tidy("statsmodels OLS, mediation formula", ols),
            *beside.tidy("shallow neural network", analysis.by_network(case, study)),
            *beside.tidy("multiply robust (linear)", analysis.by_robust(case, study, linear=True)),
            *analysis.naive(case, frame),
            *analysis.knowing(case, frame),
            *beside.tidy(beside.REPLAY, analysis.by_replay(case)),
        ]


def summary(rows: list[dict[str, Any]]) -> list[list[Any]]:
    """One line a method and effect."""
    lines = []
    for key in dict.fromkeys((row["method"], row["term"]) for row in rows):
        held = [row for row in rows if (row["method"], row["term"]) == key]
        values = np.array([row["estimate"] for row in held])
        error = float(np.mean([row["std_error"] for row in held]))
        spread = float(values.std(ddof=1))
        same = int((np.sign(values) == np.sign(values.mean())).sum())
        told = [f"{v:.4f}" for v in (values.mean(), spread, error, spread / error)]
        lines.append([*key, len(held), *told, same])
    return lines


def main() -> None:
    """Run what is not in the rows yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--rows", default="", help="jsonl of the rows so far, to go on from")
    options = parser.parse_args()
    kept = Path(options.rows) if options.rows else None
    rows: list[dict[str, Any]] = []
    if kept is not None and kept.exists():
        rows = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
    have = {row["seed"] for row in rows}
    for seed in range(1, options.seeds + 1):
        if seed in have:
            continue
        new = [{**row, "seed": seed} for row in one(options.n, seed)]
        rows += new
        if kept is not None:
            with kept.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in new)
        print(f"seed {seed} done", flush=True)
    with Path(__file__).with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        writer.writerows(summary(rows))


if __name__ == "__main__":
    main()

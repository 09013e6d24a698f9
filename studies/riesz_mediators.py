"""Coverage with fifty mediators: learned weights beside weights that invert a propensity.

    python studies/riesz_mediators.py [--replicates 300] [--sizes 500,2000]

With ``x`` standard normal, ``a`` Bernoulli(expit(0.5 x)) and independent normal residuals,

    m_j = 0.3 a [j <= 10] + 0.3 x [j <= 20] + e_j          j = 1 .. 50
    y   = 0.5 a + sum_j b_j (1 + 0.5 a) m_j + 0.5 x + u     b_j = 0.2 for j <= 5 and 16 <= j <= 25

so that the first ten mediators differ by 0.95 standard deviations jointly, and nde and nie have
closed forms. Each row of the table is a method, a sample size and an effect: bias and root mean
squared error, the ratio of the mean reported standard error to the spread of the estimates, and
the share of 95 % intervals that cover the truth.
"""

from __future__ import annotations

import argparse
import csv
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import crossworld as xw

COLUMNS = 50
MOVED = np.where(np.arange(COLUMNS) < 10, 0.3, 0.0)
CONFOUNDED = np.where(np.arange(COLUMNS) < 20, 0.3, 0.0)
MATTERS = np.where((np.arange(COLUMNS) < 5) | (np.abs(np.arange(COLUMNS) - 19.5) < 5), 0.2, 0.0)
THROUGH = float(MATTERS @ MOVED)
TRUTH = {"nde": 0.5, "nie": 1.5 * THROUGH}
RIDGE = make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-2, 4, 13)))
METHODS: dict[str, Any] = {
    "Riesz(outcome=linear)": xw.Riesz(outcome="linear"),
    "MultiplyRobust(outcome=linear, treatment=logistic)": xw.MultiplyRobust(
        outcome="linear", treatment="logistic"
    ),
    "Riesz(outcome=ridge)": xw.Riesz(outcome=RIDGE),
    "MultiplyRobust(outcome=ridge, treatment=logistic)": xw.MultiplyRobust(
        outcome=RIDGE, treatment="logistic"
    ),
}
FIELDS = ("method", "n", "effect", "truth", "bias", "rmse", "se_ratio", "coverage", "replicates")


def draw(n: int, seed: int) -> xw.TableStudy:
    """Simulate a study of n units."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    a = (rng.random(n) < 1.0 / (1.0 + np.exp(-0.5 * x))).astype(float)
    m = np.outer(a, MOVED) + np.outer(x, CONFOUNDED) + rng.standard_normal((n, COLUMNS))
    y = 0.5 * a + (1.0 + 0.5 * a) * (m @ MATTERS) + 0.5 * x + rng.standard_normal(n)
    frame = {"a": a, "x": x, "y": y, **{f"m_{j}": m[:, j] for j in range(COLUMNS)}}
    return xw.TableStudy.from_frame(frame, "a -> m_* -> y", adjust=["x"])


def study(method: str, n: int, replicates: int) -> list[dict[str, Any]]:
    """Simulate one method at one sample size."""
    found = np.empty((replicates, 2, 4))
    for replicate in range(replicates):
        effects = xw.estimate(draw(n, 5_000_000 + replicate), METHODS[method], [xw.NDE, xw.NIE])
        for j, row in enumerate(effects):
            found[replicate, j] = row.estimate, row.std_error, row.conf_low, row.conf_high
    rows = []
    for j, (effect, truth) in enumerate(TRUTH.items()):
        estimate, error, low, high = found[:, j].T
        rows.append(
            {
                "method": method,
                "n": n,
                "effect": effect,
                "truth": round(truth, 6),
                "bias": round(float(estimate.mean() - truth), 4),
                "rmse": round(float(np.sqrt(((estimate - truth) ** 2).mean())), 4),
                "se_ratio": round(float(error.mean() / estimate.std(ddof=1)), 3),
                "coverage": round(float(((low <= truth) & (truth <= high)).mean()), 3),
                "replicates": replicates,
            }
        )
    return rows


def main() -> None:
    """Run the study and write the table beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=300)
    parser.add_argument("--sizes", default="500,2000")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    warnings.simplefilter("ignore", xw.errors.CrossworldWarning)
    rows = [
        row
        for n in map(int, options.sizes.split(","))
        for method in METHODS
        for row in study(method, n, options.replicates)
    ]
    with options.out.open("w", newline="", encoding="utf-8") as held:
        writer = csv.DictWriter(held, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(*(row[f] for f in FIELDS), sep="  ")


if __name__ == "__main__":
    main()

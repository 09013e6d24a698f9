"""Robustness of `Riesz`: what happens to its bias when the outcome or the representer is wrong.

    python studies/riesz_robustness.py [--replicates 250] [--sizes 1000,4000]

Covariate, treatment and mediator are binary, so that every function has a saturated form:

    P(x) = 1/2,  P(a | x) = 0.3 + 0.4 x,  P(m | a, x) = expit(-0.8 + 1.2 a + x - 0.6 a x)
    y = 0.5 a + (1 + 0.8 a) m + 1.5 x m + x + u,  u ~ N(0, 1)

Right is the saturated model; a wrong outcome regression is each arm's mean, a wrong representer is
constant in each arm. The representer of nde's and nie's cross-world cell stands on the one before
it, so both stages are wrong together. Bias is also given in its Monte-Carlo standard errors. What
a wrong outcome leaves of it with a right representer is of the order of features over units.
"""

from __future__ import annotations

import argparse
import csv
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures

import crossworld as xw

EFFECTS = (xw.TE, xw.NDE, xw.NIE)
OUTCOME = {
    "right": make_pipeline(PolynomialFeatures(2, interaction_only=True), LinearRegression()),
    "wrong": DummyRegressor(),
}
FEATURES: dict[str, Any] = {"right": "linear+products", "wrong": FunctionTransformer(np.zeros_like)}
FIELDS = ("outcome", "representer", "effect", "truth", "bias", "bias_in_mc_se", "se_ratio")
FIELDS = (*FIELDS, "coverage", "n", "replicates")


def chance(a: Any, x: Any) -> Any:
    """Probability of the mediator."""
    return 1.0 / (1.0 + np.exp(0.8 - 1.2 * a - x + 0.6 * a * x))


def mean(a: Any, m: Any, x: Any) -> Any:
    """Mean of the outcome."""
    return 0.5 * a + (1.0 + 0.8 * a) * m + 1.5 * x * m + x


def truth(a: int, b: int) -> float:
    """Mean of Y(a, M(b)) by enumeration."""
    cells = product((0, 1), (0, 1))
    return float(
        sum(0.5 * mean(a, m, x) * (chance(b, x) if m else 1.0 - chance(b, x)) for x, m in cells)
    )


def draw(n: int, seed: int) -> xw.TableStudy:
    """Simulate a study of n units."""
    rng = np.random.default_rng(seed)
    x = (rng.random(n) < 0.5).astype(float)
    a = (rng.random(n) < 0.3 + 0.4 * x).astype(float)
    m = (rng.random(n) < chance(a, x)).astype(float)
    y = mean(a, m, x) + rng.standard_normal(n)
    return xw.TableStudy.from_frame({"a": a, "m": m, "y": y, "x": x}, "a -> m -> y", adjust=["x"])


def study(outcome: str, representer: str, n: int, replicates: int) -> list[dict[str, Any]]:
    """Simulate one pair of models."""
    method = xw.Riesz(outcome=OUTCOME[outcome], features=FEATURES[representer])
    found = np.empty((replicates, len(EFFECTS), 4))
    for replicate in range(replicates):
        effects = xw.estimate(draw(n, 7_000_000 + replicate), method, EFFECTS)
        for j, row in enumerate(effects):
            found[replicate, j] = row.estimate, row.std_error, row.conf_low, row.conf_high
    cells = {"te": truth(1, 1) - truth(0, 0), "nde": truth(1, 0) - truth(0, 0)}
    cells["nie"] = cells["te"] - cells["nde"]
    rows = []
    for j, (effect, value) in enumerate(cells.items()):
        estimate, error, low, high = found[:, j].T
        bias, spread = float(estimate.mean() - value), float(estimate.std(ddof=1))
        varies = spread > 1e-9  # the effect is exactly 0 when both models are constant
        rows.append(
            {
                "outcome": outcome,
                "representer": representer,
                "effect": effect,
                "truth": round(value, 4),
                "bias": round(bias, 4),
                "bias_in_mc_se": round(bias / (spread / np.sqrt(replicates)), 2) if varies else "",
                "se_ratio": round(float(error.mean()) / spread, 3) if varies else "",
                "coverage": round(float(((low <= value) & (value <= high)).mean()), 3),
                "n": n,
                "replicates": replicates,
            }
        )
    return rows


def main() -> None:
    """Run the study and write the table beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=250)
    parser.add_argument("--sizes", default="1000,4000")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    warnings.simplefilter("ignore", xw.errors.CrossworldWarning)
    rows = [
        row
        for outcome, representer in product(("right", "wrong"), ("right", "wrong"))
        for n in map(int, options.sizes.split(","))
        for row in study(outcome, representer, n, options.replicates)
    ]
    with options.out.open("w", newline="", encoding="utf-8") as held:
        writer = csv.DictWriter(held, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(*(row[f] for f in FIELDS), sep="  ")


if __name__ == "__main__":
    main()

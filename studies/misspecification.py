"""Size and power of the misspecification refuter, by model.

    python studies/misspecification.py [--replicates 500] [--cases name,name]

Each row of the table is one data-generating law, sample size and model behind the answer: the share
of samples in which the model is rejected at 5 %, and its Monte-Carlo standard error. In the rows
with ``omitted`` "nothing" the model is right, so 5 % is wanted; in the others one term that the
model lacks was added to the law, with the size that ``strength`` says:

- "0.3 sd": the term, centred and scaled to unit variance, has the coefficient 0.3 in units of the
  residual standard deviation (of the logistic law for a logit outcome);
- "slope 0.3": the product of the treatment (0 or 1) with the mediator has the coefficient 0.3 on
  the scale of the linear predictor.

Finished cases are kept, so the study can be stopped and resumed.
"""

from __future__ import annotations

import argparse
import csv
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import crossworld as xw
from crossworld.core.analysis import Analysis
from crossworld.refute.misspecification import Misspecification

FIELDS = (
    "case", "n", "model", "omitted", "strength", "rejected", "mc_error", "replicates", "failed",
)  # fmt: skip
LOGISTIC = np.pi / np.sqrt(3.0)
Table = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Case:
    """A law, the method that analyses it, and what the method leaves out of which model."""

    draw: Callable[[np.random.Generator, int], Table]
    method: Any
    sizes: tuple[int, ...] = (1000,)
    omitted: str = "nothing"
    strength: str = ""
    models: tuple[str, ...] = ()


def law(
    outcome: str = "gaussian", mediator: str = "gaussian", term: str = "", strength: str = ""
) -> Callable[[np.random.Generator, int], Table]:
    """Treatment by a coin that depends on ``x``; see the coefficients below."""

    def draw(rng: np.random.Generator, n: int) -> Table:
        x, w = rng.standard_normal(n), rng.exponential(size=n) - 1.0
        a = (rng.random(n) < 1.0 / (1.0 + np.exp(-0.5 * x))).astype(float)
        eta = 0.5 * a + 0.4 * x + 0.3 * w
        if mediator == "probit":
            m = (eta - 0.2 + rng.standard_normal(n) > 0.0).astype(float)
        elif mediator == "poisson":
            m = rng.poisson(np.exp(0.3 + 0.5 * eta)).astype(float)
        else:
            m = eta + rng.standard_normal(n)
            if term == "x^2 of m":
                m += 0.3 * scaled(x**2)
        eta = 0.3 * a + 0.6 * m + 0.5 * x - 0.2 * w
        unit = LOGISTIC if outcome == "logit" else 1.0
        added = {"a * m": a * m if strength == "slope 0.3" else partial(a, m), "m^2": scaled(m**2)}
        if term in added:
            eta = eta + 0.3 * (1.0 if strength == "slope 0.3" else unit) * added[term]
        if outcome == "logit":
            y = (rng.random(n) < 1.0 / (1.0 + np.exp(0.5 - eta))).astype(float)
        elif outcome == "poisson":
            y = rng.poisson(np.exp(0.3 * eta)).astype(float)
        else:
            y = eta + rng.standard_normal(n)
        return {"x": x, "w": w, "a": a, "m": m, "y": y}

    return draw


def scaled(values: np.ndarray) -> np.ndarray:
    """Mean 0, variance 1."""
    return np.asarray((values - values.mean()) / values.std())


def partial(a: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Product of centred treatment and mediator, scaled."""
    return scaled((a - a.mean()) * (m - m.mean()))


PLAIN = xw.Regression()
LEARNED = xw.MultiplyRobust(outcome="linear", treatment="logistic")
LOGIT_LEARNED = xw.MultiplyRobust(outcome="logistic", treatment="logistic")
PROBIT = xw.Regression(mediator_family="probit")
COUNTS = xw.Regression(mediator_family="poisson", outcome_family="poisson")
LAST = ("y given m, x, w at level 1",)
CASES: dict[str, Case] = {
    "linear, linear": Case(law(), PLAIN),
    "logit outcome": Case(law("logit"), PLAIN),
    "probit mediator": Case(law(mediator="probit"), PROBIT),
    "probit mediator, logit outcome": Case(law("logit", "probit"), PROBIT),
    "poisson, poisson": Case(law("poisson", "poisson"), COUNTS),
    "weighting": Case(law(), xw.Weighting()),
    "imputation": Case(law(), xw.Imputation()),
    "cross-fitted": Case(law(), LEARNED),
    "linear, linear; a * m": Case(law(term="a * m"), PLAIN, (2000,), "a * m", "0.3 sd", ("y",)),
    "linear, linear; a * m slope": Case(
        law(term="a * m", strength="slope 0.3"), PLAIN, (2000,), "a * m", "slope 0.3", ("y",)
    ),
    "linear, linear; m^2": Case(law(term="m^2"), PLAIN, (2000,), "m^2", "0.3 sd", ("y",)),
    "linear, linear; x^2 of m": Case(
        law(term="x^2 of m"), PLAIN, (2000,), "x^2", "0.3 sd", ("m",)
    ),
    "logit outcome; a * m": Case(
        law("logit", term="a * m"), PLAIN, (2000,), "a * m", "0.3 sd", ("y",)
    ),
    "logit outcome; a * m slope": Case(
        law("logit", term="a * m", strength="slope 0.3"), PLAIN, (2000,), "a * m", "slope 0.3",
        ("y",),
    ),
    "logit outcome; m^2": Case(law("logit", term="m^2"), PLAIN, (2000,), "m^2", "0.3 sd", ("y",)),
    "probit mediator; a * m": Case(
        law(mediator="probit", term="a * m"), PROBIT, (2000,), "a * m", "0.3 sd", ("y",)
    ),
    "imputation; a * m": Case(
        law(term="a * m"), xw.Imputation(), (2000,), "a * m", "0.3 sd", ("y given a, m, x, w",)
    ),
    "cross-fitted; m^2": Case(law(term="m^2"), LEARNED, (2000,), "m^2", "0.3 sd", LAST),
    "cross-fitted, logit outcome; m^2": Case(
        law("logit", term="m^2"), LOGIT_LEARNED, (2000,), "m^2", "0.3 sd", LAST
    ),
}  # fmt: skip


def run(name: str, n: int, replicates: int) -> list[dict[str, Any]]:
    """Simulate one case at one sample size."""
    case, failed = CASES[name], 0
    found: dict[str, list[bool]] = {}
    for replicate in range(replicates):
        rng = np.random.default_rng([2024, replicate, n])
        table = case.draw(rng, n)
        study = xw.TableStudy.from_frame(table, "a -> m -> y", adjust=["x", "w"])
        analysis = Analysis(study, case.method)
        try:
            verdicts = Misspecification(seed=replicate).refute(analysis, None)  # type: ignore[arg-type]
        except xw.errors.EstimationError:
            failed += 1
            continue
        for one in verdicts:
            if one.passed is not None:
                found.setdefault(one.data["model"], []).append(not one.passed)
    rows = []
    for model, rejected in found.items():
        if case.models and model not in case.models:
            continue
        share, count = float(np.mean(rejected)), len(rejected)
        rows.append(
            {
                "case": name,
                "n": n,
                "model": model,
                "omitted": case.omitted,
                "strength": case.strength,
                "rejected": round(share, 4),
                "mc_error": round(float(np.sqrt(max(share * (1 - share), 0.0475) / count)), 4),
                "replicates": count,
                "failed": failed,
            }
        )
    return rows


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=500)
    parser.add_argument("--cases", default=";;".join(CASES))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    done: set[tuple[str, str]] = set()
    if options.out.exists():
        with options.out.open(encoding="utf-8") as held:
            done = {(r["case"], r["n"]) for r in csv.DictReader(held)}
    else:
        options.out.write_text(",".join(FIELDS) + "\n", encoding="utf-8")
    for name in options.cases.split(";;"):
        for n in CASES[name].sizes:
            if (name, str(n)) in done:
                continue
            rows = run(name, n, options.replicates)
            with options.out.open("a", newline="", encoding="utf-8") as held:
                csv.DictWriter(held, FIELDS).writerows(rows)
            for row in rows:
                print(*(row[f] for f in FIELDS), sep="; ", flush=True)


if __name__ == "__main__":
    main()

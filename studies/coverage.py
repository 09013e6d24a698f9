"""Coverage, calibration and multiple robustness of the cross-fitted estimators.

    python studies/coverage.py [--replicates 1000] [--sizes 500,2000] [--designs linear,...]
    python studies/coverage.py --robustness
    python studies/coverage.py --markdown

Within a replicate `MultiplyRobust` and `TMLE` share their nuisances; `Regression`, `Weighting` and
`Imputation` see the same data where their models are right. Finished rows are kept in
``coverage.csv`` (``robustness.csv``), so the study can be stopped and resumed.
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
from scipy.special import expit

import crossworld as xw
from crossworld import M, Y
from crossworld.core.scores import Scores
from crossworld.tables.robust.engine import RatioForm, assemble, fit_nuisances
from crossworld.tables.tmle import Targeted

HERE = Path(__file__).parent
CELLS = (Y(1), Y(1, M(0)), Y(0))
EFFECTS = (xw.TE, xw.NDE, xw.NIE)
FIELDS = (
    "design",
    "n",
    "estimator",
    "effect",
    "truth",
    "bias",
    "mc_error_of_bias",
    "sd",
    "mean_se",
    "coverage",
    "mc_error",
    "replicates",
)
Table = dict[str, np.ndarray]


@dataclass(frozen=True)
class Design:
    """A generator, its true effects, the learners used on it and the other estimators shown."""

    draw: Callable[[int, np.random.Generator], tuple[Table, str, list[str]]]
    truth: dict[str, float]
    outcome: str
    treatment: str
    others: dict[str, Any]


def linear(n: int, rng: np.random.Generator) -> tuple[Table, str, list[str]]:
    """Everything linear, one confounder."""
    x = rng.normal(size=n)
    a = rng.binomial(1, expit(0.5 * x))
    m = 0.5 * a + 0.4 * x + rng.normal(size=n)
    y = 0.3 * a + 0.6 * m + 0.5 * x + rng.normal(size=n)
    return {"x": x, "a": a, "m": m, "y": y}, "a -> m -> y", ["x"]


def interaction(n: int, rng: np.random.Generator) -> tuple[Table, str, list[str]]:
    """Treatment-mediator interaction and five confounders."""
    x = rng.normal(size=(n, 5))
    a = rng.binomial(1, expit(x @ [0.4, -0.3, 0.2, 0.0, 0.1]))
    m = 0.5 + 0.5 * a + x @ [0.4, 0.2, -0.2, 0.1, 0.0] + rng.normal(size=n)
    y = 0.3 * a + 0.6 * m + 0.4 * a * m + x @ [0.5, -0.2, 0.3, 0.0, 0.2] + rng.normal(size=n)
    return {**_named(x), "a": a, "m": m, "y": y}, "a -> m -> y", [f"x{j}" for j in range(5)]


def nonlinear(n: int, rng: np.random.Generator) -> tuple[Table, str, list[str]]:
    """Smooth nonlinear confounding that linear nuisances miss."""
    x = rng.uniform(-1.0, 1.0, size=(n, 3))
    a = rng.binomial(1, expit(np.sin(2.5 * x[:, 0]) + x[:, 1] ** 2 - 1.0 / 3.0))
    m = 0.5 * a + np.sin(2.5 * x[:, 0]) + (x[:, 1] ** 2 - 1.0 / 3.0) + rng.normal(size=n)
    y = 0.5 * a + 0.6 * m + 0.3 * a * m + np.sin(2.5 * x[:, 0]) + x[:, 1] ** 2 + rng.normal(size=n)
    return {**_named(x), "a": a, "m": m, "y": y}, "a -> m -> y", ["x0", "x1", "x2"]


def wide(n: int, rng: np.random.Generator) -> tuple[Table, str, list[str]]:
    """Fifty mediators, of which ten carry the effect."""
    x = rng.normal(size=(n, 2))
    a = rng.binomial(1, expit(0.4 * x[:, 0]))
    shift = np.where(np.arange(50) < 10, 0.2, 0.0)
    m = a[:, None] * shift + 0.3 * x[:, :1] + rng.normal(size=(n, 50))
    y = 0.4 * a + m[:, :10].sum(axis=1) * 0.2 + 0.5 * x[:, 1] + rng.normal(size=n)
    return {**_named(x), **_named(m, "m"), "a": a, "y": y}, "a -> m* -> y", ["x0", "x1"]


def _named(x: np.ndarray, prefix: str = "x") -> Table:
    return {f"{prefix}{j}": x[:, j] for j in range(x.shape[1])}


PARAMETRIC = {
    "Regression": xw.Regression(),
    "Imputation": xw.Imputation(),
    "Imputation (weighted)": xw.Imputation(weighted=True),
    "Weighting": xw.Weighting(),
}
CROSSED = {
    "Regression": xw.Regression(interaction=True),
    "Imputation": xw.Imputation(interaction=True),
    "Weighting": xw.Weighting(),
}
DESIGNS = {
    "linear": Design(linear, {"te": 0.6, "nde": 0.3, "nie": 0.3}, "linear", "logistic", PARAMETRIC),
    "interaction": Design(
        interaction, {"te": 1.0, "nde": 0.5, "nie": 0.5}, "linear", "logistic", CROSSED
    ),
    "nonlinear": Design(
        nonlinear, {"te": 0.95, "nde": 0.5, "nie": 0.45}, "boosting", "boosting", {}
    ),
    "wide": Design(
        wide,
        {"te": 0.8, "nde": 0.4, "nie": 0.4},
        "linear",
        "logistic",
        {"Regression": xw.Regression()},
    ),
}


def replicate(design: Design, n: int, seed: int) -> dict[str, Scores]:
    """Score one simulated table with every estimator of a design."""
    table, path, adjust = design.draw(n, np.random.default_rng(seed))
    study = xw.TableStudy.from_frame(table, path, adjust=adjust)
    robust = xw.MultiplyRobust(outcome=design.outcome, treatment=design.treatment, seed=seed)
    works, fits = fit_nuisances(robust, RatioForm(), study, CELLS)
    low, high = float(study.outcome.min()), float(study.outcome.max())
    targeted = xw.TMLE(outcome=design.outcome, treatment=design.treatment, seed=seed)
    found = {
        "MultiplyRobust": assemble(robust, RatioForm(), study, CELLS, works=works, fits=fits),
        "TMLE": assemble(targeted, Targeted(low, high), study, CELLS, works=works, fits=fits),
    }
    return found | {name: method.scores(study, CELLS) for name, method in design.others.items()}


def run(name: str, n: int, replicates: int) -> list[dict[str, Any]]:
    """Simulate one design at one size."""
    design = DESIGNS[name]
    rows: dict[tuple[str, str], list[tuple[float, float, bool]]] = {}
    for seed in range(replicates):
        for estimator, scores in replicate(design, n, 70_000 + seed).items():
            for row in xw.contrast(scores, EFFECTS):
                truth = design.truth[row.term]
                inside = row.conf_low <= truth <= row.conf_high
                rows.setdefault((estimator, row.term), []).append(
                    (row.estimate - truth, row.std_error, inside)
                )
    return [
        _summary(name, n, estimator, effect, design.truth[effect], np.array(values, dtype=float))
        for (estimator, effect), values in rows.items()
    ]


def _summary(
    name: str, n: int, estimator: str, effect: str, truth: float, values: np.ndarray
) -> dict[str, Any]:
    error, reported, inside = values.T
    count, spread = len(values), float(error.std(ddof=1))
    numbers = {
        "truth": truth,
        "bias": error.mean(),
        "mc_error_of_bias": spread / np.sqrt(count),
        "sd": spread,
        "mean_se": reported.mean(),
        "coverage": inside.mean(),
        "mc_error": np.sqrt(0.95 * 0.05 / count),
    }
    rounded = {k: round(float(v), 5) for k, v in numbers.items()}
    return {
        "design": name,
        "n": n,
        "estimator": estimator,
        "effect": effect,
        **rounded,
        "replicates": count,
    }


def robustness(replicates: int = 1000, n: int = 2000) -> list[dict[str, Any]]:
    """Bias of the cross-world cell's nde when nuisances are replaced by wrong ones in turn."""
    design = DESIGNS["interaction"]
    keys = {
        "pi": [("treatment", 0)],
        "e": [("treatment", 1)],
        "mu": [("outcome", (1.0,), (1,))],
        "omega": [("outcome", (0.0, 1.0), (0, 1))],
    }
    cases = [
        (),
        ("pi",),
        ("e",),
        ("mu",),
        ("omega",),
        ("pi", "e"),
        ("mu", "omega"),
        ("e", "omega"),
        ("pi", "mu"),
        ("pi", "omega"),
        ("e", "mu"),
        ("pi", "e", "mu", "omega"),
    ]
    errors: dict[tuple[str, ...], list[float]] = {c: [] for c in cases}
    # E[Y(1, M(0))] in the design: 0.3 + (0.6 + 0.4) * 0.5
    truth = 0.8
    for seed in range(replicates):
        table, path, adjust = design.draw(n, np.random.default_rng(90_000 + seed))
        study = xw.TableStudy.from_frame(table, path, adjust=adjust)
        method = xw.MultiplyRobust(outcome="linear", treatment="logistic", seed=seed)
        works, fits = fit_nuisances(method, RatioForm(), study, [Y(1, M(0))])
        right = dict(works[0].nuisances)
        for case in cases:
            held = dict(right)
            for wrong in case:
                for key in keys[wrong]:
                    mean = right[key].mean(axis=0)
                    # a constant: no covariate, no mediator, and for regressions shifted as well
                    shift = 0.0 if key[0] == "treatment" else 0.5
                    held[key] = np.broadcast_to(mean + shift, right[key].shape)
            work = type(works[0])(works[0].data, held, 0.01, True)
            scores = assemble(method, RatioForm(), study, [Y(1, M(0))], works=[work], fits=fits)
            errors[case].append(float(scores.means()[0]) - truth)
    return [
        {
            "wrong": " + ".join(case) or "none",
            "bias": round(float(np.mean(v)), 5),
            "mc_error": round(float(np.std(v, ddof=1) / np.sqrt(len(v))), 5),
            "replicates": len(v),
        }
        for case, v in errors.items()
    ]


def markdown() -> str:
    """Write both tables for the docs."""
    lines = [
        "| design | n | estimator | bias nie | sd | mean SE | te | nde | nie | reps |",
        "|---|--:|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    rows = _read(HERE / "coverage.csv")
    for key in dict.fromkeys((r["design"], r["n"], r["estimator"]) for r in rows):
        own = {r["effect"]: r for r in rows if (r["design"], r["n"], r["estimator"]) == key}
        nie = own["nie"]
        shares = " | ".join(f"{100 * float(own[e]['coverage']):.1f}" for e in ("te", "nde", "nie"))
        lines.append(
            f"| {key[0]} | {key[1]} | {key[2]} | {float(nie['bias']):+.4f} ± "
            f"{float(nie['mc_error_of_bias']):.4f} | {nie['sd']} | {nie['mean_se']} | {shares} | "
            f"{nie['replicates']} |"
        )
    lines += [
        "",
        "| wrong nuisances | bias of E[Y(1, M(0))] | Monte-Carlo error |",
        "|---|--:|--:|",
    ]
    lines += [
        f"| {r['wrong']} | {float(r['bias']):+.4f} | {r['mc_error']} |"
        for r in _read(HERE / "robustness.csv")
    ]
    return "\n".join(lines)


def _read(file: Path) -> list[dict[str, str]]:
    if not file.exists():
        return []
    with file.open(encoding="utf-8") as held:
        return list(csv.DictReader(held))


def main() -> None:
    """Run what is missing, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--sizes", default="500,2000")
    parser.add_argument("--designs", default=",".join(DESIGNS))
    parser.add_argument("--robustness", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.markdown:
        print(markdown())
        return
    if options.robustness:
        rows = robustness(options.replicates)
        with (HERE / "robustness.csv").open("w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return
    file = HERE / "coverage.csv"
    done = {(r["design"], r["n"]) for r in _read(file)}
    for name in options.designs.split(","):
        for n in options.sizes.split(","):
            if (name, n) in done:
                continue
            rows = run(name, int(n), options.replicates)
            fresh = not file.exists()
            with file.open("a", newline="", encoding="utf-8") as out:
                writer = csv.DictWriter(out, FIELDS)
                if fresh:
                    writer.writeheader()
                writer.writerows(rows)
            print(name, n, "done", flush=True)


if __name__ == "__main__":
    main()

"""Bias and coverage where natural effects are not identified by adjustment but something else is.

    python studies/not_natural.py [--replicates 300] [--sizes 1000] [--designs front_door,...]
    python studies/not_natural.py --markdown

Every design is analysed twice: as if adjustment identified natural effects, and by the estimator
made for it. Finished designs are kept in ``not_natural.csv``, so the study can be resumed.
"""

from __future__ import annotations

import argparse
import csv
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import crossworld as xw
from crossworld.datasets import hidden, intermediate
from crossworld.tables.auxiliary import Auxiliary
from crossworld.tables.front_door import FrontDoor
from crossworld.tables.interventional import Interventional
from crossworld.tables.separable import Separable

FILE = Path(__file__).with_name("not_natural.csv")
FIELDS = (
    "design",
    "n",
    "estimator",
    "effect",
    "target",
    "truth",
    "bias",
    "mc_error_of_bias",
    "sd",
    "mean_se",
    "coverage",
    "mc_error",
    "replicates",
)
LEARNERS: dict[str, Any] = {"outcome": "linear", "treatment": "logistic"}
NAIVE = xw.MultiplyRobust(**LEARNERS)


@dataclass(frozen=True)
class Entry:
    """One estimator on one study of a design: the effects asked, and those they are held against.

    With ``adjustment`` the study leaves out the intermediate variables and the second table.
    """

    name: str
    make: Callable[[Any], Any]
    asked: Sequence[xw.Estimand]
    target: Sequence[xw.Estimand]
    adjustment: bool = False


@dataclass(frozen=True)
class Design:
    """A generator and its analyses."""

    draw: Callable[..., Any]
    entries: tuple[Entry, ...]


def naive(asked: Sequence[xw.Estimand], target: Sequence[xw.Estimand] | None = None) -> Entry:
    """Cross-fitted natural effects by adjustment for the covariates alone."""
    return Entry("MultiplyRobust", lambda data: NAIVE, asked, target or asked, adjustment=True)


TOTAL, SPLIT, RANDOM = (xw.TE,), (xw.TE, xw.NDE, xw.NIE), (xw.IDE, xw.IIE)
NESTED = (xw.NDE, xw.NIE)
DESIGNS: dict[str, Design] = {
    "front_door": Design(
        lambda n, seed: hidden.front_door(n=n, seed=seed, mediator="gaussian"),
        (
            naive(TOTAL),
            Entry("FrontDoor", lambda data: FrontDoor(**LEARNERS), TOTAL, TOTAL),
        ),
    ),
    **{
        f"separable, l {side}": Design(
            lambda n, seed, side=side: hidden.separable(n=n, seed=seed, assign=side),
            (
                naive(SPLIT),
                Entry("Separable", lambda data, s=side: Separable(s, **LEARNERS), SPLIT, SPLIT),
                Entry("Interventional analogue", lambda data: LINE, RANDOM, NESTED),
            ),
        )
        for side in ("direct", "indirect")
    },
    "auxiliary": Design(
        hidden.auxiliary,
        (
            naive(SPLIT),
            Entry("Auxiliary", lambda data: Auxiliary(data.second(), **LEARNERS), RANDOM, RANDOM),
            Entry(
                "Auxiliary, no interaction",
                lambda data: Auxiliary(data.second(), True, **LEARNERS),
                SPLIT,
                SPLIT,
            ),
        ),
    ),
    "auxiliary, u modifies": Design(
        lambda n, seed: hidden.auxiliary(n=n, seed=seed, interaction=0.4),
        (
            naive(SPLIT),
            Entry("Auxiliary", lambda data: Auxiliary(data.second(), **LEARNERS), RANDOM, RANDOM),
            Entry(
                "Auxiliary, no interaction",
                lambda data: Auxiliary(data.second(), True, **LEARNERS),
                SPLIT,
                SPLIT,
            ),
        ),
    ),
    "intermediate": Design(
        intermediate,
        (
            naive(NESTED, RANDOM),
            Entry("Interventional", lambda data: Interventional(**LEARNERS), RANDOM, RANDOM),
            Entry(
                "Regression",
                lambda data: xw.Regression(outcome="y ~ a*m + l*m + x"),
                RANDOM,
                RANDOM,
            ),
        ),
    ),
}
LINE = xw.Regression(interaction=True)


def run(name: str, n: int, replicates: int) -> list[dict[str, Any]]:
    """Simulate one design at one size."""
    design = DESIGNS[name]
    truth = {
        e.name: design.draw(n=10, seed=0).effect(e) for e in (*SPLIT, *RANDOM) if _has(name, e)
    }
    rows: dict[tuple[str, str, str], list[tuple[float, float, bool]]] = {}
    for seed in range(replicates):
        data = design.draw(n=n, seed=50_000 + seed)
        for entry in design.entries:
            study = data.study()
            if entry.adjustment:
                study = xw.TableStudy.from_frame(dict(data.frame), data.path, adjust=data.adjust)
            found = xw.estimate(study, entry.make(data), entry.asked)
            for row, target in zip(found, entry.target, strict=True):
                low, high, value = row.conf_low, row.conf_high, truth[target.name]
                rows.setdefault((entry.name, row.term, target.name), []).append(
                    (row.estimate - value, row.std_error, low <= value <= high)
                )
    return [_summary((name, n, *key), truth[key[2]], np.array(v)) for key, v in rows.items()]


def _has(name: str, effect: xw.Estimand) -> bool:
    """Natural effects have no single value in the generator without components."""
    return name != "intermediate" or effect.name not in ("nde", "nie")


def _summary(key: tuple[Any, ...], truth: float, values: np.ndarray) -> dict[str, Any]:
    error, reported, inside = values.T
    count, spread = len(values), float(error.std(ddof=1))
    numbers = (
        truth,
        error.mean(),
        spread / np.sqrt(count),
        spread,
        reported.mean(),
        inside.mean(),
        np.sqrt(0.95 * 0.05 / count),
    )
    return dict(zip(FIELDS, (*key, *(round(float(v), 5) for v in numbers), count), strict=True))


def markdown() -> str:
    """Write the table for the docs."""
    lines = [
        "| design | n | estimator | estimate of | held against | truth | bias | sd | mean SE | "
        "coverage % |",
        "|---|--:|---|---|---|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {r['design']} | {r['n']} | {r['estimator']} | {r['effect']} | {r['target']} | "
        f"{float(r['truth']):.3f} | {float(r['bias']):+.3f} ± {float(r['mc_error_of_bias']):.3f} | "
        f"{float(r['sd']):.3f} | {float(r['mean_se']):.3f} | {100 * float(r['coverage']):.1f} |"
        for r in _read()
    ]
    return "\n".join(lines)


def _read() -> list[dict[str, str]]:
    if not FILE.exists():
        return []
    with FILE.open(encoding="utf-8") as held:
        return list(csv.DictReader(held))


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=300)
    parser.add_argument("--sizes", default="1000")
    parser.add_argument("--designs", default=";".join(DESIGNS), help="names, separated by ;")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.markdown:
        print(markdown())
        return
    done = {(r["design"], r["n"]) for r in _read()}
    for name in options.designs.split(";"):
        for n in options.sizes.split(","):
            if (name, n) in done:
                continue
            rows = run(name, int(n), options.replicates)
            fresh = not FILE.exists()
            with FILE.open("a", newline="", encoding="utf-8") as out:
                writer = csv.DictWriter(out, FIELDS)
                if fresh:
                    writer.writeheader()
                writer.writerows(rows)
            print(name, n, "done", flush=True)


if __name__ == "__main__":
    main()

"""Family-wise coverage of simultaneous bands over the steps of a reasoning text.

    python studies/reasoning_steps.py [--replicates 1000]

Q questions have n steps; R rollouts go on from every prefix. The answer of interest comes with
probability 0.2 + 0.6 F(i) + 0.2 (u - 1/2) + b(i) after the first i steps, where F rises in five of
the steps only, u is uniform over questions, and b(i) is a question's own deviation at that prefix,
uniform on (-0.1, 0.1) and 0 in expectation. Of the rollouts that replace a step, 0.7 change it;
those that do not are as likely to be right as those that keep it. Effects are exact; the
divergences are looked at where no step has any effect: "kl" is the band of `Multiplier`, "kl test"
the permutation test, whose family coverage is how often it rejects nothing at 5 %.
"""

from __future__ import annotations

import argparse
import csv
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from crossworld import Multiplier
from crossworld.core.table import EffectTable
from crossworld.errors import CrossworldWarning
from crossworld.reasoning.steps import Rollouts, divergence, importance, transplant

STEPS, CHANGED = 24, 0.7
JUMPS = {3: 0.1, 7: 0.31, 12: 0.2, 18: 0.29, 22: 0.1}
FIELDS = ("family", "unit", "questions", "rollouts", "steps", "family_coverage", "mc_error")
FIELDS = (*FIELDS, "pointwise_coverage", "mean_half_width", "replicates")


def chances(questions: int, rng: np.random.Generator, *, noise: float = 0.1) -> Any:
    """Probability of the answer by question and number of steps that are kept."""
    level = np.concatenate([[0.0], np.cumsum([JUMPS.get(i, 0.0) for i in range(STEPS)])])
    own = rng.uniform(-noise, noise, (questions, STEPS + 1))
    return 0.2 + 0.6 * level + 0.2 * (rng.random((questions, 1)) - 0.5) + own


def rollouts(p: Any, readouts: int, rng: np.random.Generator) -> Rollouts:
    """Draw rollouts: those at step i that change it have p[i], the others p[i + 1]."""
    questions, size = p.shape
    question, step, _ = (a.ravel() for a in np.indices((questions, size, readouts)))
    changed = (rng.random(question.size) < CHANGED) & (step < STEPS)
    after = np.where(changed | (step == STEPS), step, step + 1)
    y = (rng.random(question.size) < p[question, after]).astype(float)
    names = tuple(f"{q:04d}" for q in range(questions))
    return Rollouts(question, names, step, y, changed=changed)


def exact(p: Any) -> dict[str, float]:
    """Means over these questions of keep, replace and the ends, with none of the noise of draws."""
    mixed = p.copy()
    mixed[:, :-1] = CHANGED * p[:, :-1] + (1.0 - CHANGED) * p[:, 1:]
    total = (mixed[:, -1] - mixed[:, 0]).mean()
    effects = (mixed[:, 1:] - p[:, :-1]).mean(axis=0)
    steps = {f"step({i})": float(d) for i, d in enumerate(effects)}
    return steps | {f"share({i})": float(d / total) for i, d in enumerate(effects)}


def population() -> dict[str, float]:
    """Return the same in the population of questions."""
    level = np.concatenate([[0.0], np.cumsum([JUMPS.get(i, 0.0) for i in range(STEPS)])])
    truth = exact((0.2 + 0.6 * level)[None, :])
    tenths = np.linspace(0.0, 1.0, STEPS + 1)
    pieces = zip(tenths, tenths[1:], np.diff(level) / level[-1], strict=False)
    return truth | {f"share({s:g}, {t:g})": float(d) for s, t, d in pieces}


def held(table: EffectTable, truth: dict[str, float]) -> tuple[bool, float, float]:
    """Whether all intervals hold, the share of pointwise ones that do, and the mean half-width."""
    all_of, one, width = True, [], []
    for row in table:
        low = -np.inf if row.conf_low is None else row.conf_low
        high = np.inf if row.conf_high is None else row.conf_high
        all_of &= low <= truth[row.term] <= high
        half = 1.96 * (row.std_error or 0.0)
        one.append(abs((row.estimate or 0.0) - truth[row.term]) <= half)
        width.append((high - low) / 2.0)
    return all_of, float(np.mean(one)), float(np.mean(width))


def replicate(
    family: str, unit: str, size: tuple[int, int], seed: Any
) -> tuple[bool, float, float]:
    """Simulate once and look whether the band holds."""
    rng = np.random.default_rng(seed)
    questions, readouts = size
    band = Multiplier(draws=999, seed=int(rng.integers(2**31)))
    if family == "kl":
        flat = np.tile(chances(questions, rng, noise=0.0)[:, :1], (1, STEPS + 1))
        measured = divergence(rollouts(flat, readouts, rng), draws=499)
        table = measured.effects(band)
        return held(table, dict.fromkeys([r.term for r in table], 0.0))
    if family == "kl test":
        flat = np.tile(chances(questions, rng, noise=0.0)[:, :1], (1, STEPS + 1))
        measured = divergence(rollouts(flat, readouts, rng), draws=499)
        p = min(measured.scores.diagnostics["permutation_p"].values())
        return p > 0.05, float("nan"), float("nan")
    if family == "transplant":
        p = chances(questions, rng)
        question, at = (a.ravel() for a in np.indices(p.shape))
        y = rng.binomial(readouts, p).ravel() / readouts
        grid = np.linspace(0.0, 1.0, STEPS + 1).tolist()
        rows = {"q": question, "at": at, "y": y}
        curve = transplant(rows, question="q", position="at", outcome="y", grid=grid)
        return held(curve.effects(band, only="share"), population())
    fixed = np.random.default_rng(1) if unit == "rollout" else rng
    p = chances(questions, fixed)
    truth = exact(p) if unit == "rollout" else population()
    measured = importance(rollouts(p, readouts, rng), unit=unit)  # type: ignore[arg-type]
    return held(measured.effects(band, only=family), truth)


def main() -> None:
    """Run every design and save the table beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=1000)
    replicates = parser.parse_args().replicates
    designs = [
        ("step", "question", (60, 20)),
        ("step", "question", (200, 10)),
        ("share", "question", (60, 20)),
        ("share", "question", (200, 10)),
        ("step", "rollout", (1, 100)),
        ("share", "rollout", (5, 50)),
        ("transplant", "question", (60, 20)),
        ("kl", "question", (60, 20)),
        ("kl", "question", (200, 20)),
        ("kl test", "question", (30, 20)),
    ]
    rows: list[dict[str, Any]] = []
    warnings.simplefilter("ignore", CrossworldWarning)
    for family, unit, size in designs:
        seeds = np.random.SeedSequence([5, len(rows)]).spawn(replicates)
        found = np.array([replicate(family, unit, size, seed) for seed in seeds], dtype=float)
        cover = found[:, 0].mean()
        error = float(np.sqrt(cover * (1.0 - cover) / replicates))
        numbers = (round(float(v), 4) for v in (cover, error, *found[:, 1:].mean(axis=0)))
        line = (family, unit, *size, STEPS, *numbers, replicates)
        rows.append(dict(zip(FIELDS, line, strict=True)))
        print(line, flush=True)
        save(rows)


def save(rows: list[dict[str, Any]]) -> None:
    """Write the table beside this file."""
    with Path(__file__).with_suffix(".csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()

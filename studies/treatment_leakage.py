"""What a text that tells the treatment does to an effect adjusted for it, and what removal does.

    python studies/treatment_leakage.py [--replicates 100] [--documents 600] [--only ROW]

Severity z is standard normal, the treatment has P(A = 1) = expit(0.8 z), the outcome is
Y = A + z + e with e standard normal, so the effect is 1. The text has twelve short sentences, each
about something bad with probability expit(1.5 z) and about something good otherwise; with
probability 0.9 a further sentence names the treatment. Texts are embedded in 8 components after
the removal (INLP works on the components themselves) and the effect is the cross-fitted
augmented inverse probability estimate with a logistic and a ridge regression, probabilities held
within 0.01 and 0.99. In the row "penalised" columns have unit spread in the training rows, flat
ones are left out and both regressions have penalty 1: where removal leaves next to nothing, a
component can be that of a handful of texts, to which a regression that is hardly penalised
extrapolates without limit.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.reasoning.observational.distill import (
    DistantSupervision,
    NullspaceProjection,
    SalientFeatures,
    SimilarPassages,
    distill,
)
from crossworld.reasoning.observational.embedding import embed

Array = NDArray[np.float64]
BAD = ("fever", "pain", "bleeding", "collapse", "infection", "shock")
GOOD = ("appetite", "sleep", "walking", "smiling", "reading", "singing")
NAMED = ("Staff started the new compound.", "Staff went on with usual care.")
COMPONENTS, TRUTH, LEAST, FLAT = 8, 1.0, 0.01, 1e-3
FIELDS = ("adjusted for", "auc", "bias", "sd", "rmse", "lowest_probability", "replicates")
METHODS: dict[str, Any] = {
    "passages like the wording of the treatment removed": SimilarPassages(NAMED, 0.8),
    "sentences removed by distant supervision": DistantSupervision(0.8),
    "2 salient words removed": SalientFeatures(2),
    "20 salient words removed": SalientFeatures(20),
    "20 salient words removed, penalised": SalientFeatures(20),
    "nullspace projection, 1 round": NullspaceProjection(1),
    "nullspace projection, 2 rounds": NullspaceProjection(2),
    "nullspace projection, 4 rounds": NullspaceProjection(4),
}


def draw(n: int, rng: np.random.Generator) -> tuple[list[str], Array, Array, Array]:
    """Texts, severity, treatment, outcome."""
    z = rng.standard_normal(n)
    a = (rng.random(n) < 1 / (1 + np.exp(-0.8 * z))).astype(float)
    texts = []
    for i in range(n):
        bad = rng.random(12) < 1 / (1 + np.exp(-1.5 * z[i]))
        words = np.where(bad, rng.choice(BAD, 12), rng.choice(GOOD, 12))
        told = [f"Today {word} again." for word in words]
        if rng.random() < 0.9:
            told.insert(int(rng.integers(13)), NAMED[0] if a[i] else NAMED[1])
        texts.append(" ".join(told))
    return texts, z, a, a + z + rng.standard_normal(n)


def aipw(
    x: Array, a: Array, y: Array, rng: np.random.Generator, *, penalised: bool = False
) -> tuple[float, float]:
    """Effect and the lowest probability of a treatment."""
    from sklearn.linear_model import LogisticRegression, Ridge

    fold = rng.permutation(len(a)) % 5
    score, lowest = np.empty(len(a)), 1.0
    for k in range(5):
        train, test = fold != k, fold == k
        scale = x[train].std(axis=0) + 1e-12
        near = x / scale
        if penalised:
            near = ((x - x[train].mean(axis=0)) / scale)[:, scale > FLAT * scale.max()]
        chance = LogisticRegression(C=1.0 if penalised else 100.0, max_iter=5000)
        p = chance.fit(near[train], a[train]).predict_proba(near[test])[:, 1]
        lowest = min(lowest, float(p.min()), float(1 - p.max()))
        p = np.clip(p, LEAST, 1 - LEAST)
        shown, alpha = (near, 1.0) if penalised else (x, 1e-3)
        mean = [
            Ridge(alpha=alpha)
            .fit(shown[train & (a == v)], y[train & (a == v)])
            .predict(shown[test])
            for v in (0.0, 1.0)
        ]
        at, yt = a[test], y[test]
        score[test] = mean[1] - mean[0]
        score[test] += at / p * (yt - mean[1]) - (1 - at) / (1 - p) * (yt - mean[0])
    return float(score.mean()), lowest


def replicate(
    n: int, seed: np.random.SeedSequence, only: str | None
) -> dict[str, tuple[float, float, float]]:
    """AUC, estimate and lowest probability of every way to adjust, or of one."""
    rng = np.random.default_rng(seed)
    texts, z, a, y = draw(n, rng)
    if only is not None:
        told = distill(texts, a, method=METHODS[only])
        x = embed(told.data, components=COMPONENTS)
        return {only: (told.after.auc, *aipw(x, a, y, rng, penalised="penalised" in only))}
    plain = float(y[a == 1].mean() - y[a == 0].mean())
    whole = embed(texts, components=COMPONENTS)
    found = {"nothing": (0.5, plain, float("nan"))}
    found["severity itself"] = (float("nan"), *aipw(z[:, None], a, y, rng))
    for name, method in METHODS.items():
        linear = isinstance(method, NullspaceProjection)
        told = distill(whole if linear else texts, a, method=method)
        if "the text" not in found and not linear:
            found["the text"] = (told.before.auc, *aipw(whole, a, y, rng))
        x = told.data if linear else embed(told.data, components=COMPONENTS)
        found[name] = (told.after.auc, *aipw(x, a, y, rng, penalised="penalised" in name))
    return found


def main() -> None:
    """Run and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=100)
    parser.add_argument("--documents", type=int, default=600)
    parser.add_argument("--only", default=None, help="add or replace one row of removed words")
    asked = parser.parse_args()
    seeds = np.random.SeedSequence(20261121).spawn(asked.replicates)
    runs = [replicate(asked.documents, seed, asked.only) for seed in seeds]
    rows = {}
    for name in runs[0]:
        auc, values, low = np.array([run[name] for run in runs]).T
        error = values - TRUTH
        told = (auc.mean(), error.mean(), values.std(ddof=1), (error**2).mean() ** 0.5)
        rows[name] = [name, *(f"{v:.3f}" for v in told), f"{low.mean():.4f}", asked.replicates]
    file = Path(__file__).with_suffix(".csv")
    if asked.only is not None:
        with file.open(newline="", encoding="utf-8") as held:
            kept = {row[0]: row for row in list(csv.reader(held))[1:]}
        rows = {
            name: (kept | rows)[name] for name in (*list(kept)[:3], *METHODS) if name in kept | rows
        }
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(FIELDS)
        writer.writerows(rows.values())


if __name__ == "__main__":
    main()

"""What a text that tells the treatment does to an effect adjusted for it, and what removal does.

    python studies/treatment_leakage.py [--replicates 100] [--documents 600]

Severity z is standard normal, the treatment has P(A = 1) = expit(0.8 z), the outcome is
Y = A + z + e with e standard normal, so the effect is 1. The text has twelve short sentences, each
about something bad with probability expit(1.5 z) and about something good otherwise; with
probability 0.9 a further sentence names the treatment. Texts are embedded in 8 components after
the removal (INLP works on the components themselves) and the effect is the cross-fitted
augmented inverse probability estimate with a logistic and a ridge regression, probabilities held
within 0.01 and 0.99.
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
COMPONENTS, TRUTH, LEAST = 8, 1.0, 0.01
FIELDS = ("adjusted for", "auc", "bias", "sd", "rmse", "lowest_probability", "replicates")
METHODS: dict[str, Any] = {
    "passages like the wording of the treatment removed": SimilarPassages(NAMED, 0.8),
    "sentences removed by distant supervision": DistantSupervision(0.8),
    "2 salient words removed": SalientFeatures(2),
    "20 salient words removed": SalientFeatures(20),
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


def aipw(x: Array, a: Array, y: Array, rng: np.random.Generator) -> tuple[float, float]:
    """Effect and the lowest probability of a treatment."""
    from sklearn.linear_model import LogisticRegression, Ridge

    fold = rng.permutation(len(a)) % 5
    score, lowest = np.empty(len(a)), 1.0
    for k in range(5):
        train, test = fold != k, fold == k
        scale = x[train].std(axis=0) + 1e-12
        chance = LogisticRegression(C=100.0, max_iter=5000).fit(x[train] / scale, a[train])
        p = chance.predict_proba(x[test] / scale)[:, 1]
        lowest = min(lowest, float(p.min()), float(1 - p.max()))
        p = np.clip(p, LEAST, 1 - LEAST)
        mean = [
            Ridge(alpha=1e-3).fit(x[train & (a == v)], y[train & (a == v)]).predict(x[test])
            for v in (0.0, 1.0)
        ]
        at, yt = a[test], y[test]
        score[test] = mean[1] - mean[0]
        score[test] += at / p * (yt - mean[1]) - (1 - at) / (1 - p) * (yt - mean[0])
    return float(score.mean()), lowest


def replicate(n: int, seed: np.random.SeedSequence) -> dict[str, tuple[float, float, float]]:
    """AUC, estimate and lowest probability of every way to adjust."""
    rng = np.random.default_rng(seed)
    texts, z, a, y = draw(n, rng)
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
        found[name] = (told.after.auc, *aipw(x, a, y, rng))
    return found


def main() -> None:
    """Run and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=100)
    parser.add_argument("--documents", type=int, default=600)
    asked = parser.parse_args()
    seeds = np.random.SeedSequence(20261121).spawn(asked.replicates)
    runs = [replicate(asked.documents, seed) for seed in seeds]
    with Path(__file__).with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        for name in runs[0]:
            auc, values, low = np.array([run[name] for run in runs]).T
            error = values - TRUTH
            told = (auc.mean(), error.mean(), values.std(ddof=1), (error**2).mean() ** 0.5)
            writer.writerow(
                [name, *(f"{v:.3f}" for v in told), f"{low.mean():.4f}", asked.replicates]
            )


if __name__ == "__main__":
    main()

"""Answers to questions: careful reasoning checks more, and checking helps; a world of texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

TOPICS = ("add", "subtract", "multiply", "divide")
NOUNS = ("apples", "marbles", "coins", "books", "pencils", "cards", "stones", "shells")


def answers(questions: int = 200, seed: int = 0) -> pd.DataFrame:
    """Two answers to each question, one careful and one hasty."""
    rng = np.random.default_rng(seed)
    rows = []
    for q in range(questions):
        topic, noun = rng.choice(TOPICS), rng.choice(NOUNS)
        one, two = rng.integers(2, 60, 2)
        prompt = f"How many {noun} are left when you {topic} {one} and {two} {noun}?"
        hard = TOPICS.index(topic) - 1.5
        for arm in ("hasty", "careful"):
            checks = rng.poisson(1.0 + 2.0 * (arm == "careful"))
            guesses = rng.poisson(2.0 - 1.0 * (arm == "careful"))
            steps = [f"take {one}", f"then {two}"] + ["check the sum"] * checks
            steps += ["guess quickly"] * guesses
            rng.shuffle(steps)
            odds = 0.2 + 0.5 * checks - 0.4 * guesses - 0.3 * hard + 0.3 * (arm == "careful")
            right = int(rng.random() < 1.0 / (1.0 + np.exp(-odds)))
            rows.append((f"q{q}", prompt, arm, "; ".join(steps) + ".", right))
    names = ["question", "prompt", "treatment", "reasoning", "outcome"]
    return pd.DataFrame(rows, columns=names)


def written(file: Path, **options: int) -> Path:
    answers(**options).to_csv(file, index=False)
    return file

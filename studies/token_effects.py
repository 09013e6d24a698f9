"""Family-wise coverage of simultaneous bands over the tokens of real reasoning.

    python studies/token_effects.py [--replicates 2000] [--out studies/token_effects.csv]

The population is finite and known: careful texts of 23 tokens (all four lines) that the pocket
reasoner wrote for sums of five terms. `token_readouts` replaces every token four times by what the
model could have written instead; the exact effect of a position is its mean over the population.
Every replicate draws questions with replacement, estimates all 23 positions with `token_effects`'
scores, and asks whether all bands of `Multiplier` hold at once; pointwise intervals of `Wald` are
counted beside them. The effects are as skewed as they are: most tokens of most texts do nothing.
"""

from __future__ import annotations

import argparse
import csv
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from crossworld import Multiplier, Wald, contrast
from crossworld.core.scores import Scores
from crossworld.errors import CrossworldWarning
from crossworld.reasoning.models.protocol import Request
from crossworld.reasoning.models.transformers import TransformersModel
from crossworld.reasoning.pocket import (
    CHOICES,
    CUE,
    pocket_prompt,
    pocket_questions,
    pocket_recording,
)
from crossworld.reasoning.pocket.model import WEIGHTS
from crossworld.reasoning.steps import TokenPlan, token_effects, token_readouts

LENGTH, SIZES, DRAWS = 23, (50, 100, 200), 4
FIELDS = (
    "edit", "questions", "tokens", "family_coverage", "mc_error", "pointwise_coverage",
    "population", "replicates",
)  # fmt: skip


def population() -> Any:
    """Effects of every token in every text of the population."""
    rows = pocket_recording("hasty-careful")
    own = (rows.replayed == 0) & (rows.prompt == "careful") & (rows.wording == "0")
    rows = rows[own & (rows.draw == 0) & (rows.shown.str.len() == LENGTH)]
    asked = {q.id: q for q in pocket_questions(1000)}
    requests = [
        Request(
            row.question,
            "careful",
            pocket_prompt(asked[row.question], "careful"),
            shown=row.shown,
            cue=CUE,
            choices=CHOICES,
        )
        for row in rows.itertuples()
    ]
    targets = {name: q.answer for name, q in asked.items()}
    model = TransformersModel(WEIGHTS, lead="")
    plan = TokenPlan(edits=("replace", "occlude"), draws=DRAWS)
    return token_readouts(model, requests, targets=targets, plan=plan)


def covered(table: Any, edit: str, *, size: int, replicates: int) -> dict[str, Any]:
    """Share of samples in which all bands hold, and in which all pointwise intervals do."""
    measured = token_effects(table, edit=edit).measured
    tokens = [e for e in measured.estimands if e.name.startswith("token")]
    whole = measured.scores
    truth = np.array([e.expr.evaluate(whole.mean).value for e in tokens])
    held = alone = 0
    for k, seed in enumerate(np.random.SeedSequence([2026, size]).spawn(replicates)):
        rng = np.random.default_rng(seed)
        values = whole.values[rng.integers(len(whole), size=size)]
        scores = Scores(values, whole.cells, np.arange(size))
        for inference in (Multiplier(draws=500, seed=k), Wald()):
            found = contrast(scores, tokens, inference=inference)
            inside = all(
                row.conf_low <= t <= row.conf_high for row, t in zip(found, truth, strict=True)
            )
            held += inside and isinstance(inference, Multiplier)
            alone += inside and isinstance(inference, Wald)
    share = held / replicates
    return {
        "edit": edit,
        "questions": size,
        "tokens": len(tokens),
        "family_coverage": f"{share:.4f}",
        "mc_error": f"{math.sqrt(share * (1 - share) / replicates):.4f}",
        "pointwise_coverage": f"{alone / replicates:.4f}",
        "population": len(whole),
        "replicates": replicates,
    }


def main() -> None:
    """Run and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    warnings.simplefilter("ignore", CrossworldWarning)
    table = population()
    with options.out.open("w", newline="") as out:
        writer = csv.DictWriter(out, FIELDS)
        writer.writeheader()
        for edit in ("replace", "occlude"):
            for size in SIZES:
                writer.writerow(covered(table, edit, size=size, replicates=options.replicates))
                out.flush()


if __name__ == "__main__":
    main()

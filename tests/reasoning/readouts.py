"""Tables of readouts with known means, for the tests of the study and of Replay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

ROLES: dict[str, Any] = {
    "question": "id",
    "prompt": "arm",
    "reasoning": "shown_arm",
    "outcome": "correct",
}


def crossed(questions: int = 40, draws: int = 3, *, seed: int = 0) -> pd.DataFrame:
    """Every prompt with every reasoning, binary outcomes, means 0.2 + 0.15 a + 0.4 b."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "id": f"q{q}",
            "arm": a,
            "shown_arm": b,
            "draw": k,
            "correct": float(rng.random() < 0.2 + 0.15 * a + 0.4 * b),
        }
        for q in range(questions)
        for a in (0, 1)
        for b in (0, 1)
        for k in range(draws)
    ]
    return pd.DataFrame(rows)

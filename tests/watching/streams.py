"""Tables and logs that grow, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SPEC: dict[str, Any] = {
    "study": {"data": "t.csv", "path": "a -> m -> y", "adjust": ["x"], "levels": [0, 1]}
}
LOG_SPEC: dict[str, Any] = {
    "study": {
        "kind": "reasoning", "data": "log.jsonl", "question": "q", "prompt": "arm",
        "reasoning": "shown", "outcome": "right",
    }
}  # fmt: skip


def table(n: int, *, moves_at: int | None = None, seed: int = 0) -> pd.DataFrame:
    """Rows of a mediation; from ``moves_at`` on the mediator does 1.2 more."""
    rng = np.random.default_rng(seed)
    a, x = np.arange(n) % 2, rng.normal(size=n)
    m = 0.5 * a + 0.3 * x + rng.normal(size=n)
    beta = np.where(np.arange(n) < (n if moves_at is None else moves_at), 0.6, 1.8)
    y = 0.4 * a + beta * m + 0.2 * x + rng.normal(size=n)
    t = pd.date_range("2026-03-01", periods=n, freq="1h").strftime("%Y-%m-%dT%H:%M:%S")
    return pd.DataFrame({"a": a, "m": m, "x": x, "y": y, "t": t})


def spec(folder: Path, document: dict[str, Any] = SPEC) -> Path:
    """Write a spec beside its table."""
    file = folder / "spec.json"
    file.write_text(json.dumps(document))
    return file


def add(frame: pd.DataFrame, file: Path) -> None:
    """Append rows to a csv."""
    frame.to_csv(file, mode="a", header=not file.exists(), index=False)


def readouts(questions: int, *, seed: int = 0, moves_at: int | None = None) -> list[dict[str, Any]]:
    """Three readouts of every question, question by question: Y(0), Y(1, M(0)), Y(1)."""
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(questions):
        gain = 0.0 if moves_at is None or k < moves_at else 0.5
        for arm, shown, chance in ((0, 0, 0.3), (1, 0, 0.35), (1, 1, 0.45 + gain)):
            right = int(rng.random() < chance)
            rows.append({"q": f"q{k:04d}", "arm": arm, "shown": shown, "right": right})
    return rows


def lines(rows: list[dict[str, Any]]) -> str:
    """Rows as jsonl."""
    return "".join(json.dumps(row) + "\n" for row in rows)

"""Specs are read in an empty folder that holds one small table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with ``t.csv``: a, m, y, x, w, g."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    a, x = np.arange(60) % 2, rng.normal(size=60)
    m = 0.5 * a + 0.3 * x + rng.normal(size=60)
    y = 0.4 * a + 0.6 * m + 0.2 * x + rng.normal(size=60)
    w, g = rng.uniform(0.5, 2.0, 60), np.arange(60) // 5
    pd.DataFrame({"a": a, "m": m, "y": y, "x": x, "w": w, "g": g}).to_csv("t.csv", index=False)
    return tmp_path

"""Figures of concept-erasure for tests/internals/leace.json.

Run where concept-erasure 0.2.4 and torch 2.13 are installed:
``python benchmarks/peers/leace.py tests/internals/leace.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from concept_erasure import LeaceFitter


def main(file: str) -> None:
    """Erase in two cases and write inputs and results."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 5)) @ rng.normal(size=(5, 5))
    z = (x[:, 0] + rng.normal(size=40) > 0).astype(float)
    kinds = np.eye(3)[rng.integers(0, 3, 40)]
    cases = {"binary": (x + np.outer(z, rng.normal(size=5)), z[:, None])}
    cases["three"] = (x + kinds @ rng.normal(size=(3, 5)), kinds)
    found = {}
    for name, (data, concept) in cases.items():
        fitted = LeaceFitter.fit(
            torch.tensor(data), torch.tensor(concept), shrinkage=False, svd_tol=1e-10
        )
        erased = fitted.eraser(torch.tensor(data)).numpy()
        found[name] = {
            "x": data.tolist(), "z": concept.tolist(), "erased": erased.tolist(),
        }  # fmt: skip
    Path(file).write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])

"""Hand-built networks whose effects are known, for the tests of the truths and of patching."""

from __future__ import annotations

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch", reason="the internals of networks need torch")
pytest.importorskip("transformers", reason="one of the networks is a GPT-2")

from crossworld.datasets.networks import (  # noqa: E402
    KnownNetwork,
    and_gate,
    backup,
    gaussian_relu,
    illusion,
    induction_gpt2,
    linear_residual,
    saturated,
)

NETWORKS: dict[str, Callable[[], KnownNetwork]] = {
    "linear": linear_residual,
    "deep linear": lambda: linear_residual(layers=4, positions=5, width=3, n=7, seed=3),
    "gate": lambda: and_gate(low=(0.0, 1.0, -2.0), high=(1.0, 3.0, 0.5)),
    "backup": lambda: backup(low=(1.0, 0.4, 2.0), high=(0.0, 0.1, 0.5)),
    "saturated": saturated,
    "saturated elsewhere": lambda: saturated(clean=3.0, corrupt=-1.0),
    "illusion": lambda: illusion(width=6, n=5, seed=3),
    "gaussian": lambda: gaussian_relu(n=60, templates=12),
    "induction": induction_gpt2,
    "long induction": lambda: induction_gpt2(length=9, vocabulary=20, n=5, seed=4),
    "longer induction": lambda: induction_gpt2(length=15, vocabulary=16, n=10, seed=4),
}
every_network = pytest.mark.parametrize("name", NETWORKS)

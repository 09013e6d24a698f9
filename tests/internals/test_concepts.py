"""Erasure against other software; effects of concepts against what is known by construction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossworld.errors import DesignError
from crossworld.internals.concepts import concept_effects
from crossworld.internals.erasure import Leace
from crossworld.internals.subject import TorchSubject
from crossworld.reasoning.observational.distill import NullspaceProjection


@pytest.mark.parametrize("name", ["binary", "three"])
def test_leace_is_that_of_its_authors(name: str) -> None:
    """Made by benchmarks/peers/leace.py with concept-erasure 0.2.4, no shrinkage."""
    held = json.loads(Path(__file__).with_name("leace.json").read_text(encoding="utf-8"))[name]
    x, z, expected = (np.array(held[k]) for k in ("x", "z", "erased"))
    np.testing.assert_allclose(Leace().fit(x, z)(x), expected, atol=1e-8)


def test_leace_leaves_nothing_linear_and_changes_little() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    rng = np.random.default_rng(0)
    z = rng.random(800) < 0.4
    x = rng.normal(size=(800, 5)) @ rng.normal(size=(5, 5)) + np.outer(z, [2.0, 0, 1, 0, -1])
    erased = Leace().fit(x, z)(x)
    np.testing.assert_allclose((erased - erased.mean(0)).T @ (z - z.mean()), 0.0, atol=1e-8)
    scaled = erased / erased.std(axis=0)
    best, before = (
        log_loss(z, LogisticRegression(C=1e6, max_iter=5000).fit(rows, z).predict_proba(rows))
        for rows in (scaled, x / x.std(axis=0))
    )
    constant = log_loss(z, np.full(800, z.mean()))
    assert best > constant - 1e-7  # no linear classifier beats a constant
    assert before < constant - 0.1
    np.testing.assert_allclose(erased.mean(0), x.mean(0), atol=1e-10)
    assert np.linalg.matrix_rank(erased - x, tol=1e-8) == 1
    naive = x - np.outer(z - z.mean(), x[z].mean(0) - x[~z].mean(0))
    assert ((erased - x) ** 2).sum() < ((naive - x) ** 2).sum() * 3


def test_leace_survives_constant_and_repeated_features() -> None:
    rng = np.random.default_rng(1)
    z = rng.random(100) < 0.5
    first = rng.normal(size=100) + z
    x = np.column_stack([first, first, np.ones(100), rng.normal(size=100)])
    erased = Leace().fit(x, z)(x)
    assert np.isfinite(erased).all()
    np.testing.assert_allclose(erased[:, 0], erased[:, 1], atol=1e-8)
    np.testing.assert_allclose(erased[z].mean(0), erased[~z].mean(0), atol=1e-8)
    with pytest.raises(DesignError, match="one value"):
        Leace().fit(x, np.ones(100))
    with pytest.raises(DesignError, match=r"\(n, d\)"):
        Leace().fit(x[:, 0], z)


@pytest.fixture
def classifier() -> TorchSubject:
    """y = 2 concept + 1 other, read from a rotated hidden layer."""
    torch = pytest.importorskip("torch")
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(4, 4)))[0]
    net = torch.nn.Sequential(
        torch.nn.Linear(4, 4, bias=False, dtype=torch.float64),
        torch.nn.Linear(4, 1, bias=False, dtype=torch.float64),
    )
    net[0].weight.data.copy_(torch.from_numpy(turn))
    net[1].weight.data.copy_(torch.from_numpy((turn @ [2.0, 1.0, 0, 0])[None]))
    return TorchSubject(net)


def matched(n: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    base = np.random.default_rng(seed).normal(size=(n, 4))
    without, with_ = base.copy(), base.copy()
    without[:, 0], with_[:, 0] = 0.0, 1.0
    return without, with_


def first(output: Any) -> Any:
    return output[:, 0]


@pytest.mark.parametrize("eraser", [Leace(), NullspaceProjection(rounds=1)])
def test_on_matched_pairs_all_ways_agree(classifier, eraser) -> None:
    table = concept_effects(classifier, matched(), site="0", metric=first, eraser=eraser)
    for term in ("counterfactual", "interchange", "erasure"):
        assert table[term].estimate == pytest.approx(2.0, abs=1e-3)
    assert table["erasure - interchange"].estimate == pytest.approx(0.0, abs=1e-3)


def test_erasure_learned_where_another_feature_goes_along_takes_it_too(classifier) -> None:
    """The other feature differs by 1.5 between labels: erasure moves by about 1.5 times its 1."""
    rng = np.random.default_rng(1)
    z = rng.random(3000) < 0.5
    seen = rng.normal(size=(3000, 4))
    seen[:, 0], seen[:, 1] = z + 0.0, seen[:, 1] + 1.5 * z
    table = concept_effects(
        classifier, matched(), site="0", metric=first, observed=(list(seen), z)
    )  # fmt: skip
    assert table["counterfactual"].estimate == pytest.approx(2.0)
    assert table["interchange"].estimate == pytest.approx(2.0)
    assert table["erasure - counterfactual"].estimate == pytest.approx(1.5, abs=0.15)


def test_a_site_after_the_concept_is_used_and_one_beside_it() -> None:
    """What bypasses a site is in the counterfactual effect and not in the interchange."""
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = torch.nn.Identity()

        def forward(self, x: Any) -> Any:
            return torch.tanh(self.part(x[:, :2]) @ torch.ones(2).double()) + 3.0 * x[:, 0]

    without, with_ = matched(40)
    table = concept_effects(
        TorchSubject(Net()), (without, with_), site="part", metric=lambda y: y
    )  # fmt: skip
    direct = np.tanh(1.0 + with_[:, 1]) - np.tanh(without[:, 1])
    assert table["counterfactual"].estimate == pytest.approx((direct + 3.0).mean())
    assert table["interchange"].estimate == pytest.approx(direct.mean())
    assert table["interchange"].conf_low < direct.mean() < table["interchange"].conf_high


def test_what_it_refuses(classifier) -> None:
    with pytest.raises(DesignError, match="two values"):
        concept_effects(
            classifier, matched(10), site="0", metric=first,
            observed=(list(np.zeros((4, 4))), [1, 1, 1, 1]),
        )  # fmt: skip
    with pytest.raises(DesignError, match="'answer'|answer"):
        concept_effects(classifier, matched(10), site="0", metric="probability")

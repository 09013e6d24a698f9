"""Interventional effects: the influence function by enumeration, golden truths, refusals."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier

import crossworld as xw
from crossworld import G, M, Y, set_
from crossworld.errors import DesignError, NotIdentifiedError
from crossworld.tables.interventional import Interventional
from crossworld.tables.robust.data import Arrays
from crossworld.tables.robust.intervention import InterventionForm
from crossworld.tables.robust.weights import Work

SHAPE = (2, 2, 3, 4, 2)  # values of w, a, z, m, y
OUTCOMES = np.array([0.3, 2.0])
PARTS = ("mean", "stage", "law", "among")
FATAL = ({"mean", "among"}, {"stage", "law"})
SIDES = ("intermediate", "mediator")
LINEAR: dict[str, Any] = {"outcome": "linear", "treatment": "logistic"}


def law(seed: int) -> np.ndarray:
    """A law of (w, a, z, m, y) without any structure."""
    raw = np.random.default_rng(seed).uniform(0.2, 1.0, SHAPE)
    return raw / raw.sum()


def plug_in(p: np.ndarray, a: int, b: int) -> float:
    """sum p(w) p(z | a, w) p(m | b, w) E[Y | a, z, m, w]."""
    wazm = p.sum(axis=4)
    mean = (p * OUTCOMES).sum(axis=4) / wazm
    waz, wam = wazm.sum(axis=3), wazm.sum(axis=2)
    z = waz[:, a] / waz[:, a].sum(axis=1, keepdims=True)
    m = wam[:, b] / wam[:, b].sum(axis=1, keepdims=True)
    return float(np.einsum("w,wz,wm,wzm->", p.sum(axis=(1, 2, 3, 4)), z, m, mean[:, a]))


def score(p: np.ndarray, a: int, b: int, side: Any, wrong: tuple[str, ...] = ()) -> np.ndarray:
    """Score at every point of the law, from exact nuisances but for those named."""
    w, arm, z, m, y = (v.ravel() for v in np.indices(SHAPE))
    wazm = p.sum(axis=4)
    mean = (p * OUTCOMES).sum(axis=4) / wazm
    waz, wam, wa = wazm.sum(axis=3), wazm.sum(axis=2), wazm.sum(axis=(2, 3))
    before, after = wa / wa.sum(axis=1, keepdims=True), wam / wam.sum(axis=1, keepdims=True)
    if side == "intermediate":
        codes, other = z, m
        own = waz[:, a] / wa[:, a, None]
        among = wazm[:, a] / wam[:, a, None]  # (w, z, m)
        b_s = np.moveaxis(mean[:, a], 1, 2)  # (w, m, z)
        h = np.einsum("wm,wms->ws", wam[:, b] / wa[:, b, None], b_s)
        among = np.moveaxis(among, 1, 2)
        averaged = b
    else:
        codes, other = m, z
        own = wam[:, b] / wa[:, b, None]
        among = wazm[:, a] / waz[:, a, :, None]  # (w, z, m)
        b_s = mean[:, a]
        h = np.einsum("wz,wzs->ws", waz[:, a] / wa[:, a, None], b_s)
        averaged = a
    count = own.shape[1]
    if "mean" in wrong:
        b_s = 1.3 * b_s + 0.2
    if "stage" in wrong:
        h = 0.7 * h
    if "law" in wrong:
        own = np.broadcast_to(np.arange(1.0, count + 1) / (count * (count + 1) / 2), own.shape)
    if "among" in wrong:
        among = np.full_like(among, 1.0 / count)
    form = InterventionForm(side, codes.astype(np.int64), count, 1)
    named: dict[Any, np.ndarray] = {
        ("treatment", 0): before[w],
        ("treatment", 1): after[w, :, m],
        ("law", a, 1): among[w, other],
        ("law", form.under(a, b)[0], 0): own[w],
        ("surface", a): b_s[w, other],
        ("stage", a, averaged): h[w],
    }
    assert set(form.keys(a, b)) <= set(named)
    data = Arrays(
        np.column_stack([w, other, codes]).astype(float),
        (1, 2, 3),
        arm.astype(float),
        OUTCOMES[y],
        p.ravel() * p.size,
        np.array([0.0, 1.0]),
    )
    return form.score(Work(data, named, 0.0, False), a, b)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("a", "b"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_the_score_is_the_derivative_of_the_formula(a: int, b: int, side: str) -> None:
    p = law(3)
    truth, found = plug_in(p, a, b), score(p, a, b, side)
    assert float((p.ravel() * found).sum()) == pytest.approx(truth, abs=1e-12)
    step = 1e-6
    for point in range(0, p.size, 5):
        away = step * (np.eye(p.size)[point].reshape(SHAPE) - p)
        slope = (plug_in(p + away, a, b) - plug_in(p - away, a, b)) / (2 * step)
        assert slope == pytest.approx(found[point] - truth, abs=1e-7)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("wrong", [w for k in range(5) for w in combinations(PARTS, k)], ids=str)
def test_which_nuisances_may_be_wrong(side: str, wrong: tuple[str, ...]) -> None:
    """As the class says: where the treatment models are right, one of each pair."""
    p = law(5)
    found = float((p.ravel() * score(p, 1, 0, side, wrong)).sum())
    right = not any(pair <= set(wrong) for pair in FATAL)
    assert bool(abs(found - plug_in(p, 1, 0)) < 1e-10) is right


def test_golden_truths_are_recovered(shared_data: Path) -> None:
    """By saturated learners on the binary generator of R medoutcon, and by `Regression`."""
    held = json.loads((shared_data / "tables" / "golden_references.json").read_text())
    golden = held["truth_interventional_medoutcon_dgp"]
    tree = DecisionTreeClassifier(min_samples_leaf=5)
    study = xw.datasets.medoutcon(n=30_000, seed=4).study()
    method = Interventional(tree, tree, folds=2)
    found = xw.estimate(study, method, [xw.IDE, xw.IIE, xw.OE])
    for name in ("IDE", "IIE"):
        row = found[name.lower()]
        assert abs(row.estimate - golden[name]) < 3.5 * row.std_error
        assert row.std_error < 0.025
    assert found["oe"].estimate == pytest.approx(
        found["ide"].estimate + found["iie"].estimate, abs=1e-12
    )
    for a, b in ((1, 1), (1, 0), (0, 0), (0, 1)):
        cell = method.scores(study, [Y(a, G(b))]).mean(Y(a, G(b)))
        assert abs(cell.value - golden[f"theta{a}{b}"]) < 3.5 * cell.std_error
    outcome = "y ~ a*m*z*C(w1 + w2 + w3)"
    formulas = xw.Regression(
        outcome=outcome, outcome_family="gaussian", mediator="m ~ a*z*(w1 + w2)"
    )
    study = xw.datasets.medoutcon(n=4000, seed=4).study()
    parametric = xw.estimate(study, formulas, [xw.IDE, xw.IIE])
    for name in ("IDE", "IIE"):
        row = parametric[name.lower()]
        assert abs(row.estimate - golden[name]) < 3.5 * row.std_error


def continuous_z(n: int, seed: int) -> dict[str, np.ndarray]:
    """Continuous intermediate, binary mediator; everything linear given a and m."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    a = rng.binomial(1, 1 / (1 + np.exp(-0.4 * x)))
    z = 0.3 + 0.7 * a + 0.4 * x + rng.normal(size=n)
    m = rng.binomial(1, 1 / (1 + np.exp(0.5 - 0.8 * a - 0.6 * z)))
    y = 0.4 * a + (0.8 + 0.4 * a) * m + 0.7 * z + 0.3 * x + 0.5 * m * z + rng.normal(size=n)
    return {"x": x, "a": a, "z": z, "m": m, "y": y}


def test_a_continuous_intermediate_with_a_discrete_mediator() -> None:
    """The truth is a large Monte Carlo of the formula: Z under 1, M drawn under 0 given x."""
    rng, n = np.random.default_rng(8), 2_000_000
    x = rng.normal(size=n)

    def cell(a: int, b: int) -> tuple[float, float]:
        z_own = 0.3 + 0.7 * a + 0.4 * x + rng.normal(size=n)
        z_other = 0.3 + 0.7 * b + 0.4 * x + rng.normal(size=n)
        p = 1 / (1 + np.exp(0.5 - 0.8 * b - 0.6 * z_other))
        y = 0.4 * a + (0.8 + 0.4 * a) * p + 0.7 * z_own + 0.3 * x + 0.5 * p * z_own
        return float(y.mean()), float(y.std() / np.sqrt(n))

    study = xw.TableStudy.from_frame(
        continuous_z(8000, 3), "a -> m -> y", adjust=["x"], intermediate=["z"]
    )
    scores = Interventional(**LINEAR).scores(study, [Y(1, G(0)), Y(0, G(0))])
    assert scores.diagnostics["summed_over"] == "mediator"
    for a in (0, 1):
        found, (truth, noise) = scores.mean(Y(a, G(0))), cell(a, 0)
        assert abs(found.value - truth) < 3 * found.std_error + 3 * noise
        assert found.std_error < 0.05


def test_natural_effects_by_adjustment_are_something_else() -> None:
    data = xw.datasets.intermediate(n=20_000, seed=2)
    found = xw.estimate(data.study(), Interventional(**LINEAR), [xw.IDE, xw.IIE])
    plain = xw.TableStudy.from_frame(dict(data.frame), "a -> m -> y", adjust=["x"])
    naive = xw.estimate(plain, xw.MultiplyRobust(**LINEAR), [xw.NDE, xw.NIE])
    for ours, theirs in (("ide", "nde"), ("iie", "nie")):
        truth = data.effect({"ide": xw.IDE, "iie": xw.IIE}[ours])
        assert abs(found[ours].estimate - truth) < 3 * found[ours].std_error
        assert abs(naive[theirs].estimate - truth) > 4 * naive[theirs].std_error


def test_without_intermediates_it_is_multiply_robust() -> None:
    study = xw.datasets.interaction(n=400, seed=1).study()
    one = xw.estimate(study, Interventional(**LINEAR), [xw.IDE, xw.IIE])
    two = xw.estimate(study, xw.MultiplyRobust(**LINEAR), [xw.NDE, xw.NIE])
    assert [r.estimate for r in one] == [r.estimate for r in two]


def test_the_total_effect_is_not_the_sum() -> None:
    data = xw.datasets.intermediate(n=2000, seed=2)
    found = xw.estimate(data.study(), Interventional(**LINEAR), [xw.TE, xw.OE])
    assert found["te"].estimate != found["oe"].estimate
    for term, effect in (("te", xw.TE), ("oe", xw.OE)):
        assert abs(found[term].estimate - data.effect(effect)) < 3 * found[term].std_error


def test_repeats_workers_and_weights() -> None:
    data = xw.datasets.intermediate(n=500, seed=2)
    study, cells = data.study(), [Y(1, G(0)), Y(1)]
    one = Interventional(**LINEAR, folds=3, repeats=3, workers=2).scores(study, cells)
    two = Interventional(**LINEAR, folds=3, repeats=3).scores(study, cells)
    assert (one.values == two.values).all()
    twice = {k: np.concatenate([v, v]) for k, v in data.frame.items()}
    both = {**data.frame, "fold": np.arange(500) % 3, "w": np.full(500, 2)}
    doubled = {**twice, "fold": np.tile(np.arange(500) % 3, 2)}
    roles = {"adjust": ["x"], "intermediate": ["l"]}
    method = Interventional(**LINEAR, folds="fold")
    found = [
        method.scores(xw.TableStudy.from_frame(f, "a -> m -> y", **roles, **more), cells).means()
        for f, more in ((both, {"weights": "w"}), (doubled, {}))
    ]
    assert found[0] == pytest.approx(found[1], abs=1e-9)


def test_refusals() -> None:
    rng = np.random.default_rng(1)
    frame = {**continuous_z(200, 1), "m": rng.normal(size=200)}
    roles: dict[str, Any] = {"adjust": ["x"], "intermediate": ["z"]}
    study = xw.TableStudy.from_frame(frame, "a -> m -> y", **roles)
    with pytest.raises(DesignError, match="cut one of them into groups"):
        Interventional(**LINEAR).scores(study, [Y(1, G(0))])
    study = xw.datasets.intermediate(n=200, seed=1).study()
    for cell in (Y(1, M(0)), Y(1, set_(m=0.5))):
        with pytest.raises(DesignError, match="is neither"):
            Interventional(**LINEAR).scores(study, [cell.bind(study.blocks)])
    with pytest.raises(NotIdentifiedError):
        xw.estimate(study, Interventional(**LINEAR), [xw.NIE])
    with pytest.raises(DesignError, match="TableStudy"):
        Interventional().scores(None, [Y(1)])  # type: ignore[arg-type]
    rare = {**continuous_z(120, 1), "z": np.r_[np.zeros(119), 1.0]}
    study = xw.TableStudy.from_frame(rare, "a -> m -> y", **roles)
    with pytest.raises(DesignError, match="join rare values"):
        Interventional(**LINEAR).scores(study, [Y(1, G(0)), Y(0, G(0))])

"""Front-door adjustment: its influence function by enumeration, its truths, what it refuses."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

import crossworld as xw
from crossworld import G, M, Y, set_
from crossworld.datasets.hidden import front_door
from crossworld.errors import DesignError, NotIdentifiedError
from crossworld.tables.front_door import FrontDoor, FrontDoorForm
from crossworld.tables.robust.data import Arrays, Route
from crossworld.tables.robust.weights import Work

SHAPE = (2, 3, 3, 2)  # values of x, a, m, y
LEVELS = np.arange(3.0)
LINEAR = {"outcome": "linear", "treatment": "logistic"}
OUTCOMES = np.array([0.3, 2.0])
PARTS = ("mean", "after", "kappa", "before")


def chances(rng: np.random.Generator, *shape: int) -> np.ndarray:
    raw = rng.uniform(0.2, 1.0, shape)
    return raw / raw.sum(axis=-1, keepdims=True)


def world(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The law of (x, a, m, y) with u summed out, and E[Y(b)] from the full law, (3,).

    The outcome interacts mediator and u, and nothing is linear or logistic.
    """
    rng = np.random.default_rng(seed)
    x, u = chances(rng, 2), chances(rng, 2, 4)
    a, m = chances(rng, 2, 4, 3), chances(rng, 2, 3, 3)
    y = chances(rng, 2, 4, 3, 2)
    joint = np.einsum("x,xu,xua,xam,xumy->xamy", x, u, a, m, y)
    return joint, np.einsum("x,xu,xbm,xumy,y->b", x, u, m, y, OUTCOMES)


def plug_in(p: np.ndarray, b: int) -> float:
    """The front-door formula on the observed law."""
    px = p.sum(axis=(1, 2, 3))
    pa = p.sum(axis=(2, 3)) / px[:, None]
    pm = p.sum(axis=3)[:, b] / p.sum(axis=(2, 3))[:, b, None]
    mean = (p * OUTCOMES).sum(axis=3) / p.sum(axis=3)
    return float(np.einsum("x,xm,xa,xam->", px, pm, pa, mean))


def exact_work(p: np.ndarray, b: int, wrong: tuple[str, ...] = ()) -> Work:
    """Every point of the law as a row with its probability as weight, and exact nuisances."""
    x, a, m, y = (v.ravel() for v in np.indices(SHAPE))
    shift = {"mean": 1.3, "kappa": 0.6}
    pxa, pxam = p.sum(axis=(2, 3)), p.sum(axis=3)
    before = pxa / pxa.sum(axis=1, keepdims=True)
    after = pxam / pxam.sum(axis=1, keepdims=True)
    mean = (p * OUTCOMES).sum(axis=3) / pxam
    law = pxam[:, b] / pxam[:, b].sum(axis=1, keepdims=True)
    kappa = np.einsum("xm,xam->xa", law, mean)
    if "before" in wrong:
        before = np.broadcast_to([0.2, 0.3, 0.5], before.shape)
    if "after" in wrong:
        after = np.broadcast_to(np.array([0.5, 0.2, 0.3])[:, None], after.shape)
    mean = mean * (shift["mean"] if "mean" in wrong else 1.0)
    kappa = kappa * (shift["kappa"] if "kappa" in wrong else 1.0)
    form = FrontDoorForm(LEVELS, 1)
    nuisances = {("treatment", 0): before[x], ("treatment", 1): after[x, :, m]}
    for level in range(3):
        nuisances["outcome", (float(level),), (1,)] = mean[x, level, m]
        nuisances[form.mean(float(level), float(b))] = kappa[x, level]
    data = Arrays(
        np.column_stack([x, m]).astype(float),
        (1, 2),
        a.astype(float),
        OUTCOMES[y],
        p.ravel() * p.size,
        LEVELS,
    )
    return Work(data, nuisances, 0.0, False)


def score(p: np.ndarray, b: int, wrong: tuple[str, ...] = ()) -> np.ndarray:
    return FrontDoorForm(LEVELS, 1).score(exact_work(p, b, wrong), Route((float(b),), (0,)))


@pytest.mark.parametrize("b", [0, 1, 2])
def test_the_score_is_the_derivative_of_the_formula(b: int) -> None:
    p, truth = world(b)
    assert plug_in(p, b) == pytest.approx(truth[b], abs=1e-12)
    found = score(p, b)
    assert float((p.ravel() * found).sum()) == pytest.approx(truth[b], abs=1e-12)
    step = 1e-6
    for point in range(0, p.size, 5):
        away = step * (np.eye(p.size)[point].reshape(SHAPE) - p)
        slope = (plug_in(p + away, b) - plug_in(p - away, b)) / (2 * step)
        assert slope == pytest.approx(found[point] - truth[b], abs=1e-7)


@pytest.mark.parametrize("wrong", [w for k in range(5) for w in combinations(PARTS, k)], ids=str)
def test_which_nuisances_may_be_wrong(wrong: tuple[str, ...]) -> None:
    """As the class says: one of each pair has to be right."""
    p, truth = world(4)
    found = float((p.ravel() * score(p, 1, wrong)).sum())
    right = not {"mean", "after"} <= set(wrong) and not {"kappa", "before"} <= set(wrong)
    assert bool(abs(found - truth[1]) < 1e-10) is right


@pytest.mark.parametrize("mediator", ["binary", "gaussian"])
@pytest.mark.parametrize("normalize", [True, False])
def test_recovers_the_total_effect_despite_confounding(mediator: str, normalize: bool) -> None:
    data = front_door(n=6000, seed=2, mediator=mediator)
    row = xw.estimate(data.study(), FrontDoor(**LINEAR, normalize=normalize), [xw.TE])["te"]
    truth = data.effect(xw.TE)
    assert abs(row.estimate - truth) < 3 * row.std_error
    assert row.std_error < 0.05
    assert row.estimate > 6 * row.std_error
    adjusted = xw.estimate(data.study(), xw.MultiplyRobust(**LINEAR), [xw.TE])["te"]
    assert abs(adjusted.estimate - truth) > 8 * adjusted.std_error


def test_errors_are_as_large_as_the_spread() -> None:
    errors, reported = [], []
    truth = front_door(n=10).effect(xw.TE)
    for seed in range(60):
        data = front_door(n=500, seed=100 + seed)
        row = xw.estimate(data.study(), FrontDoor(**LINEAR, folds=2), [xw.TE])["te"]
        errors.append(row.estimate - truth)
        reported.append(row.std_error)
    assert abs(np.mean(errors)) < 3.5 * np.std(errors) / np.sqrt(60)
    assert 0.7 < np.std(errors) / np.mean(reported) < 1.35


def test_with_a_direct_effect_the_indirect_part_is_what_is_found() -> None:
    """E[Y(A, M(1))] - E[Y(A, M(0))] by enumeration of the generator: 0.327, not the te of 0.827."""
    data = front_door(n=6000, seed=3, direct=0.5)
    row = xw.estimate(data.study(), FrontDoor(**LINEAR), [xw.TE])["te"]
    assert data.effect(xw.TE) == pytest.approx(front_door(n=10).effect(xw.TE) + 0.5)
    assert abs(row.estimate - (data.effect(xw.TE) - 0.5)) < 3 * row.std_error


def test_several_ordered_mediators_and_text_levels() -> None:
    rng = np.random.default_rng(5)
    n = 6000
    u = rng.normal(size=n)
    a = np.digitize(0.9 * u + rng.normal(size=n), [-0.6, 0.6])
    m1 = 0.5 * a + rng.normal(size=n)
    m2 = 0.4 * m1 - 0.2 * a + rng.normal(size=n)
    y = m1 + 0.5 * m2 + 1.5 * u + rng.normal(size=n)
    frame = {"a": np.array(["lo", "mid", "up"])[a], "m1": m1, "m2": m2, "y": y}
    for path in ("a -> m1 -> m2 -> y", "a -> m1 + m2 -> y"):
        study = xw.TableStudy.from_frame(frame, path, levels=("lo", "up"))
        row = xw.estimate(study, FrontDoor(**LINEAR), [xw.TE])["te"]
        assert abs(row.estimate - (1.0 + 0.5 * (0.4 - 0.4))) < 3 * row.std_error
        middle = xw.Estimand("middle", Y("mid") - Y(0))
        row = xw.estimate(study, FrontDoor(**LINEAR), [middle])["middle"]
        assert abs(row.estimate - (0.5 + 0.5 * (0.2 - 0.2))) < 3 * row.std_error


def test_what_it_cannot_answer() -> None:
    study = front_door(n=300, seed=1).study()
    for cell in (Y(1, M(0)), Y(1, G(1)), Y(1, set_(m=1))):
        with pytest.raises(DesignError, match="Ask te"):
            FrontDoor(**LINEAR).scores(study, [cell.bind(study.blocks)])
    licence = FrontDoor().identification(study, [xw.TE, xw.NDE])
    assert not licence.identified
    assert "nde" in str(licence.reason)
    assert licence.instead == ("te",)
    with pytest.raises(NotIdentifiedError, match="nie"):
        xw.estimate(study, FrontDoor(**LINEAR), [xw.NIE])
    with pytest.raises(DesignError, match="TableStudy"):
        FrontDoor().scores(None, [Y(1)])  # type: ignore[arg-type]


def test_the_result_tells_its_own_assumptions() -> None:
    study = front_door(n=300, seed=1).study()
    found = xw.estimate(study, FrontDoor(**LINEAR), [xw.TE]).identification
    names = {each["name"]: each["testable"] for each in found["assumptions"]}
    assert "full mediation" in names
    assert "no treatment-outcome confounding" not in names
    assert names["positivity"]
    assert r"P(a \mid x)" in found["formula"]

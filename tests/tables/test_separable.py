"""Separable effects: truths of both assignments, other effects told apart, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import crossworld as xw
from crossworld import G, M, Y, set_
from crossworld.datasets.hidden import separable
from crossworld.errors import DesignError, SpecError
from crossworld.tables.separable import Separable

LINEAR: dict[str, Any] = {"outcome": "linear", "treatment": "logistic"}
EFFECTS = (xw.TE, xw.NDE, xw.NIE, xw.TNDE, xw.PNIE)
SIDES = ("direct", "indirect")


@pytest.mark.parametrize("side", SIDES)
def test_recovers_the_truth_of_its_assignment(side: str) -> None:
    data = separable(n=6000, seed=3, assign=side)
    found = xw.estimate(data.study(), Separable({"l": side}, **LINEAR), EFFECTS)
    other = separable(n=10, assign=SIDES[side == "direct"])
    for effect in EFFECTS:
        row = found[effect.name]
        assert abs(row.estimate - data.effect(effect)) < 3 * row.std_error
        assert row.std_error < 0.07
        if effect.name != "te":
            assert abs(row.estimate - other.effect(effect)) > 6 * row.std_error


@pytest.mark.parametrize("side", SIDES)
def test_errors_are_as_large_as_the_spread(side: str) -> None:
    errors, reported = [], []
    for seed in range(60):
        data = separable(n=500, seed=200 + seed, assign=side)
        row = xw.estimate(data.study(), Separable(side, **LINEAR, folds=2), [xw.NIE])["nie"]
        errors.append(row.estimate - data.effect(xw.NIE))
        reported.append(row.std_error)
    assert abs(np.mean(errors)) < 3.5 * np.std(errors) / np.sqrt(60)
    assert 0.7 < np.std(errors) / np.mean(reported) < 1.35


def test_separable_natural_and_interventional_effects_differ() -> None:
    """The generator with one residual of l per unit: M(0) answers to l(0), and Y(1, M(0)) to l(1).

    Its natural indirect effect in closed form is 0.9 (0.5 + 0.6 * 0.8) = 0.882; the outcome is
    linear in the mediator, so the interventional one is the same number, and neither separable
    effect is.
    """
    truths = [separable(n=10, assign=side).effect(xw.NIE) for side in SIDES]
    assert truths == pytest.approx([0.9 * 0.5, 0.9 * (0.5 + 0.48) + 0.6 * 0.8], abs=1e-12)
    natural = 0.9 * (0.5 + 0.6 * 0.8)
    assert separable(n=10).effect(xw.IIE) == pytest.approx(natural, abs=1e-12)
    assert min(abs(t - natural) for t in truths) > 0.4


def test_it_is_the_path_specific_functional() -> None:
    data = separable(n=800, seed=1)
    ordered = xw.TableStudy.from_frame(dict(data.frame), "a -> l -> m -> y", adjust=["x"])
    robust = xw.MultiplyRobust(**LINEAR)
    for side, level in (("direct", 1), ("indirect", 0)):
        one = Separable(side, **LINEAR).scores(data.study(), [Y(1, M(0))])
        two = robust.scores(ordered, [Y(1, l=level, m=0).bind(ordered.blocks)])
        assert (one.values == two.values).all()
        assert one.cells == (Y(1, M(0)),)
        assert one.diagnostics["components"] == {"l": side}


def test_discrete_laws_by_enumeration() -> None:
    """Two intermediate variables behind different components; saturated learners."""
    rng = np.random.default_rng(7)
    raw = {
        "l1": rng.uniform(0.2, 0.8, (2, 2)),
        "l2": rng.uniform(0.2, 0.8, (2, 2, 2)),
        "m": rng.uniform(0.2, 0.8, (2, 2, 2, 2)),
        "y": rng.normal(size=(2, 2, 2, 2, 2)),
    }
    both = {k: np.stack([1 - v, v], axis=-1) for k, v in raw.items() if k != "y"}
    px = np.array([0.4, 0.6])

    def truth(n: int, o: int) -> float:
        """l1 answers to n, l2 to o, m to o, y to n."""
        return float(
            np.einsum(
                "x,xi,xij,xijk,xijk->",
                px,
                both["l1"][:, n],
                both["l2"][:, o],
                both["m"][:, o],
                raw["y"][:, n],
            )
        )

    size = 40_000
    x = rng.choice(2, size=size, p=px)
    a = rng.binomial(1, np.array([0.4, 0.6])[x])
    l1 = rng.binomial(1, raw["l1"][x, a])
    l2 = rng.binomial(1, raw["l2"][x, a, l1])
    m = rng.binomial(1, raw["m"][x, a, l1, l2])
    y = raw["y"][x, a, l1, l2, m] + 0.5 * rng.normal(size=size)
    study = xw.TableStudy.from_frame(
        {"x": x, "a": a, "l1": l1, "l2": l2, "m": m, "y": y},
        "a -> m -> y",
        adjust=["x"],
        intermediate=["l1", "l2"],
    )
    trees = DecisionTreeRegressor(min_samples_leaf=5), DecisionTreeClassifier(min_samples_leaf=5)
    cells = [Y(1, M(0)), Y(0, M(1)), Y(1), Y(0)]
    method = Separable({"l1": "direct", "l2": "indirect"}, *trees, folds=2)
    scores = method.scores(study, cells)
    for cell, (n, o) in zip(cells, ((1, 0), (0, 1), (1, 1), (0, 0)), strict=True):
        found = scores.mean(cell)
        assert abs(found.value - truth(n, o)) < 3.5 * found.std_error
        assert found.std_error < 0.03
    swapped = Separable({"l1": "indirect", "l2": "direct"}, *trees, folds=2)
    wrong = swapped.scores(study, cells).mean(Y(1, M(0)))
    assert abs(wrong.value - truth(1, 0)) > 6 * wrong.std_error


def test_several_mediators() -> None:
    rng = np.random.default_rng(3)
    n = 4000
    a = rng.binomial(1, 0.5, n)
    level = 0.8 * a + rng.normal(size=n)
    m1 = 0.5 * a + 0.6 * level + rng.normal(size=n)
    m2 = 0.3 * a + 0.4 * m1 + rng.normal(size=n)
    y = 0.2 * a + m1 + m2 + level + rng.normal(size=n)
    frame = {"a": a, "l": level, "m1": m1, "m2": m2, "y": y}
    study = xw.TableStudy.from_frame(frame, "a -> m1 -> m2 -> y", intermediate=["l"])
    effects = xw.estimate(study, Separable("direct", **LINEAR), [xw.NIE, xw.PSE("m2")])
    assert abs(effects["nie"].estimate - (0.5 * 1.4 + 0.3)) < 3 * effects["nie"].std_error
    assert abs(effects["pse(m2)"].estimate - 0.3) < 3 * effects["pse(m2)"].std_error
    with pytest.raises(DesignError, match="different levels"):
        xw.estimate(study, Separable("indirect", **LINEAR), [xw.PSE("m2")])


def test_without_intermediates_it_is_the_natural_functional() -> None:
    study = xw.datasets.interaction(n=400, seed=1).study()
    one = xw.estimate(study, Separable(**LINEAR))
    two = xw.estimate(study, xw.MultiplyRobust(**LINEAR))
    assert [r.estimate for r in one] == [r.estimate for r in two]


def test_the_result_tells_its_own_assumptions() -> None:
    study = separable(n=300, seed=1).study()
    found = {
        side: xw.estimate(study, Separable(side, **LINEAR), [xw.NDE]).identification
        for side in SIDES
    }
    told = {
        side: next(a for a in held["assumptions"] if a["name"] == "dismissible components")
        for side, held in found.items()
    }
    assert "acts on l, y directly" in told["direct"]["statement"]
    assert "the other on l, m" in told["indirect"]["statement"]
    assert r"dP(l_{1} \mid n, x)" in found["direct"]["formula"]
    assert r"dP(l_{1} \mid o, x)" in found["indirect"]["formula"]


def test_refusals() -> None:
    study = separable(n=300, seed=1).study()
    with pytest.raises(DesignError, match="responds to"):
        xw.estimate(study, Separable(**LINEAR), [xw.NIE])
    with pytest.raises(DesignError, match="they are: l"):
        Separable({"k": "direct"}).scores(study, [Y(1)])
    with pytest.raises(SpecError, match="indirect"):
        Separable({"l": "both"})
    with pytest.raises(SpecError, match="indirect"):
        Separable("indirct")
    for cell in (Y(1, G(0)), Y(1, set_(m=1))):
        with pytest.raises(DesignError, match="sets the treatment's components"):
            Separable("direct").scores(study, [cell.bind(study.blocks)])
    with pytest.raises(xw.errors.NotIdentifiedError, match="ide"):
        xw.estimate(study, Separable("direct", **LINEAR), [xw.IDE])
    with pytest.raises(DesignError, match="TableStudy"):
        Separable().scores(None, [Y(1)])  # type: ignore[arg-type]

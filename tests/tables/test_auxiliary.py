"""Two tables: influence by enumeration of both laws, truths, resampling, files, refusals."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import crossworld as xw
from crossworld import G, M, Y, set_
from crossworld.datasets.hidden import auxiliary
from crossworld.errors import DesignError, NotIdentifiedError, SpecError
from crossworld.tables.auxiliary import Auxiliary
from crossworld.tables.robust.data import Arrays
from crossworld.tables.robust.pooled import TwoTableForm, pool
from crossworld.tables.robust.weights import Work

LINEAR: dict[str, Any] = {"outcome": "linear", "treatment": "logistic"}
RANDOM = (xw.IDE, xw.IIE, xw.OE)
SHAPE = (2, 2, 3, 2)  # values of x, a, m, y
OUTCOMES = np.array([0.3, 2.0])
PARTS = ("mean", "odds", "stage", "assignment")


def laws(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two laws of (x, a, m, y) that share nothing."""
    raw = np.random.default_rng(seed).uniform(0.2, 1.0, (2, *SHAPE))
    return raw[0] / raw[0].sum(), raw[1] / raw[1].sum()


def plug_in(one: np.ndarray, two: np.ndarray, a: int, b: int) -> float:
    """sum p1(x) p1(m | b, x) E2[Y | a, m, x]."""
    xam = one.sum(axis=3)
    law = xam[:, b] / xam[:, b].sum(axis=1, keepdims=True)
    mean = (two * OUTCOMES).sum(axis=3) / two.sum(axis=3)
    return float(np.einsum("x,xm,xm->", xam.sum(axis=(1, 2)), law, mean[:, a]))


def table(p: np.ndarray) -> Arrays:
    x, a, m, y = (v.ravel() for v in np.indices(SHAPE))
    columns = np.column_stack([x, m]).astype(float)
    levels = np.array([0.0, 1.0])
    return Arrays(columns, (1, 2), a.astype(float), OUTCOMES[y], p.ravel() * p.size, levels)


def drawn(
    one: np.ndarray, two: np.ndarray, a: int, b: int, wrong: tuple[str, ...] = ()
) -> tuple[float, np.ndarray]:
    """Value and influence from exact nuisances, but for those named, at all points of both laws."""
    pooled = pool(table(one), table(two))
    x, m = pooled.data.x[:, 0].astype(int), pooled.data.x[:, 1].astype(int)
    xam = one.sum(axis=3)
    assigned = xam.sum(axis=2) / xam.sum(axis=(1, 2))[:, None]
    mean = ((two * OUTCOMES).sum(axis=3) / two.sum(axis=3))[:, a]
    law = xam[:, b] / xam[:, b].sum(axis=1, keepdims=True)
    kappa = (law * mean).sum(axis=1)
    chance = xam[:, b] / (xam[:, b] + two.sum(axis=3)[:, a])
    if "mean" in wrong:
        mean = 1.2 * mean + 0.1
    if "odds" in wrong:
        chance = np.full_like(chance, 0.4)
    if "stage" in wrong:
        kappa = 0.7 * kappa
    if "assignment" in wrong:
        assigned = np.broadcast_to([0.3, 0.7], assigned.shape)
    nuisances: dict[Any, np.ndarray] = {
        ("assignment", 2): assigned[x],
        ("odds", float(b), a + 2.0): chance[x, m],
        ("outcome", (a + 2.0,), (1,)): mean[x, m],
        ("outcome", (float(b), a + 2.0), (0, 1)): kappa[x],
    }
    form = TwoTableForm(pooled, 1)
    assert set(form.keys(a, b)) == set(nuisances)
    return form.drawn(Work(pooled.data, nuisances, 0.0, False), a, b)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (1, 0), (0, 1)])
def test_the_influence_is_the_derivative_in_each_law(a: int, b: int) -> None:
    one, two = laws(2)
    value, influence = drawn(one, two, a, b)
    assert value == pytest.approx(plug_in(one, two, a, b), abs=1e-12)
    step, size = 1e-6, one.size
    for point in range(0, size, 5):
        spike = np.eye(size)[point].reshape(SHAPE)
        for first in (True, False):
            law = one if first else two
            away = step * (spike - law)
            up, down = (
                plug_in(one + s * away, two, a, b) if first else plug_in(one, two + s * away, a, b)
                for s in (1, -1)
            )
            # each table has half of the units, so its influence is scaled by 2
            found = influence[point if first else size + point] / 2.0
            assert (up - down) / (2 * step) == pytest.approx(found, abs=1e-7)


@pytest.mark.parametrize("wrong", [w for k in range(5) for w in combinations(PARTS, k)], ids=str)
def test_which_nuisances_may_be_wrong(wrong: tuple[str, ...]) -> None:
    """As the class says: one of each pair has to be right."""
    one, two = laws(3)
    value, _ = drawn(one, two, 1, 0, wrong)
    fatal = {"mean", "odds"} <= set(wrong) or {"stage", "assignment"} <= set(wrong)
    assert bool(abs(value - plug_in(one, two, 1, 0)) < 1e-10) is not fatal


@pytest.mark.parametrize("mediator", ["gaussian", "binary"])
@pytest.mark.parametrize("normalize", [True, False])
def test_recovers_interventional_effects(mediator: str, normalize: bool) -> None:
    data = auxiliary(n=6000, second=4000, seed=5, mediator=mediator, interaction=0.4)
    method = Auxiliary(data.second(), **LINEAR, normalize=normalize)
    found = xw.estimate(data.study(), method, (*RANDOM, xw.TE))
    for effect in (*RANDOM, xw.TE):
        row = found[effect.name]
        assert abs(row.estimate - data.effect(effect)) < 3 * row.std_error
        assert row.std_error < 0.07
    assert found["oe"].estimate != found["te"].estimate
    assert found["oe"].estimate == pytest.approx(found["ide"].estimate + found["iie"].estimate)


def test_natural_effects_where_u_leaves_the_direct_effect_alone() -> None:
    data = auxiliary(n=8000, seed=6)
    method = Auxiliary(data.second(), True, **LINEAR)
    effects = (xw.TE, xw.NDE, xw.NIE, xw.TNDE, xw.PNIE)
    found = xw.estimate(data.study(), method, effects)
    naive = xw.estimate(data.study(), xw.MultiplyRobust(**LINEAR), effects)
    for effect in effects:
        row, truth = found[effect.name], data.effect(effect)
        assert abs(row.estimate - truth) < 3 * row.std_error
        if effect.name in ("nde", "nie"):
            other = naive[effect.name]
            assert abs(other.estimate - truth) > 3 * other.std_error
    assert found["te"].estimate == pytest.approx(found["nde"].estimate + found["nie"].estimate)
    # an interaction makes the assumption false, and the estimate wrong by its size
    changed = auxiliary(n=8000, seed=6, interaction=0.4)
    wrong = xw.estimate(changed.study(), Auxiliary(changed.second(), True, **LINEAR), [xw.NDE])
    row = wrong["nde"]
    assert abs(row.estimate - changed.effect(xw.NDE)) > 3 * row.std_error
    assert abs(row.estimate - changed.effect(xw.IDE)) < 3 * row.std_error


def test_errors_are_as_large_as_the_spread() -> None:
    errors, reported = [], []
    truth = [auxiliary(n=10).effect(e) for e in RANDOM]
    for seed in range(50):
        data = auxiliary(n=600, second=300, seed=300 + seed)
        found = xw.estimate(data.study(), Auxiliary(data.second(), **LINEAR, folds=2), RANDOM)
        errors.append([found[e.name].estimate - t for e, t in zip(RANDOM, truth, strict=True)])
        reported.append([found[e.name].std_error for e in RANDOM])
    spread = np.std(errors, axis=0)
    assert (np.abs(np.mean(errors, axis=0)) < 3.5 * spread / np.sqrt(50)).all()
    ratio = spread / np.mean(reported, axis=0)
    assert ((ratio > 0.7) & (ratio < 1.35)).all(), ratio


def small(seed: int = 1, **roles: Any) -> tuple[xw.TableStudy, xw.TableStudy]:
    data = auxiliary(n=240, second=160, seed=seed)
    assert data.experiment is not None
    made = []
    for frame, offset in ((data.frame, 0), (data.experiment, 1)):
        n = len(frame["y"])
        more = {
            "fold": np.arange(n) % 3,
            "c": np.arange(n) // 3 + offset,
            "w": 1.0 + np.arange(n) % 2,
        }
        made.append(
            xw.TableStudy.from_frame({**frame, **more}, "a -> m -> y", adjust=["x"], **roles)
        )
    return made[0], made[1]


CELLS = (Y(1, G(0)), Y(0, G(0)), Y(1))


def test_rows_of_both_tables() -> None:
    one, two = small()
    scores = Auxiliary(two, **LINEAR, folds="fold").scores(one, CELLS)
    assert scores.values.shape == (400, 3)
    assert scores.cluster is None
    # Y(1) rests on the first table alone
    assert np.ptp(scores.values[240:, 2]) == 0.0
    assert np.ptp(scores.values[240:, 0]) > 0.0
    estimate = scores.mean(CELLS[0])
    parts = [scores.values[:240, 0], scores.values[240:, 0]]
    by_hand = sum(part.var() * (len(part) / 400) ** 2 / len(part) for part in parts)
    assert estimate.std_error**2 == pytest.approx(by_hand, rel=1e-9)


def test_clusters_and_weights() -> None:
    one, two = small(cluster="c")
    method = Auxiliary(two, **LINEAR, folds=3)
    scores = method.scores(one, CELLS)
    assert scores.n_clusters == one.cluster.max() + 1 + two.cluster.max() + 1  # type: ignore[union-attr]
    plain, other = small()
    mixed = Auxiliary(two, **LINEAR, folds=3).scores(plain, CELLS)
    assert mixed.n_clusters == 240 + two.cluster.max() + 1  # type: ignore[union-attr]
    weighted = small(weights="w")
    found = Auxiliary(weighted[1], **LINEAR, folds="fold").scores(weighted[0], CELLS)
    rows = [np.repeat(np.arange(n), 1 + np.arange(n) % 2) for n in (240, 160)]
    copies = Auxiliary(other.take(rows[1]), **LINEAR, folds="fold")
    assert found.means() == pytest.approx(
        copies.scores(plain.take(rows[0]), CELLS).means(), abs=1e-9
    )


def test_the_bootstrap_resamples_both_tables() -> None:
    data = auxiliary(n=600, second=400, seed=9)
    method = Auxiliary(data.second(), **LINEAR, folds=2)
    wald = xw.estimate(data.study(), method, RANDOM)
    boot = xw.estimate(data.study(), method, RANDOM, inference=xw.Bootstrap(draws=50, seed=1))
    for row in wald:
        assert 0.6 < boot[row.term].std_error / row.std_error < 1.6
    few = [
        xw.estimate(data.study(), method, RANDOM, inference=xw.Bootstrap(draws=20, workers=w)).rows
        for w in (1, 2)
    ]
    assert few[0] == few[1]


@pytest.mark.parametrize("form", ["study", "frame", "dict", "file"])
def test_forms_of_the_second_table(form: str, tmp_path: Path) -> None:
    data = auxiliary(n=300, seed=1)
    assert data.experiment is not None
    frame = pd.DataFrame(dict(data.experiment))
    frame.to_csv(tmp_path / "second.csv", index=False)
    held = {
        "study": data.second(),
        "frame": frame,
        "dict": dict(data.experiment),
        "file": tmp_path / "second.csv",
    }[form]
    found = Auxiliary(held, **LINEAR).scores(data.study(), CELLS).means()
    expected = Auxiliary(data.second(), **LINEAR).scores(data.study(), CELLS).means()
    assert found == pytest.approx(expected, abs=1e-9)


def test_a_spec_names_a_file_beside_the_studys(tmp_path: Path) -> None:
    data = auxiliary(n=300, seed=1)
    pd.DataFrame(dict(data.frame)).to_csv(tmp_path / "first.csv", index=False)
    pd.DataFrame(dict(data.experiment or {})).to_csv(tmp_path / "second.csv", index=False)
    (tmp_path / "two.toml").write_text(
        """
        [study]
        data = "first.csv"
        path = "a -> m -> y"
        adjust = ["x"]
        [estimator]
        name = "Auxiliary"
        experiment = "second.csv"
        outcome = "linear"
        treatment = "logistic"
        [ask]
        effects = ["ide", "iie", "te"]
        """
    )
    table = xw.load_spec(tmp_path / "two.toml").run()
    method = Auxiliary(data.second(), **LINEAR)
    expected = xw.estimate(data.study(), method, [xw.IDE, xw.IIE, xw.TE])
    assert [r.estimate for r in table] == pytest.approx([r.estimate for r in expected], abs=1e-9)
    assert table.spec["estimator"]["experiment"] == "second.csv"
    again = xw.load_spec(table.to_dict()).run()
    assert again.rows == table.rows


def test_the_result_tells_its_own_assumptions() -> None:
    one, two = small()
    found = xw.estimate(one, Auxiliary(two, **LINEAR), [xw.IDE]).identification
    names = {each["name"] for each in found["assumptions"]}
    assert "randomisation in the second table" in names
    assert "no mediator-outcome confounding" not in names
    assert found["by"] == "experiment"
    more = xw.estimate(one, Auxiliary(two, True, **LINEAR), [xw.NDE]).identification
    assert {each["name"] for each in more["assumptions"]} - names == {
        "no interaction with unmeasured causes"
    }


def test_refusals() -> None:
    one, two = small()
    method = Auxiliary(two, **LINEAR)
    with pytest.raises(NotIdentifiedError, match="no_interaction=True"):
        xw.estimate(one, method, [xw.NDE])
    with pytest.raises(NotIdentifiedError, match="no_interaction=True"):
        method.scores(one, [Y(1, M(0))])
    with pytest.raises(DesignError, match="Regression"):
        method.scores(one, [Y(1, set_(0.5))])
    with pytest.raises(DesignError, match="experiment="):
        Auxiliary().scores(one, [Y(1)])
    with pytest.raises(DesignError, match="TableStudy"):
        method.scores(None, [Y(1)])  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="no_interaction"):
        Auxiliary(two, "yes")  # type: ignore[arg-type]
    with pytest.raises(DesignError, match="leave them out"):
        method.scores(xw.datasets.intermediate(n=100).study(), [Y(1)])
    other = auxiliary(n=100, seed=1)
    plain = xw.TableStudy.from_frame(dict(other.frame), "a -> m -> y")
    with pytest.raises(DesignError, match="differ in adjust"):
        Auxiliary(plain, **LINEAR).scores(one, [Y(1)])
    with pytest.raises(DesignError, match="no file"):
        Auxiliary("nowhere.csv").scores(one, [Y(1)])
    frame = {**other.frame, "x": np.array(["p", "q"])[np.arange(100) % 2]}
    more = {**other.frame, "x": np.array(["p", "r"])[np.arange(100) % 2]}
    texts = [xw.TableStudy.from_frame(f, "a -> m -> y", adjust=["x"]) for f in (frame, more)]
    with pytest.raises(DesignError, match="categories of 'x'"):
        Auxiliary(texts[1], **LINEAR).scores(texts[0], [Y(1)])
    folds = {**other.frame, "fold": np.arange(100) % 2}
    held = xw.TableStudy.from_frame(folds, "a -> m -> y", adjust=["x"])
    with pytest.raises(DesignError, match="same number"):
        Auxiliary(held, **LINEAR, folds="fold").scores(one, [Y(1)])

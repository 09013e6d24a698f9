"""The specification curve: every cell of the grid, failures, the joint statement, the figure."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from itertools import combinations

import numpy as np
import pytest

import crossworld as xw
from crossworld.compare.multiverse import Multiverse, multiverse


def study(n: int = 400, seed: int = 1, effect: float = 0.5) -> xw.TableStudy:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 4))
    a = (x[:, 0] + rng.standard_normal(n) > 0).astype(float)
    m = effect * a + x @ [0.3, 0.2, 0.0, 0.1] + rng.standard_normal(n)
    y = effect * a + effect * m + x @ [0.2, 0.3, 0.1, 0.0] + rng.standard_normal(n)
    table = {**{f"x{j}": x[:, j] for j in range(4)}, "a": a, "m": m, "y": y}
    return xw.TableStudy.from_frame(table, "a -> m -> y", adjust=["x0", "x1", "x2", "x3"])


METHODS = [xw.Regression(), xw.Weighting(), xw.Imputation()]


def grid(workers: int = 1) -> Multiverse:
    return multiverse(
        study(),
        [xw.NIE, xw.TE],
        estimators=METHODS,
        adjust="leave-one-out",
        interaction=[False, True],
        workers=workers,
    )


def test_every_cell_of_the_grid_is_what_estimate_gives() -> None:
    found = grid()
    # two of the methods have the option: (2 + 1 + 2) x 5 sets x 2 effects
    assert len(found.specifications) == 50
    assert [s.count for s in found.statements] == [25, 25]
    frame = found.to_frame()
    less = xw.TableStudy.from_frame(
        {k: c.values for k, c in study().table.items()}, "a -> m -> y", adjust=["x0", "x1", "x3"]
    )
    own = xw.estimate(less, xw.Imputation(interaction=True), [xw.NIE])["nie"]
    row = frame[
        (frame.estimator == "Imputation()")
        & (frame.adjust == "x0 + x1 + x3")
        & (frame.interaction == True)  # noqa: E712
        & (frame.term == "nie")
    ]
    assert list(row.estimate) == [pytest.approx(own.estimate, abs=1e-13)]
    assert list(row.conf_low) == [pytest.approx(own.conf_low, abs=1e-13)]


def test_workers_change_nothing() -> None:
    assert grid(3).to_dict() == grid().to_dict()


def test_statements_add_up() -> None:
    found = grid()
    for statement in found.statements:
        held = found.of(statement.term)
        values = np.array([s.estimate for s in held])
        assert (np.diff(values) >= 0).all()
        assert statement.median == np.median(values)
        assert statement.mean == pytest.approx(values.mean())
        assert (statement.lowest, statement.highest) == (values[0], values[-1])
        assert statement.same_sign == np.mean(values > 0)
        significant = np.mean([s.p_value < 0.05 and s.estimate > 0 for s in held])
        assert statement.significant == significant
        assert all(p < 0.01 for p in statement.p_values.values())


def test_one_specification_has_its_own_p_value() -> None:
    found = multiverse(study(effect=0.17), [xw.NDE])
    (one,), (statement,) = found.of("nde"), found.statements
    assert statement.std_error == pytest.approx(one.std_error)
    assert statement.p_values["largest t"] == pytest.approx(one.p_value, abs=0.03)
    assert statement.p_values["median"] == pytest.approx(one.p_value, abs=0.03)
    assert 0.001 < one.p_value < 0.9


def test_joint_p_values_are_uniform_without_an_effect() -> None:
    found = []
    # every set keeps the confounder x0, so that no specification is biased
    sets = [["x0"], ["x0", "x1"], ["x0", "x2"], ["x0", "x1", "x2", "x3"]]
    for seed in range(60):
        part = multiverse(study(200, seed, effect=0.0), [xw.TE], adjust=sets)
        found.append([part.statements[0].p_values[k] for k in ("median", "largest t")])
    share = (np.array(found) < 0.2).mean(axis=0)
    # 20 % of 60, three standard errors
    assert (np.abs(share - 0.2) < 0.155).all()


def test_failures_are_listed() -> None:
    found = multiverse(
        study(), [xw.NIE], estimators=[xw.Regression(), xw.Imputation(outcome="logistic")]
    )
    (failed,) = found.failures
    assert failed.estimate is None and "0/1" in failed.failure
    assert found.statements[0].failed == 1 and found.statements[0].count == 1
    assert "failed in 1" in str(found)
    json.dumps(found.to_dict(), allow_nan=False)
    nothing = multiverse(study(), [xw.NIE], estimators=[xw.Imputation(outcome="logistic")])
    assert nothing.statements[0].count == 0
    assert "all 1 specifications failed" in str(nothing)
    with pytest.raises(xw.errors.DesignError, match="no specification"):
        nothing.plot()


def test_ratios_are_tested_by_their_logarithm() -> None:
    found = multiverse(study(), [xw.NIE.ratio()])
    (one,) = found.of("nie.ratio")
    assert found.nulls == {"nie.ratio": 1.0}
    assert found.statements[0].p_values["largest t"] == pytest.approx(one.p_value, abs=0.02)


def test_columns_without_a_role_may_be_adjusted_for() -> None:
    held = study()
    table = {k: c.values for k, c in held.table.items()}
    bare = xw.TableStudy.from_frame(table, "a -> m -> y")
    one = multiverse(bare, [xw.NIE], adjust=[[], ["x0", "x1", "x2", "x3"]])
    full = xw.estimate(held, xw.Regression(), [xw.NIE])["nie"].estimate
    assert one.specifications[1].estimate == pytest.approx(full, abs=1e-12)
    assert one.specifications[0].estimate != pytest.approx(full, abs=1e-3)


@pytest.mark.parametrize("most", [1, 4])
def test_figures_are_svg_that_can_be_read(most: int) -> None:
    names = [f"x{j}" for j in range(4)]
    sets = [c for k in range(most + 1) for c in combinations(names, k)]
    found = multiverse(
        study(200), [xw.NIE], estimators=METHODS, adjust=sets, interaction=[False, True]
    )
    assert found.svg() == found.svg("nie")
    root = ET.fromstring(found.svg())
    texts = {"".join(t.itertext()).strip() for t in root.iter() if t.tag.endswith("text")}
    assert {"Regression()", "Weighting()", "x0", "x1", "with", "without", "nie"} <= texts
    figure = found.plot()
    count = found.statements[0].count
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert len(dots) == count
    figure.canvas.draw()
    widths = figure.axes[0].get_window_extent().width / count
    assert widths > dots[0].get_markersize() * figure.dpi / 72 * 0.9


def test_bad_grids_are_told() -> None:
    held = study()
    with pytest.raises(xw.errors.SpecError, match="list of lists"):
        multiverse(held, [xw.NIE], adjust=["x0"])
    with pytest.raises(xw.errors.SpecError, match="leave-one-out"):
        multiverse(held, [xw.NIE], adjust="leave-one")
    with pytest.raises(xw.errors.SpecError, match="configured methods"):
        multiverse(held, [xw.NIE], estimators=[xw.Regression])
    with pytest.raises(xw.errors.SpecError, match="no effect"):
        multiverse(held, [])
    with pytest.raises(xw.errors.DesignError, match="nope"):
        multiverse(held, [xw.NIE], adjust=[["nope"]])

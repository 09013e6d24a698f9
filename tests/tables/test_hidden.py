"""Truths of the generators with unmeasured causes: large simulations that keep every variable."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

import crossworld as xw
from crossworld import G, M, Y, set_
from crossworld.datasets.hidden import HIDDEN, auxiliary, front_door, separable
from crossworld.errors import DesignError, SpecError

N = 1_000_000


def near(sample: np.ndarray, truth: float) -> None:
    assert abs(sample.mean() - truth) < 4.5 * sample.std() / np.sqrt(sample.size)


@pytest.mark.parametrize("name", HIDDEN)
def test_unmeasured_causes_are_not_in_the_data(name: str) -> None:
    one, again, other = (HIDDEN[name](n=50, seed=s) for s in (1, 1, 2))
    assert len(one) == 50
    columns = {"x", "a", "m", "y"} | set(one.intermediate)
    for frame in (one.frame, one.experiment or one.frame):
        assert set(frame) == columns
    assert all((one.frame[k] == again.frame[k]).all() for k in one.frame)
    assert (one.frame["y"] != other.frame["y"]).any()
    assert one.study().adjust == ("x",)


@pytest.mark.parametrize("mediator", ["binary", "gaussian"])
@pytest.mark.parametrize("cell", [Y(1), Y(0), Y(1, M(0))], ids=str)
def test_front_door(mediator: str, cell: xw.Cell) -> None:
    rng = np.random.default_rng(1)
    x, u = rng.binomial(1, 0.5, N), rng.binomial(1, 0.4, N)
    b = cell.regime("m").level
    m = -0.2 + 0.7 * b + 0.4 * x + rng.normal(size=N)
    if mediator == "binary":
        m = rng.binomial(1, expit(-0.7 + 1.4 * b + 0.5 * x))
    y = 0.5 + 0.3 * cell.treatment + m + 1.2 * u + 0.4 * x
    near(y, front_door(n=10, mediator=mediator, direct=0.3).truth(cell))


def test_front_door_data_are_confounded() -> None:
    data = front_door(n=20_000, seed=1)
    a, y = data.frame["a"], data.frame["y"]
    assert y[a == 1].mean() - y[a == 0].mean() > data.effect(xw.TE) + 0.3


@pytest.mark.parametrize("side", ["direct", "indirect"])
@pytest.mark.parametrize(("n", "o"), [(1, 0), (0, 1), (1, 1)])
def test_separable_is_a_trial_of_two_components(side: str, n: int, o: int) -> None:
    rng = np.random.default_rng(2)
    x = rng.choice([-1.0, 0.0, 1.0], p=[0.3, 0.4, 0.3], size=N)
    level = 0.2 + 0.8 * (n if side == "direct" else o) + 0.4 * x + rng.normal(size=N)
    m = 0.1 + 0.5 * o + 0.6 * level + 0.3 * x + rng.normal(size=N)
    y = 0.3 * n + 0.5 * m + 0.4 * n * m + 0.6 * level + 0.4 * x
    near(y, separable(n=10, assign=side).truth(Y(n, M(o))))


def test_separable_draws_at_random() -> None:
    rng = np.random.default_rng(3)
    x = rng.choice([-1.0, 0.0, 1.0], p=[0.3, 0.4, 0.3], size=N)
    other, own = (0.2 + 0.8 * a + 0.4 * x + rng.normal(size=N) for a in (0, 1))
    m = 0.1 + 0.6 * other + 0.3 * x + rng.normal(size=N)
    near(0.3 + 0.9 * m + 0.6 * own + 0.4 * x, separable(n=10).truth(Y(1, G(0))))


@pytest.mark.parametrize("mediator", ["binary", "gaussian"])
@pytest.mark.parametrize("cell", [Y(1, M(0)), Y(0), Y(1), Y(1, G(0)), Y(0, G(1))], ids=str)
def test_auxiliary(mediator: str, cell: xw.Cell) -> None:
    """A random draw comes from another unit of the same covariates, with a u of its own."""
    rng = np.random.default_rng(4)
    x = rng.choice([-1.0, 0.0, 1.0], p=[0.3, 0.4, 0.3], size=N)
    u = rng.normal(size=N)
    regime, a = cell.regime("m"), cell.treatment
    b, own = regime.level, u if isinstance(regime, type(M(0))) else rng.normal(size=N)
    m = 0.2 + 0.8 * b + 0.4 * x + (0.5 + 0.3 * b) * own + 0.6 * rng.normal(size=N)
    if mediator == "binary":
        m = rng.binomial(1, expit(-1 + 1.2 * b + 0.4 * x + 1.2 * own))
    slope = 0.6 + 0.3 * a + 0.3 * u + 0.5 * a * u
    y = 0.5 + 0.4 * a + slope * m + 0.7 * u + 0.3 * x
    near(y, auxiliary(n=10, mediator=mediator, interaction=0.5).truth(cell))


@pytest.mark.parametrize("mediator", ["binary", "gaussian"])
def test_the_second_table_is_an_experiment_on_the_mediator(mediator: str) -> None:
    data = auxiliary(n=100, second=200_000, seed=3, mediator=mediator)
    frame = data.experiment
    assert frame is not None
    assert len(frame["y"]) == 200_000
    table = np.column_stack([np.ones(200_000), frame["a"], frame["m"], frame["x"]])
    table = np.column_stack([table, frame["a"] * frame["m"]])
    found = np.linalg.lstsq(table, frame["y"], rcond=None)[0]
    assert found == pytest.approx([0.5, 0.4, 0.6, 0.3, 0.3], abs=0.03)
    assert abs(np.corrcoef(frame["a"], frame["m"])[0, 1]) < 0.01


def test_controlled_cells_ignore_how_the_mediator_arises() -> None:
    data = auxiliary(n=10)
    assert data.truth(Y(1, set_(2))) == pytest.approx(0.5 + 0.4 + 0.9 * 2, abs=1e-10)
    assert front_door(n=10).truth(Y(1, set_(1))) == pytest.approx(0.5 + 1 + 0.48 + 0.2, abs=1e-10)


def test_wrong_arguments_are_refused() -> None:
    for make, option in ((front_door, "mediator"), (auxiliary, "mediator"), (separable, "assign")):
        with pytest.raises(SpecError, match="Did you mean|Known are"):
            make(n=10, **{option: "gausian"})
    with pytest.raises(DesignError, match="no auxiliary experiment"):
        front_door(n=10).second()
    with pytest.raises(SpecError, match="means"):
        front_door(n=10).truth(Y(1).quantile(0.5))

"""Bounds from the outcome's support, against linear programs over response types."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from scipy.optimize import linprog

import crossworld as xw
from crossworld.errors import DesignError, SpecError
from crossworld.sensitivity.support import cell_bounds, support_bounds
from tests.sensitivity.laws import random_law, saturated, study_of


def program(own: np.ndarray, other: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Range of E Y(a, M(b)) over laws of (M(a), M(b), Y(a, m) for every m)."""
    k = len(other)
    types = list(itertools.product(range(k), range(k), *[range(len(values))] * k))
    rows, right = [], []
    for m, v in itertools.product(range(k), range(len(values))):
        rows.append([float(t[0] == m and t[2 + m] == v) for t in types])
        right.append(own[m, v])
    for m in range(k):
        rows.append([float(t[1] == m) for t in types])
        right.append(other[m])
    cost = np.array([values[t[2 + t[1]]] for t in types])
    ends = [
        linprog(s * cost, A_eq=np.array(rows), b_eq=right, bounds=(0, 1), method="highs").fun
        for s in (1.0, -1.0)
    ]
    return ends[0], -ends[1]


def everything_binary(p1: np.ndarray, p0: np.ndarray) -> tuple[float, float]:
    """Range of E Y(1, M(0)) over all 64 response types, given p(m, y | a) of both levels."""
    types = list(itertools.product((0, 1), repeat=6))  # m0 m1 y00 y01 y10 y11

    def y(t, a, m):
        return t[2 + 2 * a + m]

    rows, right = [], []
    for a, p in ((0, p0), (1, p1)):
        for m, v in itertools.product((0, 1), (0, 1)):
            rows.append([float(t[a] == m and y(t, a, m) == v) for t in types])
            right.append(p[m, v])
    cost = np.array([y(t, 1, t[0]) for t in types], dtype=float)
    ends = [linprog(s * cost, A_eq=rows, b_eq=right, bounds=(0, 1)).fun for s in (1.0, -1.0)]
    return ends[0], -ends[1]


def law(rng, *shape: int) -> np.ndarray:
    raw = rng.gamma(0.4, size=shape)
    return raw / raw.sum()


def test_binary_bounds_are_those_of_all_response_types() -> None:
    rng, moved = np.random.default_rng(1), 0
    for _ in range(200):
        p1, p0 = law(rng, 2, 2), law(rng, 2, 2)
        found = cell_bounds(p1, p0.sum(axis=1), values=np.array([0.0, 1.0]), support=(0.0, 1.0))
        assert found == pytest.approx(everything_binary(p1, p0), abs=1e-9)
        low = max(0.0, *(p1[m, 1] + p0[m].sum() - 1.0 for m in (0, 1)))
        high = 1.0 - max(0.0, *(p1[m, 0] + p0[m].sum() - 1.0 for m in (0, 1)))
        assert found == pytest.approx((low, high))
        moved += found[0] > 0.0
    assert moved > 20


def test_many_values_are_sharp_too() -> None:
    rng, moved = np.random.default_rng(2), 0
    values = np.array([-1.0, 0.5, 3.0])
    for _ in range(60):
        own, other = law(rng, 3, 3), law(rng, 3)
        found = cell_bounds(own, other, values=values, support=(-1.0, 3.0))
        assert found == pytest.approx(program(own, other, values), abs=1e-8)
        moved += found[0] > -1.0 + 1e-9
    assert moved > 10


def study_bounds(held, effects, **options):
    return support_bounds(
        study_of(held.observed(), held.values), saturated(), effects=effects, **options
    )


@pytest.mark.parametrize("values", [[0.0, 1.0], [-1.0, 0.5, 3.0]])
def test_a_study_that_is_a_law_gives_the_law_s_bounds(values) -> None:
    support = (values[0], values[-1])
    moved = 0
    for seed in range(12):
        held = random_law(np.random.default_rng(seed), ny=len(values), values=values, strength=9.0)
        p = held.observed()
        given = p / p.sum(axis=(2, 3), keepdims=True)  # m, y given x, a
        ends = np.array(
            [
                cell_bounds(g[1], g[0].sum(axis=1), values=held.values, support=support)
                for g in given
            ]
        )
        low, high = p.sum(axis=(1, 2, 3)) @ ends
        found = study_bounds(held, ("nde", "nie"), support=support)
        one, zero = (
            (p.sum(axis=(1, 2, 3)) @ (given[:, a].sum(axis=1) @ held.values)) for a in (1, 0)
        )
        assert found["nde"].low.value == pytest.approx(low - zero, abs=1e-9)
        assert found["nde"].high.value == pytest.approx(high - zero, abs=1e-9)
        assert found["nie"].low.value == pytest.approx(one - high, abs=1e-9)
        assert found["nie"].high.value == pytest.approx(one - low, abs=1e-9)
        truth = held.truth(1, 0)
        assert low - 1e-12 <= truth <= high + 1e-12
        moved += low > support[0] + 1e-6
    assert moved >= 3


def test_covariates_tighten_and_few_cuts_stay_valid() -> None:
    rng = np.random.default_rng(3)
    n = 600
    a = (rng.random(n) < 0.5).astype(float)
    m = (rng.random(n) < 0.9).astype(float)
    y = np.clip(0.8 + 0.15 * m * rng.random(n) + 0.05 * a, 0.0, 1.0)
    study = xw.TableStudy.from_frame({"a": a, "m": m, "y": y}, "a -> m -> y")
    method = xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=2)
    widths = []
    for cuts in (1, 4, 16):
        found = support_bounds(study, method, effects="nde", support=(0.0, 1.0), cuts=cuts)["nde"]
        widths.append(found.high.value - found.low.value)
    assert widths[0] >= widths[1] >= widths[2]
    assert widths[2] < 0.9 * widths[0]


def test_a_continuous_mediator_teaches_nothing() -> None:
    study = xw.datasets.binary_outcome(n=200, seed=1).study()
    method = xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=2)
    found = support_bounds(study, method)
    zero = xw.estimate(study, method, [xw.Estimand("zero", xw.Y(0))])["zero"].estimate
    assert found["nde"].low.value == pytest.approx(-zero)
    assert found["nde"].high.value == pytest.approx(1.0 - zero)
    assert "outcome's range" in found["nde"].reason
    assert "outcome's range" in str(found)
    json.dumps(found.to_dict(), allow_nan=False)
    assert len(found.to_frame()) == 2
    assert found.plot().get_title(loc="left").startswith("Bounds")


def test_what_cannot_be_meant_is_refused() -> None:
    study = xw.datasets.interaction(n=50, seed=1).study()
    with pytest.raises(DesignError, match="give support"):
        support_bounds(study)
    with pytest.raises(DesignError, match="outside the support"):
        support_bounds(study, support=(0.0, 0.1))
    with pytest.raises(SpecError, match="cuts"):
        support_bounds(study, support=(-99.0, 99.0), cuts=0)


@pytest.mark.slow
def test_limits_cover_the_bounds() -> None:
    held = random_law(np.random.default_rng(4), strength=4.0)
    p = held.observed()
    given = p / p.sum(axis=(2, 3), keepdims=True)
    ends = [
        cell_bounds(g[1], g[0].sum(axis=1), values=held.values, support=(0.0, 1.0)) for g in given
    ]
    low, high = p.sum(axis=(1, 2, 3)) @ np.array(ends) - held.truth(0, 0)
    method = xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=2)
    rng, draws, hits = np.random.default_rng(5), 300, [0, 0]
    for _ in range(draws):
        x, a, m, y = np.unravel_index(rng.choice(p.size, size=500, p=p.ravel()), p.shape)
        table = {"x": x * 1.0, "a": a * 1.0, "m": m * 1.0, "y": y * 1.0}
        study = xw.TableStudy.from_frame(table, "a -> m -> y", adjust=["x"])
        limits = support_bounds(study, method, effects="nde")["nde"].limits()
        hits[0] += limits[0] <= low
        hits[1] += limits[1] >= high
    least = 0.975 - 3.5 * math.sqrt(0.975 * 0.025 / draws)
    assert min(hits) / draws > least

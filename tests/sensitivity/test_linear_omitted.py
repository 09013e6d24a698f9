"""Linear omitted-variable bias: published figures, and confounders that are built to order."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

import crossworld as xw
from crossworld.errors import DesignError, SpecError
from crossworld.sensitivity.linear_coefficient import Coefficient, benchmark_strength
from crossworld.sensitivity.linear_omitted import group_r2, linear_omitted, ols, residual

# Cinelli and Hazlett (2020), the Darfur study, as printed by sensemakr
DARFUR = Coefficient("directlyharmed", 0.09731582, 0.02325654, 783)


def test_published_robustness_values() -> None:
    assert DARFUR.t == pytest.approx(4.18, abs=0.005)
    assert DARFUR.robustness() == pytest.approx(0.139, abs=5e-4)
    assert DARFUR.robustness(level=0.95) == pytest.approx(0.076, abs=5e-4)
    assert DARFUR.partial_r2 == pytest.approx(0.022, abs=5e-4)
    assert DARFUR.robustness(q=0.5) < DARFUR.robustness()


@pytest.mark.parametrize(("r2_d", "r2_y", "estimate", "error", "low", "high"), [
    (0.00916429, 0.12464092, 0.07522027, 0.02187333, 0.03228297, 0.11815758),
    (0.01832857, 0.24932412, 0.05291481, 0.02035006, 0.01296800, 0.09286200),
    (0.02749286, 0.37405000, 0.03039650, 0.01867013, -0.00625300, 0.06704600),
])  # fmt: skip
def test_published_adjusted_estimates(r2_d, r2_y, estimate, error, low, high) -> None:
    """One, two and three times as strong as the covariate 'female'."""
    left = DARFUR.adjusted(r2_d, r2_y)
    assert left.estimate == pytest.approx(estimate, abs=2e-5)
    assert left.std_error == pytest.approx(error, abs=2e-5)
    assert left.interval() == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_published_benchmarks_grow_as_printed() -> None:
    """The strengths for one 'female' fix its own partial R2; those for two and three follow."""
    r2_d = 0.00916429 / 1.00916429
    shared = r2_d**2 / (1 - r2_d) ** 2
    f2 = 0.12464092 * (1 - shared) / (1 + math.sqrt(shared)) ** 2
    for k, (with_d, with_y) in {2: (0.01832857, 0.24932), 3: (0.02749286, 0.37405)}.items():
        found = benchmark_strength(r2_d, f2 / (1 + f2), multiple=k)
        assert found[0] == pytest.approx(with_d, abs=1e-7)
        assert found[1] == pytest.approx(with_y, abs=5e-5)


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("r2_d", "r2_y"), [(0.1, 0.3), (0.5, 0.05), (0.02, 0.9)])
def test_a_confounder_built_to_order_gives_the_adjusted_estimate(r2_d, r2_y, sign) -> None:
    rng = np.random.default_rng(4)
    n = 60
    x = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    d = x @ [0.0, 1.0, -1.0] + rng.normal(size=n)
    y = sign * 0.8 * d + x @ [1.0, 0.5, 0.5] + rng.normal(size=n)
    short = ols(y, d, x, "d")
    both = np.column_stack([x, d])
    out = unit(residual(y, both))
    noise = unit(residual(rng.normal(size=n), np.column_stack([both, y])))
    inside = math.sqrt(r2_y) * out + math.sqrt(1 - r2_y) * noise
    towards = math.copysign(1.0, short.estimate)
    for toward_zero in (True, False):
        way = towards if toward_zero else -towards
        z = math.sqrt(r2_d) * unit(residual(d, x)) * way + math.sqrt(1 - r2_d) * inside
        assert group_r2(d, z[:, None], x) == pytest.approx(r2_d, abs=1e-12)
        assert group_r2(y, z[:, None], both) == pytest.approx(r2_y, abs=1e-12)
        long = ols(y, d, np.column_stack([x, z]), "d")
        found = short.adjusted(r2_d, r2_y, toward_zero=toward_zero)
        assert found.estimate == pytest.approx(long.estimate, abs=1e-10)
        assert found.std_error == pytest.approx(long.std_error, abs=1e-10)
        assert found.df == long.df


@pytest.mark.parametrize(("t", "df"), [(4.0, 100), (2.5, 400), (1.0, 50), (30.0, 6), (60.0, 8)])
def test_robustness_values_are_the_smallest_strength_that_does_it(t, df) -> None:
    """Against a search over both partial R2 up to the value."""
    link = Coefficient("d", t, 1.0, df)

    def statistic(r: float) -> float:
        return min(link.adjusted(r, y).t for y in np.linspace(0.0, min(r, 1 - 1e-12), 4001))

    rv = link.robustness()
    assert link.adjusted(rv, rv).estimate == pytest.approx(0.0, abs=1e-9)
    rva = link.robustness(level=0.95)
    wanted = float(_t_quantile(df - 1))
    if rva == 0.0:
        assert link.adjusted(0.0, 0.0).t <= wanted
        return
    assert statistic(rva) == pytest.approx(wanted, abs=2e-3 * t)
    assert statistic(0.98 * rva) > wanted


def _t_quantile(df: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.975, df))


def test_benchmarks_bound_a_confounder_as_strong_as_the_covariate() -> None:
    """For confounders unrelated to X, the first strength is exact, the second a bound."""
    rng, tight = np.random.default_rng(8), []
    for _ in range(300):
        n = 40
        rest = np.column_stack([np.ones(n), rng.normal(size=n)])
        xj = rng.normal(size=n)
        d = rng.normal() * xj + rng.normal(size=n)
        y = rng.normal() * d + rng.normal() * xj + rng.normal(size=n)
        full = np.column_stack([rest, xj])
        raw = rng.normal() * d + rng.normal() * y + rng.normal(size=n)
        z = residual(raw, full)[:, None]
        of_d = group_r2(d, xj[:, None], rest)
        of_y = group_r2(y, xj[:, None], np.column_stack([rest, d]))
        kd = group_r2(d, z, rest) / of_d
        ky = group_r2(y, z, np.column_stack([rest, d])) / of_y
        found = benchmark_strength(of_d, of_y, multiple=kd)
        if found[0] is None:
            continue
        assert found[0] == pytest.approx(group_r2(d, z, full), rel=1e-8)
        if ky <= kd:
            actual = group_r2(y, z, np.column_stack([full, d]))
            assert actual <= found[1] + 1e-10
            tight.append(actual / found[1])
    assert len(tight) > 30 and max(tight) > 0.5


def test_the_links_are_those_of_the_regression_engine() -> None:
    study = xw.datasets.linear(n=400, seed=3).study()
    found = linear_omitted(study, benchmark={study.adjust[0]: 2.0})
    effects = xw.estimate(study, xw.Regression(), [xw.TE, xw.NDE, xw.NIE])
    whole = found.indirect()
    assert whole.nie[0] == whole.nie[1] == pytest.approx(effects["nie"].estimate)
    assert whole.nde is not None
    assert whole.nde[0] == pytest.approx(effects["nde"].estimate)
    assert found.total == pytest.approx(effects["te"].estimate)
    at = found.indirect(b=(0.1, 0.2))
    down, up = found.b.adjusted(0.1, 0.2), found.b.adjusted(0.1, 0.2, toward_zero=False)
    ends = sorted(found.a.estimate * e.estimate for e in (down, up))
    assert at.nie == pytest.approx(tuple(ends))
    assert at.nde == pytest.approx((found.total - ends[1], found.total - ends[0]))
    assert at.limits[0] < at.nie[0] < at.nie[1] < at.limits[1]
    box = found.indirect(a=(0.1, 0.2), b=(0.1, 0.2))
    assert box.nde is None
    assert box.nie[0] < at.nie[0] and box.nie[1] > at.nie[1]
    assert found.rows()[2]["rv"] == min(found.a.robustness(), found.b.robustness())
    json.dumps(found.to_dict(), allow_nan=False)
    assert "2 x" in str(found)
    assert len(found.to_frame()) == 3
    assert found.plot(link="a").get_xlabel() != ""
    grid = found.b.contours(points=5)
    assert grid.values[1, 3] == pytest.approx(
        found.b.adjusted(float(grid.x[3]), float(grid.y[1])).estimate
    )


def test_a_scale_of_the_treatment_changes_no_robustness() -> None:
    study = xw.datasets.linear(n=200, seed=5).study()
    column = study.table[study.path.treatment]
    scaled = replace(
        study,
        table={**study.table, study.path.treatment: replace(column, values=10.0 * column.values)},
        levels=(10.0 * study.levels[0], 10.0 * study.levels[1]),
    )
    one, ten = linear_omitted(study), linear_omitted(scaled)
    assert ten.a.estimate == pytest.approx(one.a.estimate)
    assert ten.a.robustness() == pytest.approx(one.a.robustness())


def test_what_cannot_be_meant_is_refused() -> None:
    study = xw.datasets.linear(n=50, seed=1).study()
    with pytest.raises(DesignError, match="'age' is not a covariate"):
        linear_omitted(study, benchmark=["age"])
    with pytest.raises(SpecError, match="under 1"):
        DARFUR.adjusted(1.0, 0.1)
    with pytest.raises(DesignError, match="unweighted"):
        linear_omitted(xw.datasets.clustered(seed=1).study())
    with pytest.raises(DesignError, match="one numeric"):
        linear_omitted(xw.datasets.ordered(n=50, seed=1).study())

"""Where a likelihood has no maximum, and just short of it."""

from __future__ import annotations

import numpy as np
import pytest

import crossworld as xw
from crossworld.errors import DesignError, EstimationError

N = 120
ARM = np.arange(N) % 2
X = np.random.default_rng(5).normal(size=N)


def fitted(y: np.ndarray, family: str, role: str = "outcome") -> xw.EffectTable:
    rng = np.random.default_rng(6)
    m = 0.5 * ARM + rng.normal(size=N)
    held = {"m": y, "y": m} if role == "mediator" else {"m": m, "y": y}
    study = xw.TableStudy.from_frame({"a": ARM, "x": X, **held}, "a -> m -> y", adjust=["x"])
    return xw.estimate(study, xw.Regression(**{f"{role}_family": family}))


def counts(dispersed: bool) -> np.ndarray:
    rng = np.random.default_rng(7)
    return rng.poisson(rng.gamma(1.0, 3.0, N) if dispersed else 2.0, N).astype(float)


@pytest.mark.parametrize("family", ["poisson", "negative-binomial", "log-binomial"])
def test_an_arm_without_events_separates_and_one_event_more_does_not(family: str) -> None:
    y = counts(family == "negative-binomial")
    y = (y > 2).astype(float) * (X < 1.0) if family == "log-binomial" else y
    y[ARM == 1] = 0.0
    with pytest.raises(EstimationError, match=r"separation: 'a'.*is always 0"):
        fitted(y, family)
    y[np.flatnonzero(ARM == 1)[:3]] = 1.0
    assert np.isfinite(fitted(y, family)["te"].estimate)


def test_a_covariate_that_orders_the_categories_separates() -> None:
    levels = np.digitize(X, [-0.5, 0.5]).astype(float)
    with pytest.raises(EstimationError, match="separation: 'x'"):
        fitted(levels, "ordinal", "mediator")
    levels[np.argsort(X)[[0, 1, N // 2, -1]]] = [1.0, 2.0, 0.0, 0.0]
    assert np.isfinite(fitted(levels, "ordinal", "mediator")["te"].estimate)


def test_one_weight_for_all_rows_is_no_weight_and_zeros_leave_rows_out() -> None:
    rng = np.random.default_rng(8)
    m = 0.5 * ARM + rng.normal(size=N)
    table = {"a": ARM, "m": m, "y": m + ARM + rng.normal(size=N), "w": 3.0 * (np.arange(N) < 90)}
    cut = {name: values[:90] for name, values in table.items()}
    classic = xw.Wald(vcov="classic")
    weighted = xw.TableStudy.from_frame(table, "a -> m -> y", weights="w")
    plain = xw.TableStudy.from_frame(cut, "a -> m -> y")
    one, two = (xw.estimate(s, xw.Regression(), inference=classic) for s in (weighted, plain))
    for left, right in zip(one, two, strict=True):
        assert left.estimate == pytest.approx(right.estimate, rel=1e-9)
        assert left.std_error == pytest.approx(right.std_error, rel=1e-9)


def test_arms_that_are_clusters_are_refused_and_two_clusters_an_arm_are_not() -> None:
    rng = np.random.default_rng(9)
    table = {"a": ARM, "m": rng.normal(size=N), "y": rng.normal(size=N), "g": ARM + 10}
    with pytest.raises(DesignError, match="each arm of the treatment 'a' is one cluster of 'g'"):
        xw.TableStudy.from_frame(table, "a -> m -> y", cluster="g")
    table["g"] = np.arange(N) % 4
    assert xw.TableStudy.from_frame(table, "a -> m -> y", cluster="g").cluster is not None


def test_a_column_named_1_is_no_intercept_in_formulas_that_people_write() -> None:
    rng = np.random.default_rng(10)
    table = {"a": ARM, "1": ARM + rng.normal(size=N), "x": X, "y": rng.normal(size=N)}
    table["y"] = table["y"] + table["1"] ** 2
    named = {("m" if k == "1" else k): v for k, v in table.items()}
    one = xw.estimate(
        xw.TableStudy.from_frame(table, "a -> 1 -> y", adjust=["x"]),
        xw.Regression(mediator="`1` ~ 1 + a + x", outcome="y ~ a * `1` + I(`1`**2) + x"),
    )
    two = xw.estimate(
        xw.TableStudy.from_frame(named, "a -> m -> y", adjust=["x"]),
        xw.Regression(mediator="m ~ 1 + a + x", outcome="y ~ a * m + I(m**2) + x"),
    )
    for left, right in zip(one, two, strict=True):
        assert left.estimate == pytest.approx(right.estimate, rel=1e-9)
        assert left.std_error == pytest.approx(right.std_error, rel=1e-9)

"""Tests of the identifying assumptions by instruments, where it is known which of them hold."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures
from statsmodels.stats.multitest import multipletests

import crossworld as xw
from crossworld.core.analysis import Analysis
from crossworld.core.refutation import Refutation
from crossworld.refute.identifying_assumptions import IdentifyingAssumptions, holm


def draw(seed: int, n: int, broken: str = "") -> dict[str, np.ndarray]:
    """Draw both instruments valid, nothing confounded, unless something is broken."""
    rng = np.random.default_rng([7, seed])
    x, z1, z2, u = rng.standard_normal((4, n))
    shift = u if broken == "treatment confounded" else 0.0
    a = (0.8 * z1 + 0.5 * x + shift + rng.standard_normal(n) > 0).astype(float)
    m = 0.5 * a + 0.6 * z2 + 0.4 * x + rng.standard_normal(n)
    y = 0.3 * a + 0.6 * m + 0.5 * x + rng.standard_normal(n)
    if broken == "mediator confounded":
        m, y = m + 0.7 * u, y + 0.6 * 0.7 * u + 0.7 * u
    if broken == "treatment confounded":
        y = y + 0.7 * u
    if broken == "instrument has its own effect":
        y = y + 0.2 * z1
    if broken == "curved effect of the instrument":
        y = y + 0.5 * (z2**2 - 1.0)
    return {"x": x, "z1": z1, "z2": z2, "a": a, "m": m, "y": y}


def verdict(table: dict[str, np.ndarray], **options: object) -> Refutation:
    study = xw.TableStudy.from_frame(table, "a -> m -> y", adjust=["x"])
    held = {"treatment_instrument": "z1", "mediator_instrument": "z2", "learner": "linear"}
    test = IdentifyingAssumptions(**{**held, **options})
    (one,) = test.refute(Analysis(study, xw.Regression()), None)
    return one


def test_valid_instruments_pass() -> None:
    one = verdict(draw(1, 1000))
    assert one.passed is True
    assert [t["claim"] for t in one.data["tests"]] == [
        "m independent of z1 given a, x",
        "y independent of z1 given a, x",
        "y independent of z1 given a, m, x",
        "y independent of z2 given a, m, x",
    ]
    assert all(p < 1e-6 for p in one.data["relevance_p_values"].values())


@pytest.mark.parametrize(
    ("broken", "claim"),
    [
        ("mediator confounded", "y independent of z2 given a, m, x"),
        ("treatment confounded", "y independent of z1 given a, m, x"),
        ("instrument has its own effect", "y independent of z1 given a, m, x"),
    ],
)
def test_what_is_broken_is_named(broken: str, claim: str) -> None:
    one = verdict(draw(1, 2000, broken))
    assert one.passed is False
    found = {t["claim"]: t["adjusted_p_value"] for t in one.data["tests"]}
    assert found[claim] < 0.001
    assert found["m independent of z1 given a, x"] > 0.05
    assert min(found, key=lambda c: found[c]) in one.detail


def test_the_squared_score_sees_what_covariances_cannot() -> None:
    table = draw(1, 1500, "curved effect of the instrument")
    blind = verdict(table, treatment_instrument=None)
    curved = make_pipeline(PolynomialFeatures(2), LinearRegression())
    seen = verdict(table, treatment_instrument=None, method="squared", learner=curved)
    assert blind.passed is True
    assert seen.passed is False
    fine = verdict(draw(1, 1500), treatment_instrument=None, method="squared", learner=curved)
    assert fine.passed is True


def test_a_weak_instrument_decides_nothing() -> None:
    table = draw(3, 500)
    table["z2"] = np.random.default_rng(1).standard_normal(500)
    one = verdict(table, treatment_instrument=None)
    assert one.passed is None
    assert "z2 on m" in one.detail


def test_without_an_instrument_it_says_what_is_needed() -> None:
    one = verdict(draw(1, 200), treatment_instrument=None, mediator_instrument=None)
    assert one.passed is None
    assert "treatment_instrument=" in one.detail


def test_text_instruments_clusters_and_weights() -> None:
    table = draw(2, 600, "instrument has its own effect")
    groups = np.digitize(table["z1"], [-0.7, 0.0, 0.7])
    table["z1"] = np.array(["a", "b", "c", "d"])[groups]
    table["id"] = np.arange(600) // 2
    table["w"] = np.ones(600)
    study = xw.TableStudy.from_frame(table, "a -> m -> y", adjust=["x"], cluster="id", weights="w")
    test = IdentifyingAssumptions(treatment_instrument="z1", learner="linear")
    (one,) = test.refute(Analysis(study, xw.Regression()), None)
    assert one.passed is False


def test_columns_with_a_role_are_refused() -> None:
    with pytest.raises(xw.errors.DesignError, match="take it out of adjust"):
        verdict(draw(1, 200), treatment_instrument="x")
    with pytest.raises(xw.errors.DesignError, match="zz"):
        verdict(draw(1, 200), treatment_instrument="zz")


@pytest.mark.parametrize(("name", "value"), [("method", "t"), ("level", 1.0), ("noise", 0.0)])
def test_options_are_checked(name: str, value: object) -> None:
    with pytest.raises(xw.errors.SpecError, match=name):
        IdentifyingAssumptions(**{name: value})


def test_holm_is_statsmodels_holm() -> None:
    p = np.random.default_rng(1).random(7) ** 3
    assert holm(list(p)) == pytest.approx(multipletests(p, method="holm")[1])


def test_answers_do_not_change() -> None:
    table = draw(5, 300)
    assert verdict(table, seed=3, method="squared") == verdict(table, seed=3, method="squared")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gcm", "squared"])
def test_size(method: str) -> None:
    """Holm over four implications: at most 5 % of 300, plus three standard errors."""
    rejected = [verdict(draw(s, 1000), method=method, seed=s).passed is False for s in range(300)]
    assert np.mean(rejected) <= 0.05 + 3.0 * np.sqrt(0.05 * 0.95 / 300)


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["mediator confounded", "treatment confounded"])
def test_power(broken: str) -> None:
    rejected = [verdict(draw(s, 1000, broken), seed=s).passed is False for s in range(100)]
    assert np.mean(rejected) > 0.8

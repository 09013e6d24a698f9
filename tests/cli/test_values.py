"""Strange but lawful values: every number is checked against statsmodels, by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

import crossworld as xw

from .command import ARM, PATH, N, columns, crossworld, done, numbers, refused, write

RNG = np.random.default_rng(11)
BASE = columns()
X, M, Y = BASE["x"], BASE["m"], BASE["y"]
NODES, NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
NODE_WEIGHTS = NODE_WEIGHTS / NODE_WEIGHTS.sum()
Found = dict[str, tuple[float, float | None]]


def ols(y: Any, *terms: Any, weights: Any = None, groups: Any = None) -> Any:
    """Least squares on an intercept and terms, with an HC0 or cluster sandwich."""
    design = np.column_stack([np.ones(len(y)), *terms]).astype(float)
    fit = sm.WLS(np.asarray(y, float), design, weights=1.0 if weights is None else weights)
    if groups is None:
        return fit.fit(cov_type="HC0")
    return fit.fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False})


def linear(
    a: Any, m: Any, y: Any, *covariates: Any, weights: Any = None, groups: Any = None
) -> Found:
    """Effects of one unit of treatment in two linear models, with their sandwich errors."""
    total = ols(y, a, *covariates, weights=weights, groups=groups)
    first = ols(m, a, *covariates, weights=weights, groups=groups)
    last = ols(y, a, m, *covariates, weights=weights, groups=groups)
    factor = 1.0
    if groups is not None:
        j = len(np.unique(groups))
        factor = np.sqrt(j / (j - 1.0))
    te, nde = float(total.params[1]), float(last.params[1])
    assert te == pytest.approx(nde + last.params[2] * first.params[1], rel=1e-6)
    return {
        "te": (te, factor * float(total.bse[1])),
        "nde": (nde, factor * float(last.bse[1])),
        "nie": (te - nde, None),
    }


def discrete(a: Any, codes: Any, y: Any, *covariates: Any, levels: tuple = (0, 1)) -> Found:
    """Effects with a mediator of a few categories (logit or multinomial) and a linear outcome."""
    rows = len(y)
    categories = np.unique(codes)
    design = np.column_stack([np.ones(rows), a, *covariates]).astype(float)
    kind = sm.Logit if len(categories) == 2 else sm.MNLogit
    law = kind(np.searchsorted(categories, codes), design).fit(
        disp=0, maxiter=200, tol=1e-12, method="newton"
    )
    dummies = [(codes == c).astype(float) for c in categories[1:]]
    last = ols(y, a, *dummies, *covariates)

    def chances(level: float) -> np.ndarray:
        moved = design.copy()
        moved[:, 1] = level
        found = np.asarray(law.predict(moved))
        return np.column_stack([1.0 - found, found]) if found.ndim == 1 else found

    def cell(level: float, under: float) -> float:
        share = chances(under)
        means = []
        for k in range(len(categories)):
            held = [np.full(rows, float(k == j)) for j in range(1, len(categories))]
            x = np.column_stack([np.ones(rows), np.full(rows, level), *held, *covariates])
            means.append(share[:, k] * (x.astype(float) @ last.params))
        return float(np.sum(means, axis=0).mean())

    low, high = levels
    te, nde = cell(high, high) - cell(low, low), cell(high, low) - cell(low, low)
    return {"te": (te, None), "nde": (nde, None), "nie": (te - nde, None)}


def logistic(a: Any, m: Any, event: Any, *covariates: Any) -> Found:
    """Effects with a normal mediator and a logit outcome, by quadrature."""
    rows = len(event)
    first = ols(m, a, *covariates)
    spread = np.sqrt(first.ssr / (rows - len(first.params)))
    design = np.column_stack([np.ones(rows), a, m, *covariates]).astype(float)
    last = sm.Logit(event, design).fit(disp=0, maxiter=200, tol=1e-12, method="newton")

    def cell(level: float, under: float) -> float:
        x = np.column_stack([np.ones(rows), np.full(rows, under), *covariates]).astype(float)
        draws = (x @ first.params)[:, None] + spread * NODES
        given = np.column_stack([np.ones(rows), np.full(rows, level), np.zeros(rows), *covariates])
        eta = (given.astype(float) @ last.params)[:, None] + last.params[2] * draws
        return float((NODE_WEIGHTS / (1.0 + np.exp(-eta))).sum(axis=1).mean())

    te, nde = cell(1, 1) - cell(0, 0), cell(1, 0) - cell(0, 0)
    return {"te": (te, None), "nde": (nde, None), "nie": (te - nde, None)}


def agree(
    table: Mapping[str, Any] | pd.DataFrame,
    expected: Found,
    *,
    adjust: Sequence[str] = (),
    path: str = PATH,
    factor: float = 1.0,
    **study: Any,
) -> None:
    """Python on the frame agrees with the expectation."""
    made = xw.TableStudy.from_frame(table, path, adjust=list(adjust), **study)
    found = xw.estimate(made, xw.Regression())
    for term, (value, error) in expected.items():
        assert found[term].estimate == pytest.approx(factor * value, rel=1e-6, abs=1e-300)
        if error is not None:
            assert found[term].std_error == pytest.approx(abs(factor) * error, rel=1e-6)


PLAIN = linear(ARM, M, Y, X)


def test_the_plain_table() -> None:
    agree(BASE, PLAIN, adjust=["x"])


@pytest.mark.parametrize("name", ["x", "m", "y"])
@pytest.mark.parametrize("factor", [1e-160, 1e-30, -1e30, 1e150])
def test_units_of_measurement(name: str, factor: float) -> None:
    scaled = {**BASE, name: BASE[name] * factor}
    agree(scaled, PLAIN, adjust=["x"], factor=factor if name == "y" else 1.0)


@pytest.mark.parametrize("factor", [1e160, 1e300, 1e-300])
def test_outcomes_beyond_the_range_of_squares_are_told_to_rescale(factor: float) -> None:
    """The square of 1e160 is no number: an answer that is right, or a message, never p = 0."""
    # defect: std_error inf (null in the file, no reason), p = 0 at 1e160; LinAlgError at 1e-300.
    words = ["mediate", write({**BASE, "y": Y * factor}), PATH, "--adjust", "x"]
    run = crossworld(*words, "--json", "r.json")
    if run.code:
        refused(run, "'y'")
        assert not Path("r.json").exists()
        return
    assert run.warned == ()
    for term, (value, error) in PLAIN.items():
        row = numbers("r.json")[term]
        assert row[0] == pytest.approx(factor * value, rel=1e-6)
        assert error is None or row[1] == pytest.approx(factor * error, rel=1e-6)


@pytest.mark.parametrize(("name", "shift"), [("y", 1e8), ("m", 1e7), ("x", 1e7)])
def test_a_large_mean(name: str, shift: float) -> None:
    """Years in milliseconds, prices in the smallest coin: a large mean costs few digits."""
    moved = xw.TableStudy.from_frame({**BASE, name: BASE[name] + shift}, PATH, adjust=["x"])
    found = xw.estimate(moved, xw.Regression())
    for term, (value, error) in PLAIN.items():
        assert found[term].estimate == pytest.approx(value, rel=1e-5)
        assert error is None or found[term].std_error == pytest.approx(error, rel=1e-5)


def test_whole_numbers_beyond_doubles() -> None:
    steps = np.arange(N) ** 2 % 17
    table = {**BASE, "x": [10**20 + int(k) * 10**18 for k in steps]}
    agree(table, linear(ARM, M, Y, steps), adjust=["x"])


@pytest.mark.parametrize(
    "kind", ["int8", "uint8", "int64", "float32", "bool", "Int64", "Float64", "boolean", "str"]
)
def test_types_of_a_treatment(kind: str) -> None:
    frame = pd.DataFrame(BASE)
    frame["a"] = frame["a"].astype(kind)
    agree(frame, PLAIN, adjust=["x"])


def test_integers_of_a_parquet_file_with_nulls() -> None:
    frame = pd.DataFrame({**BASE, "g": pd.array([*range(N)], dtype="Int64")})
    frame.loc[[0, 1], "g"] = pd.NA
    frame.to_parquet("t.parquet")
    words = ["mediate", "t.parquet", PATH, "--adjust", "g"]
    refused(crossworld(*words), "missing values in 'g' (2)")
    done(crossworld(*words, "--missing", "drop", "--json", "r.json"))
    kept = slice(2, None)
    expected = linear(ARM[kept], M[kept], Y[kept], np.arange(N)[kept])
    assert numbers("r.json")["te"][0] == pytest.approx(expected["te"][0], rel=1e-9)


@pytest.mark.parametrize(
    ("treatment", "levels"),
    [
        (np.where(ARM == 1, 5, 2), None),
        (np.where(ARM == 1, 5, 2), (2, 5)),
        (np.where(ARM == 1, -1.5, -3.0), None),
        (np.where(ARM == 1, "t", "c"), None),
        (np.where(ARM == 1, "active", "control"), ("control", "active")),
        (np.where(ARM == 1, "Z", "\u00e9"), ("\u00e9", "Z")),
        (pd.Categorical(np.where(ARM == 1, "t", "c"), ["z", "c", "unused", "t"]), None),
        (pd.Categorical(np.where(ARM == 1, "hi", "lo"), ["lo", "hi"], ordered=True), None),
        (pd.Categorical(ARM), None),
    ],
)
def test_two_valued_treatments(treatment: Any, levels: Any) -> None:
    agree({**BASE, "a": treatment}, PLAIN, adjust=["x"], levels=levels)


def test_levels_the_other_way_round() -> None:
    turned = xw.TableStudy.from_frame(BASE, PATH, adjust=["x"], levels=(1, 0))
    found = xw.estimate(turned, xw.Regression())
    assert found["te"].estimate == pytest.approx(-PLAIN["te"][0], rel=1e-9)
    assert found["nie"].estimate == pytest.approx(-PLAIN["nie"][0], rel=1e-9)


@pytest.mark.parametrize(("low", "high"), [("lo", "hi"), ("hi", "mid"), ("mid", "lo")])
def test_three_valued_text_treatments(low: str, high: str) -> None:
    arm = np.array(["lo", "mid", "hi"])[np.arange(N) % 3]
    others = [v for v in ("lo", "mid", "hi") if v not in (low, high)]
    dummies = [(arm == high).astype(float), (arm == others[0]).astype(float)]
    total = ols(Y, *dummies, X)
    last = ols(Y, *dummies, M, X)
    expected = {
        "te": (float(total.params[1]), float(total.bse[1])),
        "nde": (float(last.params[1]), float(last.bse[1])),
    }
    agree({**BASE, "a": arm}, expected, adjust=["x"], levels=(low, high))


@pytest.mark.parametrize(("low", "high"), [(0, 2), (2, 1)])
def test_numeric_treatments_of_three_values_are_linear(low: float, high: float) -> None:
    arm = np.arange(N) % 3
    expected = linear(arm, M, Y, X)
    agree({**BASE, "a": arm}, expected, adjust=["x"], levels=(low, high), factor=high - low)


def test_a_continuous_treatment_is_contrasted_between_any_two_doses() -> None:
    dose = ARM + RNG.uniform(0.0, 0.4, N)
    expected = linear(dose, M, Y, X)
    agree({**BASE, "a": dose}, expected, adjust=["x"], levels=(0.5, 1.25), factor=0.75)


BINARY = (0.8 * ARM + X + RNG.logistic(size=N) > 0.3).astype(int)
THREE = np.digitize(0.7 * ARM + 0.6 * X + RNG.logistic(size=N), [-0.3, 0.9])


@pytest.mark.parametrize(
    "mediator",
    [BINARY, BINARY + 1, BINARY * 2 - 7, BINARY == 1, np.where(BINARY, "yes", "no"), BINARY / 8],
    ids=["0/1", "1/2", "-7/-5", "bool", "text", "0/0.125"],
)
def test_two_valued_mediators(mediator: Any) -> None:
    agree({**BASE, "m": mediator}, discrete(ARM, BINARY, Y, X), adjust=["x"])


@pytest.mark.parametrize("labels", [("u", "v", "z"), ("low", "high", "mid"), ("1", "2", "x")])
def test_text_mediators(labels: tuple[str, ...]) -> None:
    names = np.array(labels)[THREE]
    agree({**BASE, "m": names}, discrete(ARM, names, Y, X), adjust=["x"])


def test_unused_categories_of_a_mediator() -> None:
    held = pd.Categorical(np.array(["u", "v", "z"])[THREE], ["never", "z", "v", "u", "nor this"])
    agree({**BASE, "m": held}, discrete(ARM, THREE, Y, X), adjust=["x"])


@pytest.mark.parametrize(
    ("outcome", "event", "sign"),
    [
        (BINARY, None, 1),
        (BINARY == 1, None, 1),
        (np.where(BINARY, "yes", "no"), "yes", 1),
        (np.where(BINARY, "yes", "no"), "no", -1),
        (BINARY + 1, 2, 1),
        (BINARY + 1, 1, -1),
        (BINARY, 0, -1),
    ],
)
def test_two_valued_outcomes(outcome: Any, event: Any, sign: int) -> None:
    expected = logistic(ARM, M, BINARY, X)
    agree({**BASE, "y": outcome}, expected, adjust=["x"], event=event, factor=sign)


def test_the_event_of_a_text_outcome_with_three_values() -> None:
    outcome = np.where(BINARY, "yes", np.where(X > 0, "no", "maybe"))
    agree({**BASE, "y": outcome}, logistic(ARM, M, BINARY), event="yes")


def test_text_covariates_are_categories() -> None:
    letter = np.array(["u", "v", "z"])[RNG.integers(0, 3, N)]
    dummies = [(letter == v).astype(float) for v in ("v", "z")]
    agree({**BASE, "x": letter}, linear(ARM, M, Y, *dummies), adjust=["x"])


def test_weights_scale_freely_and_zero_means_absent() -> None:
    weights = np.where(np.arange(N) % 7 == 0, 0.0, BASE["w"])
    kept = weights > 0
    expected = linear(ARM[kept], M[kept], Y[kept], X[kept], weights=weights[kept])
    for factor in (1.0, 1e-6, 1e9):
        table = {**BASE, "w": factor * weights}
        found = xw.estimate(
            xw.TableStudy.from_frame(table, PATH, adjust=["x"], weights="w"), xw.Regression()
        )
        for term, (value, error) in expected.items():
            assert found[term].estimate == pytest.approx(value, rel=1e-9)
            assert error is None or found[term].std_error == pytest.approx(error, rel=1e-9)


@pytest.mark.parametrize("weight", [2.0, 1000.0, 1000.5])
@pytest.mark.parametrize(
    "inference",
    [xw.Wald(), xw.Wald(vcov="classic"), xw.Simulation(draws=400), xw.Bootstrap(draws=400)],
    ids=["wald", "classic", "simulation", "bootstrap"],
)
def test_one_weight_for_all_rows_makes_no_row_count_more(inference: Any, weight: float) -> None:
    """Sampling weights that happen to be whole numbers do not multiply the sample."""
    # defect: model-based errors (classic, Simulation) shrink by sqrt(1000) at 1000, not at 1000.5.
    table = {**BASE, "w": np.full(N, weight)}
    plain = xw.TableStudy.from_frame(table, PATH)
    weighted = xw.TableStudy.from_frame(table, PATH, weights="w")
    one, two = (
        xw.estimate(study, xw.Regression(), inference=inference) for study in (plain, weighted)
    )
    for left, right in zip(one, two, strict=True):
        assert right.estimate == pytest.approx(left.estimate, rel=1e-9)
        assert right.std_error == pytest.approx(left.std_error, rel=0.05)


def test_clusters_by_any_label() -> None:
    expected = linear(ARM, M, Y, X, groups=BASE["g"])
    for labels in (BASE["g"], BASE["g"] * 7 - 3, [f"site {v}" for v in BASE["g"]], BASE["g"] / 8):
        agree({**BASE, "g": labels}, expected, adjust=["x"], cluster="g")


@pytest.mark.parametrize("inference", [xw.Simulation(draws=200), xw.Wald(vcov="classic")])
def test_clusters_that_an_inference_does_not_use_are_mentioned(inference: Any) -> None:
    """Model-based errors trust independent rows; whoever declared clusters has to be told."""
    study = xw.TableStudy.from_frame(BASE, PATH, cluster="g")
    with pytest.warns(xw.errors.CrossworldWarning, match="cluster"):
        found = xw.estimate(study, xw.Regression(), inference=inference)
    assert any("cluster" in text for text in found.warnings)


def test_options_of_the_wrong_type_are_not_taken_for_true() -> None:
    # defect: interaction="no" switches the interaction on.
    study = xw.TableStudy.from_frame(BASE, PATH)
    with pytest.raises(xw.errors.SpecError, match=r"interaction.*'no'"):
        xw.estimate(study, xw.Regression(interaction="no"))  # type: ignore[arg-type]

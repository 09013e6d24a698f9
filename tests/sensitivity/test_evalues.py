"""E-values against published worked examples and the R package EValue's own expectations."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crossworld as xw
from crossworld.core.table import EffectTable
from crossworld.errors import SpecError
from crossworld.sensitivity.evalues import evalue, evalues, strength

# estimate, low, high, E-value, E-value of the nearer limit
PUBLISHED = [
    (3.9, 1.8, 8.7, 7.26, 3.0),  # VanderWeele and Ding (2017): formula feeding
    (0.80, 0.71, 0.91, 1.81, 1.43),  # VanderWeele and Ding (2017): leukaemia
    (10.73, 8.02, 14.36, 20.94777, 15.52336),  # EValue 4.1.3, vignette: Hammond and Horn
]


@pytest.mark.parametrize(("estimate", "low", "high", "point", "limit"), PUBLISHED)
def test_published_examples(
    estimate: float, low: float, high: float, point: float, limit: float
) -> None:
    found = evalue(estimate, low=low, high=high)
    digits = len(str(point).split(".")[1])
    assert round(found.point, digits) == point
    assert found.limit is not None and round(found.limit, digits) == limit


def test_limit_without_the_others() -> None:
    assert evalue(3.9, low=2.4).limit == pytest.approx(4.23303, abs=1e-5)
    assert evalue(3.9).limit is None
    assert evalue(3.9, high=8.0).limit is None


@pytest.mark.parametrize(
    ("ratio", "true", "expected"),
    [
        (2.5, 1.5, (2.5 + math.sqrt(2.5 * (2.5 - 1.5))) / 1.5),
        (1.3, 1.05, (1.3 + math.sqrt(1.3 * (1.3 - 1.05))) / 1.05),
        (0.6, 0.4, 1.5 + math.sqrt(1.5 * 0.5)),
        (1.3, 1.4, 1.4 / 1.3 + math.sqrt(1.4 / 1.3 * (1.4 / 1.3 - 1.0))),
        (1.1, 1.1, 1.0),
    ],
)
def test_other_values_than_null_as_the_r_package_expects(
    ratio: float, true: float, expected: float
) -> None:
    assert strength(ratio, true=true) == pytest.approx(expected, abs=1e-12)
    assert strength(1.0 / ratio, true=1.0 / true) == pytest.approx(expected, abs=1e-12)


def test_it_is_the_smallest_common_strength_of_the_bounding_factor() -> None:
    for ratio in (1.2, 3.9, 0.3):
        e = strength(ratio)
        assert e * e / (2.0 * e - 1.0) == pytest.approx(max(ratio, 1.0 / ratio), rel=1e-12)


def test_standardised_differences() -> None:
    d, se = 0.5, 0.2
    half = 1.959963984540054 * se
    found = evalue(d * 3.0, low=(d - half) * 3.0, high=(d + half) * 3.0, scale="difference", sd=3.0)
    assert found.ratio == pytest.approx(math.exp(0.91 * d), rel=1e-12)
    assert found.ratio_low == pytest.approx(math.exp(0.91 * d - 1.78 * se), rel=1e-12)
    assert found.ratio_high == pytest.approx(math.exp(0.91 * d + 1.78 * se), rel=1e-12)
    r = math.exp(0.91 * d - 1.78 * se)
    assert found.limit == pytest.approx(r + math.sqrt(r * (r - 1.0)), rel=1e-12)
    flipped = evalue(-d, low=-d - half, high=-d + half, scale="difference", sd=1.0)
    assert (flipped.point, flipped.limit) == pytest.approx((found.point, found.limit), rel=1e-12)


def test_common_outcomes() -> None:
    assert evalue(5.0, scale="odds ratio", rare=True).point == pytest.approx(5.0 + math.sqrt(20.0))
    root = math.sqrt(1 / 0.86)
    common = evalue(0.86, low=0.75, high=0.99, scale="odds ratio", rare=False)
    assert common.point == pytest.approx(root + math.sqrt(root * (root - 1.0)), rel=1e-12)
    hazard = evalue(1.3, low=1.2, high=1.4, scale="hazard ratio", rare=False)
    r = (1 - 0.5 ** math.sqrt(1.3)) / (1 - 0.5 ** math.sqrt(1 / 1.3))
    low = (1 - 0.5 ** math.sqrt(1.2)) / (1 - 0.5 ** math.sqrt(1 / 1.2))
    assert hazard.point == pytest.approx(r + math.sqrt(r * (r - 1.0)), rel=1e-12)
    assert hazard.limit == pytest.approx(low + math.sqrt(low * (low - 1.0)), rel=1e-12)


def test_an_interval_that_covers_the_null_needs_no_confounder() -> None:
    assert evalue(1.4, low=0.9, high=2.1).limit == 1.0
    assert evalue(0.7, low=0.4, high=1.1).limit == 1.0
    assert evalue(1.0, low=0.9, high=1.1).point == 1.0
    assert evalue(1.0, low=0.9, high=1.1).limit == 1.0


STUDY = xw.datasets.binary_outcome(n=3000, seed=2).study()


def test_rows_of_a_result() -> None:
    asked = [xw.NDE.ratio(), xw.NIE.ratio(), xw.NIE.odds_ratio(), xw.NIE]
    result = xw.estimate(STUDY, xw.Regression(), asked)
    found = evalues(result, rare=False, sd=0.5)
    row = result["nie.ratio"]
    assert row.estimate is not None and row.conf_low is not None
    assert found["nie.ratio"].point == pytest.approx(strength(row.estimate), rel=1e-12)
    assert found["nie.ratio"].limit == pytest.approx(strength(row.conf_low), rel=1e-12)
    odds = result["nie.odds_ratio"].estimate
    assert odds is not None
    assert found["nie.odds_ratio"].point == pytest.approx(strength(math.sqrt(odds)), rel=1e-12)
    plain = result["nie"]
    assert plain.estimate is not None and plain.std_error is not None
    low = math.exp(0.91 * plain.estimate / 0.5 - 1.78 * plain.std_error / 0.5)
    assert found["nie"].ratio_low == pytest.approx(low, rel=1e-9)
    at_90 = xw.estimate(STUDY, xw.Regression(), [xw.NIE], level=0.9)
    assert evalues(at_90, sd=0.5)["nie"].ratio_low == pytest.approx(low, rel=1e-9)


def test_a_result_read_from_a_file_gives_the_same(tmp_path: Path) -> None:
    result = xw.estimate(STUDY, xw.Regression(), [xw.NIE.ratio(), xw.NDE])
    result.to_json(tmp_path / "r.json")
    read = EffectTable.from_json(tmp_path / "r.json")
    assert evalues(read, sd=1.0).to_dict() == evalues(result, sd=1.0).to_dict()


def test_told_in_every_form() -> None:
    found = evalues(xw.estimate(STUDY, xw.Regression(), [xw.NIE.ratio(), xw.NDE.ratio()]))
    assert json.loads(json.dumps(found.to_dict()))["effects"][1]["term"] == "nde.ratio"
    assert list(found.to_frame()["point"]) == [r.point for r in found.rows]
    assert "nie.ratio" in str(found)
    ax = found.plot()
    for row, line in zip(found.rows, ax.lines[::2], strict=True):
        x, y = (np.asarray(v, dtype=float) for v in line.get_data())
        kept = np.isfinite(y)
        factor = x[kept] * y[kept] / (x[kept] + y[kept] - 1.0)
        assert factor == pytest.approx(max(row.ratio, 1 / row.ratio), rel=1e-9)
    assert evalue(2.0).plot().get_xlim()[0] == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"estimate": -0.1}, "positive"),
        ({"estimate": 1.2, "low": 1.3, "high": 1.4}, "enclose"),
        ({"estimate": 1.5, "low": 1.3, "high": 1.4}, "enclose"),
        ({"estimate": 1.5, "scale": "odds ratio"}, "rare=True"),
        ({"estimate": 1.5, "scale": "hazard ratio"}, "a hazard ratio needs rare"),
        ({"estimate": 0.5, "scale": "difference"}, "sd="),
        ({"estimate": 0.5, "scale": "difference", "sd": 0.0}, "sd="),
        ({"estimate": 0.5, "scale": "rate"}, "Did you mean|Known are"),
        ({"estimate": float("nan")}, "finite"),
    ],
)
def test_bad_numbers_are_refused(call: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        evalue(**call)


def test_rows_without_an_e_value_are_refused() -> None:
    result = xw.estimate(STUDY, xw.Regression(), [xw.PM, xw.NIE])
    with pytest.raises(SpecError, match="pm is no contrast"):
        evalues(result, terms=["pm"], sd=1.0)
    with pytest.raises(SpecError, match="nie: a difference needs sd="):
        evalues(result, terms=["nie"])
    with pytest.raises(SpecError, match="'nde'"):
        evalues(result, terms=["nde"])


@pytest.mark.parametrize("given", ["3", [2.0, 3.0], np.array([2.0])])
def test_what_is_no_number(given: Any) -> None:
    with pytest.raises(SpecError, match="are numbers, got"):
        evalue(given)
    with pytest.raises(SpecError, match="are numbers, got"):
        evalue(2.0, low=given)

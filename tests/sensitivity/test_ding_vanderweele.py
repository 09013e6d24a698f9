"""Bounds against enumeration of random discrete models with a hidden confounder."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import crossworld as xw
from crossworld import M, Scores, Y
from crossworld.core.table import EffectTable
from crossworld.errors import DesignError, SpecError
from crossworld.sensitivity.ding_vanderweele import bounding_factor, ding_vanderweele
from crossworld.sensitivity.evalues import evalues

CELLS = (Y(0), Y(1), Y(1, M(0)), Y(0, M(1)))


def table(means: dict[Any, float]) -> EffectTable:
    """Make a result whose cells are exactly these means."""
    noise = np.random.default_rng(0).normal(size=(9, 4))
    values = np.array([means[c] for c in CELLS]) + 1e-3 * (noise - noise.mean(axis=0))
    return xw.contrast(Scores(values, CELLS), [xw.NIE])


def random_model(rng: np.random.Generator) -> tuple[dict[Any, float], dict[Any, float], Any]:
    """Observed cells, true cells, and the strengths for each level the outcome sees.

    Two covariate values c, three of u and three of m; the treatment depends on c, u does not.
    """
    pc, pu = rng.dirichlet(np.ones(2)), rng.dirichlet(np.ones(3), size=2)  # (c, u)
    pm = rng.dirichlet(np.ones(3), size=(2, 2, 3))  # (a, c, u, m)
    y = rng.uniform(0.02, 1.0, size=(2, 2, 3, 3))  # (a, c, u, m)
    joint = pm * pu[None, :, :, None]  # p(u, m | a, c)
    given = joint / joint.sum(axis=2, keepdims=True)  # p(u | a, c, m)
    mean = (y * given).sum(axis=2)  # E[Y | a, c, m]
    law = joint.sum(axis=2)  # p(m | a, c)
    seen, true, strengths = {}, {}, {}
    for a in (0, 1):
        for b in (0, 1):
            cell = Y(a, M(b))
            seen[cell] = float(np.einsum("c,cm,cm->", pc, mean[a], law[b]))
            true[cell] = float(np.einsum("c,cum,cum->", pc, y[a], joint[b]))
        ratio = given[a] / given[1 - a]
        spread = y[a].max(axis=1) / y[a].min(axis=1)
        strengths[a] = (max(ratio.max(), (1.0 / ratio).max()), float(spread.max()))
    return seen, true, strengths


def effects(cells: dict[Any, float], scale: str) -> dict[str, float]:
    pairs = {
        "nde": (Y(1, M(0)), Y(0)),
        "nie": (Y(1), Y(1, M(0))),
        "tnde": (Y(1), Y(0, M(1))),
        "pnie": (Y(0, M(1)), Y(0)),
    }
    if scale == "ratio":
        return {k: cells[p] / cells[q] for k, (p, q) in pairs.items()}
    return {k: cells[p] - cells[q] for k, (p, q) in pairs.items()}


@pytest.mark.parametrize("scale", ["ratio", "difference"])
def test_truth_is_inside_and_weaker_strengths_would_miss_it(scale: Any) -> None:
    rng = np.random.default_rng(12)
    outside_weaker = 0
    for _ in range(60):
        seen, true, strengths = random_model(rng)
        assert seen[Y(1)] == pytest.approx(true[Y(1)], abs=1e-12)
        result, wanted = table(seen), effects(true, scale)
        for term, value in wanted.items():
            own = strengths[1 if term in ("nde", "nie") else 0]
            found = ding_vanderweele(result, term=term, scale=scale, strengths=(1.0, 2.0))
            assert found.estimate == pytest.approx(effects(seen, scale)[term], abs=1e-9)
            bounds = found.at(*own)
            assert bounds.lower <= value + 1e-12 and value <= bounds.upper + 1e-12, term
            weak = found.at(*(1.0 + 0.02 * (s - 1.0) for s in own))
            outside_weaker += not weak.lower <= value <= weak.upper
    assert outside_weaker > 20


def test_bounding_factor_is_attained() -> None:
    """Everyone has U under one level and a share 1 / rr_au under the other."""
    rr_au, rr_uy = 3.0, 4.0
    share = 1.0 / rr_au
    attained = rr_uy / (share * rr_uy + (1.0 - share))
    assert attained == pytest.approx(bounding_factor(rr_au, rr_uy), rel=1e-12)


STUDY = xw.datasets.binary_outcome(n=3000, seed=2).study()
RESULT = xw.estimate(STUDY, xw.Regression(), [xw.TE, xw.NDE.ratio(), xw.NIE.ratio(), xw.PNIE])


@pytest.mark.parametrize("term", ["nde", "nie"])
def test_removing_strength_is_the_e_value(term: str) -> None:
    bounds, e = ding_vanderweele(RESULT, term=term), evalues(RESULT, terms=[f"{term}.ratio"])
    assert bounds.removes == pytest.approx(e[f"{term}.ratio"].point, rel=1e-12)
    assert bounds.removes_limit == pytest.approx(e[f"{term}.ratio"].limit, rel=1e-9)
    at = bounds.at(bounds.removes, bounds.removes)
    nearer = at.lower if bounds.estimate > 1.0 else at.upper
    assert nearer == pytest.approx(1.0, abs=1e-12)


def test_difference_bounds_have_delta_method_limits() -> None:
    found = ding_vanderweele(RESULT, term="nie", scale="difference")
    factor = bounding_factor(1.4, 2.5)
    at = found.at(1.4, 2.5)
    for end, value, limit in (
        (factor, at.lower, at.conf_low),
        (1 / factor, at.upper, at.conf_high),
    ):
        asked = xw.Estimand("bound", Y(1) - Y(1, M(0)) * end)
        row = xw.contrast(RESULT.scores, [asked])["bound"]  # type: ignore[arg-type]
        assert value == pytest.approx(row.estimate, rel=1e-12)
        assert limit == pytest.approx(row.conf_low if end == factor else row.conf_high, rel=1e-9)
    removed = found.at(found.removes_limit, found.removes_limit)
    assert removed.conf_low == pytest.approx(0.0, abs=1e-9)
    assert found.removes == pytest.approx(ding_vanderweele(RESULT, term="nie").removes, rel=1e-12)


def test_no_confounding_is_the_estimate_and_its_interval() -> None:
    row = RESULT["nie.ratio"]
    found = ding_vanderweele(RESULT, term="nie")
    at = found.at(1.0, 5.0)
    figures = (row.estimate, row.estimate, row.conf_low, row.conf_high)
    assert (at.lower, at.upper, at.conf_low, at.conf_high) == pytest.approx(figures, rel=1e-9)
    assert found.lower[0] == pytest.approx(np.full(31, row.estimate), rel=1e-9)


def test_contours_cross_no_effect_at_the_removing_strength() -> None:
    found = ding_vanderweele(RESULT, term="nie")
    drawn = found.contours()
    assert drawn.threshold == 1.0
    ((_, x, y),) = drawn.marks
    assert x == y == found.removes
    i = 10
    assert drawn.values[i, 4] == found.at(float(drawn.x[4]), float(drawn.y[i])).lower
    assert found.contours("limit").values[i, 4] < drawn.values[i, 4]
    found.plot()


def test_told_in_every_form() -> None:
    found = ding_vanderweele(RESULT, term="pnie", strengths=(1.0, 2.0, 3.0))
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["removes"] == found.removes and len(told["lower"]) == 3
    rows = found.to_frame()
    assert rows[(rows.rr_au == 2.0) & (rows.rr_uy == 3.0)]["upper"].item() == found.at(2, 3).upper
    assert f"{found.removes:.3f}" in str(found)


def test_an_interval_that_covers_no_effect_is_removed_by_nothing() -> None:
    rng = np.random.default_rng(0)
    scores = Scores(1.0 + 0.5 * rng.normal(size=(50, 4)), CELLS)
    found = ding_vanderweele(xw.contrast(scores, [xw.NIE]))
    assert found.conf_low < 1.0 < found.conf_high and found.removes_limit == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"term": "te"}, "'te'"),
        ({"scale": "odds"}, "'odds'"),
        ({"strengths": (0.5, 2.0)}, "increase from 1"),
        ({"strengths": (2.0, 1.0)}, "increase from 1"),
    ],
)
def test_bad_options_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        ding_vanderweele(RESULT, **change)


def test_results_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SpecError, match="at least 1"):
        ding_vanderweele(RESULT).at(0.5, 2.0)
    negative = table(dict.fromkeys(CELLS, -1.0))
    with pytest.raises(DesignError, match="never negative"):
        ding_vanderweele(negative)
    with pytest.raises(DesignError, match="was not scored"):
        ding_vanderweele(xw.estimate(STUDY, xw.Regression(), [xw.TE]), term="nde")
    with pytest.raises(DesignError, match="no scores"):
        ding_vanderweele(EffectTable(RESULT.rows, 0.95))

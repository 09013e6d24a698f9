"""Bias formulas against exact enumeration of models in which the confounder is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import crossworld as xw
from crossworld import M, Scores, Y
from crossworld.core.table import EffectTable
from crossworld.errors import DesignError, SpecError
from crossworld.sensitivity.bias_formulas import bias_formulas

Array = NDArray[np.float64]
CELLS = tuple(Y(a, M(b)) for a in (0, 1) for b in (0, 1))
TERMS = (xw.TE, xw.NDE, xw.NIE, xw.TNDE, xw.PNIE, xw.INT_MED)
U = np.array([0.0, 1.0, 2.5])


def table(means: dict[Any, float]) -> EffectTable:
    """Make a result whose cells are exactly these means."""
    noise = np.random.default_rng(0).normal(size=(11, 4))
    values = np.array([means[c] for c in CELLS]) + 1e-3 * (noise - noise.mean(axis=0))
    return xw.contrast(Scores(values, CELLS), TERMS)


def enumerate_cells(kind: str, seed: int) -> tuple[dict[Any, float], dict[Any, float], float, Any]:
    """Observed and true cells, gamma, and delta for mediators weighted as under 0 and as under 1.

    Axes are (c, u) for people, then a, then m; two covariate values, three of U and of m.
    """
    rng = np.random.default_rng(seed)
    to_a, to_m, to_y = (kind.startswith("treat"), "mediator" in kind, "outcome" in kind)
    pc, pu = rng.dirichlet(np.ones(2)), rng.dirichlet(np.ones(3), size=2)
    e = rng.uniform(0.2, 0.8, size=(2, 3 if to_a else 1)) + np.zeros((2, 3))
    pa = np.stack([1.0 - e, e])  # (a, c, u)
    if kind == "treatment-mediator":
        base = rng.uniform(0.1, 0.3, size=(2, 2))  # P(m = 1) linear in u, P(m = 2) free of it
        one = base[:, :, None] + 0.12 * U
        two = np.full_like(one, 0.2)
        pm = np.stack([1.0 - one - two, one, two], axis=-1)  # (b, c, u, m)
        y = rng.normal(size=(2, 2))[:, :, None] + np.array([0.0, 1.5, -1.0])  # (a, c, m)
        gamma = 1.5 * 0.12
    else:
        pm = rng.dirichlet(np.ones(3), size=(2, 2, 3 if to_m else 1)) + np.zeros((2, 2, 3, 3))
        y, gamma = rng.normal(size=(2, 2, 3)), 0.9
    mean = y[:, :, None, :] + (gamma * U[:, None] if to_y else 0.0)  # E[Y | a, c, u, m]
    mean = mean + np.zeros((2, 2, 3, 3))
    joint = pa[..., None] * pm * pu[None, :, :, None]  # p(a, u, m | c)
    seen_mean = (mean * joint).sum(axis=2) / joint.sum(axis=2)  # (a, c, m)
    law = joint.sum(axis=2) / joint.sum(axis=(2, 3))[..., None]  # p(m | a, c)
    seen = {
        Y(a, M(b)): float(np.einsum("c,cm,cm->", pc, seen_mean[a], law[b]))
        for a in (0, 1)
        for b in (0, 1)
    }
    true = {
        Y(a, M(b)): float(np.einsum("c,cu,cum,cum->", pc, pu, mean[a], pm[b]))
        for a in (0, 1)
        for b in (0, 1)
    }
    held = np.einsum("u,acum->acm", U, joint) / joint.sum(axis=2)  # E[U | a, c, m]
    if kind == "mediator-outcome":
        delta = [float(np.einsum("c,cm,cm->", pc, held[1] - held[0], law[b])) for b in (0, 1)]
    else:
        given = np.einsum("u,acum->ac", U, joint) / joint.sum(axis=(2, 3))
        delta = [float(pc @ (given[1] - given[0]))] * 2
    return seen, true, gamma, delta


@pytest.mark.parametrize("kind", ["mediator-outcome", "treatment-outcome", "treatment-mediator"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_corrected_effects_are_the_true_ones(kind: Any, seed: int) -> None:
    seen, true, gamma, delta = enumerate_cells(kind, seed)
    result, wanted = table(seen), table(true)
    biased = 0
    for term in ("te", "nde", "nie", "tnde", "pnie"):
        own = delta[1 if term in ("tnde", "pnie") else 0]
        found = bias_formulas(result, term=term, confounder=kind)
        assert found.at(gamma, own)[0] == pytest.approx(wanted[term].estimate, abs=1e-10), term
        biased += abs(found.estimate - found.at(gamma, own)[0]) > 1e-3
    assert biased == {"mediator-outcome": 4, "treatment-outcome": 3, "treatment-mediator": 3}[kind]


FACTORS = {
    "mediator-outcome": (0, 1, -1, 1, -1, 0),
    "treatment-outcome": (1, 1, 0, 1, 0, 0),
    "treatment-mediator": (1, 0, 1, 0, 1, 0),
}


@pytest.mark.parametrize("kind", FACTORS)
def test_factors_of_the_table(kind: Any) -> None:
    result = table({c: float(k) for k, c in enumerate(CELLS)})
    found = [bias_formulas(result, term=e.name, confounder=kind).factor for e in TERMS]
    assert tuple(found) == FACTORS[kind]


def weighted_table(gamma: float) -> dict[str, Array]:
    """Every (a, u, m) with its probability as weight; outcomes on both sides of their mean."""
    pair = (0, 1)
    rows = [(a, u, m, e) for a in pair for u in pair for m in pair for e in (-0.3, 0.3)]
    a, u, m, e = np.array(rows, dtype=float).T
    chance = 1.0 / (1.0 + np.exp(-(-0.4 + 0.9 * a + 1.3 * u - 0.5 * a * u)))
    weight = 0.25 * np.where(u == 1.0, 0.35, 0.65) * np.where(m == 1.0, chance, 1.0 - chance)
    y = 0.3 + 0.6 * a + 0.8 * m - 0.5 * a * m + gamma * u + e
    return {"a": a, "u": u, "m": m, "y": y, "w": weight}


def test_adjusting_for_the_confounder_gives_the_corrected_estimate() -> None:
    gamma = 1.1
    held = weighted_table(gamma)
    asked = [xw.NDE, xw.NIE, xw.TNDE, xw.PNIE, xw.CDE(1), xw.TE]
    short = xw.TableStudy.from_frame(held, "a -> m -> y", weights="w")
    long = xw.TableStudy.from_frame(held, "a -> m -> y", adjust=["u"], weights="w")
    before = xw.estimate(short, xw.Regression(outcome="y ~ a*m", mediator="m ~ a"), asked)
    after = xw.estimate(long, xw.Regression(outcome="y ~ a*m + u", mediator="m ~ a*u"), asked)

    def share(a: float, m: float) -> tuple[float, float]:
        inside = (held["a"] == a) & (held["m"] == m)
        mass = held["w"][inside]
        return float(mass @ held["u"][inside] / mass.sum()), float(mass.sum()) / 0.5

    gap = [share(1, m)[0] - share(0, m)[0] for m in (0, 1)]
    delta = {b: sum(gap[m] * share(b, m)[1] for m in (0, 1)) for b in (0, 1)}
    own = {"nde": delta[0], "nie": delta[0], "tnde": delta[1], "pnie": delta[1], "te": 0.3}
    own["cde(1)"] = gap[1]
    for row in after:
        found = bias_formulas(before, term=row.term)
        corrected, low, high = found.at(gamma, own[row.term])
        assert corrected == pytest.approx(row.estimate, abs=1e-8), row.term
        assert row.term == "te" or abs(corrected - found.estimate) > 0.02
        assert low is not None and high is not None and found.conf_low is not None
        assert found.conf_high is not None
        assert high - low == pytest.approx(found.conf_high - found.conf_low, abs=1e-12)


STUDY = xw.datasets.linear(n=600, seed=3).study()
RESULT = xw.estimate(STUDY, xw.Regression(), [xw.NIE, xw.NDE, xw.TE, xw.PM, xw.NIE.ratio()])


def test_removing_products() -> None:
    found = bias_formulas(RESULT, term="nie")
    assert found.removes is not None and found.removes_limit is not None
    assert found.removes == -found.estimate
    assert found.at(found.removes / 0.3, 0.3)[0] == pytest.approx(0.0, abs=1e-12)
    ends = found.at(found.removes_limit, 1.0)[1:]
    assert min(abs(v) for v in ends if v is not None) < 1e-12
    assert 0.0 < abs(found.removes_limit) < abs(found.removes)
    turned = xw.datasets.linear(n=600, seed=3).study()
    turned = replace(turned, levels=(turned.levels[1], turned.levels[0]))
    negative = bias_formulas(xw.estimate(turned, xw.Regression(), [xw.NIE]))
    assert negative.estimate < 0.0
    assert negative.removes_limit == pytest.approx(-found.removes_limit, rel=1e-9)
    untouched = bias_formulas(RESULT, term="te")
    assert untouched.removes is None and "does not bias" in str(untouched)


def test_contours_pair_gamma_with_columns() -> None:
    found = bias_formulas(RESULT, term="nde", gamma=(-1.0, 0.0, 2.0), delta=(0.0, 0.25))
    drawn = found.contours("conf_high")
    assert drawn.values[1, 2] == found.at(2.0, 0.25)[2]
    assert drawn.values[1, 0] == found.at(-1.0, 0.25)[2]
    default = bias_formulas(RESULT, term="nde").contours()
    assert default.values.min() < 0.0 < default.values.max()
    found.plot()


def test_told_in_every_form(tmp_path: Path) -> None:
    found = bias_formulas(RESULT, term="nie", gamma=(0.0, 1.0), delta=(0.0, 0.5))
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["corrected"][1][1] == found.at(1.0, 0.5)[0]
    rows = found.to_frame()
    picked = rows[(rows.gamma == 1.0) & (rows.delta == 0.5)]
    assert picked["bias"].item() == -0.5 and picked["estimate"].item() == found.at(1.0, 0.5)[0]
    assert "+ gamma * delta" in str(found)
    RESULT.to_json(tmp_path / "r.json")
    read = EffectTable.from_json(tmp_path / "r.json")
    assert bias_formulas(read, term="nie").to_dict() == bias_formulas(RESULT).to_dict()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"term": "pnie"}, SpecError, "'pnie'"),
        ({"confounder": "outcome"}, SpecError, "'outcome'"),
        ({"gamma": (1.0, 0.0)}, SpecError, "increasing"),
        ({"delta": (0.0,)}, SpecError, "increasing"),
        ({"term": "pm"}, DesignError, "no difference"),
        ({"term": "nie.ratio"}, DesignError, "no difference"),
    ],
)
def test_bad_questions_are_refused(
    change: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        bias_formulas(RESULT, **change)


def test_cells_that_the_formulas_do_not_cover_are_refused() -> None:
    result = xw.estimate(STUDY, xw.Regression(interaction=True), [xw.INT_REF(1), xw.IIE])
    with pytest.raises(DesignError, match="one by one"):
        bias_formulas(result, term="int_ref(1)")
    with pytest.raises(DesignError, match="G"):
        bias_formulas(result, term="iie")

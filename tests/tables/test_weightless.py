"""Rows of weight 0, and incomplete rows that are dropped, leave no trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf

import crossworld as xw

N = 400
METHODS = [
    xw.Regression(),
    xw.Regression(interaction=True, mediator_family={"m": "multinomial"}),
    xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=2),
    xw.TMLE(outcome="linear", treatment="logistic", folds=2),
    xw.Weighting(),
    xw.Imputation(),
    xw.NaturalEffects(),
]


@pytest.fixture(scope="module")
def d() -> pd.DataFrame:
    """Return a table in which six of thirty clusters have weight, and all others odd categories."""
    rng = np.random.default_rng(8)
    c, x = rng.integers(0, 30, N), rng.normal(size=N)
    a = rng.integers(0, 2, N)
    m = np.digitize(0.9 * a + 0.4 * x + rng.normal(size=N), [0.0, 1.0])
    y = 0.3 * a + 0.5 * m + 0.2 * x + rng.normal(size=30)[c] + rng.normal(size=N)
    w = np.where(c < 6, 1.0 + 2.0 * rng.random(N), 0.0)
    g = np.where(c < 6, rng.choice(["p", "q"], N), rng.choice(["p", "z"], N))
    m = np.where((c >= 6) & (rng.random(N) < 0.3), 7, m)
    return pd.DataFrame({"a": a, "m": m, "x": x, "y": y, "w": w, "g": g, "c": c})


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("cluster", ["c", None])
@pytest.mark.filterwarnings("ignore:only 6 clusters")
def test_a_row_of_weight_0_is_as_if_it_were_not_there(
    d: pd.DataFrame, method: Any, cluster: str | None
) -> None:
    whole, part = (
        xw.estimate(
            xw.TableStudy.from_frame(
                table, "a -> m -> y", adjust=["x", "g"], cluster=cluster, weights="w"
            ),
            method,
            [xw.TE, xw.NIE],
        )
        for table in (d, d[d.w > 0])
    )
    for term in ("te", "nie"):
        assert whole[term] == part[term]
    assert whole.diagnostics["n_units"] == (d.w > 0).sum()
    assert whole.diagnostics["n_clusters"] == (6 if cluster else (d.w > 0).sum())
    left = int((d.w == 0).sum())
    assert f"{left} rows of weight 0 left out" in " ".join(whole.diagnostics["heading"])


@pytest.mark.parametrize("method", METHODS[:1] + METHODS[4:], ids=lambda m: type(m).__name__)
def test_a_category_that_only_dropped_rows_have(d: pd.DataFrame, method: Any) -> None:
    holes = d.assign(x=d.x.where(d.c < 6))
    whole, part = (
        xw.estimate(
            xw.TableStudy.from_frame(table, "a -> m -> y", adjust=["x", "g"], missing="drop"),
            method,
            [xw.NIE],
        )
        for table in (holes, holes.dropna())
    )
    assert whole["nie"] == part["nie"]


def test_text_levels_and_other_columns_keep_their_place(d: pd.DataFrame) -> None:
    arm = np.where(d.w == 0, "atlantis", np.where(d.a == 1, "drug", "basic"))
    table = d.assign(a=arm, k=np.arange(N))
    study = xw.TableStudy.from_frame(
        table, "a -> m -> y", adjust=["x"], weights="w", levels=("drug", "basic")
    )
    assert [study.treatment.show(v) for v in study.levels] == ["'drug'", "'basic'"]
    assert study.column("k", "a role").values.tolist() == table.k[d.w > 0].tolist()
    plain = xw.TableStudy.from_frame(
        table[d.w > 0], "a -> m -> y", adjust=["x"], weights="w", levels=("drug", "basic")
    )
    found = [xw.estimate(s, xw.Regression(), [xw.TE])["te"] for s in (study, plain)]
    assert found[0] == found[1]
    assert found[0].estimate < 0


def test_results_fitted_with_weights_of_0(d: pd.DataFrame) -> None:
    study = xw.TableStudy.from_frame(d, "a -> x -> y", weights="w")
    fit = smf.wls("x ~ a", d, weights=d.w).fit()
    method = xw.Regression(
        mediator=fit, outcome=smf.wls("y ~ a + x", d, weights=d.w).fit(cov_type="HC0")
    )
    found = xw.estimate(study, method, [xw.NIE])["nie"]
    assert found == xw.estimate(study, xw.Regression(), [xw.NIE])["nie"]
    counts = d.assign(w=np.ceil(d.w))
    study = xw.TableStudy.from_frame(counts, "a -> x -> y", weights="w")
    glm = smf.glm("x ~ a", counts, freq_weights=counts.w, family=sm.families.Gaussian()).fit()
    found = xw.estimate(study, xw.Regression(mediator=glm), [xw.NIE])["nie"]
    assert found == xw.estimate(study, xw.Regression(), [xw.NIE])["nie"]
    with pytest.raises(xw.errors.DesignError, match="does not agree"):
        xw.estimate(study, xw.Regression(mediator=smf.ols("x ~ a", d).fit()), [xw.NIE])

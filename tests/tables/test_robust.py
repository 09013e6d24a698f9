"""Cross-fitted and weighting estimators: nuisances shared, bounds kept, bad input told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import crossworld as xw
from crossworld import G, M, Y
from crossworld.errors import DesignError, EstimationError, SpecError

N = 600
CELLS = (Y(1), Y(1, M(0)), Y(0, M(1)), Y(0))


def table(seed: int = 2, *, binary: bool = False) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=N)
    a = rng.binomial(1, expit(0.5 * x))
    m = 0.5 * a + 0.4 * x + rng.normal(size=N)
    eta = -0.5 + 0.5 * a + 0.6 * m + 0.3 * x
    y = rng.binomial(1, expit(eta)).astype(float) if binary else eta + rng.normal(size=N)
    return {
        "x": x,
        "a": a,
        "m": m,
        "y": y,
        "f": np.arange(N) % 3,
        "c": np.arange(N) // 4,
        "w": rng.uniform(0.5, 1.5, N),
    }


def study(binary: bool = False, **roles: Any) -> xw.TableStudy:
    return xw.TableStudy.from_frame(table(binary=binary), "a -> m -> y", adjust=["x"], **roles)


LINEAR = xw.MultiplyRobust(outcome="linear", treatment="logistic", folds="f")


@pytest.mark.parametrize(
    "method",
    [
        xw.Weighting(),
        xw.Weighting(link="probit"),
        xw.Weighting(kind="odds"),
        xw.Imputation(),
        xw.Imputation(interaction=True),
        xw.Imputation(weighted=True),
    ],
    ids=repr,
)
@pytest.mark.parametrize("binary", [False, True], ids=["continuous", "binary"])
def test_influence_is_the_derivative_in_each_weight(method: Any, binary: bool) -> None:
    d = table(binary=binary)

    def scores(weights: np.ndarray) -> xw.Scores:
        held = xw.TableStudy.from_frame(
            {**d, "w": weights}, "a -> m -> y", adjust=["x"], weights="w"
        )
        return method.scores(held, CELLS)

    base = d["w"]
    start = scores(base)
    share = base / base.mean()
    found = np.column_stack([start.mean(c).influence for c in CELLS]) / share[:, None]
    assert np.abs((found * share[:, None]).mean(axis=0)).max() < 1e-9
    for i in (0, 17, 311):
        step = 1e-4 * np.eye(N)[i]
        slope = (scores(base + step).means() - scores(base - step).means()) / 2e-4
        assert slope * base.sum() == pytest.approx(found[i], rel=1e-4, abs=1e-6)


def test_huber_weights_written_out() -> None:
    d = table()
    x, xm = d["x"][:, None], np.column_stack([d["x"], d["m"]])
    fit = LogisticRegression(C=np.inf, tol=1e-12, max_iter=5000, solver="newton-cholesky")
    pi = fit.fit(x, d["a"]).predict_proba(x)[:, 1]
    e = fit.fit(xm, d["a"]).predict_proba(xm)[:, 1]
    w = (d["a"] == 1) * (1 - e) / (e * (1 - pi))
    found = xw.Weighting().scores(study(), [Y(1, M(0))]).means()[0]
    assert found == pytest.approx((w * d["y"]).sum() / w.sum(), abs=1e-9)


def test_inverse_odds_written_out() -> None:
    d = table()
    xm = np.column_stack([d["x"], d["m"]])
    fit = LogisticRegression(C=np.inf, tol=1e-12, max_iter=5000, solver="newton-cholesky")
    odds = np.exp(fit.fit(xm, d["a"]).coef_[0, 1] * d["m"])
    on = d["a"] == 1
    line = LinearRegression().fit(d["x"][on, None], d["y"][on], sample_weight=1 / odds[on])
    found = xw.Weighting(kind="odds").scores(study(), [Y(1, M(0))]).means()[0]
    assert found == pytest.approx(line.predict(d["x"][:, None]).mean(), abs=1e-8)


def test_each_nuisance_is_fitted_once_per_fold() -> None:
    """Four cells need 2 treatment models and 6 regressions (two share none) in each of 3 folds."""
    scores = LINEAR.scores(study(), CELLS)
    assert scores.diagnostics["nuisance_fits"] == 3 * (2 + 2 + 4)
    assert LINEAR.scores(study(), CELLS[:1]).diagnostics["nuisance_fits"] == 3 * 2


def test_workers_and_repeats() -> None:
    one = xw.MultiplyRobust("linear", "logistic", folds=4, seed=3)
    two = xw.MultiplyRobust("linear", "logistic", folds=4, seed=3, workers=2)
    assert (one.scores(study(), CELLS).values == two.scores(study(), CELLS).values).all()
    splits = [
        xw.MultiplyRobust("linear", "logistic", folds=4, seed=3, repeats=k).scores(study(), CELLS)
        for k in (1, 5)
    ]
    gap = np.abs(splits[0].means() - splits[1].means())
    errors = [splits[1].mean(c).std_error for c in CELLS]
    assert (gap > 0).all()
    assert (gap < np.array(errors)).all()


def test_unnormalised_score_is_the_formula() -> None:
    d = table()
    method = xw.MultiplyRobust("linear", "logistic", folds="f", normalize=False, trim=0.0)
    found = method.scores(study(), [Y(1, M(0))]).values[:, 0]
    expected = np.empty(N)
    x, xm = d["x"][:, None], np.column_stack([d["x"], d["m"]])
    for fold in range(3):
        out, rest = d["f"] == fold, d["f"] != fold
        fit = LogisticRegression(C=np.inf, tol=1e-12, max_iter=5000, solver="newton-cholesky")
        pi = fit.fit(x[rest], d["a"][rest]).predict_proba(x[out])[:, 1]
        e = fit.fit(xm[rest], d["a"][rest]).predict_proba(xm[out])[:, 1]
        on, off = rest & (d["a"] == 1), rest & (d["a"] == 0)
        mu = LinearRegression().fit(xm[on], d["y"][on])
        om = LinearRegression().fit(x[off], mu.predict(xm[off]))
        a, m1, m0 = d["a"][out], mu.predict(xm[out]), om.predict(x[out])
        w = a * (1 - e) / (e * (1 - pi))
        expected[out] = w * (d["y"][out] - m1) + (1 - a) / (1 - pi) * (m1 - m0) + m0
    assert found == pytest.approx(expected, abs=1e-7)


def test_targeting_stays_in_bounds_and_solves_its_equations() -> None:
    """A rare outcome and hardly any overlap: one-step scores leave [0, 1], targeted ones do not."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=300)
    a = rng.binomial(1, expit(2.5 * x))
    m = a + x + rng.normal(size=300)
    y = (rng.random(300) < expit(-2.5 + 1.5 * x)).astype(float)
    held = xw.TableStudy.from_frame({"x": x, "a": a, "m": m, "y": y}, "a -> m -> y", adjust=["x"])
    options = {"outcome": "linear", "treatment": "logistic", "folds": 3, "trim": 0.001}
    plain = xw.MultiplyRobust(**options, normalize=False).scores(held, CELLS).means()
    targeted = xw.TMLE(**options).scores(held, CELLS).means()
    assert ((plain < 0) | (plain > 1)).any()
    assert ((targeted >= 0) & (targeted <= 1)).all()
    wide = xw.TMLE(**options, bounds=(-1.0, 2.0)).scores(held, CELLS).means()
    assert ((wide >= -1) & (wide <= 2)).all()
    with pytest.raises(DesignError, match="beyond bounds"):
        xw.TMLE(**options, bounds=(0.0, 0.5)).scores(held, CELLS)


def test_nested_regression_of_a_probability_stays_a_probability() -> None:
    method = xw.MultiplyRobust("logistic", "logistic", folds="f")
    from crossworld.tables.robust.data import arrays, route
    from crossworld.tables.robust.engine import recipes
    from crossworld.tables.robust.nuisance import cross_fit, outcome_keys

    held = study(binary=True)
    data, path = arrays(held, "t"), route(held, Y(1, M(0)), "t")
    keys = outcome_keys(path)
    found, _ = cross_fit(data, recipes(method), ids=np.arange(N) % 3, keys=keys)
    for key in keys:
        assert ((found[key] > 0) & (found[key] < 1)).all()
    # fractional logit by hand: both labels of every row, weighted
    d, rest = table(binary=True), np.arange(N) % 3 != 0
    fit = LogisticRegression(C=np.inf, tol=1e-12, max_iter=5000, solver="newton-cholesky")
    on, off = rest & (d["a"] == 1), rest & (d["a"] == 0)
    xm = np.column_stack([d["x"], d["m"]])
    p = fit.fit(xm[on], d["y"][on]).predict_proba(xm[off])[:, 1]
    twice = np.concatenate([d["x"][off], d["x"][off]])[:, None]
    label = np.repeat([1.0, 0.0], off.sum())
    nested = fit.fit(twice, label, sample_weight=np.concatenate([p, 1 - p]))
    assert found[keys[-1]][~rest] == pytest.approx(
        nested.predict_proba(d["x"][~rest, None])[:, 1], abs=1e-6
    )


def test_ordered_blocks_text_treatment_and_clusters() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=N)
    t = rng.choice(["low", "mid", "high"], N)
    on = t == "high"
    m1 = 0.5 * on + x + rng.normal(size=N)
    m2 = 0.4 * on + 0.5 * m1 + rng.normal(size=N)
    y = 0.3 * on + 0.6 * m1 + 0.5 * m2 + x + rng.normal(size=N)
    d = {"x": x, "t": t, "m1": m1, "m2": m2, "y": y, "c": np.arange(N) // 3}
    held = xw.TableStudy.from_frame(
        d, "t -> m1 -> m2 -> y", adjust=["x"], levels=("low", "high"), cluster="c"
    )
    effects = xw.estimate(
        held,
        xw.MultiplyRobust("linear", "logistic", folds=3),
        [xw.TE, xw.NDE, xw.PSE("m1"), xw.PSE("m2")],
    )
    truth = {"te": 0.3 + 0.6 * 0.5 + 0.5 * 0.65, "nde": 0.3, "pse(m1)": 0.3 + 0.125, "pse(m2)": 0.2}
    for term, value in truth.items():
        row = effects[term]
        assert abs(row.estimate - value) < 4 * row.std_error, term
    total = sum(effects[t].estimate for t in ("nde", "pse(m1)", "pse(m2)"))
    assert total == pytest.approx(effects["te"].estimate)


class Nan(BaseEstimator):
    def fit(self, x: np.ndarray, y: np.ndarray, sample_weight: Any = None) -> Nan:
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.full(len(x), np.nan)


class Certain(ClassifierMixin, BaseEstimator):
    """Predicts what it never doubts."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> Certain:
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        sure = (x[:, 0] > 0).astype(float)
        return np.column_stack([1 - sure, sure])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"treatment": Ridge()}, SpecError, "Ridge has no predict_proba"),
        ({"outcome": Nan()}, EstimationError, "Nan predicted .* not finite"),
        ({"outcome": "boost"}, SpecError, "Did you mean 'boosting'"),
        ({"outcome": "logistic"}, SpecError, "not two-valued"),
        ({"treatment": "linear"}, SpecError, "'linear' has none, try 'logistic'"),
        ({"outcome": 3}, SpecError, "neither a scikit-learn object"),
        ({"folds": 700}, DesignError, "700 folds were asked, but there are only 600 rows"),
        ({"folds": 1}, DesignError, "at least 2"),
        ({"folds": "nope"}, DesignError, "'nope' is not in the table"),
        ({"folds": "a"}, DesignError, "at level"),
        ({"trim": 0.7}, SpecError, "under one half"),
        ({"repeats": 0}, SpecError, "at least 1"),
        ({"repeats": 2}, SpecError, "cannot be repeated"),
        ({"mediator": "logistic"}, DesignError, "Leave mediator=None"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    good: dict[str, Any] = {"outcome": "linear", "treatment": "logistic", "folds": "f"}
    with pytest.raises(error, match=message):
        xw.MultiplyRobust(**{**good, **options}).scores(study(), CELLS)


def test_probabilities_at_0_and_1_are_held_and_told() -> None:
    method = xw.MultiplyRobust("linear", Certain(), folds="f", trim=0.02)
    effects = xw.estimate(study(), method)
    assert np.isfinite([r.estimate for r in effects]).all()
    assert any("are held there" in text for text in effects.warnings)
    assert effects.diagnostics["overlap"]["lowest_probability"] == 0.0


def test_weights_reach_the_learners() -> None:
    weighted = study(weights="w")
    pipeline = make_pipeline(StandardScaler(), LinearRegression())
    one = xw.MultiplyRobust("linear", "logistic", folds="f").scores(weighted, CELLS).means()
    two = xw.MultiplyRobust(pipeline, "logistic", folds="f").scores(weighted, CELLS).means()
    assert two == pytest.approx(one, abs=1e-9)
    with pytest.raises(SpecError, match="takes none"):
        xw.MultiplyRobust("linear", Certain(), folds="f").scores(weighted, CELLS)


def test_clusters_stay_whole() -> None:
    clustered = study(cluster="c")
    with pytest.raises(DesignError, match="cut a cluster"):
        LINEAR.scores(clustered, CELLS)
    with pytest.raises(DesignError, match="only 150 clusters"):
        xw.MultiplyRobust("linear", "logistic", folds=200).scores(clustered, CELLS)


def test_cells_that_need_another_method() -> None:
    with pytest.raises(DesignError, match="does not fix mediators|drawn under a level"):
        xw.estimate(study(), LINEAR, [xw.CDE(0)])
    with pytest.raises(DesignError, match="asks for another functional"):
        LINEAR.scores(study(), [Y(1).quantile(0.5)])
    same = LINEAR.scores(study(), [Y(1, G(0)), Y(1, M(0))]).means()
    assert same[0] == same[1]
    data = xw.datasets.continuous_treatment(n=300, seed=1)
    with pytest.raises(DesignError, match="discrete treatment"):
        xw.estimate(data.study(), xw.MultiplyRobust("linear", "logistic"))


def test_automatic_learners() -> None:
    """Few rows: the penalised linear model alone; the choice is printed."""
    few = xw.datasets.linear(n=300, seed=1)
    effects = xw.estimate(few.study(), xw.MultiplyRobust(folds=3))
    assert "stack" in effects.diagnostics["models"]["outcome"]
    assert abs(effects["te"].estimate - 0.6) < 4 * effects["te"].std_error


def test_learned_imputation_is_plug_in() -> None:
    method = xw.Imputation(outcome=LinearRegression())
    with pytest.raises(DesignError, match="plug-in"):
        xw.estimate(study(), method)
    found = xw.estimate(study(), method, inference=xw.Bootstrap(draws=40, seed=1))
    exact = xw.estimate(study(), xw.Imputation())
    for row in exact:
        assert found[row.term].estimate == pytest.approx(row.estimate, abs=1e-9)
        assert found[row.term].std_error == pytest.approx(row.std_error, rel=0.5)

"""Learned models of a vector of mediators: other people's fits, brute force, known truth."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

import crossworld as xw
from crossworld.core.effects import NDE, NIE, PNIE, PSE, TE
from crossworld.errors import DesignError, EstimationError, SpecError
from crossworld.tables.learned.law import curve, gauss, slope
from crossworld.tables.learned_mediator import LearnedMediator
from crossworld.tables.robust.data import arrays

ASKED = [TE, NDE, NIE, PNIE]


def frame(n: int = 600, seed: int = 0, d: int = 5, binary: bool = False) -> dict[str, Any]:
    """Confounded, skewed, correlated mediators; a text covariate; unequal clusters."""
    rng = np.random.default_rng(seed)
    x, kind = rng.normal(size=n), rng.choice(["red", "green", "blue"], n)
    a = (rng.random(n) < expit(0.6 * x + 0.5 * (kind == "red"))).astype(int)
    noise = rng.exponential(size=(n, d)) - 1.0
    m = 0.7 * a[:, None] * np.linspace(1, -0.5, d) + 0.4 * x[:, None] + noise @ rng.normal(
        size=(d, d)
    )  # fmt: skip
    eta = 0.4 * a + m @ np.linspace(0.8, -0.2, d) * (1 + 0.5 * a) + 0.5 * x + (kind == "blue")
    y = (rng.random(n) < expit(eta - 0.5)).astype(int) if binary else eta + rng.normal(size=n)
    columns = {f"m{j}": m[:, j] for j in range(d)}
    return {"x": x, "kind": kind, "a": a, **columns, "y": y, "who": rng.integers(60, size=n)}


def study(columns: dict[str, Any] | None = None, **options: Any) -> xw.TableStudy:
    held = frame() if columns is None else columns
    return xw.TableStudy.from_frame(held, "a -> m* -> y", adjust=["x", "kind"], **options)


@pytest.mark.parametrize("interaction", [True, False])
def test_linear_models_are_those_of_regression(interaction: bool) -> None:
    """Stacked estimating equations that share no code with ours, clusters included."""
    s = study(cluster="who")
    ours = xw.estimate(s, LearnedMediator(interaction=interaction), ASKED)
    theirs = xw.estimate(s, xw.Regression(interaction=interaction), ASKED)
    for one, two in zip(ours, theirs, strict=True):
        assert (one.estimate, one.std_error) == pytest.approx(
            (two.estimate, two.std_error), rel=1e-9
        )


def test_statsmodels_finds_the_same_cells() -> None:
    import pandas as pd
    import statsmodels.formula.api as smf

    s, data = study(), pd.DataFrame(frame())
    names = [f"m{j}" for j in range(5)]
    outcome = smf.ols(f"y ~ a * ({' + '.join(names)}) + x + kind", data).fit()
    held = {}
    for a, b in ((0, 0), (1, 0), (1, 1)):
        moved = data.assign(a=a)
        for name in names:
            moved[name] = smf.ols(f"{name} ~ a + x + kind", data).fit().predict(data.assign(a=b))
        held[a, b] = outcome.predict(moved).mean()
    found = xw.estimate(s, LearnedMediator(), [NDE, NIE])
    assert found["nde"].estimate == pytest.approx(held[1, 0] - held[0, 0], rel=1e-9)
    assert found["nie"].estimate == pytest.approx(held[1, 1] - held[1, 0], rel=1e-9)


def test_a_logit_is_averaged_over_every_pair_of_row_and_residual() -> None:
    """Brute force over n x n pairs with statsmodels' coefficients."""
    import pandas as pd
    import statsmodels.api as sm
    import statsmodels.formula.api as smf

    columns = frame(n=300, binary=True)
    data, names = pd.DataFrame(columns), [f"m{j}" for j in range(5)]
    fit = smf.glm(
        f"y ~ a * ({' + '.join(names)}) + x + kind", data, family=sm.families.Binomial()
    ).fit(tol=1e-12)
    models = [smf.ols(f"{name} ~ a + x + kind", data).fit() for name in names]
    residual = np.column_stack([m.resid for m in models])
    held = {}
    for a, b in ((0, 0), (1, 0), (1, 1)):
        moved = data.assign(a=a)
        for name, model in zip(names, models, strict=True):
            moved[name] = model.predict(data.assign(a=b))
        pull = fit.params[names] + a * fit.params[[f"a:{name}" for name in names]].to_numpy()
        eta = np.log(1.0 / (1.0 / fit.predict(moved) - 1.0)).to_numpy()
        held[a, b] = expit(eta[:, None] + residual @ pull.to_numpy()).mean()
    found = xw.estimate(study(columns), LearnedMediator(), [NDE, NIE])
    assert found["nde"].estimate == pytest.approx(held[1, 0] - held[0, 0], abs=1e-7)
    assert found["nie"].estimate == pytest.approx(held[1, 1] - held[1, 0], abs=1e-7)


def test_influence_of_a_logit_is_the_derivative_in_each_units_weight() -> None:
    columns = frame(n=300, binary=True)
    weight = np.random.default_rng(5).uniform(0.5, 1.5, 300)

    def nie(weights: np.ndarray) -> Any:
        s = study({**columns, "w": weights}, weights="w")
        scores = LearnedMediator(components=3).scores(s, [xw.Y(1), xw.Y(1, xw.M(0))])
        return scores.mean(xw.Y(1)) - scores.mean(xw.Y(1, xw.M(0)))

    found = nie(weight)
    for i in (0, 7, 123, 299):
        step = 1e-3 * weight * (np.arange(300) == i)
        change = (nie(weight + step).value - nie(weight - step).value) / 2e-3
        assert change == pytest.approx(found.influence[i] / 300, rel=2e-3, abs=1e-8)


def test_residuals_need_not_be_normal() -> None:
    """Rare large shifts of the mediator: the residuals' own law is used, a normal one is off."""
    rng, n = np.random.default_rng(1), 40_000
    a = rng.integers(2, size=n)
    jump = np.where(rng.random(n) < 0.1, 9.0, -1.0)
    m = 0.5 * a + jump
    y = (rng.random(n) < expit(-2.0 + 0.2 * a + m)).astype(int)
    s = xw.TableStudy.from_frame({"a": a, "m": m, "y": y}, "a -> m -> y")
    law = (np.array([9.0, -1.0]), np.array([0.1, 0.9]))

    def cell(i: int, j: int) -> float:
        return float(law[1] @ expit(-2.0 + 0.2 * i + 0.5 * j + law[0]))

    found = xw.estimate(s, LearnedMediator(), [NIE])["nie"]
    normal = xw.estimate(s, xw.Regression(interaction=True), [NIE])["nie"]
    nie = cell(1, 1) - cell(1, 0)
    assert abs(found.estimate - nie) < 3 * found.std_error
    assert abs(normal.estimate - nie) > 5 * normal.std_error


def curved(n: int, seed: int) -> xw.TableStudy:
    """Mediators that the treatment shifts where a square of the covariate is large."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    a = (rng.random(n) < expit(2.5 * np.abs(x) - 2.0)).astype(int)
    m = np.column_stack([a * x**2, np.sin(2 * x) + a]) + 0.5 * rng.normal(size=(n, 2))
    y = 0.3 * a + m @ [1.0, 0.5] + 0.5 * x + rng.normal(size=n)
    return xw.TableStudy.from_frame(
        {"x": x, "a": a, "m1": m[:, 0], "m2": m[:, 1], "y": y}, "a -> m1 + m2 -> y", adjust=["x"]
    )


def test_a_network_follows_what_a_line_cannot() -> None:
    """NIE = E[x^2] + 0.5 = 1.5; where the treatment is likely depends on |x|."""
    s = curved(800, 3)
    boot = xw.Bootstrap(draws=20, seed=1)
    bent = xw.estimate(s, LearnedMediator("neural", penalty=0.1), [NIE], inference=boot)["nie"]
    line = xw.estimate(s, LearnedMediator("linear"), [NIE])["nie"]
    assert abs(bent.estimate - 1.5) < 3 * bent.std_error
    assert abs(line.estimate - 1.5) > 4 * line.std_error


def test_a_network_refuses_wald_and_takes_the_bootstrap() -> None:
    s = study(frame(n=200))
    with pytest.raises(xw.errors.CrossworldError, match="Bootstrap"):
        xw.estimate(s, LearnedMediator("neural"))
    found = [
        xw.estimate(s, LearnedMediator("neural"), inference=xw.Bootstrap(draws=20, workers=w)).rows
        for w in (1, 2)
    ]
    assert found[0] == found[1]
    assert all(row.std_error > 0 for row in found[0])


def test_replicates_of_a_network_are_refits_on_the_rows_drawn() -> None:
    s, cells = study(frame(n=150)), [xw.Y(1), xw.Y(1, xw.M(0)), xw.Y(0)]
    method = LearnedMediator("neural", hidden=4)
    counts = np.random.default_rng(3).multinomial(150, np.full(150, 1 / 150), size=2).astype(float)
    fast = method.prepare(s, cells).resampled(counts)
    for b, count in enumerate(counts):
        slow = method.scores(s.take(np.repeat(np.arange(150), count.astype(int))), cells).means()
        assert fast[b] == pytest.approx(slow, abs=1e-7)


def test_whole_weights_are_rows_that_occur_so_often_in_a_network_too() -> None:
    columns = frame(n=150)
    weight = np.arange(150) % 3
    cells = [xw.Y(1), xw.Y(1, xw.M(0))]
    method = LearnedMediator("neural", hidden=4)
    weighted = method.scores(study({**columns, "w": weight}, weights="w"), cells).means()
    rows = np.repeat(np.arange(150), weight)
    repeated = method.scores(study({k: v[rows] for k, v in columns.items()}), cells).means()
    assert weighted == pytest.approx(repeated, abs=1e-7)


def test_batches_give_about_the_same_answer() -> None:
    s = curved(800, 4)
    cells = [xw.Y(1), xw.Y(1, xw.M(0))]
    whole = LearnedMediator("neural").scores(s, cells).means()
    parts = LearnedMediator("neural", batch_size=50).scores(s, cells).means()
    assert whole[0] - whole[1] == pytest.approx(parts[0] - parts[1], abs=0.1)
    assert not np.array_equal(whole, parts)


def test_all_directions_are_the_columns_turned() -> None:
    whole = xw.estimate(study(), LearnedMediator(), ASKED)
    turned = xw.estimate(study(), LearnedMediator(components=5), ASKED)
    for one, two in zip(whole, turned, strict=True):
        assert (one.estimate, one.std_error) == pytest.approx((two.estimate, two.std_error))


def test_directions_look_at_no_row() -> None:
    found = [
        LearnedMediator(components=2, seed=4).learn(study(frame(seed=k)), draws=20).projection
        for k in (1, 2)
    ]
    assert np.array_equal(*found)
    assert found[0].T @ found[0] == pytest.approx(np.eye(2))
    chosen = LearnedMediator(components=np.eye(5)[:, :2])
    first = study(frame() | {"m2": np.zeros(600) + frame()["m2"]})
    cut = xw.TableStudy.from_frame(frame(), "a -> m0 + m1 -> y", adjust=["x", "kind"])
    assert xw.estimate(first, chosen)["nie"].estimate == pytest.approx(
        xw.estimate(cut, LearnedMediator())["nie"].estimate
    )


def test_few_rows_and_many_columns_ask_for_directions() -> None:
    s = study(frame(n=60, d=40))
    with pytest.raises(EstimationError, match="components=8"):
        xw.estimate(s, LearnedMediator())
    assert xw.estimate(s, LearnedMediator(components=4))["te"].std_error > 0


def test_a_spec_brings_the_same_back(tmp_path: Any) -> None:
    import pandas as pd

    pd.DataFrame(frame()).to_csv(tmp_path / "d.csv", index=False)
    matrix = [[1, 0], [0, 1], [1, 1], [0, 0], [2, 0]]
    document = {
        "study": {"data": "d.csv", "path": "a -> m* -> y", "adjust": ["x", "kind"]},
        "estimator": {"name": "LearnedMediator", "components": matrix},
    }
    (tmp_path / "s.json").write_text(json.dumps(document))
    first = xw.load_spec(tmp_path / "s.json").run()
    (tmp_path / "r.json").write_text(json.dumps({**first.spec, "study": document["study"]}))
    again = xw.load_spec(tmp_path / "r.json").run()
    assert [r.estimate for r in again] == [r.estimate for r in first]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mediator": "linaer"}, "linear"),
        ({"outcome": "probit"}, "logistic"),
        ({"components": 0}, "at least 1"),
        ({"components": 2.5}, "matrix"),
        ({"components": [[1, "a"]]}, "matrix"),
        ({"hidden": 0}, "hidden"),
        ({"batch_size": -1}, "batch_size"),
        ({"penalty": float("nan")}, "penalty"),
        ({"seed": True}, "seed"),
        ({"interaction": "yes"}, "True or False"),
    ],
)
def test_options_that_cannot_be_meant(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        LearnedMediator(**options)


def test_what_does_not_fit_the_study() -> None:
    for options, said in (
        ({"components": 9}, "at most 5"),
        ({"components": [[1.0]]}, "matrix of 1 rows"),
        ({"outcome": "logistic"}, "within 0 and 1"),
    ):
        with pytest.raises(SpecError, match=said):
            xw.estimate(study(), LearnedMediator(**options))
    ordered = xw.datasets.ordered(n=200, seed=1).study()
    with pytest.raises(DesignError, match="one vector"):
        xw.estimate(ordered, LearnedMediator(), [PSE("m1")])
    assert xw.estimate(ordered, LearnedMediator(), [NIE])["nie"].std_error > 0
    with pytest.raises(DesignError, match="fix"):
        xw.estimate(xw.datasets.linear(n=200, seed=1).study(), LearnedMediator(), [xw.CDE(0.5)])
    with pytest.raises(SpecError, match="Bootstrap"):
        xw.estimate(study(), LearnedMediator(), inference=xw.Simulation(draws=50))


# -- the law of the residuals


def test_quadrature_averages_like_the_sample() -> None:
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=700) * 3, rng.exponential(size=50), np.array([1.0, 1.0, 4.0])):
        weights = rng.uniform(size=len(values))
        nodes, share = gauss(values, weights), weights / weights.sum()
        at = np.array([-2.0, 0.3, 5.0])
        whole = expit(at[:, None] + values)
        assert curve(True, at, nodes) == pytest.approx(whole @ share, abs=1e-7)
        assert slope(True, at, nodes) == pytest.approx((whole * (1 - whole)) @ share, abs=1e-6)
        assert nodes.mass.sum() == pytest.approx(1.0)
        assert nodes.mass @ nodes.at**3 == pytest.approx(share @ values**3)
    assert gauss(np.full(5, 2.0), np.ones(5)).at.tolist() == [2.0]


# -- effects of new rows


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("mediator", ["linear", "neural"])
def test_effects_of_the_rows_average_to_the_estimate(binary: bool, mediator: Any) -> None:
    s = study(frame(n=300, binary=binary), cluster="who")
    method = LearnedMediator(mediator, hidden=4)
    models = method.learn(s, draws=20)
    per_row = models.effects(arrays(s, "test").given(0))
    scores = method.scores(s, [xw.Y(0), xw.Y(1, xw.M(0)), xw.Y(1)]).means()
    assert per_row.estimate.mean(axis=0) == pytest.approx(
        [scores[2] - scores[0], scores[1] - scores[0], scores[2] - scores[1]], abs=1e-9
    )
    assert per_row.estimate[:, 0] == pytest.approx(per_row.estimate[:, 1] + per_row.estimate[:, 2])


def test_arrays_alone_give_the_effects() -> None:
    """The recipe of the docstring, in plain numpy, as an exporter would write it."""
    s = study(frame(n=300, binary=True))
    for mediator in ("linear", "neural"):
        models = LearnedMediator(mediator, hidden=3, components=4).learn(s, draws=20)
        held, x = models.arrays(), models.design({"x": [0.3, -1.0], "kind": ["red", "blue"]})
        cells = np.empty((2, 2, 2))
        for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
            arm = [np.tile(held["indicators"][j], (2, 1)) for j in (a, b)]
            inputs = np.column_stack([arm[1], x])
            mu = np.column_stack([np.ones(2), inputs]) @ held["mediator"][0]
            if mediator == "neural":
                inner = np.tanh(inputs @ held["enter"][0] + held["bias"][0])
                mu = mu + inner @ held["leave"][0] + held["shift"][0]
            row = np.column_stack([np.ones(2), arm[0], mu, arm[0] * mu, x])
            eta = row @ held["outcome"][0]
            cells[:, a, b] = expit(eta[:, None] + held["nodes"][0, a]) @ held["mass"][0, a]
        assert models.cells(x)[0] == pytest.approx(cells, abs=1e-12)


def test_spread_of_the_replicates_is_that_of_the_delta_method() -> None:
    """A conditional direct effect without products is one coefficient of statsmodels."""
    import pandas as pd
    import statsmodels.formula.api as smf

    s = study(frame(n=500))
    models = LearnedMediator(interaction=False).learn(s, draws=300)
    found = models.effects(models.design({"x": [0.0, 2.0], "kind": ["red", "green"]}))
    names = " + ".join(f"m{j}" for j in range(5))
    fit = smf.ols(f"y ~ a + {names} + x + kind", pd.DataFrame(frame(n=500))).fit(cov_type="HC0")
    assert found.estimate[:, 1] == pytest.approx(fit.params["a"])
    assert found.std_error[:, 1] == pytest.approx(fit.bse["a"], rel=0.15)
    assert found.conf_high - found.conf_low == pytest.approx(2 * 1.959964 * found.std_error)


def test_observed_mediators_bring_the_units_own_residual() -> None:
    columns = frame(n=400, binary=True)
    s = study(columns)
    models = LearnedMediator(components=4).learn(s, draws=20)
    x = arrays(s, "test").given(0)
    raw = np.column_stack([columns[f"m{j}"] for j in range(5)])
    cells = models.cells(x, mediators=raw, arm=columns["a"])[0]
    own = np.where(columns["a"] == 1, cells[:, 1, 1], cells[:, 0, 0])
    # at the observed treatment and mediators the cell is the outcome model's fitted value
    m = raw @ models.projection
    arm = columns["a"][:, None]
    design = np.column_stack([np.ones(400), arm, m, arm * m, x])
    assert own == pytest.approx(expit(design @ models.arrays()["outcome"][0]))
    # without them the cell averages over the residuals
    assert cells[:, 1, 0].std() > models.cells(x)[0][:, 1, 0].std()


def test_new_rows_that_do_not_fit() -> None:
    models = LearnedMediator().learn(study(), draws=20)
    with pytest.raises(DesignError, match="'kind'"):
        models.design({"x": [1.0]})
    with pytest.raises(DesignError, match="'pink'"):
        models.design({"x": [1.0], "kind": ["pink"]})
    with pytest.raises(DesignError, match="finite"):
        models.design({"x": ["much"], "kind": ["red"]})
    with pytest.raises(DesignError, match="3 columns"):
        models.effects(np.zeros((2, 2)))
    with pytest.raises(DesignError, match=r"\(2, 5\)"):
        models.effects(np.zeros((2, 3)), mediators=np.zeros((2, 4)), arm=0)
    with pytest.raises(DesignError, match="arm="):
        models.effects(np.zeros((2, 3)), mediators=np.zeros((2, 5)))
    with pytest.raises(SpecError, match="draws"):
        LearnedMediator().learn(study(), draws=3)

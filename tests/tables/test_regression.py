"""`Regression` on designs with more to them: blocks, orders, formulas, populations, odds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from scipy import stats
from scipy.special import expit

import crossworld as xw
from crossworld import G, M, Y, set_
from crossworld.errors import DesignError, EstimationError, SpecError

N = 600


@pytest.fixture(scope="module")
def d() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    x, g = rng.normal(size=N), rng.choice(["u", "v", "w"], N)
    a = rng.binomial(1, expit(0.3 * x))
    e = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1.5]], N)
    m1 = 0.5 * a + 0.3 * x + e[:, 0]
    m2 = -0.4 * a + 0.2 * x + e[:, 1]
    k = rng.binomial(1, expit(0.4 * a - 0.2 * x + 0.5 * m1))
    y = 0.3 * a + 0.4 * m1 - 0.3 * m2 + 0.2 * a * m1 + 0.5 * x + rng.normal(size=N)
    z = rng.binomial(1, expit(-0.3 + 0.5 * a + 0.6 * m1 - 0.4 * m2 + 0.3 * k + 0.2 * x))
    t = np.where(a == 1, "drug", "placebo")
    return pd.DataFrame(
        {"a": a, "m1": m1, "m2": m2, "k": k, "y": y, "z": z, "x": x, "g": g, "t": t}
    )


def cell(study: xw.TableStudy, method: xw.Regression, asked: xw.Cell) -> float:
    bound = asked.bind(study.blocks)
    return method.scores(study, [bound]).mean(bound).value


def normal_grid(size: int = 241) -> tuple[np.ndarray, np.ndarray]:
    z = np.linspace(-8.5, 8.5, size)
    return z, stats.norm.pdf(z) * (z[1] - z[0])


def test_joint_block_keeps_the_residual_covariance(d: pd.DataFrame) -> None:
    study = xw.TableStudy.from_frame(d, "a -> m1 + m2 -> z", adjust=["x"])
    fits = [smf.ols(f"{m} ~ a + x", d).fit() for m in ("m1", "m2")]
    fy = smf.logit("z ~ a + m1 + m2 + x", d).fit(disp=0, tol=1e-13)
    r = np.column_stack([f.resid for f in fits])
    cov = r.T @ r / (N - 3)
    mu = [f.predict(d.assign(a=0)) for f in fits]
    slope = fy.params[["m1", "m2"]].to_numpy()
    eta = (
        fy.params["Intercept"]
        + fy.params["a"]
        + fy.params["x"] * d.x
        + slope[0] * mu[0]
        + slope[1] * mu[1]
    )
    zz, w = normal_grid()
    expected = (expit(eta.to_numpy()[:, None] + np.sqrt(slope @ cov @ slope) * zz) @ w).mean()
    assert cell(study, xw.Regression(), Y(1, M(0))) == pytest.approx(expected, abs=1e-9)
    independent = (
        expit(eta.to_numpy()[:, None] + np.sqrt(slope**2 @ np.diag(cov)) * zz) @ w
    ).mean()
    assert abs(independent - expected) > 1e-5  # the covariance matters here


def test_nonlinear_use_of_a_joint_block_by_two_dimensional_quadrature(d: pd.DataFrame) -> None:
    study = xw.TableStudy.from_frame(d, "a -> m1 + m2 -> z", adjust=["x"])
    text = "z ~ a + m1*m2 + I(m1**2) + x"
    fy = smf.logit(text, d).fit(disp=0, tol=1e-13)
    fits = [smf.ols(f"{m} ~ a + x", d).fit() for m in ("m1", "m2")]
    r = np.column_stack([f.resid for f in fits])
    root = np.linalg.cholesky(r.T @ r / (N - 3))
    zz, w = normal_grid(61)
    total = 0.0
    mu = [f.predict(d.assign(a=1)).to_numpy() for f in fits]
    for z1, w1 in zip(zz, w, strict=True):
        for z2, w2 in zip(zz, w, strict=True):
            at = d.assign(
                a=0, m1=mu[0] + root[0, 0] * z1, m2=mu[1] + root[1, 0] * z1 + root[1, 1] * z2
            )
            if w1 * w2 > 1e-12:
                total += w1 * w2 * _logit_mean(fy.params, at)
    found = cell(study, xw.Regression(outcome=text), Y(0, M(1)))
    assert found == pytest.approx(total, abs=1e-7)


def _logit_mean(p: pd.Series, at: pd.DataFrame) -> float:
    eta = (
        p["Intercept"]
        + p["a"] * at.a
        + p["m1"] * at.m1
        + p["m2"] * at.m2
        + p["m1:m2"] * at.m1 * at.m2
        + p["I(m1 ** 2)"] * at.m1**2
        + p["x"] * at.x
    )
    return float(expit(eta).mean())


def test_ordered_mediators_by_products_of_coefficients(d: pd.DataFrame) -> None:
    study = xw.TableStudy.from_frame(d, "a -> m1 -> m2 -> y", adjust=["x"])
    f1 = smf.ols("m1 ~ a + x", d).fit().params
    f2 = smf.ols("m2 ~ a + m1 + x", d).fit().params
    fy = smf.ols("y ~ a + m1 + m2 + x", d).fit().params
    effects = xw.estimate(
        study,
        xw.Regression(),
        [xw.TE, xw.NDE, xw.NIE, xw.PSE("m1"), xw.PSE("m2"), xw.PSE("m2", type=2)],
    )
    through_m2 = f2["a"] * fy["m2"]
    through_m1 = f1["a"] * (fy["m1"] + f2["m1"] * fy["m2"])
    assert effects["pse(m2)"].estimate == pytest.approx(through_m2, abs=1e-12)
    assert effects["pse(m2, type=2)"].estimate == pytest.approx(through_m2, abs=1e-12)
    assert effects["pse(m1)"].estimate == pytest.approx(through_m1, abs=1e-12)
    assert effects["nde"].estimate == pytest.approx(fy["a"], abs=1e-12)
    total = effects["nde"].estimate + effects["pse(m1)"].estimate + effects["pse(m2)"].estimate
    assert total == pytest.approx(effects["te"].estimate, abs=1e-12)


def test_mixed_block_binary_after_normal(d: pd.DataFrame) -> None:
    """m1 is normal, k is binary given m1, the logit outcome uses both: m1 must be integrated."""
    study = xw.TableStudy.from_frame(d, "a -> m1 + k -> z", adjust=["x"])
    f1 = smf.ols("m1 ~ a + x", d).fit()
    fk = smf.logit("k ~ a + m1 + x", d).fit(disp=0, tol=1e-13).params
    fz = smf.logit("z ~ a + m1 + k + x", d).fit(disp=0, tol=1e-13).params
    zz, w = normal_grid(401)
    mu = f1.predict(d.assign(a=0)).to_numpy()[:, None] + np.sqrt(f1.scale) * zz
    x = d.x.to_numpy()[:, None]
    p = expit(fk["Intercept"] + fk["m1"] * mu + fk["x"] * x)
    eta = fz["Intercept"] + fz["a"] + fz["m1"] * mu + fz["x"] * x
    expected = (((1 - p) * expit(eta) + p * expit(eta + fz["k"])) @ w).mean()
    assert cell(study, xw.Regression(), Y(1, M(0))) == pytest.approx(expected, abs=1e-9)


def test_text_treatment_and_text_mediator(d: pd.DataFrame) -> None:
    study = xw.TableStudy.from_frame(d, "t -> g -> y", adjust=["x"], levels=("placebo", "drug"))
    method = xw.Regression(outcome="y ~ t * g + x")
    coded = d.assign(c=d.g.map({"u": 0, "v": 1, "w": 2}))
    fm = sm.MNLogit(coded.c, sm.add_constant(coded[["a", "x"]])).fit(disp=0, tol=1e-12)
    fy = smf.ols("y ~ a * C(g) + x", d).fit()
    p = fm.predict(sm.add_constant(coded[["a", "x"]].assign(a=0), has_constant="add")).to_numpy()
    expected = sum(
        (p[:, j] * fy.predict(d.assign(a=1, g=label)).to_numpy()).mean()
        for j, label in enumerate("uvw")
    )
    assert cell(study, method, Y(1, M(0))) == pytest.approx(expected, abs=1e-9)
    assert cell(study, method, Y("drug", M("placebo"))) == pytest.approx(expected, abs=1e-9)
    held = fy.predict(d.assign(a=1, g="w")).mean() - fy.predict(d.assign(a=0, g="w")).mean()
    found = xw.estimate(study, method, [xw.CDE(g="w")])
    assert found["cde(g='w')"].estimate == pytest.approx(held, abs=1e-10)


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ("y ~ a * m1 + I(m1**2) + x", True),
        ("y ~ a + poly(m1, 3) + x", True),
        ("y ~ a + x * m1 + x * a", True),
        ("y ~ a + np.exp(0.3 * m1) + x", False),
        ("y ~ a * C(g) + center(m1) * x", True),
    ],
)
def test_any_formula(d: pd.DataFrame, text: str, exact: bool) -> None:
    study = xw.TableStudy.from_frame(d, "a -> m1 -> y", adjust=["x", "g"])
    f1 = smf.ols("m1 ~ a * x", d).fit()
    method = xw.Regression(outcome=text, mediator="m1 ~ a * x")
    import formulaic

    response, right = formulaic.model_matrix(text, d)
    b = np.linalg.lstsq(np.asarray(right, float), np.asarray(response, float)[:, 0], rcond=None)[0]
    zz, w = normal_grid(121)
    mu, total = f1.predict(d.assign(a=0)).to_numpy(), 0.0
    for z, weight in zip(zz, w, strict=True):
        at = d.assign(a=1, m1=mu + np.sqrt(f1.scale) * z)
        total += weight * float(
            (np.asarray(right.model_spec.get_model_matrix(at), float) @ b).mean()
        )
    assert cell(study, method, Y(1, M(0))) == pytest.approx(total, abs=1e-8 if exact else 1e-7)


def test_conditional_on_covariates_and_on_the_treated(d: pd.DataFrame) -> None:
    study = xw.TableStudy.from_frame(d, "a -> m1 -> y", adjust=["x", "g"])
    f1 = smf.ols("m1 ~ a * x + g", d).fit()
    fy = smf.ols("y ~ a * m1 + a * x + g", d).fit()
    text = {"mediator": "m1 ~ a * x + g", "outcome": "y ~ a * m1 + a * x + g"}

    def nde(at: pd.DataFrame) -> float:
        m = f1.predict(at.assign(a=0))
        return float((fy.predict(at.assign(a=1, m1=m)) - fy.predict(at.assign(a=0, m1=m))).mean())

    cases = {
        nde(d.assign(x=0.7)): {"at": {"x": 0.7}},
        nde(d.assign(x=0.7, g="v")): {"at": {"x": 0.7, "g": "v"}},
        nde(d[d.a == 1]): {"population": "treated"},
        nde(d[d.a == 0]): {"population": "control"},
    }
    for expected, options in cases.items():
        found = xw.estimate(study, xw.Regression(**text, **options), [xw.NDE])["nde"]
        assert found.estimate == pytest.approx(expected, abs=1e-10), options
        boot = xw.estimate(
            study,
            xw.Regression(**text, **options),
            [xw.NDE],
            inference=xw.Bootstrap(draws=400, seed=2),
        )["nde"]
        assert boot.std_error == pytest.approx(found.std_error, rel=0.15), options


def test_rare_outcome_closed_forms_normal_mediator(d: pd.DataFrame) -> None:
    """Valeri and VanderWeele (2013): linear mediator, logistic outcome with interaction."""
    study = xw.TableStudy.from_frame(d, "a -> m1 -> z", adjust=["x"])
    f1 = smf.ols("m1 ~ a + x", d).fit()
    fz = smf.logit("z ~ a * m1 + x", d).fit(disp=0, tol=1e-13).params
    b, s2, c = f1.params, f1.scale, d.x.mean()
    t1, t2, t3 = fz["a"], fz["m1"], fz["a:m1"]
    mu0 = b["Intercept"] + b["x"] * c
    log = {
        "nde.odds_ratio": t1 + t3 * (mu0 + t2 * s2) + 0.5 * t3**2 * s2,
        "tnde.odds_ratio": t1 + t3 * (mu0 + b["a"] + t2 * s2) + 0.5 * t3**2 * s2,
        "nie.odds_ratio": (t2 + t3) * b["a"],
        "pnie.odds_ratio": t2 * b["a"],
        "cde(0.5).odds_ratio": t1 + 0.5 * t3,
    }
    method = xw.Regression(interaction=True, rare_outcome=True)
    found = xw.estimate(study, method, [xw.estimand(name) for name in log])
    for name, value in log.items():
        assert found[name].estimate == pytest.approx(np.exp(value), rel=1e-9), name
        assert found[name].conf_low < found[name].estimate < found[name].conf_high


def test_rare_outcome_closed_forms_binary_mediator(d: pd.DataFrame) -> None:
    study = xw.TableStudy.from_frame(d, "a -> k -> z", adjust=["x"])
    bk = smf.logit("k ~ a + x", d).fit(disp=0, tol=1e-13).params
    t = smf.logit("z ~ a * k + x", d).fit(disp=0, tol=1e-13).params
    base = bk["Intercept"] + bk["x"] * d.x.mean()

    def big(y: int, a: int) -> float:
        return np.log1p(np.exp(t["k"] + t["a:k"] * y + base + bk["a"] * a))

    def small(a: int) -> float:
        return np.log1p(np.exp(base + bk["a"] * a))

    method = xw.Regression(interaction=True, rare_outcome=True)
    found = xw.estimate(study, method, [xw.NDE.odds_ratio(), xw.NIE.odds_ratio()])
    nde = t["a"] + big(1, 0) - big(0, 0)
    nie = small(0) - small(1) + big(1, 1) - big(1, 0)
    assert found["nde.odds_ratio"].estimate == pytest.approx(np.exp(nde), rel=1e-9)
    assert found["nie.odds_ratio"].estimate == pytest.approx(np.exp(nie), rel=1e-9)


def test_four_way_decomposition_adds_up_on_every_scale(d: pd.DataFrame) -> None:
    study = xw.TableStudy.from_frame(d, "a -> m1 -> z", adjust=["x"])
    parts = xw.four_way(m1=0.3)
    found = xw.estimate(study, xw.Regression(interaction=True), [xw.TE, *parts])
    assert sum(found[p.name].estimate for p in parts) == pytest.approx(found["te"].estimate)
    excess = [p.excess_ratio() for p in parts]
    found = xw.estimate(study, xw.Regression(interaction=True), [xw.TE.ratio(), *excess])
    total = sum(found[p.name].estimate for p in excess)
    assert total == pytest.approx(found["te.ratio"].estimate - 1.0)


def test_interventional_effects_with_an_intermediate_confounder(d: pd.DataFrame) -> None:
    """All linear: the interventional indirect effect is a product of coefficients."""
    study = xw.TableStudy.from_frame(d, "a -> m2 -> y", adjust=["x"], intermediate=["m1"])
    fl = smf.ols("m1 ~ a + x", d).fit().params
    fm = smf.ols("m2 ~ a + m1 + x", d).fit().params
    fy = smf.ols("y ~ a + m1 + m2 + x", d).fit().params
    found = xw.estimate(study, xw.Regression(), [xw.TE, xw.IDE, xw.IIE, xw.OE, xw.CDE(0)])
    total_m = fm["a"] + fm["m1"] * fl["a"]
    assert found["iie"].estimate == pytest.approx(total_m * fy["m2"], abs=1e-12)
    assert found["ide"].estimate == pytest.approx(fy["a"] + fl["a"] * fy["m1"], abs=1e-12)
    assert found["cde(0)"].estimate == pytest.approx(fy["a"] + fl["a"] * fy["m1"], abs=1e-12)
    with pytest.raises(xw.errors.NotIdentifiedError, match="`m1` is affected by the treatment"):
        xw.estimate(study, xw.Regression(), [xw.NIE])


def test_separate_random_draws_break_the_dependence_of_mediators(d: pd.DataFrame) -> None:
    """Y(1, m1=G(1), k=G(0)): k is drawn from its own margin, not given the m1 that is used."""
    study = xw.TableStudy.from_frame(d, "a -> m1 -> k -> z", adjust=["x"])
    f1 = smf.ols("m1 ~ a + x", d).fit()
    fk = smf.logit("k ~ a + m1 + x", d).fit(disp=0, tol=1e-13).params
    fz = smf.logit("z ~ a + m1 + k + x", d).fit(disp=0, tol=1e-13).params
    zz, w = normal_grid(401)
    x = d.x.to_numpy()[:, None]
    m = {a: f1.predict(d.assign(a=a)).to_numpy()[:, None] + np.sqrt(f1.scale) * zz for a in (0, 1)}
    p = (expit(fk["Intercept"] + fk["m1"] * m[0] + fk["x"] * x) @ w)[:, None]
    eta = fz["Intercept"] + fz["a"] + fz["m1"] * m[1] + fz["x"] * x
    expected = (((1 - p) * expit(eta) + p * expit(eta + fz["k"])) @ w).mean()
    found = cell(study, xw.Regression(), Y(1, m1=G(1), k=G(0)))
    assert found == pytest.approx(expected, abs=1e-9)


def test_fitted_statsmodels_results(d: pd.DataFrame) -> None:
    study = xw.TableStudy.from_frame(d, "a -> m1 -> z", adjust=["x"])
    fitted = xw.Regression(
        mediator=smf.ols("m1 ~ a * x", d).fit(), outcome=smf.probit("z ~ a * m1 + x", d).fit(disp=0)
    )
    written = xw.Regression(
        mediator="m1 ~ a * x", outcome="z ~ a * m1 + x", outcome_family="probit"
    )
    effects = [xw.estimate(study, m, [xw.NIE])["nie"] for m in (fitted, written)]
    assert effects[0].estimate == effects[1].estimate
    glm = xw.Regression(outcome=smf.glm("z ~ a + m1 + x", d, family=sm.families.Binomial()).fit())
    assert "logit" in xw.estimate(study, glm, [xw.NIE]).diagnostics["models"]["z"]
    arrays = sm.Logit(d.z, sm.add_constant(d[["a", "m1", "x"]])).fit(disp=0)
    same = xw.estimate(study, xw.Regression(outcome=arrays), [xw.NIE])["nie"]
    assert same.estimate == pytest.approx(xw.estimate(study, glm, [xw.NIE])["nie"].estimate)
    other = smf.ols("m1 ~ a + x", d.iloc[:300]).fit()
    with pytest.raises(DesignError, match="does not agree with a fit"):
        xw.estimate(study, xw.Regression(mediator=other), [xw.NIE])
    with pytest.raises(SpecError, match="formula or a fitted statsmodels result"):
        xw.estimate(study, xw.Regression(mediator=3.0), [xw.NIE])


def test_weights_are_copies_or_shares(d: pd.DataFrame) -> None:
    rng = np.random.default_rng(8)
    w = rng.integers(1, 4, N)
    copies = d.loc[d.index.repeat(w)].assign(c=np.repeat(np.arange(N), w))
    weighted = d.assign(w=w, c=np.arange(N))
    path, roles = "a -> m1 -> z", {"adjust": ["x"], "cluster": "c"}
    long = xw.estimate(xw.TableStudy.from_frame(copies, path, **roles), xw.Regression())
    short = xw.estimate(
        xw.TableStudy.from_frame(weighted, path, **roles, weights="w"), xw.Regression()
    )
    half = xw.estimate(
        xw.TableStudy.from_frame(weighted.assign(w=w / 2.7), path, **roles, weights="w"),
        xw.Regression(),
    )
    for row in long:
        assert short[row.term].estimate == pytest.approx(row.estimate, abs=1e-11)
        assert short[row.term].std_error == pytest.approx(row.std_error, rel=1e-9)
        assert half[row.term].estimate == pytest.approx(row.estimate, rel=1e-3)


def test_functionals_other_than_the_mean_are_refused(d: pd.DataFrame) -> None:
    study = xw.TableStudy.from_frame(d, "a -> m1 -> y", adjust=["x"])
    with pytest.raises(DesignError, match="estimates means"):
        xw.estimate(
            study, xw.Regression(), [xw.Estimand("q", Y(1).quantile(0.5) - Y(0).quantile(0.5))]
        )


def test_mediator_formula_that_leaves_the_domain_of_the_outcome_formula(d: pd.DataFrame) -> None:
    study = xw.TableStudy.from_frame(d.assign(m1=np.exp(d.m1 / 2)), "a -> m1 -> y", adjust=["x"])
    with pytest.raises(EstimationError, match="not finite at values that a normal mediator takes"):
        xw.estimate(study, xw.Regression(outcome="y ~ a + np.log(m1) + x"), [xw.NIE])


def test_fixed_values_and_regimes_are_checked(d: pd.DataFrame) -> None:
    study = xw.TableStudy.from_frame(d, "a -> m1 + m2 -> y", adjust=["x"])
    with pytest.raises(DesignError, match="different regimes"):
        xw.estimate(study, xw.Regression(), [xw.Estimand("e", Y(1, m1=0) - Y(0))])
    with pytest.raises(DesignError, match="edits the mediator"):
        xw.estimate(study, xw.Regression(), [xw.Estimand("e", Y(1, M(0, "shuffle")) - Y(0))])
    both = xw.Estimand("e", Y(1, set_(m1=0, m2=1)) - Y(0, set_(m1=0, m2=1)))
    fy = smf.ols("y ~ a + m1 + m2 + x", d).fit().params
    assert xw.estimate(study, xw.Regression(), [both])["e"].estimate == pytest.approx(fy["a"])


def test_text_of_many_values_is_no_category(d: pd.DataFrame) -> None:
    days = d.assign(m1=[f"2020-{1 + k // 28 % 12:02}-{1 + k % 28:02}" for k in range(N)])
    study = xw.TableStudy.from_frame(days, "a -> m1 -> y")
    with pytest.raises(DesignError, match=r"'m1' has 336 values and is text \('2020-01-01'"):
        xw.estimate(study, xw.Regression())


@pytest.mark.parametrize(("rows", "told"), [(1, "1 row has"), (4, "4 rows have"), (5, None)])
def test_few_rows_at_a_level_are_told(d: pd.DataFrame, rows: int, told: str | None) -> None:
    study = xw.TableStudy.from_frame(d.assign(a=(np.arange(N) < rows).astype(int)), "a -> m1 -> y")
    found = xw.estimate(study, xw.Regression(), [xw.TE]).diagnostics["warnings"]
    assert found == ([] if told is None else [f"only {told} 'a' at 1: {found[0].split(': ')[1]}"])

"""Shortcuts against statsmodels, and where they agree or must not."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

import crossworld as xw
from crossworld.compare.naive import naive


def table(n: int = 400, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x, k = rng.standard_normal((2, n))
    a = (rng.random(n) < 1 / (1 + np.exp(-0.5 * x))).astype(float)
    m = 0.5 * a + 0.4 * x + rng.standard_normal(n)
    k = 0.3 * a + k
    y = 0.3 * a + 0.6 * m - 0.2 * k + 0.5 * x + rng.standard_normal(n) * (1 + 0.5 * a)
    event = (y + rng.logistic(size=n) > 0.3).astype(float)
    return pd.DataFrame({"x": x, "a": a, "m": m, "k": k, "y": y, "event": event})


def study(frame: pd.DataFrame, path: str = "a -> m -> y", **options: str) -> xw.TableStudy:
    return xw.TableStudy.from_frame(frame, path, adjust=["x"], **options)


def influence(fit, name: str) -> np.ndarray:
    """Influence of each row on an OLS coefficient, from statsmodels' residuals."""
    x = fit.model.exog
    inverse = np.linalg.inv(x.T @ x)
    return (x @ inverse[fit.model.exog_names.index(name)]) * fit.resid


def test_linear_coefficients_errors_and_sobel_are_statsmodels() -> None:
    frame = table()
    found = naive(study(frame))
    first = smf.ols("m ~ a + x", frame).fit()
    after = smf.ols("y ~ a + m + x", frame).fit()
    total = smf.ols("y ~ a + x", frame).fit()
    robust = {"total": total.get_robustcov_results("HC0"), "direct": None}
    robust["direct"] = after.get_robustcov_results("HC0")
    for claims, fit in (("total", total), ("direct", after)):
        row = found["coefficient", claims]
        assert row.estimate == pytest.approx(fit.params["a"])
        at = fit.model.exog_names.index("a")
        assert row.std_error == pytest.approx(robust[claims].bse[at])
    alpha, beta = first.params["a"], after.params["m"]
    product = found["product", "indirect"]
    assert product.estimate == pytest.approx(alpha * beta)
    pull = alpha * influence(after, "m") + beta * influence(first, "a")
    assert product.std_error == pytest.approx(np.sqrt((pull**2).sum()))
    sobel = found["Sobel", "indirect"]
    error = np.hypot(alpha * after.bse["m"], beta * first.bse["a"])
    assert sobel.std_error == pytest.approx(error)
    assert sobel.conf_high == pytest.approx(alpha * beta + 1.959963984540054 * error)


def test_product_and_difference_agree_when_linear_and_not_when_logit() -> None:
    for path in ("a -> m -> y", "a -> m + k -> y"):
        found = naive(study(table(), path))
        product, difference = (found[s, "indirect"] for s in ("product", "difference"))
        assert product.estimate == pytest.approx(difference.estimate, rel=1e-10)
        assert product.std_error == pytest.approx(difference.std_error, rel=1e-8)
    frame = table(2000)
    found = naive(study(frame, "a -> m -> event"))
    after = smf.logit("event ~ a + m + x", frame).fit(disp=0, tol=1e-12)
    total = smf.logit("event ~ a + x", frame).fit(disp=0, tol=1e-12)
    product, difference = (found[s, "indirect"] for s in ("product", "difference"))
    assert difference.scale == "log odds"
    assert difference.estimate == pytest.approx(total.params["a"] - after.params["a"], rel=1e-6)
    assert abs(product.estimate / difference.estimate - 1.0) > 0.05
    robust = smf.logit("event ~ a + m + x", frame).fit(disp=0, tol=1e-12, cov_type="HC0")
    assert found["coefficient", "direct"].std_error == pytest.approx(robust.bse["a"], rel=1e-6)
    same = naive(study(frame, "a -> m -> event"), link="identity")
    assert same["product", "indirect"].scale == "difference"


def test_logit_errors_of_the_difference_are_those_of_a_bootstrap() -> None:
    frame = table(600, seed=4)
    found = naive(study(frame, "a -> m -> event"))
    rng, draws = np.random.default_rng(0), []
    for _ in range(150):
        part = study(frame.iloc[rng.integers(0, 600, 600)], "a -> m -> event")
        draws.append(naive(part)["difference", "indirect"].estimate)
    # 150 draws know a standard error to 6 %
    assert np.std(draws) == pytest.approx(found["difference", "indirect"].std_error, rel=0.2)


def test_several_mediators_have_a_sobel_each() -> None:
    found = naive(study(table(), "a -> m + k -> y"))
    claims = [r.claims for r in found.rows if r.method == "Sobel"]
    assert claims == ["through m", "through k"]
    parts = sum(found["Sobel", c].estimate for c in claims)
    assert parts == pytest.approx(found["product", "indirect"].estimate)


def test_differences_in_differences() -> None:
    frame = table(800)
    rng = np.random.default_rng(9)
    frame["before"] = frame["x"] + rng.standard_normal(800)
    frame["region"] = rng.choice(["far", "near"], 800)
    frame["y"] += frame["before"] - 0.8 * frame["a"] * (frame["region"] == "far")
    found = naive(study(frame), before="before", untouched=("region", "far"))
    frame["change"], frame["g"] = frame["y"] - frame["before"], 1.0 * (frame["region"] == "near")
    over_time = smf.ols("change ~ a + x", frame).fit().get_robustcov_results("HC0")
    between = smf.ols("y ~ a * g + x", frame).fit()
    both = smf.ols("change ~ a * g + x", frame).fit()
    row = found["before-after", "total"]
    assert row.estimate == pytest.approx(over_time.params[1])
    assert row.std_error == pytest.approx(over_time.bse[1])
    assert found["untouched group", "total"].estimate == pytest.approx(between.params["a:g"])
    last = found["before-after, untouched group", "total"]
    assert last.estimate == pytest.approx(both.params["a:g"])
    assert 0.4 < last.estimate < 1.2


def test_levels_clusters_and_weights() -> None:
    frame = table()
    frame["dose"] = 3.0 + 2.0 * frame["a"]
    dosed = naive(study(frame, "dose -> m -> y", levels=(3, 5)))
    plain = naive(study(frame))
    assert dosed["product", "indirect"].estimate == pytest.approx(
        plain["product", "indirect"].estimate
    )
    double = pd.concat([frame, frame]).assign(id=np.tile(np.arange(400), 2), w=2.0)
    copied = naive(study(double, cluster="id"))
    weighted = naive(study(double.iloc[:400], weights="w"))
    own = plain["product", "indirect"].std_error
    assert copied["product", "indirect"].std_error == pytest.approx(own * np.sqrt(400 / 399))
    assert weighted["product", "indirect"].std_error == pytest.approx(own)


def test_it_prints_beside_the_answer() -> None:
    held = study(table())
    result = xw.estimate(held, xw.Regression(interaction=True))
    found = naive(held, result)
    assert found.answer("indirect") == result["nie"]
    text = str(found)
    assert "crossworld" in text and "Baron and Kenny" in text and "off the answer" in text
    assert next(iter(found.to_frame()["crossworld"])) == result["nie"].estimate
    json.dumps(found.to_dict(), allow_nan=False)
    with pytest.raises(KeyError, match="product"):
        found["products", "indirect"]


def test_no_mediation_is_called_so() -> None:
    frame = table()
    frame["m"] = np.random.default_rng(3).standard_normal(400)
    assert "no mediation" in str(naive(study(frame)))


def test_bad_input_is_told() -> None:
    frame = table()
    frame["g"] = np.where(frame["a"] == 1.0, "u", "v")
    with pytest.raises(xw.errors.DesignError, match="both treatment levels"):
        naive(study(frame), untouched=("g", "v"))
    with pytest.raises(xw.errors.DesignError, match="text"):
        naive(study(frame), before="g")
    with pytest.raises(xw.errors.SpecError, match="logit"):
        naive(study(frame), link="logit")

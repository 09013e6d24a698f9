"""Formulas that are no polynomial of a mediator: steps, kinks and numbers taken as categories."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from scipy import stats

import crossworld as xw
from crossworld import M, Y
from crossworld.errors import CrossworldError
from crossworld.tables.parametric.setup import set_up

N = 800


@pytest.fixture(scope="module")
def d() -> pd.DataFrame:
    rng = np.random.default_rng(11)
    x = rng.normal(size=N)
    a = rng.binomial(1, 0.5, N)
    m = 0.8 * a + 0.3 * x + rng.normal(size=N)
    c = rng.poisson(np.exp(0.4 + 0.5 * a + 0.2 * x))
    k = 2 + np.digitize(0.9 * a + 0.4 * x + rng.normal(size=N), [-0.5, 0.5, 1.5])
    y = 0.3 * a + 1.5 * (m > 1.2) + 0.5 * (k == 4) + 0.4 * (c > 1) + 0.2 * x
    z = rng.binomial(1, 1 / (1 + np.exp(1.5 - y)))
    b = 1 + rng.binomial(1, 0.3 + 0.3 * a)
    y = y + 0.8 * (b == 2) + rng.normal(size=N)
    return pd.DataFrame({"a": a, "m": m, "c": c, "k": k, "b": b, "y": y, "z": z, "x": x})


def cells(study: xw.TableStudy, method: xw.Regression, *asked: xw.Cell) -> list[float]:
    """Means of cells, without their influence, which takes long where designs are built anew."""
    problem, _ = set_up(method, study, [c.bind(study.blocks) for c in asked])
    return [float(v) for v in problem.value(problem.units(problem.start())[0])]


def cell(study: xw.TableStudy, method: xw.Regression, asked: xw.Cell) -> float:
    return cells(study, method, asked)[0]


@pytest.mark.parametrize(
    ("right", "held"),
    [
        ("a + m + I(m > 1.2) + I(1e9 * x)", True),
        ("a + m + I(m**2) + I(m > 2.2) + x", True),
        ("a * np.clip(m, -9, 1) + x", True),
        ("a + m + np.maximum(m - 1.2, 0) + x", False),
    ],
)
def test_a_step_of_a_normal_mediator_counts(d: pd.DataFrame, right: str, held: bool) -> None:
    d = d if held else d.iloc[:100]
    study = xw.TableStudy.from_frame(d, "a -> m -> y", adjust=["x"])
    fm, fy = smf.ols("m ~ a + x", d).fit(), smf.ols(f"y ~ {right}", d).fit()
    rows = d.assign(x=d.x.mean()).iloc[:1] if held else d
    points = np.linspace(-7, 7, 401)
    drawn = rows.loc[rows.index.repeat(points.size)].assign(a=0)
    drawn["m"] = fm.predict(drawn) + np.sqrt(fm.scale) * np.tile(points, len(rows))
    weight = np.tile(stats.norm.pdf(points) * 0.035, len(rows)) / len(rows)
    expected = weight @ fy.predict(drawn.assign(a=1))
    method = xw.Regression(outcome=f"y ~ {right}", at="mean" if held else None)
    crossed, plain = cells(study, method, Y(1, M(0)), Y(1))
    # a step leaves quadrature an error, which the result says; many rows average it out
    assert crossed == pytest.approx(expected, abs=0.04 if held else 5e-3)
    assert abs(plain - crossed) > 0.05


@pytest.mark.parametrize("outcome", ["z", "y"])
@pytest.mark.parametrize("right", ["a * C(k) + x", "a + I(k > 3) + x", "a + k + I(k == 4):a + x"])
def test_a_numeric_mediator_taken_as_categories(d: pd.DataFrame, outcome: str, right: str) -> None:
    study = xw.TableStudy.from_frame(d, f"a -> k -> {outcome}", adjust=["x"])
    fk = sm.MNLogit(d.k - 2, sm.add_constant(d[["a", "x"]])).fit(disp=0, method="newton")
    family = sm.families.Binomial() if outcome == "z" else sm.families.Gaussian()
    right = right.replace("I(k == 4):a", "I(1.0 * (k == 4) * a)")
    fy = smf.glm(f"{outcome} ~ {right}", d, family=family).fit(tol=1e-13)
    chances = fk.predict(sm.add_constant(d[["a", "x"]].assign(a=0), has_constant="add"))
    expected = sum((chances[j] * fy.predict(d.assign(a=1, k=j + 2))).mean() for j in range(4))
    method = xw.Regression(mediator_family="multinomial", outcome=f"{outcome} ~ {right}")
    assert cell(study, method, Y(1, M(0))) == pytest.approx(expected, abs=1e-7)
    assert abs(cell(study, method, Y(1)) - expected) > 0.01
    held = cell(study, method, Y(1, xw.set_(k=4)))
    assert held == pytest.approx(fy.predict(d.assign(a=1, k=4)).mean(), abs=1e-9)


def test_a_two_valued_mediator_coded_1_and_2_taken_as_categories(d: pd.DataFrame) -> None:
    study = xw.TableStudy.from_frame(d, "a -> b -> y", adjust=["x"])
    plain, taken = (
        xw.estimate(study, xw.Regression(outcome=f"y ~ a + {b} + x"), [xw.NIE])["nie"]
        for b in ("b", "C(b)")
    )
    assert plain.estimate > 0.1
    assert taken.estimate == pytest.approx(plain.estimate, abs=1e-10)
    assert taken.std_error == pytest.approx(plain.std_error, rel=1e-6)


def test_a_step_of_a_count_counts(d: pd.DataFrame) -> None:
    study = xw.TableStudy.from_frame(d, "a -> c -> y", adjust=["x"])
    fc = smf.glm("c ~ a + x", d, family=sm.families.Poisson()).fit(tol=1e-13)
    fy = smf.ols("y ~ a + I(c > 1) + x", d).fit()
    above = 1 - stats.poisson.cdf(1, fc.predict(d.assign(a=0)))
    step = fy.params.filter(like="c > 1").iloc[0]
    expected = (fy.predict(d.assign(a=1, c=0)) + step * above).mean()
    method = xw.Regression(mediator_family="poisson", outcome="y ~ a + I(c > 1) + x")
    assert cell(study, method, Y(1, M(0))) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("path", "options", "asked", "seen"),
    [
        ("a -> k -> y", {"outcome": "y ~ a + C(k) + x"}, "nie", "'y ~ a + C(k) + x'"),
        (
            "a -> k -> y",
            {"outcome": "y ~ a + C(k) + x", "mediator_family": "ordinal"},
            "cde(k=3.5)",
            "at 3.5",
        ),
        (
            "a -> c -> y",
            {"outcome": "y ~ a + C(c) + x", "mediator_family": "poisson"},
            "nie",
            "multinomial or ordinal",
        ),
    ],
)
def test_a_category_that_no_row_has_is_refused(
    d: pd.DataFrame, path: str, options: dict[str, str], asked: str, seen: str
) -> None:
    study = xw.TableStudy.from_frame(d, path, adjust=["x"])
    with pytest.raises(CrossworldError, match="takes as categories") as caught:
        xw.estimate(study, xw.Regression(**options), [xw.estimand(asked)])
    assert seen in str(caught.value)


def test_a_dose_taken_as_categories_at_a_level_that_no_row_has(d: pd.DataFrame) -> None:
    doses = d.assign(a=np.repeat(np.arange(20) * 2.0, N // 20))
    study = xw.TableStudy.from_frame(doses, "a -> m -> y", adjust=["x"], levels=(2, 5))
    with pytest.raises(CrossworldError, match=r"takes as categories.* at 5"):
        xw.estimate(study, xw.Regression(mediator="m ~ C(a) + x"), [xw.NIE])


@pytest.mark.parametrize(
    ("right", "exact"),
    [
        ("a + m + b + I((b - 1) * m**2) + x", True),
        ("a * m + I((b - 1) * m**3) + x", True),
        ("a + m + b + I((b - 1) * np.exp(m / 2)) + x", True),
        ("a + m + b + I((b > 1) * (m > 1.2)) + x", False),
        ("a + m + t + I((t == 'two') * m**2) + x", True),
    ],
)
@pytest.mark.parametrize("outcome", ["y", "z"])
def test_a_term_that_only_one_category_shows(
    d: pd.DataFrame, outcome: str, right: str, exact: bool
) -> None:
    """A normal mediator is bent where another one takes its second value, straight at its first."""
    first = "t" if "t" in right.split() else "b"
    d = d.iloc[:150].assign(t=np.where(d.b == 2, "two", "one")[:150])
    study = xw.TableStudy.from_frame(d, f"a -> {first} -> m -> {outcome}", adjust=["x"])
    fb = smf.glm("I(b - 1) ~ a + x", d, family=sm.families.Binomial()).fit(tol=1e-13)
    fm = smf.ols("m ~ a + b + x", d).fit()
    family = sm.families.Binomial() if outcome == "z" else sm.families.Gaussian()
    fy = smf.glm(f"{outcome} ~ {right}", d, family=family).fit(tol=1e-13)
    points = np.linspace(-8, 8, 801)
    chance, expected = fb.predict(d.assign(a=0)), 0.0
    for value, text, share in ((1, "one", 1 - chance), (2, "two", chance)):
        drawn = d.assign(a=0, b=value, t=text)
        mean = np.repeat(fm.predict(drawn).to_numpy(), points.size)
        drawn = drawn.loc[drawn.index.repeat(points.size)].assign(a=1)
        drawn["m"] = mean + np.sqrt(fm.scale) * np.tile(points, len(d))
        found = fy.predict(drawn).to_numpy().reshape(len(d), -1) @ (stats.norm.pdf(points) * 0.02)
        expected += float((share * found).mean())
    method = xw.Regression(outcome=f"{outcome} ~ {right}")
    got = cell(study, method, Y(1, M(0)))
    assert got == pytest.approx(expected, abs=1e-7 if exact else 5e-3)

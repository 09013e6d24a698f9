"""`NaturalEffects` against R's medflex, against other definitions of the same thing, and misuse."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from scipy.special import expit

import crossworld as xw
from crossworld import G, M, NaturalEffects, Y, set_
from crossworld.core.fits import prepare
from crossworld.errors import DesignError, EstimationError, SpecError

MEDFLEX = json.loads((Path(__file__).parents[1] / "reference" / "medflex.json").read_text())
FAMILIES = {
    "gaussian identity": "gaussian",
    "binomial logit": "logit",
    "binomial probit": "probit",
    "poisson log": "poisson",
}
MEDIATORS = ("negaff", "anxiety", "negaffbin", "episodes")
LEVELS: dict[str, tuple[Any, Any]] = {"attbin": (0, 1), "attcat": ("h", "l"), "att": (-1, 1)}
# medflex's error, beside ours, where the two treat a working model differently
DIFFERENT = {
    "imputed_probit": "the expected information of the probit model",
    "weighted_binary_probit": "the expected information of the probit model",
    "weighted_normal": "the mediator's residual variance held as known",
}
N = 500


def medflex_study(held: dict[str, Any]) -> xw.TableStudy:
    outcome, _, right = held["effects"].partition(" ~ ")
    treatment = re.match(r"(\w+)0", right)[1]  # type: ignore[index]
    words = set(re.findall(r"\w+", held["working"]))
    mediators = [m for m in MEDIATORS if m in words]
    return xw.TableStudy.from_frame(
        MEDFLEX["data"],
        f"{treatment} -> {' + '.join(mediators)} -> {outcome}",
        adjust=[c for c in ("gender", "educ", "age") if c in right],
        levels=LEVELS[treatment],
    )


def medflex_method(held: dict[str, Any]) -> NaturalEffects:
    given = {"formula": held["effects"], "link": held["link"]}
    family = FAMILIES[held["working_family"]]
    if held["kind"] == "imputation":
        return NaturalEffects(outcome=held["working"], outcome_family=family, **given)
    return NaturalEffects("weighting", mediator=held["working"], mediator_family=family, **given)


def ours(name: str) -> str:
    """R's name of a coefficient as formulaic writes it."""
    text = re.sub(r"\b(gender|educ|attcat[01])([A-Za-z])\b", r"\1[T.\2]", name)
    return re.sub(r"\b(attbin[01])1\b", r"\1", text).replace("(Intercept)", "Intercept")


@pytest.mark.parametrize("name", sorted(MEDFLEX["fits"]))
def test_coefficients_and_errors_are_medflex_s(name: str) -> None:
    held = MEDFLEX["fits"][name]
    table = medflex_method(held).coefficients(medflex_study(held))
    rows = [table[ours(term)] for term in held["names"]]
    assert len(rows) == len(table)
    # R's probit stops a little earlier
    assert [r.estimate for r in rows] == pytest.approx(held["coefficients"], abs=1e-7)
    gap = np.array([r.std_error for r in rows]) / held["std_errors"] - 1.0
    if name in DIFFERENT:
        assert 1e-6 < np.abs(gap).max() < 0.04
    else:
        assert np.abs(gap).max() < 1e-7
    assert table.warnings == ()


def test_decomposition_is_medflex_s() -> None:
    held = MEDFLEX["fits"]["imputed_modified"]
    parts = held["decomposition"]
    at = {**parts["at"], "age": float(parts["at"]["age"])}
    table = medflex_method(held).conditional(medflex_study(held), at)
    terms = {"pure direct effect": "nde", "total direct effect": "tnde", "total effect": "te"}
    terms |= {"pure indirect effect": "pnie", "total indirect effect": "nie"}
    found = [table[terms[name]] for name in parts["names"]]
    assert [r.estimate for r in found] == pytest.approx(parts["coefficients"], abs=1e-9)
    assert [r.std_error for r in found] == pytest.approx(parts["std_errors"], rel=1e-7)


@pytest.mark.parametrize("name", sorted(DIFFERENT))
def test_where_medflex_differs_our_error_is_the_derivative(name: str) -> None:
    """The influence of a unit on a coefficient is the derivative in the unit's weight."""
    held, n = MEDFLEX["fits"][name], len(MEDFLEX["data"]["age"])
    method, study = medflex_method(held), medflex_study(held)
    term, step = ours(held["names"][2]), 1e-3
    found, _ = xw.tables.natural.setup.fitted_model(method, study)
    names, _, influence = found.coefficients()
    ours_ = influence[:, names.index(term)]

    def at(weights: np.ndarray) -> float:
        data = {**MEDFLEX["data"], "w": weights}
        path = str(study.path)
        weighted = xw.TableStudy.from_frame(
            data, path, adjust=study.adjust, levels=LEVELS[study.path.treatment], weights="w"
        )
        value = method.coefficients(weighted)[term].estimate
        assert value is not None
        return value

    for i in np.argsort(np.abs(ours_))[-4:]:
        one = np.eye(n)[i] * step
        slope = (at(1.0 + one) - at(1.0 - one)) / (2.0 * step)
        assert slope * n == pytest.approx(ours_[i], rel=1e-3)


@pytest.fixture(scope="module")
def d() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    x, g = rng.normal(size=N), rng.choice(["u", "v"], N)
    a = rng.binomial(1, expit(0.3 * x))
    m1 = 0.5 * a + 0.3 * x + rng.normal(size=N)
    m2 = rng.binomial(1, expit(0.4 * a + 0.3 * m1))
    y = 0.3 * a + 0.4 * m1 + 0.2 * a * m1 + 0.3 * m2 + 0.5 * x + rng.normal(size=N)
    z = rng.binomial(1, expit(-0.5 + 0.4 * a + 0.6 * m1 + 0.3 * m2 + 0.2 * x))
    dose = 0.5 * x + rng.normal(size=N)
    t = np.where(a == 1, "drug", "placebo")
    frame = {"a": a, "m1": m1, "m2": m2, "y": y, "z": z, "x": x, "g": g, "dose": dose, "t": t}
    return pd.DataFrame(frame)


def one(study: xw.TableStudy, method: NaturalEffects, cell: xw.Cell) -> xw.Estimate:
    bound = cell.bind(study.blocks)
    return method.scores(study, [bound]).mean(bound)


def test_imputation_by_its_definition(d: pd.DataFrame) -> None:
    """Two statsmodels fits, the second to stacked copies of the rows."""
    study = xw.TableStudy.from_frame(d, "a -> m1 + m2 -> z", adjust=["x", "g"])
    working = smf.logit("z ~ a * m1 + m2 + x * g", d).fit(disp=0, tol=1e-13)
    copies = pd.concat(d.assign(a0=a, a1=d.a, z=working.predict(d.assign(a=a))) for a in (0, 1))
    model = smf.glm("z ~ a0 * a1 * g + x", copies, family=sm.families.Binomial()).fit(tol=1e-13)
    method = NaturalEffects(formula="z ~ a0 * a1 * g + x", outcome="z ~ a * m1 + m2 + x * g")
    table = method.coefficients(study)
    assert {r.term: r.estimate for r in table} == pytest.approx(dict(model.params), abs=1e-8)
    found = one(study, method, Y(1, M(0)))
    assert found.value == pytest.approx(model.predict(d.assign(a0=1, a1=0)).mean(), abs=1e-9)


def test_weighting_by_its_definition(d: pd.DataFrame) -> None:
    """The density of a joint block is the product of its factors, normal and binary."""
    study = xw.TableStudy.from_frame(d, "a -> m1 + m2 -> y", adjust=["x"])
    first = smf.ols("m1 ~ a + x", d).fit()
    second = smf.logit("m2 ~ a + m1 + x", d).fit(disp=0, tol=1e-13)

    def density(frame: pd.DataFrame) -> np.ndarray:
        p = second.predict(frame)
        normal = np.exp(-((d.m1 - first.predict(frame)) ** 2) / (2.0 * first.scale))
        return np.asarray(normal * np.where(d.m2 == 1, p, 1.0 - p))

    copies = pd.concat(
        d.assign(a0=d.a, a1=a, w=density(d.assign(a=a)) / density(d)) for a in (0, 1)
    )
    model = smf.wls("y ~ a0 * a1 + x", copies, weights=copies.w).fit()
    table = NaturalEffects("weighting").coefficients(study)
    assert {r.term: r.estimate for r in table} == pytest.approx(dict(model.params), abs=1e-9)


def test_bayes_by_its_definition(d: pd.DataFrame) -> None:
    study = xw.TableStudy.from_frame(d, "t -> m1 -> y", adjust=["x"], levels=("placebo", "drug"))
    fits = [smf.logit(f"a ~ {right}", d).fit(disp=0, tol=1e-13) for right in ("x", "m1 * x")]
    low, high = (np.where(d.a == 1, f.predict(d), 1.0 - f.predict(d)) for f in fits)
    parts = []
    for level, name in ((1, "drug"), (0, "placebo")):
        at = [f.predict(d) if level == 1 else 1.0 - f.predict(d) for f in fits]
        parts.append(d.assign(t0=d.t, t1=name, w=at[1] / high * low / at[0]))
    model = smf.wls("y ~ t0 * t1 + x", pd.concat(parts), weights=pd.concat(parts).w).fit()
    method = NaturalEffects("weighting", ratio="treatment", treatment=("t ~ x", "t ~ m1 * x"))
    table = method.coefficients(study)
    assert {r.term: r.estimate for r in table} == pytest.approx(dict(model.params), abs=1e-8)
    assert set(table.diagnostics["models"]) == {"t", "t again", "natural effects"}


def test_saturated_models_are_the_mediation_formula(d: pd.DataFrame) -> None:
    """With a linear outcome and saturated copies the imputed cells are those of `Regression`."""
    study = xw.TableStudy.from_frame(d, "a -> m1 -> y", adjust=["x"])
    imputed = NaturalEffects(formula="y ~ a0 * a1 + x + a0:x", outcome="y ~ a * m1 + a * x")
    plain = xw.Regression(outcome="y ~ a * m1 + a * x")
    asked = [xw.TE, xw.NDE, xw.NIE]
    one_, two = (xw.estimate(study, m, asked) for m in (imputed, plain))
    for row in one_:
        assert row.estimate == pytest.approx(two[row.term].estimate, abs=0.02)
        assert row.std_error == pytest.approx(two[row.term].std_error, rel=0.1)


@pytest.mark.parametrize(
    ("generator", "options"),
    [
        ("continuous_treatment", {"formula": "y ~ a0 * a1 * x + a0:I(a1 ** 2)"}),
        ("continuous_treatment", {"formula": "y ~ a0 * a1 * x", "grid": (-1.0, 0.0, 2.0)}),
        ("binary_both", {"formula": "y ~ a0 * a1 * x"}),
        ("binary_both", {"formula": "y ~ a0 * a1 * x", "kind": "weighting"}),
        ("count_mediator", {"formula": "y ~ a0 * a1 * x"}),
        ("count_outcome", {"formula": "y ~ a0 * a1 * x", "link": "log", "kind": "weighting"}),
    ],
)
def test_recovers_the_truth(generator: str, options: dict[str, Any]) -> None:
    data = getattr(xw.datasets, generator)(n=6000, seed=4)
    found = xw.estimate(data.study(), NaturalEffects(**options), [xw.TE, xw.NDE, xw.NIE, xw.PNIE])
    for row in found:
        truth = data.effect(xw.estimand(row.term))
        assert abs(row.estimate - truth) < 4 * row.std_error, row.term
        assert row.std_error < 0.2


def test_coefficients_are_the_effects_of_a_linear_model() -> None:
    """Without interactions b1 is the direct effect and b2 the indirect one, errors included."""
    study = xw.datasets.linear(n=800, seed=2).study()
    method = NaturalEffects(formula="y ~ a0 + a1 + x", outcome="y ~ a + m + x")
    table, effects = method.coefficients(study), xw.estimate(study, method, [xw.NDE, xw.NIE])
    exact = xw.estimate(study, xw.Regression(), [xw.NDE, xw.NIE])
    for term, name in (("a0", "nde"), ("a1", "nie")):
        assert table[term].estimate == pytest.approx(effects[name].estimate, abs=1e-12)
        assert table[term].std_error == pytest.approx(effects[name].std_error, rel=1e-9)
        assert table[term].estimate == pytest.approx(exact[name].estimate, abs=1e-12)
        assert table[term].std_error == pytest.approx(exact[name].std_error, rel=1e-9)


def test_exponentiated_coefficients(d: pd.DataFrame) -> None:
    study = xw.TableStudy.from_frame(d, "a -> m1 -> z", adjust=["x"])
    plain = NaturalEffects().coefficients(study)
    table = NaturalEffects().coefficients(study, exponentiate=True, level=0.9)
    narrow = NaturalEffects().coefficients(study, level=0.9)
    assert [r.term for r in table] == [f"exp({r.term})" for r in plain]
    for row, log in zip(table, narrow, strict=True):
        assert row.estimate == pytest.approx(np.exp(log.estimate))
        assert row.conf_low == pytest.approx(np.exp(log.conf_low))
        assert row.conf_high == pytest.approx(np.exp(log.conf_high))
        assert row.std_error == pytest.approx(row.estimate * log.std_error)
        assert row.p_value == pytest.approx(log.p_value)
        assert row.conf_method == "log-wald"
    assert json.loads(table.to_json())["effects"][1]["term"] == "exp(a0)"
    odds = NaturalEffects().conditional(study, exponentiate=True)
    assert odds["exp(te)"].estimate == pytest.approx(
        odds["exp(nde)"].estimate * odds["exp(nie)"].estimate
    )


def test_clusters_enter_coefficients_and_cells() -> None:
    study = xw.datasets.clustered(n=2000, seed=1).study()
    alone = xw.datasets.clustered(n=2000, seed=1)
    rows = xw.TableStudy.from_frame(dict(alone.frame), alone.path, adjust=alone.adjust)
    term = "Intercept"
    with_, without = (NaturalEffects().coefficients(s)[term] for s in (study, rows))
    assert with_.estimate == pytest.approx(without.estimate, abs=1e-12)
    assert with_.std_error > 1.2 * without.std_error
    assert one(study, NaturalEffects(), Y(1)).df == 99


def test_default_outcome_model_follows_the_natural_effect_model(d: pd.DataFrame) -> None:
    study = xw.TableStudy.from_frame(d, "a -> m1 + m2 -> y", adjust=["x"])
    scores = NaturalEffects(formula="y ~ a0 * x + a1:x").scores(study, [Y(1).bind(study.blocks)])
    text = scores.diagnostics["models"]["y"]
    assert set(text.split(" ~ ")[1].split(" + ")) == {"a", "m1", "m2", "x", "a:x", "m1:x", "m2:x"}
    assert scores.diagnostics["warnings"] == []
    curved = NaturalEffects(formula="y ~ C(a0) * I(a1 ** 2)").scores(
        study, [Y(1).bind(study.blocks)]
    )
    terms = curved.diagnostics["models"]["y"].split(" ~ ")[1].split(" + ")
    assert set(terms) == {"x", "C(a)", "I(m1 ** 2)", "m2", "C(a):I(m1 ** 2)", "C(a):m2"}


def test_poor_outcome_models_are_told(d: pd.DataFrame) -> None:
    study = xw.TableStudy.from_frame(d, "a -> m1 -> y", adjust=["x"])
    table = xw.estimate(study, NaturalEffects(outcome="y ~ a + m1 + x"))
    assert len(table.warnings) == 1
    assert "no counterpart of a0:a1" in table.warnings[0]


def test_scarce_overlap_is_told() -> None:
    rng = np.random.default_rng(1)
    a = rng.binomial(1, 0.5, 300)
    m = 6.0 * a + rng.normal(size=300)
    study = xw.TableStudy.from_frame({"a": a, "m": m, "y": m + rng.normal(size=300)}, "a -> m -> y")
    table = xw.estimate(study, NaturalEffects("weighting"))
    assert "worth" in table.warnings[0]
    assert max(table.diagnostics["overlap"]["effective_share"].values()) < 0.1


def test_random_draws_and_ordered_blocks_are_joint(d: pd.DataFrame) -> None:
    study = xw.TableStudy.from_frame(d, "a -> m1 -> m2 -> y", adjust=["x"])
    joint = xw.TableStudy.from_frame(d, "a -> m1 + m2 -> y", adjust=["x"])
    found = [
        one(s, NaturalEffects(), c)
        for s, c in ((study, Y(1, M(0))), (joint, Y(1, M(0))), (joint, Y(1, G(0))))
    ]
    assert len({round(e.value, 12) for e in found}) == 1
    with pytest.raises(DesignError, match="path-specific"):
        one(study, NaturalEffects(), Y(1, m1=0))
    with pytest.raises(DesignError, match="draws some of them apart"):
        one(study, NaturalEffects(), Y(1, m1=G(0), m2=G(0)))


@pytest.mark.parametrize("options", [{}, {"kind": "weighting"}, {"link": "log"}], ids=str)
def test_replicates_are_refits(d: pd.DataFrame, options: dict[str, Any]) -> None:
    study = xw.TableStudy.from_frame(d, "a -> m1 + m2 -> z", adjust=["x", "g"])
    method = NaturalEffects(**options)
    if "link" in options:
        method = NaturalEffects(link="log", outcome_family="logit")
    cells = [Y(1, M(0)).bind(study.blocks), Y(0).bind(study.blocks)]
    counts = np.random.default_rng(1).multinomial(N, np.full(N, 1 / N), size=3).astype(float)
    fast = prepare(method, study, cells).resampled(counts)
    for row, count in zip(fast, counts, strict=True):
        part = study.take(np.repeat(np.arange(N), count.astype(int)))
        assert row == pytest.approx(method.scores(part, cells).means(), abs=1e-8)
    with pytest.raises(SpecError, match="Bootstrap or Wald"):
        xw.estimate(study, method, inference=xw.Simulation(draws=20))


def test_many_mediators_need_no_law_of_theirs() -> None:
    rng = np.random.default_rng(7)
    a = rng.binomial(1, 0.5, 1500)
    m = rng.normal(size=(1500, 30)) + 0.2 * a[:, None]
    y = 0.5 * a + m.sum(axis=1) * 0.1 + rng.normal(size=1500)
    frame = {"a": a, "y": y, **{f"e{j}": m[:, j] for j in range(30)}}
    study = xw.TableStudy.from_frame(frame, "a -> e* -> y")
    found = xw.estimate(study, NaturalEffects(), [xw.NDE, xw.NIE])
    assert abs(found["nde"].estimate - 0.5) < 4 * found["nde"].std_error
    assert abs(found["nie"].estimate - 0.6) < 4 * found["nie"].std_error


def test_result_round_trips_through_the_spec(d: pd.DataFrame, tmp_path: Path) -> None:
    d.to_csv(tmp_path / "d.csv", index=False)
    document = {
        "study": {"data": str(tmp_path / "d.csv"), "path": "a -> m1 -> z", "adjust": ["x"]},
        "estimator": {"name": "NaturalEffects", "kind": "weighting", "formula": "z ~ a0 * a1 * x"},
    }
    first = xw.load_spec(document).run()
    again = xw.load_spec(first.to_dict()).run()
    assert first.rows == again.rows
    assert first.to_dict()["spec"]["estimator"]["kind"] == "weighting"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "imputing"}, "kind of NaturalEffects 'imputing'. Did you mean 'imputation'"),
        ({"link": "probit"}, "link of NaturalEffects"),
        ({"mediator": "m ~ a"}, "mediator of NaturalEffects is not used with kind='imputation'"),
        ({"kind": "weighting", "outcome": "y ~ a"}, "outcome of NaturalEffects is not used"),
        ({"kind": "weighting", "treatment": ("a ~ x", "a ~ m + x")}, "treatment of NaturalEffects"),
        ({"kind": "weighting", "ratio": "treatment", "treatment": "a ~ x"}, "pair of formulas"),
        ({"kind": "weighting", "ratio": "odds"}, "ratio of NaturalEffects"),
    ],
)
def test_options_that_mean_nothing(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        NaturalEffects(**options)


@pytest.mark.parametrize(
    ("path", "options", "kind", "message"),
    [
        ("a -> m1 -> y", {"formula": "y ~ a + x"}, SpecError, "write a0 for the"),
        ("a -> m1 -> y", {"formula": "y ~ a0 + m1"}, SpecError, "uses the mediator 'm1'"),
        ("a -> m1 -> y", {"formula": "y ~ a0 + q"}, DesignError, "'q', which has no role"),
        ("a -> m1 -> y", {"formula": "m1 ~ a0"}, SpecError, "models m1"),
        ("a -> m1 -> y", {"formula": "y ~ a0 * a1 + a0"}, None, ""),
        ("a -> m1 -> y", {"formula": 3}, SpecError, "formula is a text"),
        ("a -> m1 -> y", {"link": "logit"}, DesignError, "between 0 and 1, but 'y' runs"),
        ("a -> m1 -> y", {"link": "log"}, DesignError, "not negative, but 'y' goes down"),
        ("a -> m1 -> z", {"outcome_family": "gaussian"}, EstimationError, "imputed ones run from"),
        ("a -> m1 -> y", {"grid": (0, 7)}, DesignError, "the grid has 7"),
        ("a -> m1 -> y", {"grid": (1,)}, DesignError, "at least two values"),
        ("a -> m1 -> y", {"grid": "0, 1"}, SpecError, "sequence of treatment values"),
        ("a -> m1 -> y", {"outcome": "y ~ a + w"}, DesignError, "'w', which has no role"),
        (
            "dose -> m1 -> y",
            {"kind": "weighting", "ratio": "treatment"},
            DesignError,
            "use ratio='mediator'",
        ),
        (
            "a -> m1 -> y",
            {"kind": "weighting", "ratio": "treatment", "treatment": ("a ~ m1", "a ~ m1 + x")},
            DesignError,
            "'m1', which has no role",
        ),
    ],
)
def test_wrong_models_get_clear_errors(
    d: pd.DataFrame, path: str, options: dict[str, Any], kind: type[Exception] | None, message: str
) -> None:
    levels = (0, 1)
    study = xw.TableStudy.from_frame(d, path, adjust=["x"], levels=levels)
    if kind is None:
        assert len(NaturalEffects(**options).coefficients(study)) == 4
        return
    with pytest.raises(kind, match=re.escape(message)):
        xw.estimate(study, NaturalEffects(**options))


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (Y(1, set_(0.5)), "does not fix mediators"),
        (Y(1, M(0)).quantile(0.5), "estimates means"),
    ],
)
def test_cells_of_other_kinds_are_refused(d: pd.DataFrame, cell: xw.Cell, message: str) -> None:
    study = xw.TableStudy.from_frame(d, "a -> m1 -> y", adjust=["x"])
    with pytest.raises(DesignError, match=message):
        one(study, NaturalEffects(), cell)


def test_wrong_studies_are_refused(d: pd.DataFrame) -> None:
    held = xw.TableStudy.from_frame(d, "a -> m1 -> y", adjust=["x"], intermediate=["m2"])
    with pytest.raises(DesignError, match="does not take intermediate confounders"):
        NaturalEffects().scores(held, [Y(1).bind(held.blocks)])
    clash = xw.TableStudy.from_frame(d.assign(a0=d.x), "a -> m1 -> y", adjust=["a0"])
    with pytest.raises(DesignError, match="has a column 'a0'; rename it"):
        NaturalEffects().coefficients(clash)
    for wrong in (None, d):
        with pytest.raises(DesignError, match="needs a TableStudy"):
            NaturalEffects().coefficients(wrong)  # type: ignore[arg-type]
        with pytest.raises(DesignError, match="needs a TableStudy"):
            NaturalEffects().conditional(wrong)  # type: ignore[arg-type]
    study = xw.TableStudy.from_frame(d, "a -> m1 -> y", adjust=["x"])
    with pytest.raises(SpecError, match="level must lie between 0 and 1"):
        NaturalEffects().coefficients(study, level=95)
    with pytest.raises(DesignError, match="no covariate of the study"):
        NaturalEffects().conditional(study, {"w": 1})


def test_columns_with_odd_names() -> None:
    rng = np.random.default_rng(0)
    a = rng.binomial(1, 0.5, 200)
    m = a + rng.normal(size=200)
    frame = {"my drug": a, "m-1": m, "y y": m + rng.normal(size=200), "x.1": rng.normal(size=200)}
    study = xw.TableStudy.from_frame(frame, "my drug -> m-1 -> y y", adjust=["x.1"])
    for method in (NaturalEffects(), NaturalEffects("weighting")):
        table = method.coefficients(study)
        assert [r.term for r in table][:2] == ["Intercept", "my drug0"]

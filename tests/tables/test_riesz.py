"""Riesz: representers against enumerated laws, robustness, shifts, balance, bad input."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures

import crossworld as xw
from crossworld import G, M, Y, set_
from crossworld.core.estimand import needed
from crossworld.tables.robust.representer import Problem, least_penalty, represent, ridge

SQUARES = make_pipeline(PolynomialFeatures(2), LinearRegression())
BROKEN = FunctionTransformer(np.zeros_like)


def law() -> dict[str, np.ndarray]:
    """Every state (x, a, m1, m2) of a binary law, with its conditional probabilities."""
    x, a, m1, m2 = np.array(list(product((0.0, 1.0), repeat=4))).T

    def of(value: np.ndarray, p: np.ndarray) -> np.ndarray:
        return np.where(value == 1.0, p, 1.0 - p)

    def first(arm: np.ndarray) -> np.ndarray:
        return of(m1, 0.2 + 0.3 * arm + 0.3 * x)

    def second(arm: np.ndarray) -> np.ndarray:
        return of(m2, 0.3 + 0.2 * arm + 0.2 * m1 - 0.1 * x + 0.2 * arm * m1)

    own = of(x, np.full(16, 0.4)), of(a, 0.25 + 0.4 * x)
    one, zero = np.ones(16), np.zeros(16)
    return {
        "x": x, "a": a, "m1": m1, "m2": m2,
        "p": own[0] * own[1] * first(a) * second(a),
        "p1": of(one, 0.25 + 0.4 * x), "p0": of(zero, 0.25 + 0.4 * x),
        "f1": first(one), "f0": first(zero), "g1": second(one), "g0": second(zero),
    }  # fmt: skip


def solved(s: dict, columns: list[str], level: float, previous: np.ndarray) -> np.ndarray:
    """The unpenalised representer of a stage on the enumerated law."""
    x = np.column_stack([s[c] for c in columns])
    active = s["a"] == level
    groups = np.zeros(16, dtype=np.int64)
    saturated = PolynomialFeatures(3, interaction_only=True, include_bias=False)
    made = represent(Problem(x, x, active, previous, s["p"], groups), saturated, 0.0)
    return made(x) * active


def test_saturated_representers_are_inverse_probability_weights() -> None:
    """On an enumerated law, to 1e-8: three runs, each given the one before."""
    s = law()
    none = solved(s, ["x"], 1.0, np.ones(16))
    assert none == pytest.approx((s["a"] == 1) / s["p1"], abs=1e-8)
    first = solved(s, ["x", "m1"], 0.0, none)
    assert first == pytest.approx((s["a"] == 0) * s["f1"] / s["f0"] / s["p0"], abs=1e-8)
    second = solved(s, ["x", "m1", "m2"], 1.0, first)
    wanted = (s["a"] == 1) / s["p1"] * s["g0"] / s["g1"]
    assert second == pytest.approx(wanted, abs=1e-8)


def test_the_one_step_score_is_exact_on_an_enumerated_law() -> None:
    """With wrong regressions and the saturated representers the cell's mean is still the truth."""
    s = law()
    y = 0.5 * s["a"] + (1.0 + s["a"]) * s["m1"] + s["m1"] * s["m2"] * s["x"] + s["x"]
    under = 0.5 + 2.0 * s["m1"] + s["m1"] * s["m2"] * s["x"] + s["x"]
    truth = float((np.where(s["x"] == 1, 0.4, 0.6) * s["f0"] * s["g0"] * under)[s["a"] == 1].sum())
    alpha0 = solved(s, ["x"], 0.0, np.ones(16))
    alpha1 = solved(s, ["x", "m1", "m2"], 1.0, alpha0)
    q0, q1 = 3.0 - 2.0 * s["x"], np.exp(s["m1"]) + s["x"] * s["m2"]
    score = q0 + alpha0 * (q1 - q0) + alpha1 * (y - q1)
    assert float(s["p"] @ score) == pytest.approx(truth, abs=1e-10)
    assert abs(float(s["p"] @ q0) - truth) > 0.1


def test_ridge_solves_its_normal_equations() -> None:
    rng = np.random.default_rng(0)
    b = np.column_stack([np.ones(50), rng.standard_normal((50, 3)) + 1.0])
    gram, cross = b.T @ b, rng.standard_normal(4)
    found = ridge(gram, cross, np.array([0.7]))[:, 0]
    centred = b - b.mean(axis=0)
    penalised = gram + 0.7 * 50 * np.diag([0.0, 1.0, 1.0, 1.0])
    assert found == pytest.approx(np.linalg.solve(penalised, cross))
    assert centred[:, 0] == pytest.approx(0.0)


def test_the_least_penalty_within_a_standard_error_is_taken() -> None:
    loss = np.zeros((4, 17))
    loss[:, :5] = np.array([1.0, 2.0, 1.5, 1.2])[:, None]
    assert least_penalty(loss) == pytest.approx(10 ** (-6 + 5 * 0.5))
    loss[:, 3] = [-1.0, 1.0, -1.0, 1.5]
    assert least_penalty(loss) == pytest.approx(10 ** (-6 + 3 * 0.5))


@pytest.mark.parametrize("name", ["interaction", "binary_mediator", "nominal_mediator", "ordered"])
def test_truth_and_agreement_with_propensity_weights(name: str) -> None:
    data = getattr(xw.datasets, name)(n=4000, seed=3)
    asked = [xw.TE, xw.NDE, xw.NIE, xw.TNDE, xw.PNIE]
    if name == "ordered":
        asked += [xw.PSE("m1"), xw.PSE("m2")]
    found = xw.estimate(data.study(), xw.Riesz(outcome="linear"), asked)
    other = xw.MultiplyRobust(outcome="linear", treatment="logistic")
    peer = xw.estimate(data.study(), other, asked)
    for question in asked:
        row, reference = found[question.name], peer[question.name]
        assert abs(row.estimate - data.effect(question)) < 4 * row.std_error, question.name
        assert abs(row.estimate - reference.estimate) < 0.6 * reference.std_error, question.name
        assert row.std_error == pytest.approx(reference.std_error, rel=0.3)


def test_scores_are_influence_scores_of_their_cells() -> None:
    study = xw.datasets.clustered(n=600, seed=2).study()
    cells = needed([e.bind(study.blocks) for e in (xw.TE, xw.NDE, xw.NIE)])
    scores = xw.Riesz(outcome="linear").scores(study, cells)
    assert scores.influence
    assert scores.cluster is study.cluster
    for cell in scores.cells:
        estimate = scores.mean(cell)
        assert estimate.value == pytest.approx(scores.values[:, scores.cells.index(cell)].mean())
        assert abs(estimate.influence.sum()) < 1e-8
    once = xw.Riesz(outcome="linear", workers=2).scores(study, cells)
    assert (once.values == scores.values).all()


def test_rows_travel_with_their_folds_and_weights_count_copies() -> None:
    data = xw.datasets.interaction(n=300, seed=5)
    rng = np.random.default_rng(0)
    frame = {**data.frame, "fold": rng.integers(0, 4, 300)}
    method = xw.Riesz(outcome="linear", folds="fold")

    def found(columns: dict, **roles: str) -> np.ndarray:
        study = xw.TableStudy.from_frame(columns, data.path, adjust=["x"], **roles)
        return np.array([row.estimate for row in xw.estimate(study, method)])

    plain = found(frame)
    order = rng.permutation(300)
    assert found({k: v[order] for k, v in frame.items()}) == pytest.approx(plain, abs=1e-9)
    twice = np.concatenate([np.arange(300), np.arange(0, 300, 3)])
    weight = np.where(np.arange(300) % 3 == 0, 2.0, 1.0)
    copied = found({k: v[twice] for k, v in frame.items()})
    assert found({**frame, "w": weight}, weights="w") == pytest.approx(copied, abs=1e-9)
    shifted = found({**frame, "y": 1e3 - 2.0 * frame["y"]})
    assert shifted == pytest.approx(-2.0 * plain, abs=1e-8)
    swapped = xw.TableStudy.from_frame(frame, data.path, adjust=["x"], levels=(1, 0))
    back = xw.estimate(swapped, method, [xw.TNDE, xw.PNIE])
    assert back["tnde"].estimate == pytest.approx(-plain[1], abs=1e-9)
    assert back["pnie"].estimate == pytest.approx(-plain[2], abs=1e-9)


def shift_truth(delta: float, i: int, j: int) -> float:
    """Mean of Y(A + i delta, M(A + j delta)) under `datasets.continuous_treatment`."""
    both = 1.25 + 0.09 + 0.3 * (i + j) * delta + i * j * delta**2  # E (A + i d)(A + j d)
    through = 0.5 * (0.2 + 0.6 * (0.3 + j * delta))
    crossed = 0.25 * (0.2 * (0.3 + i * delta) + 0.6 * both + 0.4 * 0.5)
    return 0.3 * (0.3 + i * delta) + through + crossed


@pytest.mark.parametrize("delta", [0.5, -0.4])
@pytest.mark.parametrize("right", ["both", "outcome", "representer"])
def test_a_shift_of_a_continuous_treatment(delta: float, right: str) -> None:
    """Either model alone gives the answer; a linear regression without the product is wrong."""
    study = xw.datasets.continuous_treatment(n=6000, seed=4).study()
    method = xw.Riesz(
        outcome="linear" if right == "representer" else SQUARES,
        features=BROKEN if right == "outcome" else PolynomialFeatures(3, include_bias=False),
        shift=delta,
    )
    found = xw.estimate(study, method, [xw.TE, xw.NDE, xw.NIE])
    base = {(i, j): shift_truth(delta, i, j) for i, j in product((0, 1), repeat=2)}
    truth = {"te": base[1, 1] - base[0, 0], "nde": base[1, 0] - base[0, 0]}
    truth["nie"] = truth["te"] - truth["nde"]
    for row in found:
        assert abs(row.estimate - truth[row.term]) < 4 * row.std_error + 0.004
        assert row.std_error < 0.05
        assert np.sign(row.estimate) == np.sign(delta)


def test_no_shift_is_the_mean_of_the_outcome() -> None:
    study = xw.datasets.continuous_treatment(n=400, seed=1).study()
    scores = xw.Riesz(outcome="linear", shift=0.5).scores(study, [Y(0), Y(1)])
    assert scores.values[:, 0] == pytest.approx(study.outcome)
    assert scores.diagnostics["overlap"]["share_shifted_beyond_the_data"] < 0.1


def test_shifts_of_ordered_mediators_and_of_a_binary_outcome() -> None:
    """A linear chain: the path-specific effects of a shift are products of coefficients."""
    rng = np.random.default_rng(7)
    x = rng.standard_normal(4000)
    a = 0.5 * x + rng.standard_normal(4000)
    m1 = 0.6 * a + 0.3 * x + rng.standard_normal(4000)
    m2 = 0.4 * a + 0.5 * m1 + rng.standard_normal(4000)
    y = 0.3 * a + 0.7 * m1 + 0.5 * m2 + 0.2 * x + rng.standard_normal(4000)
    frame = {"x": x, "a": a, "m1": m1, "m2": m2, "y": y, "z": (y > 0).astype(float)}
    study = xw.TableStudy.from_frame(frame, "a -> m1 -> m2 -> y", adjust=["x"], levels=(0, 1))
    asked = [xw.TE, xw.NDE, xw.PSE("m1"), xw.PSE("m2")]
    found = xw.estimate(study, xw.Riesz(outcome="linear", shift=0.5), asked)
    truth = {"te": 0.5 * 1.07, "nde": 0.15, "pse(m1)": 0.5 * 0.57, "pse(m2)": 0.1}
    truth["te"] = 0.15 + 0.5 * 0.6 * 0.95 + 0.1
    truth["pse(m1)"] = 0.5 * 0.6 * 0.95
    for row in found:
        assert abs(row.estimate - truth[row.term]) < 4 * row.std_error, row.term
    binary = xw.TableStudy.from_frame(frame, "a -> m1 + m2 -> z", adjust=["x"], levels=(0, 1))
    rows = xw.estimate(binary, xw.Riesz(outcome="logistic", shift=0.5))
    other = xw.estimate(binary, xw.Riesz(outcome=SQUARES, shift=0.5))
    for row in rows:
        assert 0.0 < row.estimate < 0.3
        assert abs(row.estimate - other[row.term].estimate) < row.std_error


@pytest.mark.parametrize(
    "features", ["linear", "linear+products", "linear+index", Nystroem(n_components=20)]
)
def test_every_sieve_balances(features: object) -> None:
    data = xw.datasets.interaction(n=2000, seed=6)
    method = xw.Riesz(outcome="linear", features=features)
    effects = xw.estimate(data.study(), method)
    crossed = effects.diagnostics["representers"]["0 then 1 | 1 blocks"]
    assert crossed["imbalance_after"] < 0.2 * crossed["imbalance_before"]
    assert crossed["mean"] == pytest.approx(1.0, abs=0.05)
    assert 0 < crossed["effective_sample_size"] < 1200
    assert abs(effects["nie"].estimate - 0.72) < 4 * effects["nie"].std_error


def test_a_sieve_that_is_too_plain_is_told_about() -> None:
    data = xw.datasets.interaction(n=2000, seed=6)
    method = xw.Riesz(outcome="linear", features=BROKEN)
    (told,) = xw.estimate(data.study(), method).diagnostics["warnings"][-1:]
    assert re.search(r"leave a column 0\.\d+ standard deviations", told)


def test_a_shift_out_of_the_data_is_told_about() -> None:
    study = xw.datasets.continuous_treatment(n=800, seed=1).study()
    found = xw.estimate(study, xw.Riesz(outcome="linear", shift=4.0))
    told = " ".join(found.diagnostics["warnings"])
    assert re.search(r"\d+% of units have treatment plus 4 outside", told)


def test_repeats_aggregate_and_no_covariates_are_fine() -> None:
    data = xw.datasets.linear(n=500, seed=1)
    study = xw.TableStudy.from_frame(dict(data.frame), data.path)
    found = xw.estimate(study, xw.Riesz(outcome="linear", repeats=3))
    a, y = data.frame["a"], data.frame["y"]
    assert found["te"].estimate == pytest.approx(y[a == 1].mean() - y[a == 0].mean(), abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": "linaer"}, "Did you mean 'linear'"),
        ({"features": 3}, "scikit-learn transformer, got 3"),
        ({"penalty": "CV"}, "Did you mean 'cv'"),
        ({"penalty": -1.0}, "at least 0 or 'cv', got -1.0"),
        ({"penalty": float("nan")}, "at least 0 or 'cv', got nan"),
        ({"shift": 0.0}, "finite number other than 0"),
        ({"shift": "one"}, "got 'one'"),
        ({"shift": True}, "got True"),
        ({"repeats": 0}, "repeats is a whole number of at least 1, got 0"),
        ({"workers": 1.5}, "workers is a whole number"),
        ({"folds": "f", "repeats": 2}, "given folds cannot be repeated"),
    ],
)
def test_bad_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(xw.errors.SpecError, match=message):
        xw.Riesz(**options)


@pytest.mark.parametrize(
    ("generator", "options", "cell", "message"),
    [
        ("interaction", {"folds": 2}, Y(1), "at least 3 folds"),
        ("interaction", {"folds": 1}, Y(1), "at least 2"),
        ("interaction", {"outcome": "oracle"}, Y(1), "unknown outcome learner"),
        ("interaction", {}, Y(1, set_(0.5)), "does not fix mediators"),
        ("interaction", {}, Y(1).quantile(0.5), "another functional"),
        ("intermediate", {}, Y(1, G(0)), "intermediate confounders"),
        ("continuous_treatment", {}, Y(1), "discrete treatment"),
        ("continuous_treatment", {"shift": 0.5}, Y(0.7), "there is no level 0.7"),
        ("multilevel_treatment", {"shift": 1.0}, Y(1), "is text"),
    ],
)
def test_bad_questions_are_refused(
    generator: str, options: dict, cell: xw.Cell, message: str
) -> None:
    study = getattr(xw.datasets, generator)(n=200, seed=1).study()
    with pytest.raises(xw.errors.CrossworldError, match=message):
        xw.Riesz(**{"outcome": "linear", **options}).scores(study, [cell])
    with pytest.raises(xw.errors.DesignError, match="needs a TableStudy"):
        xw.Riesz().scores(None, [Y(1, M(0))])  # type: ignore[arg-type]


def test_two_folds_do_with_a_given_penalty() -> None:
    study = xw.datasets.interaction(n=600, seed=1).study()
    found = xw.estimate(study, xw.Riesz(outcome="linear", folds=2, penalty=0.0))
    assert abs(found["nie"].estimate - 0.72) < 4 * found["nie"].std_error


@pytest.mark.slow
@pytest.mark.parametrize("outcome", ["right", "wrong"])
@pytest.mark.parametrize("representer", ["right", "wrong"])
def test_either_model_alone_gives_the_answer(outcome: str, representer: str) -> None:
    """200 samples: bias within Monte-Carlo error unless both are wrong (then it is large)."""
    method = xw.Riesz(
        outcome="linear" if outcome == "right" else DummyRegressor(),
        features="linear+products" if representer == "right" else BROKEN,
    )
    found = []
    for seed in range(200):
        study = xw.datasets.binary_mediator(n=800, seed=seed).study()
        scores = method.scores(study, [Y(1), Y(1, M(0))])
        found.append(scores.means() @ [1.0, -1.0])
    bias = np.mean(found) - xw.datasets.binary_mediator(n=10, seed=0).effect(xw.NIE)
    error = np.std(found) / np.sqrt(200)
    if outcome == representer == "wrong":
        assert abs(bias) > 0.1
    else:
        assert abs(bias) < 4 * error


@pytest.mark.slow
def test_intervals_cover_with_fifty_mediators() -> None:
    """n = 800, 150 samples, a least-squares outcome: coverage within binomial error of 95 %."""
    covered, effect = [], np.where(np.arange(50) < 8, 0.25, 0.0)
    for seed in range(150):
        rng = np.random.default_rng(seed)
        x, a = rng.standard_normal(800), (rng.random(800) < 0.5).astype(float)
        m = np.outer(a, effect) + 0.3 * x[:, None] + rng.standard_normal((800, 50))
        y = 0.5 * a + 0.4 * m[:, :4].sum(axis=1) + 0.3 * x + rng.standard_normal(800)
        frame = {"a": a, "x": x, "y": y, **{f"m_{j}": m[:, j] for j in range(50)}}
        study = xw.TableStudy.from_frame(frame, "a -> m_* -> y", adjust=["x"])
        row = xw.estimate(study, xw.Riesz(outcome="linear"), [xw.NIE])["nie"]
        covered.append(row.conf_low <= 0.4 <= row.conf_high)
    assert np.mean(covered) > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 150)

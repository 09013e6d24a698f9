"""The generators' truths: golden figures, closed forms, other quadratures, brute force."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit, ndtr
from scipy.stats import norm, poisson

from crossworld import datasets
from crossworld.core.effects import CDE, IDE, IIE, NDE, NIE, OE, PM, PSE, TE, TNDE
from crossworld.core.expression import Cell, Y
from crossworld.core.regime import G, M, set_
from crossworld.datasets import GENERATORS, Simulated
from crossworld.errors import DesignError, NotIdentifiedError, SpecError


def test_published_generators_have_the_published_truths(shared_data: Path) -> None:
    held = json.loads((shared_data / "tables" / "golden_references.json").read_text())
    ours, theirs = datasets.medoutcon(n=10), held["truth_interventional_medoutcon_dgp"]
    for a in (0, 1):
        for b in (0, 1):
            assert ours.truth(Y(a, G(b))) == pytest.approx(theirs[f"theta{a}{b}"], abs=1e-9)
    assert ours.effect(IDE) == pytest.approx(theirs["IDE"], abs=1e-9)
    assert ours.effect(IIE) == pytest.approx(theirs["IIE"], abs=1e-9)
    ours, theirs = datasets.tmle3mediate(n=10), held["truth_natural_tmle3mediate_dgp"]
    for a in (0, 1):
        for b in (0, 1):
            assert ours.truth(Y(a, M(b))) == pytest.approx(theirs[f"EY{a}{b}"], abs=1e-9)
    for question, name in ((NDE, "NDE"), (NIE, "NIE"), (TE, "ATE")):
        assert ours.effect(question) == pytest.approx(theirs[name], abs=1e-9)


def close(value: float, expected: float) -> None:
    assert value == pytest.approx(expected, abs=1e-11)


def test_closed_forms() -> None:
    linear = datasets.linear(n=10)
    close(linear.effect(TE), 0.6)
    close(linear.effect(NDE), 0.3)
    close(linear.effect(CDE(7)), 0.3)
    close(linear.effect(PM), 0.5)
    crossed = datasets.interaction(n=10)
    close(crossed.effect(NDE), 0.4 + 0.5 * 0.2)
    close(crossed.effect(TNDE), 0.4 + 0.5 * 0.8)
    close(crossed.effect(NIE), 1.2 * 0.6)
    close(crossed.effect(CDE(2)), 0.4 + 0.5 * 2)
    levels = datasets.continuous_treatment(n=10)
    close(levels.truth(Y(1, M(0))), 0.3 * 1.5 + (0.5 + 0.25 * 1.5) * 0.2)
    close(levels.truth(Y(-0.5)), -0.15 + (0.5 - 0.125) * (0.2 - 0.3))
    arms = datasets.multilevel_treatment(n=10)
    close(arms.truth(Y("mid", M("high"))), 0.2 + 0.3 * 1.1)
    close(arms.effect(NDE), 0.7)
    grouped = datasets.clustered(n=10)
    close(grouped.effect(NIE), 1.0 * 0.6)
    counts = datasets.count_outcome(n=10)
    slope, shift = 0.25 + 0.15, 0.4 * 0.5 + 0.2
    mean = 0.1 + 0.3 + slope * 0.2 + (slope**2 + shift**2) / 2
    close(counts.truth(Y(1, M(0))), math.exp(mean))


def test_chains_have_their_closed_form() -> None:
    made = datasets.ordered(n=10)
    for a in (0, 1):
        for a1 in (0, 1):
            for a2 in (0, 1):
                m1 = 0.1 + 0.6 * a1
                m2 = -0.2 + 0.4 * a2 + (0.5 + 0.3 * a2) * m1
                y = 0.5 * a + (0.6 + 0.3 * a) * m1 + (0.7 - 0.2 * a) * m2
                close(made.truth(Y(a, m1=a1, m2=a2)), y)
                separate = -0.2 + 0.4 * a2 + (0.5 + 0.3 * a2) * (0.1 + 0.6 * a2)
                y = 0.5 * a + (0.6 + 0.3 * a) * m1 + (0.7 - 0.2 * a) * separate
                close(made.truth(Y(a, m1=G(a1), m2=G(a2))), y)
    close(made.truth(Y(1, set_(m1=2))), 0.5 + 0.9 * 2 + 0.5 * (-0.2 + 0.4 + 0.8 * 2))
    close(made.truth(Y(1, set_(m2=2))), 0.5 + 0.9 * 0.7 + 0.5 * 2)
    close(made.truth(Y(0, set_(m1=1, m2=-1))), 0.6 - 0.7)
    close(made.truth(Y(0, G(1))), made.truth(Y(0, M(1))))
    assert made.effect(PSE("m1")) + made.effect(PSE("m2")) == pytest.approx(made.effect(NIE))


def test_a_joint_block_is_one_normal_predictor() -> None:
    """With a linear predictor the block acts through one normal variable."""
    made = datasets.joint_block(n=10, link="probit")
    for a in (0, 1):
        for b in (0, 1):
            one, two = 0.5 + 0.3 * a, 0.6 - 0.2 * a
            spread = one**2 + 1.17 * two**2 + 2 * 0.6 * one * two
            total = 0.0
            for x, p in ((-1, 0.3), (0, 0.4), (1, 0.3)):
                m1, m2 = 0.1 + 0.6 * b + 0.4 * x, -0.3 + 0.5 * b - 0.3 * x
                eta = -0.4 + 0.5 * a + one * m1 + two * m2 + 0.2 * x
                total += p * ndtr(eta / math.sqrt(1 + spread))
            close(made.truth(Y(a, M(b))), total)


def test_a_block_is_drawn_jointly_however_it_is_written() -> None:
    for made in (datasets.joint_block(n=10), datasets.mixed_block(n=10)):
        close(made.truth(Y(1, m1=G(0), m2=G(0))), made.truth(Y(1, M(0))))


def test_quadrature_agrees_with_another_rule() -> None:
    """Gauss-Legendre on a wide box, where the generators use the trapezoidal rule."""
    nodes, weights = np.polynomial.legendre.leggauss(160)
    x, m = 9.0 * nodes[:, None], 14.0 * nodes
    mass = 9.0 * 14.0 * weights[:, None] * weights * norm.pdf(x)
    made = datasets.binary_outcome(n=10)
    for a in (0, 1):
        for b in (0, 1):
            eta = -0.5 + 0.5 * a + (0.7 + 0.4 * a) * m + 0.3 * x
            expected = np.sum(mass * expit(eta) * norm.pdf(m, 0.2 + 0.6 * b + 0.5 * x))
            close(made.truth(Y(a, M(b))), expected)

    def fixed(x: float) -> float:
        return expit(-0.5 + 0.5 + 1.1 * 1.5 + 0.3 * x) * norm.pdf(x)

    close(made.truth(Y(1, set_(1.5))), quad(fixed, -10, 10, epsabs=1e-13)[0])


def test_counts_are_summed_to_the_end() -> None:
    made = datasets.count_mediator(n=10, outcome="logit")
    total = 0.0
    for x in (0, 1):
        k = np.arange(200)
        mass = poisson.pmf(k, math.exp(0.2 + 0.3 * x))
        total += 0.5 * float(mass @ expit(-1 + 0.4 + 0.5 * k + 0.5 * x))
    close(made.truth(Y(1, M(0))), total)


@pytest.mark.parametrize("name", GENERATORS)
def test_data_and_study(name: str) -> None:
    made = GENERATORS[name](n=300, seed=3)
    assert len(made) == 300
    again, other = GENERATORS[name](n=300, seed=3), GENERATORS[name](n=300, seed=4)
    for column, values in made.frame.items():
        assert values.shape == (300,)
        np.testing.assert_array_equal(values, again.frame[column])
    assert any(not np.array_equal(v, other.frame[k]) for k, v in made.frame.items())
    study = made.study()
    assert str(study.path) == made.path
    assert study.adjust == made.adjust
    assert study.intermediate == made.intermediate
    assert list(made.to_pandas().columns) == list(made.frame)


@pytest.mark.parametrize("name", GENERATORS)
def test_effects_add_up_and_random_draws_are_natural(name: str) -> None:
    made = GENERATORS[name](n=50)
    assert made.effect(OE) == pytest.approx(made.effect(IDE) + made.effect(IIE), abs=1e-12)
    if made.intermediate:
        with pytest.raises(NotIdentifiedError):
            made.effect(NDE)
        assert made.effect(OE) != pytest.approx(made.effect(TE), abs=1e-4)
        return
    assert made.effect(TE) == pytest.approx(made.effect(NDE) + made.effect(NIE), abs=1e-12)
    assert made.truth(Y(1, G(0))) == pytest.approx(made.truth(Y(1, M(0))), abs=1e-12)
    assert abs(made.effect(NIE)) > 0.02
    assert abs(made.effect(NDE)) > 0.02


@pytest.mark.parametrize("name", GENERATORS)
def test_sample_truth_converges_to_the_truth(name: str) -> None:
    made = GENERATORS[name](n=20_000, seed=1)
    cell = Y(1, G(0))
    population = made.truth(cell)
    parts = [GENERATORS[name](n=2000, seed=s).sample_truth(cell) for s in range(8)]
    spread = np.std(parts, ddof=1) / math.sqrt(10)
    assert abs(made.sample_truth(cell) - population) < 5 * spread + 1e-9


def test_sample_truth_averages_over_the_units() -> None:
    made = datasets.interaction(n=40, seed=2)
    x = made.frame["x"]
    expected = np.mean(1 + 0.4 + 1.2 * (0.2 + 0.5 * x) - 0.4 * x)
    assert made.sample_truth(Y(1, M(0))) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("cell", "error"),
    [
        (Y(1, M(0, "shuffle")), DesignError),
        (Y(1, m1=0), DesignError),
        (Y(1, k=0), SpecError),
        (Y(1).quantile(0.5), SpecError),
    ],
    ids=str,
)
def test_cells_without_a_truth_are_refused(cell: Cell, error: type[Exception]) -> None:
    with pytest.raises(error):
        datasets.joint_block(n=10).truth(cell)


@pytest.mark.parametrize(
    "make",
    [
        lambda: datasets.linear(n=0),
        lambda: datasets.clustered(n=10, size=0),
        lambda: datasets.joint_block(n=10, link="logti"),
        lambda: datasets.count_mediator(n=10, outcome="probit"),
        lambda: datasets.multilevel_treatment(n=10).truth(Y("none")),
        lambda: datasets.nominal_mediator(n=10).truth(Y(1, set_("plane"))),
    ],
)
def test_wrong_arguments_are_refused(make: Callable[[], Simulated]) -> None:
    with pytest.raises((DesignError, SpecError)):
        make()


# Brute force. Each function draws one counterfactual world per unit, straight from the equations
# in the docstrings: ``a`` is what the outcome sees, ``b`` what the mediators see, ``m`` a value
# the mediator is set to; with ``random`` the mediator is drawn in an unrelated world of b.

Draw = np.random.Generator
SIZE = 400_000


def coin(rng: Draw, p: np.ndarray | float) -> np.ndarray:
    return (rng.random(SIZE) < p).astype(float)


def common(rng: Draw, b: float) -> tuple[np.ndarray, np.ndarray]:
    x = rng.normal(size=SIZE)
    return x, 0.2 + 0.6 * b + 0.5 * x + rng.normal(size=SIZE)


def linear(rng, a, b, m=None):
    x = rng.normal(size=SIZE)
    m = 0.5 * b + 0.4 * x + rng.normal(size=SIZE) if m is None else m
    return 0.3 * a + 0.6 * m + 0.5 * x + rng.normal(size=SIZE)


def interaction(rng, a, b, m=None):
    x, own = common(rng, b)
    m = own if m is None else m
    return 1 + 0.4 * a + 0.7 * m + 0.5 * a * m - 0.4 * x + 0.8 * rng.normal(size=SIZE)


def binary_mediator(rng, a, b, m=None):
    x = rng.normal(size=SIZE)
    m = coin(rng, 1 / (1 + np.exp(0.4 - 0.9 * b - 0.6 * x))) if m is None else m
    return 0.5 * a + 0.8 * m + 0.6 * a * m + 0.4 * x + rng.normal(size=SIZE)


def binary_outcome(rng, a, b, m=None):
    x, own = common(rng, b)
    m = own if m is None else m
    return coin(rng, 1 / (1 + np.exp(-(-0.5 + 0.5 * a + 0.7 * m + 0.4 * a * m + 0.3 * x))))


def binary_both(rng, a, b, m=None):
    x = rng.normal(size=SIZE)
    m = coin(rng, 1 / (1 + np.exp(0.3 - b - 0.5 * x))) if m is None else m
    return coin(rng, 1 / (1 + np.exp(-(-0.8 + 0.6 * a + 0.9 * m + 0.5 * a * m + 0.4 * x))))


def count_mediator(rng, a, b, m=None):
    x = coin(rng, 0.5)
    m = rng.poisson(np.exp(0.2 + 0.5 * b + 0.3 * x)) if m is None else m
    return -1 + 0.4 * a + 0.3 * m + 0.2 * a * m + 0.5 * x + rng.normal(size=SIZE)


def count_outcome(rng, a, b, m=None):
    x, own = common(rng, b)
    m = own if m is None else m
    return rng.poisson(np.exp(0.1 + 0.3 * a + 0.25 * m + 0.15 * a * m + 0.2 * x))


def nominal_mediator(rng, a, b, m=None):
    x = rng.normal(size=SIZE)
    if m is None:
        noise = rng.gumbel(size=(SIZE, 3))
        scores = np.stack([0 * x, 0.3 + 0.8 * b + 0.4 * x, -0.2 + 1.2 * b - 0.5 * x], axis=1)
        m = np.array(["bus", "car", "walk"])[(scores + noise).argmax(axis=1)]
    m = np.asarray(m)
    own = (0.7 + 0.3 * a) * (m == "car") + (-0.5 + 0.9 * a) * (m == "walk")
    return 0.4 * a + own + 0.3 * x + rng.normal(size=SIZE)


def three(rng: Draw) -> np.ndarray:
    return rng.choice([-1.0, 0.0, 1.0], p=[0.3, 0.4, 0.3], size=SIZE)


def ordered(rng, a, b, b2=None):
    x, b2 = three(rng), b if b2 is None else b2
    m1 = 0.1 + 0.6 * b + 0.4 * x + rng.normal(size=SIZE)
    m2 = -0.2 + 0.4 * b2 + 0.5 * m1 + 0.3 * b2 * m1 + 0.3 * x + 0.9 * rng.normal(size=SIZE)
    own = 0.6 * m1 + 0.7 * m2 + 0.3 * a * m1 - 0.2 * a * m2
    return 0.5 * a + own + 0.5 * x + rng.normal(size=SIZE)


def ordered_binary(rng, a, b, b2=None):
    x, b2 = three(rng), b if b2 is None else b2
    m1 = 0.1 + 0.6 * b + 0.4 * x + rng.normal(size=SIZE)
    m2 = -0.2 + 0.4 * b2 + 0.5 * m1 + 0.3 * b2 * m1 + 0.3 * x + 0.9 * rng.normal(size=SIZE)
    eta = -0.9 + 0.4 * a + 0.7 * m1 + 0.8 * m2 + 0.3 * a * m1 - 0.2 * a * m2 + 0.2 * x
    return coin(rng, 1 / (1 + np.exp(-eta)))


def ordered_binary_apart(rng, a, b, b2):
    """The second mediator comes from a world of its own."""
    x = three(rng)
    m1, other = (0.1 + 0.6 * level + 0.4 * x + rng.normal(size=SIZE) for level in (b, b2))
    m2 = -0.2 + 0.4 * b2 + (0.5 + 0.3 * b2) * other + 0.3 * x + 0.9 * rng.normal(size=SIZE)
    eta = -0.9 + 0.4 * a + (0.7 + 0.3 * a) * m1 + (0.8 - 0.2 * a) * m2 + 0.2 * x
    return coin(rng, 1 / (1 + np.exp(-eta)))


def joint_block(rng, a, b):
    x = three(rng)
    noise = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1.17]], size=SIZE)
    m1 = 0.1 + 0.6 * b + 0.4 * x + noise[:, 0]
    m2 = -0.3 + 0.5 * b - 0.3 * x + noise[:, 1]
    eta = -0.4 + 0.5 * a + 0.5 * m1 + 0.6 * m2 + 0.3 * a * m1 - 0.2 * a * m2 + 0.2 * x
    return coin(rng, 1 / (1 + np.exp(-eta)))


def mixed_block(rng, a, b):
    x = three(rng)
    m1 = coin(rng, 1 / (1 + np.exp(0.5 - 0.9 * b - 0.4 * x)))
    m2 = 0.2 + 0.5 * b + 0.8 * m1 + 0.3 * x + rng.normal(size=SIZE)
    eta = -1 + 0.4 * a + 0.6 * m1 + 0.5 * m2 + 0.5 * a * m1 + 0.2 * a * m2 + 0.3 * x
    return coin(rng, 1 / (1 + np.exp(-eta)))


def continuous_treatment(rng, a, b, m=None):
    a, b = 1.5 * a, 1.5 * b
    x = rng.normal(size=SIZE)
    m = 0.2 + 0.6 * b + 0.4 * x + rng.normal(size=SIZE) if m is None else m
    return 0.3 * a + 0.5 * m + 0.25 * a * m + 0.4 * x + rng.normal(size=SIZE)


def multilevel_treatment(rng, a, b, m=None):
    x = rng.normal(size=SIZE)
    m = 1.1 * b + 0.4 * x + rng.normal(size=SIZE) if m is None else m
    return 0.7 * a + (0.5 + 0.3 * a) * m + 0.4 * x + rng.normal(size=SIZE)


def clustered(rng, a, b, m=None):
    group = np.arange(SIZE) // 20
    v, u, d = (rng.normal(size=SIZE // 20)[group] for _ in range(3))
    x = 0.6 * v + 0.8 * rng.normal(size=SIZE)
    m = 0.2 + 0.6 * b + 0.5 * x + 0.7 * u + rng.normal(size=SIZE) if m is None else m
    return 0.4 * a + 0.6 * m + 0.4 * a * m + 0.3 * x + 0.7 * d + rng.normal(size=SIZE)


def intermediate(rng, a, b, m=None):
    x = three(rng)
    seen = coin(rng, 1 / (1 + np.exp(0.4 - a - 0.5 * x)))
    other = coin(rng, 1 / (1 + np.exp(0.4 - b - 0.5 * x)))
    m = 0.1 + 0.5 * b + 0.8 * other + 0.3 * x + rng.normal(size=SIZE) if m is None else m
    own = 0.5 * m + 0.6 * seen + 0.4 * a * m + 0.3 * seen * m
    return 0.3 * a + own + 0.4 * x + rng.normal(size=SIZE)


def medoutcon(rng, a, b, m=None):
    w1, w2 = coin(rng, 0.6), coin(rng, 0.3)
    w3 = coin(rng, np.minimum(0.2 + (w1 + w2) / 3, 1))
    w = np.stack([w1, w2, w3])
    seen, other = (
        coin(rng, 1 / (1 + np.exp(-(np.mean(-np.log(2) + w - level, axis=0) + 0.2))))
        for level in (a, b)
    )
    if m is None:
        m = coin(rng, 1 / (1 + np.exp(-np.sum(np.log(3) * w[:2] + b - other, axis=0))))
    s = w.sum(axis=0) - seen + a + m
    with np.errstate(divide="ignore"):
        return coin(rng, np.where(s == 0, 1.0, 1 / (1 + np.exp(-1 / s))))


def tmle3mediate(rng, a, b):
    w1, w2, w3 = coin(rng, 0.5), coin(rng, 0.65), coin(rng, 0.35)
    z1 = coin(rng, 1 - 1 / (1 + np.exp(-(b + w1) / (b + w1**3 + 0.5))))
    z2 = coin(rng, 1 / (1 + np.exp(-((b - 1) + w2 / (w3 + 3)))))
    z3 = coin(rng, 1 / (1 + np.exp(-((b - 1) + 2 * w1**3 - 1 / (2 * w1 + 0.5)))))
    return z1**2 + z2**2 - z3 + np.exp(a + z3 / (1 + (w1 + w2 + w3) ** 2))


WORLDS = {name: globals()[name] for name in GENERATORS}
FIXABLE = {name: "car" if name == "nominal_mediator" else 1.0 for name in GENERATORS}
for several in ("ordered", "ordered_binary", "joint_block", "mixed_block", "tmle3mediate"):
    del FIXABLE[several]


def near(found: np.ndarray, expected: float, groups: int = SIZE) -> None:
    held = found.reshape(groups, -1).mean(axis=1)
    error = held.std(ddof=1) / math.sqrt(groups)
    assert abs(found.mean() - expected) < 4 * error


@pytest.mark.slow
@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize(("a", "b"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_brute_force_finds_the_truth(name: str, a: int, b: int) -> None:
    rng = np.random.default_rng([a, b, *name.encode()])
    drawn = np.asarray(WORLDS[name](rng, a, b), dtype=float)
    near(drawn, GENERATORS[name](n=10).truth(Y(a, G(b))), SIZE // 20)


@pytest.mark.slow
@pytest.mark.parametrize("name", FIXABLE)
def test_brute_force_finds_the_controlled_effect(name: str) -> None:
    rng, value = np.random.default_rng([5, *name.encode()]), FIXABLE[name]
    made = GENERATORS[name](n=10)
    for a in (0, 1):
        drawn = np.asarray(WORLDS[name](rng, a, a, value), dtype=float)
        near(drawn, made.truth(Y(a, set_(value))), SIZE // 20)


@pytest.mark.slow
@pytest.mark.parametrize("cell", [(1, 0, 1), (1, 1, 0), (0, 1, 0), (0, 0, 1)])
@pytest.mark.parametrize("world", [ordered, ordered_binary])
def test_brute_force_finds_path_specific_cells(world: Callable, cell: tuple) -> None:
    a, one, two = cell
    drawn = world(np.random.default_rng([7, *cell]), a, one, two)
    near(drawn, GENERATORS[world.__name__](n=10).truth(Y(a, m1=one, m2=two)))


@pytest.mark.slow
@pytest.mark.parametrize("cell", [(1, 0, 0), (1, 0, 1), (0, 1, 1), (0, 1, 0)])
def test_brute_force_finds_separate_random_draws(cell: tuple) -> None:
    a, one, two = cell
    drawn = ordered_binary_apart(np.random.default_rng([8, *cell]), a, one, two)
    truth = datasets.ordered_binary(n=10).truth(Y(a, m1=G(one), m2=G(two)))
    near(drawn, truth)


@pytest.mark.slow
@pytest.mark.parametrize("name", GENERATORS)
def test_drawn_data_follow_the_model(name: str) -> None:
    """The mean outcome of the data is the truth mixed over the treatment they drew."""
    made = GENERATORS[name](n=200_000, seed=9)
    model, frame = made.model, made.frame
    outcome = frame[model.outcome.name].astype(float)
    treatment = frame[model.treatment.name]
    if len(set(treatment.tolist())) != 2:
        pytest.skip("the treatment has more than two values")
    start = {law.name: frame[law.name].astype(float) for law in model.covariates}
    chance = model.treatment.mean(start)
    expected = np.zeros(outcome.size)
    for level in (0, 1):
        share = chance if level else 1 - chance
        points, back = np.unique(np.column_stack(list(start.values())), axis=0, return_inverse=True)
        parts = [
            model.mean(
                Y(level).bind(model.blocks),
                (0.0, 1.0),
                {k: part[:, j] for j, k in enumerate(start)},
            )
            for part in np.array_split(points, -(-len(points) // 400))
        ]
        expected += share * np.concatenate(parts)[back]
    near(outcome - expected, 0.0, 200_000 // 20)

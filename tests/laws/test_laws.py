"""Laws every table estimator obeys; a new estimator is picked up by itself."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

import crossworld as xw
from crossworld.core.analysis import prepare
from crossworld.core.effects import NDE, NIE, PNIE, TE, TNDE
from crossworld.core.estimand import Estimand, needed
from crossworld.core.expression import Y
from crossworld.datasets.laws import Gaussian
from crossworld.infer.empirical import draws_of

from .cases import (
    CASES,
    HEAVY,
    SMALL,
    Case,
    Supports,
    base,
    errors,
    every_case,
    every_light_case,
    measure,
    scores_of,
    some,
    study_of,
    values,
)

FEW = some("linear", "binary_outcome", "ordered", "clustered", "intermediate", "nominal_mediator")


def test_estimators_are_found() -> None:
    assert "Regression" in {case.estimator.__name__ for case in CASES}


@every_case
def test_configuration_is_frozen(case: Case) -> None:
    made = case.make()
    assert made == case.make()
    name = fields(made)[0].name
    with pytest.raises(AttributeError):
        setattr(made, name, None)


@every_case
def test_recovers_the_truth(case: Case) -> None:
    data = case.draw(4000, 11)
    for question in case.questions:
        estimate = base(case)[question.name]
        gap = abs(estimate.value - data.effect(question))
        assert gap < 4 * estimate.std_error + 1e-12, question.name
        assert estimate.std_error < 0.5


@pytest.mark.slow
@every_case
def test_intervals_are_as_wide_as_the_spread_of_estimates(case: Case) -> None:
    """The mean squared error in units of the standard error is near 1 over 60 samples."""
    questions = [q for q in case.questions if q.name in ("te", "nde", "nie", "ide", "iie")]
    z = []
    for seed in range(60):
        data = case.draw(2000 if case.generator in HEAVY else 1000, 1000 + seed)
        found = measure(case, study_of(data), questions)
        z.append(
            [(found[q.name].value - data.effect(q)) / found[q.name].std_error for q in questions]
        )
    squared = np.square(z).mean(axis=0)
    assert (squared > 0.45).all(), squared
    assert (squared < 1.9).all(), squared


@every_case
def test_decompositions_add_up(case: Case) -> None:
    found = base(case)
    sums = [("te", "nde", "nie"), ("te", "tnde", "pnie"), ("oe", "ide", "iie")]
    for whole, one, two in sums:
        if whole in found and one in found:
            total = found[one] + found[two]
            assert total.value == pytest.approx(found[whole].value, abs=1e-12)
            assert total.std_error == pytest.approx(found[whole].std_error, rel=1e-9)
    for type_, direct in ((1, "nde"), (2, "tnde")):
        suffix = "" if type_ == 1 else ", type=2"
        parts = [found[name] for name in (f"pse(m1{suffix})", f"pse(m2{suffix})") if name in found]
        if parts:
            total = parts[0] + parts[1] + found[direct]
            assert total.value == pytest.approx(found["te"].value, abs=1e-12)


@every_case
def test_random_draws_are_natural_without_intermediates(case: Case) -> None:
    found = base(case)
    if "ide" not in found:
        pytest.skip("the estimator is not asked for interventional effects")
    if "nde" not in found:
        assert abs(found["oe"].value - found["te"].value) > 1e-6
        return
    assert found["ide"].value == pytest.approx(found["nde"].value, abs=1e-9)
    assert found["iie"].value == pytest.approx(found["nie"].value, abs=1e-9)


@pytest.mark.parametrize(("shift", "scale"), [(3.0, 1.0), (0.0, -2.0), (1e3, 1e3), (0.0, 1e-4)])
@every_light_case
def test_follows_affine_outcomes(case: Case, shift: float, scale: float) -> None:
    data = case.draw(SMALL, 1)
    if not isinstance(data.model.outcome, Gaussian):
        pytest.skip("the outcome is not gaussian")
    frame = dict(data.frame)
    frame["y"] = shift + scale * frame["y"]
    one, two = measure(case, study_of(data)), measure(case, study_of(data, frame))
    size = abs(scale) * errors(one)
    assert np.abs(values(two) - scale * values(one)).max() < 1e-6 * size.max()
    assert errors(two) == pytest.approx(size, rel=1e-5, abs=1e-9 * abs(scale))


SWAPPED = [("te", "te"), ("nde", "tnde"), ("tnde", "nde"), ("nie", "pnie"), ("pnie", "nie")]
SWAPPED += [("oe", "oe"), ("pse(m1)", "pse(m1, type=2)"), ("pse(m2, type=2)", "pse(m2)")]


@every_light_case
def test_swapped_levels_flip_signs(case: Case) -> None:
    data = case.draw(SMALL, 2)
    low, high = data.levels
    one = measure(case, study_of(data))
    two = measure(case, study_of(data, levels=(high, low)))
    for here, there in SWAPPED:
        if here in one and there in one:
            assert two[there].value == pytest.approx(-one[here].value, abs=1e-9), here
            assert two[there].std_error == pytest.approx(one[here].std_error, rel=1e-6)


@every_light_case
def test_recoded_treatment_flips_signs(case: Case) -> None:
    data = case.draw(SMALL, 2)
    treatment = data.frame["a"]
    if set(treatment.tolist()) != {0, 1} or "outcome" in case.settings:
        pytest.skip("the treatment is not coded 0 and 1, or formulas name it")
    one = measure(case, study_of(data))
    two = measure(case, study_of(data, {**data.frame, "a": 1 - treatment}))
    for here, there in SWAPPED:
        if here in one and there in one:
            assert two[there].value == pytest.approx(-one[here].value, abs=1e-6), here
            assert two[there].std_error == pytest.approx(one[here].std_error, rel=1e-4)


@pytest.mark.parametrize("weight", [1.0, 1, 2.5])
@every_light_case
def test_equal_weights_change_nothing(case: Case, weight: float) -> None:
    data = case.draw(SMALL, 3)
    one = measure(case, study_of(data))
    frame = {**data.frame, "weight": np.full(SMALL, weight)}
    two = measure(case, study_of(data, frame, weights="weight"))
    assert values(two) == pytest.approx(values(one), abs=1e-8)
    assert errors(two) == pytest.approx(errors(one), rel=1e-6)


@every_light_case
def test_order_of_rows_does_not_matter(case: Case) -> None:
    data = case.draw(SMALL, 4)
    order = np.random.default_rng(0).permutation(SMALL)
    one = measure(case, study_of(data))
    two = measure(case, study_of(data, {k: v[order] for k, v in data.frame.items()}))
    assert values(two) == pytest.approx(values(one), abs=1e-8)
    assert errors(two) == pytest.approx(errors(one), rel=1e-6)
    first = next(iter(one))
    assert two[first].influence == pytest.approx(one[first].influence[order], abs=1e-5)


@every_light_case
def test_a_duplicated_row_is_weight_two(case: Case) -> None:
    """Its standard error too, when both copies share a cluster."""
    data = case.draw(SMALL, 5)
    unit = np.arange(SMALL) if data.cluster is None else data.frame["cluster"]
    twice = np.concatenate([np.arange(SMALL), np.arange(0, SMALL, 3)])
    copied = {k: v[twice] for k, v in data.frame.items()} | {"unit": unit[twice]}
    weight = np.where(np.arange(SMALL) % 3 == 0, 2, 1)
    weighted = {**data.frame, "unit": unit, "weight": weight}
    one = measure(case, study_of(data, copied, cluster="unit"))
    two = measure(case, study_of(data, weighted, cluster="unit", weights="weight"))
    assert values(two) == pytest.approx(values(one), abs=1e-8)
    assert errors(two) == pytest.approx(errors(one), rel=1e-6)


@every_light_case
def test_a_row_of_weight_zero_is_no_row(case: Case) -> None:
    """Estimates only: a left-out row still counts as a unit of its cluster."""
    data = case.draw(SMALL, 6)
    keep = np.arange(SMALL) % 4 > 0
    kept = measure(case, study_of(data, {k: v[keep] for k, v in data.frame.items()}))
    frame = {**data.frame, "weight": keep.astype(int)}
    found = measure(case, study_of(data, frame, weights="weight"))
    assert values(found) == pytest.approx(values(kept), abs=1e-8)
    if data.cluster is None:
        assert errors(found) == pytest.approx(errors(kept), rel=1e-6)


@every_light_case
def test_singleton_clusters_give_j_over_j_minus_1(case: Case) -> None:
    data = case.draw(SMALL, 7)
    frame = {**data.frame, "unit": np.arange(SMALL)}
    one = measure(case, study_of(data, cluster=None))
    two = measure(case, study_of(data, frame, cluster="unit"))
    assert values(two) == pytest.approx(values(one), abs=1e-12)
    factor = SMALL / (SMALL - 1)
    assert errors(two) ** 2 == pytest.approx(factor * errors(one) ** 2, rel=1e-9)


@every_light_case
def test_scores_average_to_their_cells_and_influence_to_zero(case: Case) -> None:
    data = case.draw(SMALL, 8)
    rng = np.random.default_rng(1)
    frame = {**data.frame, "weight": rng.uniform(0.5, 2.0, SMALL)}
    scores = scores_of(case, study_of(data, frame, weights="weight"), case.questions)
    assert scores.influence
    assert scores.values.shape == (SMALL, len(scores.cells))
    for cell in scores.cells:
        estimate = scores.mean(cell)
        assert abs(estimate.influence.sum()) < 1e-7 * np.abs(estimate.influence).sum()


@every_light_case
def test_influence_is_the_derivative_in_each_units_weight(case: Case) -> None:
    """Central differences in a few units' weights, around unequal weights."""
    if not case.claims.exact:
        pytest.skip("cross-fitted scores are influence functions to first order")
    data = case.draw(SMALL, 9)
    weight = np.random.default_rng(2).uniform(0.5, 1.5, SMALL)
    asked = case.questions[:5]

    def at(weights: np.ndarray) -> dict:
        frame = {**data.frame, "weight": weights}
        return measure(case, study_of(data, frame, weights="weight", cluster=None), asked)

    found, step = at(weight), 1e-3
    size = {name: float(np.abs(e.influence).mean()) for name, e in found.items()}
    for i in (0, 17, 101, 399):
        up, down = (
            at(np.where(np.arange(SMALL) == i, weight * (1 + s), weight)) for s in (step, -step)
        )
        for name, estimate in found.items():
            slope = (up[name].value - down[name].value) / (2 * step)
            expected = estimate.influence[i] / SMALL
            assert slope == pytest.approx(expected, rel=1e-3, abs=1e-3 * size[name] / SMALL), name


def test_influence_of_a_block_whose_models_do_not_nest() -> None:
    """A residual that another model's covariates explain pulls on that model's coefficients.

    The second model lacks ``x``, so no truth is recovered, but the influence is still exact.
    """
    (first,) = {c.estimator for c in CASES if c.estimator.__name__ == "Regression"}
    options = {"interaction": True, "mediator": ["m1 ~ a + x", "m2 ~ a"]}
    case = Case(first, "joint_block", Supports({"joint_block": options}))
    test_influence_is_the_derivative_in_each_units_weight(case)


@FEW
@pytest.mark.filterwarnings("ignore::crossworld.errors.FitWarning")
def test_the_whole_analysis_agrees_with_its_scores(case: Case) -> None:
    data = case.draw(SMALL, 10)
    study = study_of(data)
    questions = case.questions
    table = xw.estimate(study, case.make(), questions)
    found = measure(case, study)
    assert [row.term for row in table] == [q.name for q in questions]
    for row in table:
        low, high = found[row.term].interval(0.95)
        assert (row.estimate, row.conf_low, row.conf_high) == pytest.approx(
            (found[row.term].value, low, high)
        )


@FEW
def test_asking_more_does_not_change_an_answer(case: Case) -> None:
    study = study_of(case.draw(SMALL, 10))
    alone = [measure(case, study, [question]) for question in case.questions]
    together = measure(case, study)
    for one in alone:
        ((name, estimate),) = one.items()
        assert estimate.value == pytest.approx(together[name].value, abs=1e-12)
        assert estimate.std_error == pytest.approx(together[name].std_error, rel=1e-9)


@FEW
def test_the_study_is_left_alone(case: Case) -> None:
    study = study_of(case.draw(SMALL, 10))
    before = study.sha256()
    measure(case, study)
    assert study.sha256() == before
    assert (
        measure(case, study)[case.questions[0].name].value
        == measure(case, study)[case.questions[0].name].value
    )


@FEW
@pytest.mark.parametrize("workers", [2, 3])
def test_bootstrap_replicates_ignore_the_workers(case: Case, workers: int) -> None:
    study, asked = study_of(case.draw(90, 10)), case.questions[:3]
    found = [
        xw.estimate(study, case.make(), asked, inference=xw.Bootstrap(draws=20, workers=w)).rows
        for w in (1, workers)
    ]
    assert found[0] == found[1]


@FEW
def test_resampled_means_are_refits_on_the_rows_drawn(case: Case) -> None:
    """The fast replicates equal a plain fit on the repeated rows, to a share of its error."""
    study = study_of(case.draw(200, 12), cluster=None)
    asked = [q.bind(study.blocks) for q in case.questions]
    cells = needed(asked)
    counts = np.random.default_rng(3).multinomial(200, np.full(200, 1 / 200), size=3).astype(float)
    fast = draws_of(asked, cells, prepare(case.make(), study, cells).resampled(counts))
    for b, count in enumerate(counts):
        rows = np.repeat(np.arange(200), count.astype(int))
        slow = measure(case, study.take(rows))
        gap = np.abs(fast[:, b] - values(slow))
        assert (gap < 5e-3 * errors(slow) + 1e-8).all(), dict(zip(slow, gap, strict=True))


@some("interaction", "binary_both")
def test_bootstrap_agrees_with_the_sandwich(case: Case) -> None:
    if not case.claims.exact:
        pytest.skip("weights of cross-fitted scores have heavy tails: agreement is slow to come")
    study = study_of(case.draw(800, 13))
    asked = [TE, NDE, NIE, TNDE, PNIE]
    wald = xw.estimate(study, case.make(), asked)
    boot = xw.estimate(study, case.make(), asked, inference=xw.Bootstrap(draws=400, seed=1))
    for row in wald:
        assert boot[row.term].std_error == pytest.approx(row.std_error, rel=0.2)


@some("clustered")
def test_ignoring_clusters_understates_the_error(case: Case) -> None:
    data, treated = case.draw(4000, 14), [Estimand("treated", 1.0 * Y(1))]
    with_ = measure(case, study_of(data), treated)["treated"]
    without = measure(case, study_of(data, cluster=None), treated)["treated"]
    assert with_.value == pytest.approx(without.value, abs=1e-12)
    assert with_.df == 4000 / 20 - 1
    assert with_.std_error > 1.5 * without.std_error


@some("linear")
def test_wrong_studies_are_refused(case: Case) -> None:
    for wrong in (None, "study", case.draw(50, 1)):
        with pytest.raises(xw.errors.CrossworldError):
            xw.estimate(wrong, case.make(), [TE])  # type: ignore[type-var]

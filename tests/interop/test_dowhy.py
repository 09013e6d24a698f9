"""DoWhy's models become studies, and our estimators answer inside DoWhy as they do outside."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest

import crossworld as xw
from crossworld.datasets import linear, ordered
from crossworld.errors import (
    DesignError,
    EstimationError,
    MissingExtraError,
    NotIdentifiedError,
    SpecError,
)
from crossworld.interop import dowhy as bridge
from crossworld.interop.dowhy_estimator import made
from crossworld.interop.graphs import from_dowhy, load, to_gml

NAME = "mediation.crossworld.interop.dowhy.MediationEstimator"
EDGES = [
    *(("x", n) for n in ("a", "m1", "m2", "y")),
    *(("a", n) for n in ("m1", "m2", "y")),
    *(("m1", "m2"), ("m1", "y"), ("m2", "y")),
]


def test_without_dowhy_the_message_is_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("dowhy", "dowhy.causal_estimator", "dowhy.causal_identifier"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'crossworld\[dowhy\]'"):
        bridge.identify_effect(nx.DiGraph(), xw.NIE)
    with pytest.raises(MissingExtraError, match=r"pip install 'crossworld\[dowhy\]'"):
        made.__wrapped__()


@pytest.fixture(scope="module")
def dowhy() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pytest.importorskip("dowhy", reason="dowhy 0.14 is not installed")
    logging.getLogger("dowhy").setLevel(logging.ERROR)
    return found


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return ordered(n=600, seed=3).to_pandas()


@pytest.fixture
def model(dowhy: Any, frame: pd.DataFrame) -> Any:
    return dowhy.CausalModel(frame, "a", "y", graph=nx.DiGraph(EDGES))


@pytest.fixture
def single(dowhy: Any) -> Any:
    """One mediator, no interaction: DoWhy's two-stage regression is right."""
    edges = [(p, c) for p, c in EDGES if "m2" not in (p, c)]
    graph = nx.relabel_nodes(nx.DiGraph(edges), {"m1": "m"})
    return dowhy.CausalModel(linear(n=400, seed=5).to_pandas(), "a", "y", graph=graph)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """DoWhy draws from numpy's global generator."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    yield
    np.random.set_state(before)  # noqa: NPY002


def estimated(model: Any, effect: xw.Estimand, **params: Any) -> Any:
    options = {k: params.pop(k) for k in ("confidence_intervals", "target_units") if k in params}
    identified = bridge.identify_effect(model, effect, mediators=params.pop("path", None))
    return model.estimate_effect(identified, method_name=NAME, method_params=params, **options)


def outside(frame: pd.DataFrame, path: str = "a -> m1 + m2 -> y") -> xw.TableStudy:
    return xw.TableStudy.from_frame(frame, path, adjust=["x"])


def test_a_model_becomes_a_study(model: Any, frame: pd.DataFrame) -> None:
    study = bridge.study_from_dowhy(model)
    assert study.blocks == (("m1", "m2"),)
    assert study.adjust == ("x",)
    assert study.graph is not None
    ours = xw.estimate(study, xw.Regression())["nie"].estimate
    assert ours == xw.estimate(outside(frame), xw.Regression())["nie"].estimate
    ordered_ = bridge.study_from_dowhy(model, mediators="m1 -> m2")
    assert ordered_.blocks == (("m1",), ("m2",))
    assert bridge.study_from_dowhy(model, data=frame.head(300)).__len__() == 300


def test_graphs_of_every_kind_are_read(dowhy: Any, model: Any, frame: pd.DataFrame) -> None:
    for held in (model, model._graph):
        found = from_dowhy(held)
        assert set(found.edges) == set(EDGES)
        assert (found.treatment, found.outcome) == ("a", "y")
        assert load(held) == found
    text = to_gml(from_dowhy(model))
    again = from_dowhy(dowhy.CausalModel(frame, "a", "y", graph=text))
    assert set(again.edges) == set(EDGES)
    causal = dowhy.gcm.StructuralCausalModel(nx.DiGraph(EDGES))
    assert set(load(causal).edges) == set(EDGES)
    assert load(causal).treatment is None
    with pytest.raises(DesignError, match="is no DoWhy model"):
        from_dowhy(object())


def test_a_gcm_model_is_told_its_roles(dowhy: Any, frame: pd.DataFrame) -> None:
    causal = dowhy.gcm.InvertibleStructuralCausalModel(nx.DiGraph(EDGES))
    with pytest.raises(DesignError, match="which node is the treatment; say treatment="):
        bridge.study_from_dowhy(causal, data=frame, outcome="y")
    with pytest.raises(DesignError, match="holds no data; say data="):
        bridge.study_from_dowhy(causal, treatment="a", outcome="y")
    study = bridge.study_from_dowhy(causal, data=frame, treatment="a", outcome="y")
    assert (study.blocks, study.adjust) == ((("m1", "m2"),), ("x",))
    identified = bridge.identify_effect(causal, xw.NDE, treatment="a", outcome="y")
    assert identified.get_adjustment_set() == ["x"]


def test_what_no_column_holds_is_latent(dowhy: Any, frame: pd.DataFrame) -> None:
    graph = nx.DiGraph([*EDGES, ("u", "m2"), ("u", "y")])
    with pytest.warns(UserWarning, match="assumed unobserved"):
        model = dowhy.CausalModel(frame, "a", "y", graph=graph)
    assert from_dowhy(model).latent == {"u"}
    with pytest.raises(NotIdentifiedError, match="unmeasured mediator-outcome confounding"):
        bridge.identify_effect(model, xw.NIE)
    with pytest.raises(NotIdentifiedError, match="unmeasured mediator-outcome confounding"):
        xw.estimate(bridge.study_from_dowhy(model), xw.Regression())
    assert bridge.identify_effect(model, xw.TE).get_adjustment_set() == ["x"]


def test_a_front_door_is_no_adjustment(dowhy: Any, frame: pd.DataFrame) -> None:
    graph = nx.DiGraph([("u", "a"), ("u", "y"), ("a", "m1"), ("m1", "y")])
    with pytest.warns(UserWarning, match="assumed unobserved"):
        model = dowhy.CausalModel(frame[["a", "m1", "y"]], "a", "y", graph=graph)
    with pytest.raises(NotIdentifiedError, match="identified, but not by adjustment"):
        bridge.identify_effect(model, xw.NIE)


def test_models_that_do_not_fit(dowhy: Any, model: Any, frame: pd.DataFrame) -> None:
    two = dowhy.CausalModel(frame, ["a", "x"], "y", graph=nx.DiGraph(EDGES))
    with pytest.raises(DesignError, match="several treatments, a, x"):
        bridge.study_from_dowhy(two)
    short = dowhy.CausalModel(frame, "x", "a", graph=nx.DiGraph(EDGES))
    with pytest.raises(DesignError, match="no measured node lies on a directed path"):
        bridge.study_from_dowhy(short)
    with pytest.raises(DesignError, match="on no directed path"):
        bridge.identify_effect(model, xw.NIE, mediators=["x"])
    with pytest.raises(SpecError, match="inside DoWhy the effects are te, nde, tnde, nie, pnie"):
        bridge.identify_effect(model, xw.PM)


@pytest.mark.parametrize("effect", [xw.TE, xw.NDE, xw.TNDE, xw.NIE, xw.PNIE], ids=lambda e: e.name)
def test_inside_as_outside(model: Any, frame: pd.DataFrame, effect: xw.Estimand) -> None:
    method = xw.Regression(interaction=True)
    estimate = estimated(model, effect, method=method, confidence_intervals=True)
    ours = xw.estimate(outside(frame), method, [effect])[effect.name]
    wide = xw.estimate(outside(frame), method, [effect], level=0.99)[effect.name]
    assert estimate.value == ours.estimate
    assert estimate.get_confidence_intervals() == (ours.conf_low, ours.conf_high)
    assert estimate.get_confidence_intervals(confidence_level=0.99) == (
        wide.conf_low,
        wide.conf_high,
    )
    assert estimate.get_standard_error() == ours.std_error
    assert estimate.test_stat_significance() == {"p_value": ours.p_value}
    assert estimate.effects[effect.name] == ours
    assert "m1 + m2" in str(estimate)
    kind = {"te": "ate", "tnde": "nde", "pnie": "nie"}.get(effect.name, effect.name)
    assert estimate.target_estimand.estimand_type.value == f"nonparametric-{kind}"
    truth = ordered(n=10, seed=0).effect(effect)
    assert abs(estimate.value - truth) < 4 * ours.std_error


def test_any_estimator_and_inference(model: Any, frame: pd.DataFrame) -> None:
    method = xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=2, seed=1)
    inference = xw.Bootstrap(draws=200, seed=2)
    plain = estimated(model, xw.NIE, method=method, path="m1 -> m2")
    ours = xw.estimate(outside(frame, "a -> m1 -> m2 -> y"), method, [xw.NIE])["nie"]
    assert plain.value == ours.estimate
    assert plain.get_standard_error() == ours.std_error
    booted = estimated(model, xw.NIE, inference=inference, confidence_intervals=True)
    row = xw.estimate(outside(frame), xw.Regression(), [xw.NIE], inference=inference)["nie"]
    assert booted.get_confidence_intervals() == (row.conf_low, row.conf_high)


def test_the_functional_api(model: Any, frame: pd.DataFrame) -> None:
    from dowhy.causal_estimator import estimate_effect

    identified = bridge.identify_effect(model, xw.NDE)
    estimator = bridge.MediationEstimator(identified, confidence_intervals=True)
    with pytest.raises(EstimationError, match="no effect was estimated yet"):
        estimator.estimate_std_error(frame)
    with pytest.raises(DesignError, match="call fit with these data first"):
        estimator.estimate_effect(frame)
    estimate = estimate_effect(
        frame,
        "a",
        "y",
        "mediation",
        estimator,
        control_value=1,
        treatment_value=0,
        method_params={},
    )
    study = xw.TableStudy.from_frame(frame, "a -> m1 + m2 -> y", adjust=["x"], levels=(1, 0))
    assert estimate.value == xw.estimate(study, xw.Regression(), [xw.NDE])["nde"].estimate
    with pytest.raises(DesignError, match="call fit with these data first"):
        estimator.estimate_effect(frame.head(100))


@pytest.mark.filterwarnings("ignore:The copy keyword is deprecated")  # within DoWhy
def test_two_stage_regression_agrees_where_it_is_right(single: Any) -> None:
    from dowhy.causal_estimators.linear_regression_estimator import LinearRegressionEstimator

    stages = {f"{k}_stage_model": LinearRegressionEstimator for k in ("first", "second")}
    for effect, kind in ((xw.NDE, "nonparametric-nde"), (xw.NIE, "nonparametric-nie")):
        theirs = single.estimate_effect(
            single.identify_effect(kind, proceed_when_unidentifiable=True),
            method_name="mediation.two_stage_regression",
            method_params=stages,
        )
        assert estimated(single, effect).value == pytest.approx(theirs.value, abs=1e-9)
    total = single.estimate_effect(
        single.identify_effect(proceed_when_unidentifiable=True),
        method_name="backdoor.linear_regression",
    )
    assert estimated(single, xw.TE).value == pytest.approx(total.value, abs=1e-9)


def test_dowhys_own_estimand(model: Any, frame: pd.DataFrame) -> None:
    """It has to be told mediators and covariates; then its refuters find them too."""
    own = model.identify_effect("nonparametric-nie", proceed_when_unidentifiable=True)
    with pytest.raises(SpecError, match="names one mediator"):
        model.estimate_effect(own, method_name=NAME, method_params={"mediators": ["m1", "m2"]})
    told = {"mediators": ["m1", "m2"], "roles": {"adjust": ["x"]}}
    estimate = model.estimate_effect(own, method_name=NAME, method_params=told)
    assert estimate.value == estimated(model, xw.NIE).value
    refuted = model.refute_estimate(
        own, estimate, method_name="random_common_cause", num_simulations=3, random_state=1
    )
    assert refuted.new_effect == pytest.approx(estimate.value, abs=0.05)


def refute(model: Any, estimate: Any, name: str, **options: Any) -> Any:
    return model.refute_estimate(
        estimate.target_estimand, estimate, method_name=name, num_simulations=20, **options
    )


@pytest.mark.parametrize("effect", [xw.NDE, xw.NIE], ids=lambda e: e.name)
def test_refuters_of_dowhy(model: Any, effect: xw.Estimand) -> None:
    estimate = estimated(model, effect)
    error = estimate.get_standard_error()
    placebo = refute(
        model, estimate, "placebo_treatment_refuter", placebo_type="permute", random_state=1
    )
    assert abs(placebo.new_effect) < error
    assert abs(estimate.value) > 3 * error
    assert placebo.refutation_result["p_value"] > 0.05
    for name in ("data_subset_refuter", "bootstrap_refuter"):
        refuted = refute(model, estimate, name, random_state=np.random.RandomState(1))
        assert 0 < abs(refuted.new_effect - estimate.value) < error, name
    (dummy,) = refute(model, estimate, "dummy_outcome_refuter")
    assert abs(dummy.new_effect) < error


def test_a_common_cause_that_refuters_add_is_adjusted_for(model: Any, frame: pd.DataFrame) -> None:
    estimate = estimated(model, xw.NIE)
    refuted = model.refute_estimate(
        estimate.target_estimand,
        estimate,
        method_name="random_common_cause",
        num_simulations=2,
        random_state=7,
    )
    draws, ours = np.random.RandomState(7), []
    for _ in range(2):
        wider = frame.assign(w_random=draws.normal(size=len(frame)))
        study = xw.TableStudy.from_frame(wider, "a -> m1 + m2 -> y", adjust=["x", "w_random"])
        ours.append(xw.estimate(study, xw.Regression(), [xw.NIE])["nie"].estimate)
    assert abs(np.mean(ours) - estimate.value) > 1e-6
    assert refuted.new_effect == pytest.approx(np.mean(ours), abs=1e-12)


def test_an_unobserved_common_cause_moves_the_effect(model: Any) -> None:
    estimate = estimated(model, xw.TE)
    refuted = model.refute_estimate(
        estimate.target_estimand,
        estimate,
        method_name="add_unobserved_common_cause",
        effect_strength_on_treatment=0.1,
        effect_strength_on_outcome=0.5,
    )
    assert abs(refuted.new_effect - estimate.value) > 0.05


def test_refuters_in_other_processes(model: Any) -> None:
    """The estimator travels by name; its class is found again where it arrives."""
    import cloudpickle

    estimate = estimated(model, xw.NIE)
    there = cloudpickle.loads(cloudpickle.dumps(estimate))
    assert type(there.estimator) is bridge.MediationEstimator
    assert there.get_confidence_intervals() == estimate.get_confidence_intervals()


def test_a_placebo_that_never_varies_is_refused(model: Any, frame: pd.DataFrame) -> None:
    """DoWhy 0.14 draws the placebo of a float treatment with standard deviation 0."""
    model._data = frame.astype({"a": float})
    estimate = estimated(model, xw.NIE)
    with pytest.raises(DesignError, match="'placebo' is constant"):
        refute(model, estimate, "placebo_treatment_refuter")


def test_dowhys_own_bootstrap(model: Any) -> None:
    estimate = estimated(model, xw.NIE)
    low, high = estimate.get_confidence_intervals(method="bootstrap", num_simulations=60)
    ours = estimate.get_confidence_intervals()
    assert low < estimate.value < high
    assert high - low == pytest.approx(ours[1] - ours[0], rel=0.4)
    with pytest.raises(SpecError, match="'default' .* or 'bootstrap', got 'wald'"):
        estimate.get_standard_error(method="wald")


def test_target_units(model: Any, frame: pd.DataFrame) -> None:
    method = xw.Regression(interaction=True)
    treated = estimated(model, xw.NIE, method=method, target_units="att")
    own = xw.Regression(interaction=True, population="treated")
    assert treated.value == xw.estimate(outside(frame), own, [xw.NIE])["nie"].estimate
    assert treated.value != estimated(model, xw.NIE, method=method).value
    with pytest.raises(SpecError, match="MultiplyRobust averages over all rows"):
        estimated(model, xw.NIE, method=xw.MultiplyRobust(), target_units="att")
    with pytest.raises(SpecError, match="target_units is 'ate', 'att' or 'atc'"):
        estimated(model, xw.NIE, target_units=frame.head(10))


def test_options_that_do_not_exist(model: Any) -> None:
    with pytest.raises(SpecError, match="unknown option of MediationEstimator 'metod'"):
        estimated(model, xw.NIE, metod=xw.Regression())
    with pytest.raises(SpecError, match="unknown role of MediationEstimator 'clusters'"):
        estimated(model, xw.NIE, roles={"clusters": "x"})
    with pytest.raises(SpecError, match="leave 'adjust' out"):
        estimated(model, xw.NIE, roles={"adjust": ["x"]})


def test_clusters_reach_the_intervals(model: Any, frame: pd.DataFrame) -> None:
    groups = np.arange(len(frame)) // 4
    model._data = frame.assign(group=groups)
    estimate = estimated(model, xw.NIE, roles={"cluster": "group"})
    study = xw.TableStudy.from_frame(
        model._data, "a -> m1 + m2 -> y", adjust=["x"], cluster="group"
    )
    ours = xw.estimate(study, xw.Regression(), [xw.NIE])["nie"]
    assert estimate.get_standard_error() == ours.std_error
    assert ours.std_error != estimated(model, xw.NIE).get_standard_error()

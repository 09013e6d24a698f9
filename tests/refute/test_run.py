"""Several refuters at once: names, order, workers, JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

import crossworld as xw
from crossworld.core.analysis import Analysis
from crossworld.refute.common_cause import RandomCommonCause
from crossworld.refute.dummy_outcome import DummyOutcome
from crossworld.refute.noisy_covariates import NoisyCovariates
from crossworld.refute.placebo import PlaceboTreatment
from crossworld.refute.placebo_mediator import PlaceboMediator
from crossworld.refute.run import refute, refuters
from crossworld.refute.subset import DataSubset
from crossworld.refute.unmeasured import UnmeasuredConfounder

FEW = [
    PlaceboTreatment(10),
    PlaceboMediator(10),
    DummyOutcome(10),
    RandomCommonCause(10),
    DataSubset(draws=10),
    NoisyCovariates(draws=3),
    UnmeasuredConfounder((0.3,)),
    "overlap",
]


def analysis(n: int = 800) -> Analysis[Any]:
    asked = (xw.TE, xw.NDE, xw.NIE, xw.PM, xw.NIE.ratio())
    return Analysis(xw.datasets.binary_both(n=n, seed=1).study(), xw.Imputation(), asked)


def test_findings_do_not_depend_on_the_number_of_workers() -> None:
    one, three = (refute(analysis(), FEW, workers=w).refutations for w in (1, 3))
    assert json.dumps(one) == json.dumps(three)
    again = refute(analysis(), [PlaceboTreatment(10, seed=1)]).refutations
    assert again[0]["refuted"] != one[0]["refuted"]


def test_findings_are_json_without_nan_and_in_the_order_asked() -> None:
    question = analysis()
    result = question.run()
    table = refute(question, FEW, result=result)
    assert table.rows == result.rows
    told = json.loads(table.to_json())["refutations"]
    keys = [getattr(each, "key", each) for each in FEW]
    assert list(dict.fromkeys(r["name"] for r in told)) == keys
    for r in told:
        assert r["detail"] and r["shows"] and "nan" not in r["detail"]
        assert {"name", "term", "passed", "original", "refuted"} <= set(r)
    for key in keys:
        terms = [r["term"] for r in told if r["name"] == key and r["term"]]
        assert terms == ["te", "nde", "nie", "pm", "nie.ratio"]


def test_plug_in_scores_are_judged_without_intervals() -> None:
    from sklearn.linear_model import LinearRegression

    study = xw.datasets.linear(n=200, seed=1).study()
    method = xw.Imputation(outcome=LinearRegression())
    question = Analysis(study, method, (xw.NIE,), xw.Bootstrap(draws=40))
    found = {r["name"]: r for r in refute(question, FEW).refutations}
    assert found["placebo"]["passed"] and found["placebo"]["data"]["rejected"] is None
    assert found["subset"]["passed"] is not None
    grid = found["unmeasured-confounder"]["data"]["pairs"]["mediator-outcome"]
    assert grid["covers_null"] is None and grid["grid"][0]["low"] is None
    assert found["overlap"]["term"] in ("", "nie")


def test_weights_and_clusters_are_carried() -> None:
    d = dict(xw.datasets.clustered(n=200, seed=1, size=5).frame)
    d["w"] = 1.0 + (d["x"] > 0)
    study = xw.TableStudy.from_frame(d, "a -> m -> y", adjust=["x"], cluster="cluster", weights="w")
    few = [PlaceboTreatment(10), PlaceboMediator(10), DataSubset(draws=10), RandomCommonCause(10)]
    found = refute(Analysis(study, METHOD, (xw.NIE,)), few).refutations
    assert all(r["passed"] for r in found), [r["detail"] for r in found]
    subset = next(r for r in found if r["name"] == "subset")
    assert subset["data"]["draws"] == 10


METHOD = xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=2)


def test_names_are_found_and_unknown_ones_are_told() -> None:
    assert {
        "placebo", "placebo-mediator", "random-common-cause", "subset", "dummy-outcome",
        "noisy-covariates", "overlap", "unmeasured-confounder",
    } <= set(refuters())  # fmt: skip
    (only, *_) = refute(analysis(), "overlap").refutations
    assert only["name"] == "overlap"
    with pytest.raises(xw.errors.SpecError, match="Did you mean 'placebo'"):
        refute(analysis(), ["plcebo"])
    with pytest.raises(xw.errors.SpecError, match="is not a refuter"):
        refute(analysis(), [PlaceboTreatment])  # type: ignore[list-item]
    with pytest.raises(xw.errors.SpecError, match="takes an Analysis"):
        refute(xw.datasets.linear(n=50).study(), ["placebo"])  # type: ignore[arg-type]
    with pytest.raises(xw.errors.SpecError, match="workers is a whole number"):
        refute(analysis(), ["placebo"], workers=0)


def test_an_analysis_runs_its_own_refuters() -> None:
    question = analysis()
    own = Analysis(question.study, question.estimator, (xw.NIE,), refuters=(PlaceboTreatment(10),))
    (found,) = own.run().refutations
    assert (found["name"], found["term"]) == ("placebo", "nie")

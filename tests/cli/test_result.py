"""The result document: what it holds, what null means, and that it can be run again."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

import crossworld as xw
from crossworld.report.specfile import spec_text

from .command import ARM, PATH, Ask, N, at, columns, crossworld, done, numbers, refused, write

X = columns()["x"]
RNG = np.random.default_rng(5)
EVENT = (0.8 * ARM + X + RNG.logistic(size=N) > 0.3).astype(int)
ASKED = [
    "te", "nde", "nie", "tnde", "pnie", "pm", "ide", "iie", "oe", "int_ref", "int_med",
    "cde(m=3)", "cde(0)", "cde( m = 3 )", "nie.excess_ratio", "Y(1)", "Y(1) - Y(0, M(1))",
    "Y(1)-Y(0,M(1))", "2 * nie - te / 3", "nde + nie", "Y(1, set_(m=0.5)) - Y(0)", "pse(m)",
    "int_ref(m=2)", "-nie", "1 - pm",
]  # fmt: skip


def strict(file: str | Path) -> dict[str, Any]:
    """JSON as the standard has it: NaN and Infinity are no values."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in {file}")

    held = json.loads(Path(file).read_text(encoding="utf-8"), parse_constant=refuse)
    assert isinstance(held, dict)
    return held


def without_seconds(document: Mapping[str, Any]) -> dict[str, Any]:
    provenance = {k: v for k, v in document["provenance"].items() if k != "seconds"}
    assert document["provenance"]["seconds"] >= 0.0
    return {**document, "provenance": provenance}


def test_the_document_has_the_parts_that_others_hold_us_to() -> None:
    words = Ask(study={"adjust": ["x"]}, effects=ASKED).words()
    done(crossworld(*words, "--json", "r.json"))
    held = strict("r.json")
    assert list(held) == [
        "schema", "spec", "identification", "effects", "diagnostics", "refutations", "provenance"
    ]  # fmt: skip
    assert held["schema"] == "crossworld/1"
    assert set(held["spec"]) == {"study", "estimator", "inference", "ask"}
    assert held["spec"]["study"]["path"] == PATH
    assert held["spec"]["ask"]["effects"] == ASKED
    assert held["refutations"] == []
    for row in held["effects"]:
        assert list(row) == [
            "term", "estimate", "std_error", "conf_low", "conf_high", "p_value", "conf_method"
        ]  # fmt: skip
    diagnostics = held["diagnostics"]
    assert {"warnings", "n_units", "n_clusters", "overlap", "failed_replicates"} <= set(diagnostics)
    assert (diagnostics["n_units"], diagnostics["failed_replicates"]) == (N, 0)
    assert diagnostics["overlap"]["units_at_level"] == {"0": N // 2, "1": N // 2}
    provenance = held["provenance"]
    assert {"version", "data_sha256", "seed", "seconds"} <= set(provenance)
    assert provenance["version"] == xw.__version__
    assert provenance["data_sha256"] == hashlib.sha256(Path("t.csv").read_bytes()).hexdigest()
    assert provenance["seed"] is None
    identification = held["identification"]
    assert identification["identified"] is True
    assert identification["by"] == "adjustment"
    assert identification["adjust"] == ["x"]
    assert {"assumptions", "formula", "reason", "offending", "instead"} <= set(identification)


def test_a_term_is_exactly_what_was_asked() -> None:
    done(crossworld(*Ask(effects=ASKED).words(), "--json", "r.json"))
    assert [row["term"] for row in strict("r.json")["effects"]] == ASKED


def test_terms_on_other_scales() -> None:
    asked = ["te.ratio", "nie.ratio", "te.odds_ratio", "nie.ratio()", "pnie.excess_ratio"]
    done(crossworld(*Ask(columns(y=EVENT), effects=asked).words(), "--json", "r.json"))
    rows = strict("r.json")["effects"]
    assert [row["term"] for row in rows] == asked
    assert rows[1]["estimate"] == rows[3]["estimate"]
    assert {row["conf_method"] for row in rows[:4]} == {"log-wald"}


def test_what_does_not_exist_is_null_and_the_reason_names_the_term() -> None:
    weak = columns(y=RNG.normal(size=N), m=RNG.normal(size=N))
    ask = Ask(weak, effects=["pm", "te.ratio", "nie.odds_ratio", "te.excess_ratio", "te - te"])
    done(crossworld(*ask.words(), "--json", "r.json"))
    held = strict("r.json")
    missing = 0
    for row in held["effects"]:
        if None in row.values():
            missing += 1
            assert any(row["term"] in text for text in held["diagnostics"]["warnings"]), row["term"]
    assert missing >= 3


def test_no_number_is_infinite_and_none_is_lost_without_a_word() -> None:
    # defect: overflow gives std_error inf in Python and null without a reason in the file.
    found = Ask(effects=["te", "te * 1e307 * 100"])
    run = crossworld(*found.words(), "--json", "r.json")
    if run.code:
        refused(run, "te * 1e307 * 100")
        return
    held = strict("r.json")
    for row in held["effects"]:
        if None in row.values():
            assert any(row["term"] in text for text in held["diagnostics"]["warnings"])


ANALYSES = {
    "wald": Ask(study={"adjust": ["x"]}, effects=["te", "nie", "pm", "Y(1) - Y(0, M(1))"]),
    "clusters": Ask(study={"adjust": ["x"], "cluster": "g"}),
    "weights": Ask(study={"weights": "w", "adjust": ["x"]}),
    "missing": Ask(columns(x=at(X, 3, np.nan)), study={"adjust": ["x"], "missing": "drop"}),
    "levels": Ask(columns(a=np.array(["lo", "mid", "hi"])[np.arange(N) % 3]),
                  study={"levels": ("lo", "hi")}),
    "dose": Ask(path="x -> m -> y", study={"levels": (-0.5, 1.25)}),
    "event": Ask(columns(y=np.where(EVENT, "yes", "no")), study={"event": "yes", "adjust": ["x"]},
                 effects=["te", "nie.odds_ratio", "te.ratio"]),
    "numeric event": Ask(columns(y=EVENT + 1), study={"event": 2}),
    "formulas": Ask(study={"adjust": ["x"]}, estimator={
        "mediator": "m ~ a * x", "outcome": "y ~ a * m + I(x ** 2)"}),
    "options": Ask(columns(y=EVENT), study={"adjust": ["x"]}, estimator={
        "interaction": True, "outcome_family": "probit", "population": "treated",
        "at": {"x": 0.25}, "mediator_family": {"m": "gaussian"}}),
    "ordered": Ask(path="a -> x -> m -> y", effects=["te", "pse(x)", "pse(m, type=2)", "nde"]),
    "joint": Ask(path="a -> m + x -> y", effects=["te", "nie", "cde(m=0, x=1)"]),
    "pattern": Ask(columns(e_1=columns()["m"], e_2=columns()["w"]), path="a -> e_* -> y"),
    "intermediate": Ask(study={"intermediate": ["x"]}, effects=["te", "iie", "cde(m=0)"]),
    "bootstrap": Ask(study={"adjust": ["x"]},
                     inference={"name": "Bootstrap", "draws": 60, "seed": 7}),
    "workers": Ask(inference={"name": "Bootstrap", "draws": 1200, "seed": 7, "workers": 2}),
    "simulation": Ask(columns(y=EVENT),
                      inference={"name": "Simulation", "draws": 60, "seed": 11}),
    "names": Ask({("my \u201cm\u201d'\"\\n" if k == "m" else k): v for k, v in columns().items()},
                 path="a -> my \u201cm\u201d'\"\\n -> y"),
}  # fmt: skip


@pytest.fixture(params=ANALYSES)
def analysis(request: pytest.FixtureRequest) -> Ask:
    return ANALYSES[request.param]


def test_only_seconds_differ_between_two_runs(analysis: Ask) -> None:
    words = analysis.words()
    for file in ("one.json", "two.json"):
        done(crossworld(*words, "--json", file))
    assert without_seconds(strict("one.json")) == without_seconds(strict("two.json"))


def test_a_result_and_its_spec_run_again_to_the_same_document(analysis: Ask) -> None:
    done(crossworld(*analysis.words(), "--json", "r.json"))
    first = without_seconds(strict("r.json"))
    kind, text = spec_text(first["spec"])
    assert kind == "toml"
    Path("again.toml").write_text(text, encoding="utf-8")
    Path("again.json").write_text(json.dumps(first["spec"]), encoding="utf-8")
    for source in ("r.json", "again.toml", "again.json"):
        done(crossworld("run", source, "--json", "again.out"))
        assert without_seconds(strict("again.out")) == first


def test_python_the_command_and_the_spec_agree_to_the_last_bit(analysis: Ask) -> None:
    done(crossworld(*analysis.words(), "--json", "command.json"))
    Path("spec.json").write_text(json.dumps(analysis.document()), encoding="utf-8")
    done(crossworld("run", "spec.json", "--json", "spec.out"))
    study = xw.TableStudy.from_frame("t.csv", analysis.path, **analysis.study)
    inference = dict(analysis.inference)
    how = {"Wald": xw.Wald, "Bootstrap": xw.Bootstrap, "Simulation": xw.Simulation}
    found = xw.estimate(
        study,
        xw.Regression(**analysis.estimator),
        [xw.estimand(text) for text in analysis.effects],
        inference=how[inference.pop("name")](**inference),
    )
    found.to_json("python.json")
    loaded = xw.load_spec("spec.json").run()
    loaded.to_json("loaded.json")
    first = without_seconds(strict("command.json"))
    for other in ("spec.out", "python.json", "loaded.json"):
        assert without_seconds(strict(other)) == first


@pytest.mark.parametrize("name", ["Bootstrap", "Simulation"])
def test_the_number_of_workers_changes_no_bit(name: str) -> None:
    for workers in (1, 2, 3):
        inference = {"name": name, "draws": 1200, "seed": 3, "workers": workers}
        words = Ask(columns(y=EVENT), inference=inference).words()
        done(crossworld(*words, "--json", f"{workers}.json"))
    assert numbers("1.json") == numbers("2.json") == numbers("3.json")


def test_seeds_change_the_interval_and_nothing_else() -> None:
    for seed in (1, 2):
        inference = {"name": "Bootstrap", "draws": 60, "seed": seed}
        done(crossworld(*Ask(inference=inference).words(), "--json", f"{seed}.json"))
    one, two = numbers("1.json"), numbers("2.json")
    assert [row[0] for row in one.values()] == [row[0] for row in two.values()]
    assert [row[2] for row in one.values()] != [row[2] for row in two.values()]
    assert strict("2.json")["provenance"]["seed"] == 2


def test_a_csv_holds_the_frame_that_was_written_to_it() -> None:
    """Python on a frame and the command on its csv: the same study, to the last bit."""
    frame = pd.DataFrame({**columns(), "y": RNG.normal(size=N) * 10.0 ** RNG.integers(-9, 9, N)})
    frame.to_csv("t.csv", index=False)
    held, read = (xw.TableStudy.from_frame(f, PATH) for f in (frame, "t.csv"))
    for name in ("a", "m", "y"):
        np.testing.assert_array_equal(held.table[name].values, read.table[name].values)


def test_a_result_is_run_again_from_where_it_lies() -> None:
    """``--json results/r.json``: the data path in it is relative to that file, as in every spec."""
    Path("data").mkdir()
    Path("results").mkdir()
    write(columns(), "data/t.csv")
    done(crossworld("mediate", "data/t.csv", PATH, "--json", "results/r.json"))
    done(crossworld("run", "results/r.json", "--json", "again.json"))
    assert numbers("again.json") == numbers("results/r.json")


def test_the_result_of_a_spec_elsewhere_is_run_again_from_where_it_lies() -> None:
    # defect: the data path of the spec is kept as it was, and looked for beside the result.
    Path("project").mkdir()
    write(columns(), "project/t.csv")
    spec = {"study": {"data": "t.csv", "path": PATH}}
    Path("project/spec.json").write_text(json.dumps(spec))
    done(crossworld("run", "project/spec.json", "--json", "r.json"))
    done(crossworld("run", "r.json", "--json", "again.json"))
    assert numbers("again.json") == numbers("r.json")


def test_absolute_data_paths_stay_absolute(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    file = tmp_path / write(columns())
    done(crossworld("mediate", file, PATH, "--json", "elsewhere/r.json"))
    assert strict("elsewhere/r.json")["spec"]["study"]["data"] == str(file)
    done(crossworld("run", "elsewhere/r.json"))


def test_a_result_from_a_frame_in_memory_says_what_it_lacks() -> None:
    Ask().python().to_json("r.json")
    assert strict("r.json")["spec"]["study"]["data"] is None
    refused(crossworld("run", "r.json"), "frame in memory", "file")


@pytest.mark.parametrize("kind", ["logit", "probit"])
def test_a_fitted_model_is_run_again_with_its_family(kind: str) -> None:
    table = columns(m=EVENT)
    write(table)
    fitted = getattr(smf, kind)("m ~ a + x", pd.read_csv("t.csv")).fit(disp=0, tol=1e-12)
    study = xw.TableStudy.from_frame("t.csv", PATH, adjust=["x"])
    xw.estimate(study, xw.Regression(mediator=fitted)).to_json("r.json")
    done(crossworld("run", "r.json", "--json", "again.json"))
    assert numbers("again.json") == numbers("r.json")


def test_results_are_read_back() -> None:
    done(crossworld(*Ask(effects=["te", "pm"]).words(), "--json", "r.json"))
    held = xw.EffectTable.from_json("r.json")
    assert [row.term for row in held] == ["te", "pm"]
    assert held["te"].estimate == numbers("r.json")["te"][0]
    assert all(v is None or math.isfinite(v) for v in numbers("r.json")["pm"])

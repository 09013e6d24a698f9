"""Effects as hostile or careless people type them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import crossworld as xw

from .command import PATH, Ask, columns, crossworld, done, numbers, refused, refuses, write

JUNK = {
    "nei": ["unknown effect 'nei'", "Did you mean 'nie'?"],
    "NIE": ["unknown effect 'NIE'", "Did you mean 'nie'?"],
    "acme": ["unknown effect 'acme'", "Known are: te, nde"],
    "nie.rati": ["unknown scale 'rati'", "Did you mean 'ratio'?"],
    "Y(1": ["'Y(1'", "never closed"],
    "Y(1) - ": ["'Y(1) -'"],
    "te,": None,
    "": ["no effect was asked for"],
    "te, te": ["asked twice: te"],
    "te nie": ["'te nie'"],
    "te; nie": ["'te; nie'"],
    "3": ["'3' is not an effect", "Y(1) - Y(1, M(0))"],
    "1 + 1": ["'1 + 1' is not an effect"],
    "'nie'": ["is not an effect"],
    "None": ["'None'"],
    "nie == te": ["'nie == te'"],
    "nie ** 2": ["'nie ** 2'"],
    "[te]": ["'[te]'"],
    "te[0]": ["'te[0]'"],
    "lambda: te": ["'lambda: te'"],
    "(te := nie)": ["'(te := nie)'"],
    "f'{te}'": ["effect"],
    "nie\x00": ["null bytes"],
    "__import__('os').system('touch pwned')": ["unknown effect '__import__'"],
    "open('pwned', 'w')": ["unknown effect 'open'"],
    "exec('1')": ["unknown effect 'exec'"],
    "nie.__class__": ["'__class__'", "ratio"],
    "Y(1).__init__": ["'__init__'", "ratio"],
    "Y.__globals__": ["'Y'"],
    "te/0": ["divided", "0"],
    "Y(7) - Y(0)": ["7 is not a level of the treatment 'a'", "0, 1"],
    "Y(hi) - Y(0)": ["'hi' is not a level of the treatment 'a'"],
    "Y(1, 0)": ["M(0)"],
    "Y(1, M(0, 'shuffle'))": ["'shuffle'", "table"],
    "Y(1, q=0)": ["'q' is not a mediator", "m"],
    "Y(1).quantile(0.5)": ["Regression estimates means", "quantile(0.5)"],
    "Y(1).quantile(2)": ["quantile lies between 0 and 1", "2"],
    "Y(1).median(1)": ["median"],
    "cde()": ["cde needs the value", "cde(m=0)"],
    "cde(q=1)": ["'q' is not a mediator", "m"],
    "cde(m=high)": ["'m'", "'high'"],
    "pse(q)": ["'q' is not a mediator", "m"],
    "pse(m, type=3)": ["type 1 and type 2", "3"],
    "te.ratio.ratio": ["te.ratio is on the ratio scale already"],
    "pm.excess_ratio": ["pm", "excess ratio"],
    "cde": ["cde(m=0)"],
    "pse": ["pse(m"],
    # defect: "unknown effect 'nie'. Did you mean 'nie'?".
    "nie()": ["nie", "without"],
    # defect: no word about what the argument is.
    "pse()": ["pse", "mediator"],
    "Y()": ["Y(1)"],
    "Y(1).quantile('a')": ["quantile", "'a'"],
    "Y(1).cdf('a')": ["cdf", "'a'"],
    # defect: TypeErrors, exit 1.
    "Y(M(0))": ["M(0)", "treatment"],
    "Y(1, M(M(0)))": ["M(0)"],
    "Y(1, M(G(0)))": ["G(0)"],
    "cde(m=M(0))": ["M(0)"],
    "cde(m=nan)": ["'m'", "nan"],
    "cde(m=1e999)": ["1e999", "finite"],
    "1e400 * te": ["1e400 * te", "finite"],
    # defect: a crash in the report, the JSON file is left behind.
    "te * 1e308 * 1e308": ["te"],
    "te / 1e-320": ["te"],
}


@pytest.mark.parametrize("text", [t for t in JUNK if JUNK[t] is not None])
def test_what_is_no_effect(text: str) -> None:
    words = ["mediate", write(columns()), PATH, "--effects", text]
    refused(crossworld(*words, "--json", "out.json", "--report", "out.html"), *(JUNK[text] or ()))
    assert [p.name for p in Path().iterdir()] == ["t.csv"]


@pytest.mark.parametrize("text", ["nei", "Y(1", "te/0", "Y(7) - Y(0)", "cde(q=1)"])
def test_what_is_no_effect_through_every_door(door: str, text: str) -> None:
    refuses(door, Ask(effects=[text]), *(JUNK[text] or ()))


@pytest.mark.parametrize("depth", [90, 300, 5_000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("(", ")"), ("-", ""), ("Y(1, M(", "))")])
def test_nesting_does_not_exhaust_the_stack(opening: str, closing: str, depth: int) -> None:
    text = opening * depth + "nie" + closing * depth
    run = crossworld("mediate", write(columns()), PATH, "--effects", text)
    if run.code:
        refused(run, "M(" if opening == "Y(1, M(" and depth == 90 else "effect")
    else:
        assert opening != "Y(1, M("


def test_a_sum_of_a_thousand_effects_is_a_sum() -> None:
    text = " + ".join(["te"] * 500)
    words = ["mediate", write(columns()), PATH, "--effects", f"te,{text}"]
    run = crossworld(*words, "--json", "r.json")
    if run.code:
        refused(run, "effect")
    else:
        found = numbers("r.json")
        assert found[text][0] == pytest.approx(500.0 * found["te"][0], rel=1e-9)


def test_a_question_about_a_constant_says_why_it_has_no_p_value() -> None:
    """``te - te`` is 0 for every sample: no standard error, no test, and the reason."""
    for text in ("te - te", "te * 0"):
        done(crossworld(*Ask(effects=[text]).words(), "--json", "r.json"))
        held = json.loads(Path("r.json").read_text())
        assert held["effects"][0]["estimate"] == 0.0
        assert held["effects"][0]["p_value"] is None
        assert any(text in told for told in held["diagnostics"]["warnings"])


def test_a_quotient_over_exactly_0_has_no_value_and_the_others_do() -> None:
    done(crossworld(*Ask(effects=["te", "te/(te - te)"]).words(), "--json", "r.json"))
    held = json.loads(Path("r.json").read_text())
    fine, none = held["effects"]
    assert fine["estimate"] is not None
    assert [none[k] for k in ("estimate", "std_error", "conf_low", "conf_high")] == [None] * 4
    assert any("denominator is exactly 0" in told for told in held["diagnostics"]["warnings"])


@pytest.mark.parametrize("value", [50.0, 1e8, 1e300])
def test_a_mediator_held_far_away_changes_nothing_without_interaction(value: float) -> None:
    """``cde(m)`` of a linear model does not depend on m: right, or refused, but not 0."""
    # defect: at 1e300 the effect is 0.0 with standard error 0.0 and RuntimeWarnings.
    ask = Ask(effects=["nde", f"cde(m={value:g})"])
    run = crossworld(*ask.words(), "--json", "r.json")
    if run.code:
        refused(run, "'m'")
        return
    assert run.warned == ()
    found = numbers("r.json")
    assert found[f"cde(m={value:g})"][0] == pytest.approx(found["nde"][0], rel=1e-3)


def test_null_is_what_a_ratio_of_opposite_signs_gets_and_the_reason() -> None:
    done(crossworld(*Ask(effects=["te.ratio"]).words(), "--json", "r.json"))
    held = json.loads(Path("r.json").read_text())
    row = held["effects"][0]
    assert row["estimate"] < 0.0
    assert [row["conf_low"], row["conf_high"], row["p_value"]] == [None, None, None]
    assert any("te.ratio" in told and "log" in told for told in held["diagnostics"]["warnings"])


@pytest.mark.parametrize(("text", "same"), [("Y(1) / Y(0)", "te.ratio"), ("Y(0) / Y(1)", None)])
def test_a_quotient_of_two_cells_is_tested_against_1(text: str, same: str | None) -> None:
    """Fieller, and a test of the numerator, are for quotients of contrasts."""
    # defect: the p value of Y(1) / Y(0) tests Y(1) = 0: here 1e-170 where te.ratio has 0.001.
    asked = ["te.ratio", text]
    ask = Ask(columns(y=columns()["y"] + 9.0), effects=asked)
    done(crossworld(*ask.words(), "--json", "r.json"))
    found = numbers("r.json")
    assert found[text][4] == pytest.approx(found["te.ratio"][4], rel=1e-6)
    if same is not None:
        assert found[text] == pytest.approx(found[same], rel=1e-9)


def test_python_takes_values_and_says_so() -> None:
    study = xw.TableStudy.from_frame(columns(), PATH)
    for given in (["nie"], "nie", [xw.CDE], [3]):
        with pytest.raises(xw.errors.SpecError, match=r"not an estimand.*xw\.NIE"):
            xw.estimate(study, xw.Regression(), given)


def test_python_takes_any_iterable_of_questions() -> None:
    study = xw.TableStudy.from_frame(columns(), PATH)
    found = xw.estimate(study, xw.Regression(), (e for e in (xw.TE, xw.NIE)))
    assert [row.term for row in found] == ["te", "nie"]

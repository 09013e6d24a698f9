"""Terms taken apart, scales kept apart, names and meanings."""

from __future__ import annotations

import pytest

from crossworld.core.effects import CONSTANTS
from crossworld.core.estimand import Estimand
from crossworld.core.expression import Y
from crossworld.core.regime import M
from crossworld.report.glossary import explain
from crossworld.report.terms import panels, read, same_as
from crossworld.report.words import Words, listed, words

from .samples import effect, jobs, spec


@pytest.mark.parametrize(
    ("term", "base", "arguments", "kind", "null"),
    [
        ("te", "te", "", "difference", 0.0),
        ("nie.ratio", "nie", "", "ratio", 1.0),
        ("nie.odds_ratio", "nie", "", "odds_ratio", 1.0),
        ("nie.excess_ratio", "nie", "", "excess", 0.0),
        ("int_med.ratio", "int_med", "", "excess", 0.0),
        ("pm", "pm", "", "share", 0.0),
        ("pm.ratio", "pm", "", "share", 0.0),
        ("pm.odds_ratio", "pm", "", "share", 0.0),
        ("nie / te", "", "", "share", 0.0),
        ("cde(m=3)", "cde", "m=3", "difference", 0.0),
        ("cde(m=3).ratio", "cde", "m=3", "ratio", 1.0),
        ("pse(m2, type=2)", "pse", "m2, type=2", "difference", 0.0),
        ("pse(m2).ratio", "pse", "m2", "ratio", 1.0),
        ("nie[layers.3.mlp @ -1]", "nie", "", "difference", 0.0),
        ("Y(1) - Y(0, M(1))", "", "", "difference", 0.0),
        ("Y(1).cdf(2) - Y(0).cdf(2)", "", "", "probability", 0.0),
        ("Y(1)", "", "", "level", None),
        ("Y(1) / Y(0)", "", "", "other", None),
    ],
)
def test_terms(term: str, base: str, arguments: str, kind: str, null: float | None) -> None:
    held = read(effect(term, 1.0))
    assert (held.base, held.arguments, held.kind, held.null) == (base, arguments, kind, null)


def test_a_site_is_told_apart_from_the_effect() -> None:
    assert read(effect("nie[layers.3.mlp @ -1]", 1.0)).site == "layers.3.mlp @ -1"


@pytest.mark.parametrize(
    ("term", "method", "kind"),
    [
        ("mine", "wald", "difference"),
        ("mine", "log-wald", "ratio"),
        ("mine", "fieller", "share"),
        ("mine.ratio", "percentile", "ratio"),
        ("mine.odds_ratio", "percentile", "odds_ratio"),
        ("1/0", "wald", "difference"),
        ("-'x'", "wald", "difference"),
        ("(1).ratio", "percentile", "ratio"),
        ("", "wald", "difference"),
    ],
)
def test_own_names_are_judged_by_suffix_and_method(term: str, method: str, kind: str) -> None:
    assert read(effect(term, 1.0, method=method)).kind == kind


def test_own_names_with_their_question_at_hand() -> None:
    question = Estimand("mine", (Y(1) - Y(1, M(0))) / (Y(1) - Y(0)))
    held = read(effect("mine", 1.0, method="percentile"), (question,))
    assert held.kind == "share"
    assert held.expression == "(Y(1) - Y(1, M(0))) / (Y(1) - Y(0))"


def test_panels_keep_scales_apart_and_rows_in_order() -> None:
    terms = ("te.ratio", "te", "nie.ratio", "pm", "nie", "te.odds_ratio")
    table = jobs(tuple(effect(t, 1.0) for t in terms))
    held = panels(table, words(table.spec))
    assert [(p.kind, [r.term for r in p.rows], p.null) for p in held] == [
        ("difference", ["te", "nie"], 0.0),
        ("share", ["pm"], 0.0),
        ("ratio", ["te.ratio", "nie.ratio"], 1.0),
        ("odds_ratio", ["te.odds_ratio"], 1.0),
    ]
    assert held[0].title == "Difference in depress2"


def test_braces_in_a_name_stay_braces() -> None:
    table = jobs((effect("te", 1.0),), spec=spec("a -> m -> {outcome}{0}"))
    assert panels(table, words(table.spec))[0].title == "Difference in {outcome}{0}"


def test_expressions_that_spell_a_shipped_effect() -> None:
    assert same_as("Y(1) - Y(1, M(0))") == "nie"
    assert same_as("Y(1) - Y(0)") == "te"
    assert same_as("Y(0) - Y(1)") == ""


@pytest.mark.parametrize("name", sorted(CONSTANTS))
def test_every_shipped_effect_is_explained_with_the_names_of_the_study(name: str) -> None:
    held = explain(read(effect(name, 1.0)), words(spec("treat -> job_seek -> depress2")))
    assert held.name not in ("Own effect", "Expression in cells")
    assert name == "oe" or "job_seek" in held.text or "depress2" in held.text
    assert "the mediator" not in held.text


def test_direct_and_indirect_hold_the_right_thing() -> None:
    names = words(spec("treat -> job_seek -> depress2"))

    def text(term: str) -> str:
        return explain(read(effect(term, 1.0)), names).text

    assert "keeps the value it would have had under treat = 0" in text("nde")
    assert "keeps the value it would have had under treat = 1" in text("tnde")
    assert "stays fixed (treat = 1)" in text("nie")
    assert "stays fixed (treat = 0)" in text("pnie")
    assert "(job_seek=3)" in text("cde(job_seek=3)")
    assert "before it stay as under treat = 0, everything after it as under treat = 1" in text(
        "pse(m2)"
    )
    assert "before it stay as under treat = 1, everything after it as under treat = 0" in text(
        "pse(m2, type=2)"
    )


def test_scales_are_explained() -> None:
    names = Words()
    ratio = explain(read(effect("nie.ratio", 1.0)), names)
    assert ratio.name == "Natural indirect effect, as a ratio"
    assert "1 means no effect" in ratio.text and "goes through the mediator" in ratio.text
    beside = explain(read(effect("nie.ratio", 1.0)), names, beside={"nie"})
    assert beside.text.startswith("As nie, but given as a quotient of means")
    assert "quotient of odds" in explain(read(effect("te.odds_ratio", 1.0)), names).text
    assert "0 means no effect" in explain(read(effect("int_med.ratio", 1.0)), names).text


def test_expressions_are_explained() -> None:
    held = explain(read(effect("Y(1) - Y(0, M(1))", 1.0)), Words())
    assert held.name == "Total natural direct effect"
    assert "It is the same quantity as tnde." in held.text
    own = explain(read(effect("no such thing", 1.0)), Words())
    assert own.name == "Own effect" and "does not hold its formula" in own.text


def test_words_of_a_table() -> None:
    held = words(spec("arm -> m1 + m2 -> m3 -> y", levels=["placebo", "drug"]))
    assert held.title == "arm → m1 + m2 → m3 → y"
    assert (held.treatment, held.mediator, held.outcome) == ("arm", "m1, m2 and m3", "y")
    assert (held.low, held.high) == ("arm = placebo", "arm = drug")
    assert held.keep == "m1, m2 and m3 keep the values they would have had"


def test_words_of_other_studies_and_of_none() -> None:
    reasoning = words({"study": {"kind": "reasoning", "outcome": "correct", "levels": [0, 1]}})
    assert (reasoning.mediator, reasoning.unit) == ("the reasoning", "question")
    internals = words({"study": {"kind": "internals", "metric": "logit_difference"}})
    assert (internals.outcome, internals.low) == ("logit difference", "the clean input")
    assert words({}) == Words()
    assert words({"study": {"path": "nonsense"}}) == Words()


def test_lists_are_cut_and_counted() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "a and b"
    assert listed([f"m{j}" for j in range(9)]) == "m0, m1 and 7 more"

"""The sentence: a percentage only where the numbers allow one."""

from __future__ import annotations

import pytest

from crossworld.core.table import Effect
from crossworld.report.answer import Answer, answer, percent
from crossworld.report.words import words

from .samples import clear, effect, jobs


def said(rows: tuple[Effect, ...]) -> Answer:
    table = jobs(rows)
    return answer(table, words(table.spec))


def everything(held: Answer) -> str:
    return " ".join((held.headline, *held.notes))


def test_a_settled_share_is_a_percentage_with_its_interval() -> None:
    held = said(clear(effect("pm", 0.26, 0.0612, 0.441, method="fieller")))
    assert held.headline == (
        "About 26% of the effect of treat on depress2 goes through job_seek; the 95% interval "
        "runs from 6% to 44%."
    )
    assert "1.0000 (95% interval 0.8000 to 1.2000)" in held.notes[0]


def test_the_level_is_the_table_s() -> None:
    table = jobs(clear(effect("pm", 0.26, 0.06, 0.44)), level=0.9)
    assert "the 90% interval" in answer(table, words(table.spec)).headline


def test_no_percentage_when_the_total_may_be_zero() -> None:
    held = said(jobs().rows)
    assert "%" not in everything(held).replace("95% interval", "")
    assert held.headline == (
        "An effect of treat on depress2 goes through job_seek, -0.0157 (95% interval -0.0306 to "
        "-0.0009), but whether treat changes depress2 in total is not settled: the total effect "
        "is -0.0560 (-0.1327 to 0.0207)."
    )


def test_nothing_is_claimed_when_both_intervals_cover_zero() -> None:
    held = said(
        (
            effect("te", 0.1, -0.1, 0.3),
            effect("nde", 0.06, -0.1, 0.2),
            effect("nie", 0.04, -0.01, 0.09),
            effect("pm", 0.4, 0.1, 0.9),
        )
    )
    assert held.headline.startswith("The data do not settle whether treat changes depress2, nor")
    assert "does not show that there is no effect" in held.notes[0]
    assert "40%" not in everything(held)


def test_no_percentage_when_the_parts_have_opposite_signs() -> None:
    held = said(
        (
            effect("te", 0.5, 0.3, 0.7),
            effect("nde", 0.6, 0.4, 0.8),
            effect("nie", -0.1, -0.2, -0.05),
            effect("pm", -0.2, -0.4, -0.1),
        )
    )
    assert "opposite signs: -0.1000" in held.headline
    assert "-20%" not in everything(held)
    assert len(held.notes) == 1


def test_opposed_parts_that_cancel_are_told_though_the_total_may_be_zero() -> None:
    held = said(
        (
            effect("te", 0.01, -0.1, 0.1),
            effect("nde", 0.31, 0.2, 0.4),
            effect("nie", -0.3, -0.4, -0.2),
        )
    )
    assert "opposite signs" in held.headline


def test_opposition_that_is_not_settled_says_so() -> None:
    held = said(
        (
            effect("te", 0.5, 0.3, 0.7),
            effect("nde", 0.6, 0.4, 0.8),
            effect("nie", -0.1, -0.3, 0.1),
        )
    )
    assert "The interval of the indirect effect covers 0" in held.notes[1]


def test_a_settled_total_with_an_open_indirect_part() -> None:
    parts = (effect("nde", 0.9, 0.7, 1.1), effect("nie", 0.1, -0.1, 0.3))
    held = said((effect("te", 1.0, 0.8, 1.2), *parts, effect("pm", 0.1, -0.1, 0.28)))
    assert "do not settle whether any of it goes through job_seek" in held.headline
    assert held.notes == ("The 95% interval of the share (pm) runs from -10% to 28%.",)


def test_without_the_share_no_percentage_and_a_hint() -> None:
    held = said(clear())
    assert held.headline.startswith("Of the effect of treat on depress2, 1.0000")
    assert held.notes == ("Ask for pm as well to see the share with its interval.",)


def test_an_unbounded_share_is_no_percentage() -> None:
    held = said(clear(effect("pm", 0.26, method="fieller")))
    assert "26%" not in everything(held)
    assert "pm) has no bounded 95% interval" in held.notes[0]


def test_a_total_without_limits_is_not_settled() -> None:
    held = said((effect("te", 1.0), *clear()[1:], effect("pm", 0.26, 0.1, 0.4)))
    assert "26%" not in everything(held)
    assert "is not settled: the total effect is 1.0000 (no bounded interval)" in held.headline


def test_ratios_multiply_and_are_compared_with_one() -> None:
    held = said(
        (
            effect("te.ratio", 1.3, 1.1, 1.6, method="log-wald"),
            effect("nde.ratio", 1.2, 1.05, 1.4, method="log-wald"),
            effect("nie.ratio", 1.083, 0.98, 1.2, method="log-wald"),
        )
    )
    assert held.headline == (
        "Moving from treat = 0 to treat = 1 multiplies the mean of depress2 by 1.3000 (95% "
        "interval 1.1000 to 1.6000): by 1.0830 (0.9800 to 1.2000) through job_seek, by 1.2000 "
        "(1.0500 to 1.4000) by other routes."
    )
    assert [note for note in held.notes if "any indirect effect" in note]
    assert not [note for note in held.notes if "any total effect" in note]


def test_ratios_below_and_above_one_are_opposed() -> None:
    rows = tuple(
        effect(f"{t}.odds_ratio", v, v - 0.05, v + 0.05)
        for t, v in (("te", 1.1), ("nde", 1.3), ("nie", 0.85))
    )
    held = said(rows)
    assert "multiplies the odds of depress2" in held.headline
    assert "opposite directions" in held.notes[-1]


def test_interventional_effects_have_an_answer_of_their_own() -> None:
    held = said(
        (
            effect("oe", 1.0, 0.8, 1.2),
            effect("ide", 0.7, 0.5, 0.9),
            effect("iie", 0.3, 0.1, 0.5),
            effect("pm", 0.3, 0.1, 0.5),
        )
    )
    assert held.headline.startswith("Of the effect of treat on depress2, 1.0000")
    assert held.notes == ()


@pytest.mark.parametrize(
    ("limits", "verdict"),
    [((0.1, 0.9), "does not cover 0"), ((-0.1, 0.9), "covers 0"), ((0.0, 0.9), "covers 0")],
)
def test_one_effect_alone(limits: tuple[float, float], verdict: str) -> None:
    held = said((effect("nie", 0.5, *limits),))
    assert held.headline.startswith("Natural indirect effect of treat on depress2: 0.5000")
    assert verdict in held.headline


def test_a_ratio_alone_is_compared_with_one() -> None:
    assert "covers 1" in said((effect("nie.ratio", 1.1, 0.9, 1.3),)).headline


def test_no_number_no_claim() -> None:
    assert said((effect("nie", None),)).headline == (
        "No effect could be computed; the warnings say why."
    )


def test_percent() -> None:
    assert [percent(v) for v in (0.0, 0.004, 0.0149, 0.995, -1.5)] == [
        "0%",
        "0.4%",
        "1%",
        "100%",
        "-150%",
    ]

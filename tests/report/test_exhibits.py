"""Exhibits in every form of the report: there, escaped, the same from a file, in words too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crossworld import exhibits as ex
from crossworld.core.table import EffectTable
from crossworld.report import html, markdown, views
from crossworld.report.attempts import attempts, checks
from crossworld.report.shown import carries, sections

from .samples import HOSTILE, effect, everything, identification, jobs
from .test_html import Page


def table(name: str = "m") -> EffectTable:
    return jobs().with_exhibits(everything(name))


@pytest.fixture(scope="module")
def words() -> str:
    return Page(html.render(table())).words


def test_the_page_holds_every_exhibit_with_its_numbers(words: str) -> None:
    for part in (
        "The question Does m help? m was asked.",
        "replay m 0.4321 0.1000 to 0.6000",
        "OLS 0.9876 none",
        "not available",
        "Held against: replay m.",
        "Two-sample energy test of m: p = 0.0130 (99 permutations, seed 7)",
        "m m = 0 20 0.5000 1.0000",
        "carries 31% [12%, 50%] of the reasoning's effect",
        "carries -7% [-20%, 6%] of the reasoning's effect; it cannot be told from none",
        "This step was not measured.",
        "3 of 6 cells are significant.",
        "3 parts; 1 of 2 links are kept.",
        "in m 0.4000 0.3000 to 0.5000",
        "The thick line joins pairs of strengths at which it would be 0.2. Marked: m at (0.4,",
    ):
        assert part in words, part


def test_every_picture_has_a_title_and_is_described() -> None:
    made = html.render(table())
    pictures = re.findall(r"<svg[^>]*>.*?</svg>", made, re.DOTALL)
    assert len(pictures) >= 12
    for one in pictures:
        assert 'role="img"' in one and "<title" in one
    assert "Estimates of several methods. te: replay m 0.4321 [0.1000, 0.6000]" in made
    assert "A circuit of 3 parts with 1 links kept of 2: in to m 0.4000" in made
    ids = re.findall(r'\bid="([^"]+)"', made)
    assert len(ids) == len(set(ids))


def test_a_file_gives_the_same_page_and_the_same_markdown(tmp_path: Path) -> None:
    table().to_json(tmp_path / "result.json")
    again = EffectTable.from_json(tmp_path / "result.json")
    assert html.render(again) == html.render(table())
    assert markdown.render(again) == markdown.render(table())


def test_names_of_producers_cannot_become_markup() -> None:
    made = html.render(table(HOSTILE))
    assert "<script" not in made.lower()
    page = Page(made)
    assert not [a for _, attrs in page.elements for a in attrs if a.startswith("on")]
    assert page.words.count(HOSTILE) > 30
    broken = html.render(table('" style="x:url(//evil)" onclick="alert(1)'))
    assert not [a for _, attrs in Page(broken).elements for a in attrs if a.startswith("on")]
    assert not [a for _, a in Page(broken).elements if "x:url" in a.get("style", "")]
    text = markdown.render(table(HOSTILE))
    assert "<script" not in re.sub(r"`+[^`]*`+", "", text)


def test_markdown_holds_every_exhibit() -> None:
    text = markdown.render(table())
    for part in (
        "*Does m help?*",
        "## The same question, asked in other ways",
        "| te | replay m | 0.4321 | 0.1000 to 0.6000 |",
        "| 1 | 3 + 6 = 9 m | carries 31% \\[12%, 50%\\] of the reasoning's effect |",
        "| 1 | sat | 0.6000 | 0.5000 to 0.7000 | yes |",
        "`a -> m -> y; a -> y`",
        "| te | not available |",
    ):
        assert part in text, part


def test_colour_says_which_way_and_how_far() -> None:
    (held,) = (one for one in everything() if isinstance(one, ex.Heatmap))
    seen = views.view(sections([held])["sites"].shown[0])
    flat = [tone for row in seen.cells for tone in row]
    assert [t.side for t in flat] == ["up", "none", "up", "up", "down", "up"]
    assert [float(t.strength) for t in flat] == pytest.approx(
        [0.5 * v / 0.6 for v in (0.1, 0.0, 0.3, 0.4, 0.5, 0.6)], abs=5e-4
    )
    assert flat[4].detail == "-0.6 to -0.4" and flat[4].significant and not flat[0].significant


def test_a_large_map_is_a_picture_of_the_strongest() -> None:
    size = 300
    values = [[0.0] * size for _ in range(size)]
    values[123][45], values[7][299] = 2.5, -3.5
    names = [str(k) for k in range(size)]
    held = ex.Heatmap(names, names, values, row_name="layer", column_name="position")
    made = html.render(jobs().with_exhibits([held]))
    assert len(made) < 1_500_000
    page = Page(made)
    assert "7 299 -3.5000" in page.words and "123 45 2.5000" in page.words
    from crossworld.report.drawn.fields import reduced

    shown, rows, columns = reduced(held)
    assert shown.shape == (75, 75) and rows[30] == "120 to 123" and columns[74] == "296 to 299"
    assert shown[30, 11] == 2.5 and shown[1, 74] == -3.5


def test_many_steps_are_folded() -> None:
    steps = tuple(ex.Step(f"sentence {k}", 0.01, 0.0, 0.02) for k in range(150))
    made = html.render(jobs().with_exhibits([ex.Steps(steps)]))
    assert "90 more steps" in made and 'start="61"' in made
    assert made.count("sentence ") >= 150


def test_lines_of_a_step_stay_lines_and_nothing_turns_the_page_around() -> None:
    made = html.render(jobs().with_exhibits([ex.Steps((ex.Step("one\ntwo \u202ethree"),))]))
    assert "one\ntwo three" in made and "\u202e" not in made


def test_a_step_with_one_limit_or_another_scale() -> None:
    steps = ex.Steps((ex.Step("a", 0.02, None, 0.5),), scale="difference", value_name="of P(right)")
    assert carries(steps.steps[0], steps) == "carries 0.0200 [no limit, 0.5000] of P(right)"


def test_checks_are_gathered_by_what_they_changed() -> None:
    rows = checks(
        {"name": n, "term": t, "passed": p}
        for n, t, p in (
            ("subset", "te", True), ("subset", "nie", False), ("placebo", "te", None),
        )
    )  # fmt: skip
    found = {one.name: one.verdicts for one in attempts(rows)}
    assert found == {
        "subset": (("did not hold", "nie"), ("held", "te")),
        "placebo": (("no verdict", "te"),),
    }


def test_an_assumption_says_what_is_known_of_it() -> None:
    told = identification()
    told["assumptions"] = [
        {"name": "positivity", "statement": "a", "testable": True},
        {"name": "no confounding", "statement": "b", "testable": True,
         "decided_by": "an experiment that assigns m"},
        {"name": "graph", "statement": "c", "testable": True, "decided_by": "tests"},
        {"name": "cross-world", "statement": "d", "testable": False},
    ]  # fmt: skip
    for passed, word in ((True, "held"), (False, "did not hold"), (None, "no verdict")):
        made = {"name": "overlap", "term": "te", "passed": passed}
        page = Page(html.render(jobs(identification=told, refutations=(made,)))).words
        assert f"data could contradict it. checked: {word}" in page
        assert "assigns m. needs an experiment" in page
        assert "Testable: tests. can be checked" in page
        assert "Not testable with these data. taken on trust" in page


def test_ten_thousand_effects_make_a_page() -> None:
    rows = tuple(effect(f"nie[layers.{j}]", 0.1, -0.1, 0.3) for j in range(10_000))
    made = html.render(jobs(rows))
    assert made.count("<b>nie[layers.") == 10_000
    assert "9,940 more effects" in made
    assert len(made) < 12_000_000

"""The page: content, safety, accessibility, and that it is written whole."""

from __future__ import annotations

import ast
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import crossworld.report
from crossworld.core.table import EffectTable
from crossworld.errors import DesignError
from crossworld.report import html
from crossworld.report.svg import MOST

from .samples import FORMULA, HOSTILE, WARNING, effect, identification, jobs, spec

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Elements with their attributes and text; fails on tags that do not balance."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def text() -> str:
    return html.render(jobs())


@pytest.fixture(scope="module")
def parsed(text: str) -> Page:
    return Page(text)


def test_every_part_is_on_the_page(parsed: Page) -> None:
    for part in (
        "treat → job_seek → depress2",
        "An effect of treat on depress2 goes through job_seek, -0.0157",
        "causal only if the assumptions",
        WARNING,
        "treat = 1 with treat = 0 (the reference)",
        "econ_hard, sex and age",
        "899 units in 31 clusters",
        "Regression (interaction = yes)",
        "95%, Wald",
        "Natural indirect effect nie",
        "Consistency: units do not interact. Not testable with these data.",
        "Positivity: every level occurs. Testable: data could contradict it.",
        "job_seek gaussian: job_seek ~ treat + age",
        "Failed replicates 7",
        "Overlap, smallest 0.0432",
        "Largest weight 17.5",
        "placebo nie held -0.0157 0.0003 treatment shuffled",
        "subset te did not hold -0.0560 not recorded halves disagree",
        "pip install crossworld==9.8.7",
        "crossworld run analysis.toml --report report.html",
        'path = "treat -> job_seek -> depress2"',
        "SHA-256 of the data " + "ab" * 32,
        "Seed 11",
        "numpy 2.4.6",
        "causal mediation analysis (version 9.8.7)",
    ):
        assert part in parsed.words, part


def test_rows_of_the_table(parsed: Page) -> None:
    assert "te Total effect -0.0560 -0.1327 to 0.0207 0.0456 0.0123 Wald" in parsed.words
    assert "pm Proportion mediated 0.2805 unbounded 0.0456 0.0123 Fieller" in parsed.words


def test_the_formula_is_mathml_with_its_source(text: str) -> None:
    assert '<math display="block">' in text
    assert FORMULA in text
    other = {**identification(), "formula": r"\sqrt{a<b}"}
    shown = html.render(jobs(identification=other))
    assert "<math" not in shown and r"<code>\sqrt{a&lt;b}</code>" in shown


def test_names_cannot_become_markup() -> None:
    table = jobs(
        (effect(f"cde({HOSTILE}=1)", 1.0, 0.5, 1.5), effect(HOSTILE, 1.0, 0.5, 1.5)),
        spec=spec(f"{HOSTILE} -> {HOSTILE} m -> y{HOSTILE}", adjust=[HOSTILE], levels=[HOSTILE, 1]),
        heading=(HOSTILE,),
        identification={
            **identification(),
            "adjust": [HOSTILE],
            "assumptions": [{"name": HOSTILE, "statement": HOSTILE, "testable": True}],
            "formula": HOSTILE,
        },
        diagnostics={
            "warnings": [HOSTILE],
            "n_units": 3,
            "models": {HOSTILE: HOSTILE},
            "overlap": {HOSTILE: HOSTILE},
            HOSTILE: {"a": [HOSTILE]},
        },
        refutations=(
            {"name": HOSTILE, "term": HOSTILE, "passed": None, "original": 1.0, "refuted": HOSTILE,
             "detail": HOSTILE},
        ),
        provenance={"version": HOSTILE, HOSTILE: HOSTILE, "packages": {HOSTILE: HOSTILE}},
    )  # fmt: skip
    for made in (html.render(table), html.fragment(table)):
        assert "<script" not in made.lower()
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in made
        assert Page(made).words.count(HOSTILE) >= 4


def test_an_attribute_cannot_be_left() -> None:
    name = '" onmouseover="alert(1)'
    table = jobs((effect(name, 1.0, 0.5, 1.5),), spec=spec(f"{name} -> m -> y"))
    for made in (html.render(table), html.fragment(table)):
        assert not [a for _, attrs in Page(made).elements for a in attrs if a.startswith("on")]


def test_nothing_is_fetched_and_nothing_runs(text: str, parsed: Page) -> None:
    assert "http://" not in text and "https://" not in text and "//cdn" not in text
    assert "@import" not in text
    assert set(re.findall(r"url\(\s*[\"']?(.)", text)) <= {"#"}
    tags = {tag for tag, _ in parsed.elements}
    assert not tags & {"script", "link", "iframe", "img", "object", "embed", "base", "form"}
    names = {name for _, attrs in parsed.elements for name in attrs}
    assert not names & {"src", "srcset", "action", "background", "poster"}
    assert all(a["href"].startswith("#") for _, a in parsed.elements if "href" in a)
    policy = next(m for m in parsed.all("meta") if m.get("http-equiv"))
    assert policy["content"].startswith("default-src 'none'")


def test_structure_for_every_reader(parsed: Page) -> None:
    assert parsed.all("html") == [{"lang": "en"}]
    viewport = next(m for m in parsed.all("meta") if m.get("name") == "viewport")
    assert viewport["content"] == "width=device-width, initial-scale=1"
    levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    assert len(parsed.all("main")) == 1
    assert len(parsed.all("caption")) == len(parsed.all("table")) == 2
    assert all(cell.get("scope") in ("col", "row") for cell in parsed.all("th"))
    ids = [attrs["id"] for _, attrs in parsed.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    labels = [a["aria-labelledby"].split() for _, a in parsed.elements if "aria-labelledby" in a]
    assert {name for names in labels for name in names} <= set(ids)
    scrolling = [a for _, a in parsed.elements if a.get("class") == "scroll"]
    assert all(a["tabindex"] == "0" and a["role"] == "region" for a in scrolling)


def test_a_page_without_its_optional_parts() -> None:
    bare = EffectTable((effect("te", 1.0, 0.5, 1.5),), 0.95)
    made = Page(html.render(bare))
    assert "Warning" not in made.words
    assert "Attempts to break" not in made.words
    assert "Run it again" not in made.words
    assert "No identification was recorded" in made.words
    assert "Mediation analysis" in made.words
    assert "<svg" not in html.render(EffectTable((), 0.95))


def test_numbers_that_are_no_counts_keep_their_digits() -> None:
    held = jobs(
        spec={**spec("a -> m -> y"), "inference": {"name": "Bootstrap", "seed": 12345}},
        provenance={"seed": 12345},
        diagnostics={"n_units": 12345, "overlap": {"units_at_level": {"0": 299, "1": [6, 7]}}},
    )
    words = Page(html.render(held)).words
    assert "Bootstrap (seed = 12345)" in words and "Seed 12345" in words
    assert "12,345 units" in words
    assert "Overlap, units at level 0: 299, 1: 6, 7" in words


def test_data_given_in_memory_are_asked_for() -> None:
    made = Page(html.render(jobs(spec=spec("a -> m -> y", data=None))))
    assert "add the file's name as data under [study]" in made.words
    assert "None" not in made.words


def test_many_effects_are_all_in_the_table_and_some_in_the_figure() -> None:
    rows = tuple(effect(f"nie[site {j}]", 1.0, 0.5, 1.5) for j in range(MOST + 2))
    made = html.render(jobs(rows))
    assert len(re.findall(r"<th scope=\"row\"><b>nie\[site", made)) == MOST + 2
    assert f"The first {MOST} of {MOST + 2} effects are drawn" in made
    assert "2 more effects are not shown" in html.fragment(jobs(rows))


def test_a_result_read_from_a_file_gives_the_same_page(tmp_path: Path) -> None:
    table = jobs()
    table.to_json(tmp_path / "result.json")
    again = EffectTable.from_json(tmp_path / "result.json")
    assert html.render(again) == html.render(table)


def test_an_experiment_is_told_from_an_adjustment() -> None:
    made = Page(html.render(jobs(identification={"identified": True, "by": "experiment"})))
    assert "were run, not inferred" in made.words
    assert "causal only if" not in made.words
    assert "Conditioned on" not in made.words


def test_the_fragment_is_a_table_with_warnings() -> None:
    made = Page(html.fragment(jobs()))
    assert "nie -0.0157 0.0123 -0.0306 to -0.0009 0.0456" in made.words
    assert f"Warning: {WARNING}" in made.words
    assert jobs()._repr_html_() == html.fragment(jobs())
    tags = {tag for tag, _ in made.elements}
    assert not tags & {"html", "body", "script", "svg"}


def test_written_by_the_table(tmp_path: Path) -> None:
    jobs().report(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == html.render(jobs())


def test_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "report.html"
    file.write_text("before")
    with pytest.raises(TypeError):
        html.write(replace(jobs(), rows=(None,)), file)  # type: ignore[arg-type]

    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        html.write(jobs(), file)
    assert file.read_text() == "before"
    assert os.listdir(tmp_path) == ["report.html"]
    with pytest.raises(DesignError, match="is not there"):
        html.write(jobs(), tmp_path / "nowhere" / "report.html")


def _themes(text: str) -> dict[str, dict[str, str]]:
    css = text[text.index("<style>") : text.index("</style>")]
    dark_at = css.index("@media (prefers-color-scheme: dark)")
    print_at = css.index("@media print")

    def colours(part: str) -> dict[str, str]:
        root = part[part.index(":root") :]
        return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", root[: root.index("}")]))

    light = colours(css)
    return {
        "light": light,
        "dark": {**light, **colours(css[dark_at:])},
        "print": {**light, **colours(css[print_at:])},
    }


def _contrast(one: str, other: str) -> float:
    """WCAG 2 contrast of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[j : j + 2], 16) / 255.0 for j in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_holds_in_every_theme(text: str) -> None:
    themes = _themes(text)
    assert themes["light"]["paper"] != themes["dark"]["paper"]
    assert themes["print"] == themes["light"]
    pairs = [(n, "paper") for n in ("ink", "muted", "accent", "good", "alert")]
    pairs += [("ink", "raised"), ("ink", "alert-paper"), ("alert", "alert-paper")]
    for name, theme in themes.items():
        for front, back in pairs:
            assert _contrast(theme[front], theme[back]) >= 4.5, (name, front, back)
        for mark in ("total", "direct", "indirect", "other"):
            assert _contrast(theme[mark], theme["paper"]) >= 3.0, (name, mark)


def test_report_imports_the_core_alone() -> None:
    allowed = {"core", "io", "errors", "report"}
    for file in Path(crossworld.report.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            if module.startswith("crossworld"):
                assert module.split(".")[1] in allowed, f"{file.name} imports {module}"

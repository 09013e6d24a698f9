"""The Markdown report: the same content, and names that stay names."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossworld.core.table import EffectTable
from crossworld.errors import DesignError
from crossworld.report import markdown
from crossworld.report.content import page

from .samples import FORMULA, HOSTILE, WARNING, effect, jobs, spec


def test_every_part_is_there() -> None:
    made = markdown.render(jobs())
    for part in (
        "# treat → job_seek → depress2\n",
        "**An effect of treat on depress2 goes through job_seek, -0.0157",
        "## Warning: read before using the numbers",
        "| nie | Natural indirect effect | -0.0157 | 0.0123 | -0.0306 to -0.0009 | 0.0456 | Wald |",
        "| pm | Proportion mediated | 0.2805 | 0.0123 | unbounded | 0.0456 | Fieller |",
        "- Sample: 899 units in 31 clusters",
        "- **positivity**: every level occurs. *Testable: data could contradict it.*",
        f"```math\n{FORMULA}\n```",
        "| subset | te | did not hold | -0.0560 | not recorded | halves disagree |",
        "- job_seek: `gaussian: job_seek ~ treat + age`",
        "`crossworld run analysis.toml --report report.html`",
        "```toml\n[study]\n",
        "- Seed: 11",
        "(version 9.8.7)",
    ):
        assert part in made, part
    assert WARNING.replace("[", "\\[").replace("]", "\\]") in made


def test_it_says_what_the_page_says() -> None:
    held, made = page(jobs()), markdown.render(jobs())
    assert markdown.text(held.answer.headline) in made
    for meaning in held.meanings:
        assert markdown.text(meaning.text) in made
    for label, value in (*held.facts, *held.diagnostics, *held.background.provenance):
        assert f"- {markdown.text(label)}: {markdown.text(value)}" in made


def test_a_bare_table() -> None:
    made = markdown.render(EffectTable((effect("te", 1.0, 0.5, 1.5),), 0.95))
    assert made.startswith("# Mediation analysis\n")
    assert "Warning" not in made and "Run it again" not in made and "None" not in made


@pytest.mark.parametrize(
    "name",
    [
        HOSTILE,
        "a|b",
        "*a* _b_ `c` ~~d~~",
        "[x](y)",
        "# a",
        "1. a",
        "- a",
        "+ a",
        "&lt;",
        "a\\|b",
        "job_seek",
        "see http://example.org",
        "www.example.org",
    ],
)
def test_text_is_shown_and_not_obeyed(name: str) -> None:
    reader = pytest.importorskip("markdown_it").MarkdownIt("gfm-like", {"linkify": False})
    tokens = reader.parse(markdown.text(name))
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    inside = tokens[1].children
    assert {child.type for child in inside} <= {"text", "text_special"}
    assert "".join(child.content for child in inside) == name


def test_autolinks_are_broken() -> None:
    assert markdown.text("http://a www.b") == "http\\:\\//a www\\.b".replace("\\//", "//")


def test_a_hostile_column_does_not_break_the_table() -> None:
    table = jobs((effect("cde(a|b=1)", 1.0, 0.5, 1.5),), spec=spec(f"a|b -> {HOSTILE} -> y"))
    made = markdown.render(table)
    prose, _, _ = made.partition("```toml")
    assert "<script" not in prose
    row = next(line for line in made.splitlines() if line.startswith("| cde"))
    assert row.replace("\\|", "").count("|") == 8


def test_code_spans_and_blocks_hold_backticks() -> None:
    assert markdown.code("a``b") == "``` a``b ```"
    made = markdown.render(jobs(spec=spec("a -> m -> y", data="```")))
    assert "````toml\n" in made


def test_written_whole(tmp_path: Path) -> None:
    file = tmp_path / "report.md"
    markdown.write(jobs(), file)
    assert file.read_text(encoding="utf-8") == markdown.render(jobs())
    with pytest.raises(DesignError, match="is not there"):
        markdown.write(jobs(), tmp_path / "nowhere" / "report.md")

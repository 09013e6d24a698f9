"""The forest plot: what is drawn, where, and what is left alone."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence

import matplotlib as mpl
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color
from matplotlib.figure import Figure

from crossworld.errors import DesignError
from crossworld.report import figures
from crossworld.report.figures import forest
from crossworld.report.svg import MOST, forest_svg

from .samples import HOSTILE, effect, jobs, spec


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def segments(ax: Axes) -> list[tuple[tuple[float, ...], float]]:
    """Horizontal lines: their ends and their height."""
    found = []
    for line in ax.lines:
        x, y = list(map(float, line.get_xdata())), list(map(float, line.get_ydata()))
        if len(x) == 2 and y[0] == y[1]:
            found.append((tuple(x), y[0]))
    return found


def points(ax: Axes) -> dict[float, tuple[float, str, bool]]:
    """Estimates by height: place, marker, filled."""
    found = {}
    for line in ax.lines:
        x, marker = line.get_xdata(), line.get_marker()
        if len(x) == 1 and marker not in "<>":
            filled = not same_color(line.get_markerfacecolor(), "white")
            found[float(line.get_ydata()[0])] = (float(x[0]), str(marker), filled)
    return found


def arrows(ax: Axes) -> str:
    return "".join(str(line.get_marker()) for line in ax.lines if line.get_marker() in ("<", ">"))


def single(rows: Sequence[object]) -> Axes:
    ax = forest(jobs(tuple(rows)))  # type: ignore[arg-type]
    assert isinstance(ax, Axes)
    return ax


def test_one_scale_is_one_axes_with_the_numbers_in_place() -> None:
    ax = single([effect("te", -0.056, -0.1327, 0.0207), effect("nie", -0.0157, -0.0306, -0.0009)])
    assert segments(ax) == [((-0.1327, 0.0207), 1.0), ((-0.0306, -0.0009), 0.0)]
    assert points(ax) == {1.0: (-0.056, "s", True), 0.0: (-0.0157, "D", True)}
    assert [label.get_text() for label in ax.get_yticklabels()] == ["te", "nie"]
    assert "-0.0560 [-0.1327, 0.0207]" in texts(ax)
    assert ax.get_xlabel() == "Difference in depress2"
    low, high = ax.get_xlim()
    assert low < -0.1327 and high > 0.0207


def test_scales_do_not_share_an_axis() -> None:
    rows = (
        effect("te", 0.5, 0.1, 0.9),
        effect("te.ratio", 1.5, 1.1, 1.9),
        effect("pm", 0.3, 0.1, 0.5),
        effect("te.odds_ratio", 2.5, 1.2, 3.9),
    )
    axes = forest(jobs(rows))
    assert isinstance(axes, tuple) and len(axes) == 4
    assert len({id(ax.figure) for ax in axes}) == 1
    nulls = [
        [float(line.get_xdata()[0]) for line in ax.lines if list(line.get_ydata()) == [0, 1]]
        for ax in axes
    ]
    assert nulls == [[0.0], [0.0], [1.0], [1.0]]
    assert [ax.get_xscale() for ax in axes] == ["linear", "linear", "log", "log"]
    assert [[label.get_text() for label in ax.get_yticklabels()] for ax in axes] == [
        ["te"],
        ["pm"],
        ["te.ratio"],
        ["te.odds_ratio"],
    ]


def test_a_given_axes_is_used_and_only_for_one_scale() -> None:
    given = Figure().subplots()
    assert forest(jobs((effect("te", 1.0, 0.5, 1.5),)), ax=given) is given
    assert segments(given) == [((0.5, 1.5), 0.0)]
    with pytest.raises(DesignError, match=r"2 scales .*cannot share one axis"):
        forest(jobs(), ax=Figure().subplots())


def test_an_unbounded_interval_is_a_hollow_point_with_a_note() -> None:
    ax = single([effect("pm", 0.2805, method="fieller")])
    assert points(ax) == {0.0: (0.2805, "D", False)}
    assert "no bounded interval" in texts(ax)
    assert arrows(ax) == "<>"
    assert segments(ax) == [(ax.get_xlim(), 0.0)]


def test_an_interval_that_does_not_exist_has_no_line() -> None:
    ax = single([effect("nie.ratio", 1.2, method="log-wald")])
    assert points(ax)[0.0][2] is False
    assert "no interval" in texts(ax)
    assert arrows(ax) == "" and segments(ax) == []


def test_one_missing_limit_is_an_arrow_on_its_side() -> None:
    ax = single([effect("te", 1.0, 0.5, None)])
    assert arrows(ax) == ">"
    assert segments(ax) == [((0.5, ax.get_xlim()[1]), 0.0)]
    assert "0.5000 or more" in texts(ax)


def test_a_missing_estimate_is_said() -> None:
    ax = single([effect("te", None), effect("nie", 1.0, 0.5, 1.5)])
    assert points(ax) == {0.0: (1.0, "D", True)}
    assert texts(ax).count("not available") == 2


def test_a_ratio_that_is_not_positive_keeps_a_linear_axis() -> None:
    ax = single([effect("te.ratio", 0.5, -0.2, 1.5)])
    assert ax.get_xscale() == "linear"


def test_roles_differ_in_colour_and_in_shape() -> None:
    roles = set(figures._ROLES.values())
    assert len({colour for colour, _ in roles}) == len({marker for _, marker in roles}) == 3


def test_no_effect_no_figure() -> None:
    with pytest.raises(DesignError, match="no effect to draw"):
        forest(jobs().__class__((), 0.95))


def test_names_are_text_and_never_formulas() -> None:
    rows = (effect("nie[$x^$]", 1.0, 0.5, 1.5), effect("te", 1.0, 0.5, 1.5))
    table = jobs(rows, spec=spec(f"a -> $m_$ {HOSTILE} -> $\\frac$"))
    for layout in ("wide", "narrow"):
        made = forest_svg(table, layout)  # type: ignore[arg-type]
        assert ">nie[$x^$]<" in made and "Difference in $\\frac$" in made
        assert "<script" not in made
    assert "not through" not in made and ">indirect, through $m_$" in forest_svg(table, "wide")
    given = Figure().subplots()
    forest(table, ax=given)
    assert not any(label.get_parse_math() for label in given.get_yticklabels())


def test_the_user_s_settings_and_pyplot_are_left_alone() -> None:
    with mpl.rc_context({"svg.fonttype": "path", "axes.facecolor": "red"}):
        before = dict(mpl.rcParams)
        text = forest_svg(jobs(), "wide")
        assert dict(mpl.rcParams) == before
    assert "<text" in text and "#ff0000" not in text
    with mpl.rc_context({"font.family": ["monospace"], "axes.titlesize": 30, "font.size": 20}):
        assert forest_svg(jobs(), "wide") == text


@pytest.mark.parametrize("layout", ["wide", "narrow"])
def test_svg_is_inline_themed_and_described(layout: str) -> None:
    text = forest_svg(jobs(), layout)  # type: ignore[arg-type]
    assert text.startswith("<svg") and text.endswith("</svg>")
    assert "http" not in text and "<style" not in text and "<script" not in text
    assert set(re.findall(r"#[0-9a-fA-F]{6}\b", text)) == set()
    assert {"var(--direct)", "var(--indirect)", "var(--total)"} <= set(
        re.findall(r"var\(--\w+\)", text)
    )
    assert 'role="img"' in text
    assert "nie: -0.0157, -0.0306 to -0.0009; pm: 0.2805, unbounded." in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    assert used and used <= set(ids)
    assert all(name.startswith(f"forest-{layout}-") for name in ids)


def test_svg_is_the_same_every_time() -> None:
    assert forest_svg(jobs(), "wide") == forest_svg(jobs(), "wide")


def test_svg_draws_the_first_of_many() -> None:
    rows = tuple(effect(f"nie[site {j}]", 1.0, 0.5, 1.5) for j in range(MOST + 1))
    text = forest_svg(jobs(rows), "narrow")
    assert f"nie[site {MOST - 1}]" in text and f"nie[site {MOST}]" not in text


def test_unknown_glyphs_are_no_obstacle() -> None:
    table = jobs((effect("te", 1.0, 0.5, 1.5),), spec=spec("治療 -> 求職 -> 抑鬱"))
    assert "Difference in 抑鬱" in forest_svg(table, "wide")


def test_nothing_heavy_is_imported_before_something_is_drawn() -> None:
    code = (
        "import sys\n"
        "import crossworld.report.html, crossworld.report.markdown, crossworld.report.figures\n"
        "print([m for m in ('matplotlib', 'jinja2', 'pandas', 'scipy') if m in sys.modules])\n"
        "from crossworld.core.table import Effect, EffectTable\n"
        "rows = (Effect('te', 1.0, 0.5, 0.0, 2.0, 0.05, 'wald'),)\n"
        "crossworld.report.html.render(EffectTable(rows, 0.95))\n"
        "print('matplotlib.pyplot' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "False"]

"""Pictures of exhibits: what is drawn where, on whose axes, in which colours."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import crossworld as xw
from crossworld import exhibits as ex
from crossworld.errors import DesignError
from crossworld.report import pictures
from crossworld.report.drawn import canvas, circuits

from .samples import everything, jobs
from .test_html import _contrast

HELD = {one.kind: one for one in everything()}
DRAWN = [kind for kind, one in HELD.items() if pictures.can_draw(one)]


def first(made: Any) -> Axes:
    return made[0] if isinstance(made, tuple) else made


@pytest.mark.parametrize("layout", ["wide", "narrow"])
@pytest.mark.parametrize("kind", DRAWN)
def test_it_draws_on_a_figure_of_its_own_and_says_what(kind: str, layout: str) -> None:
    import matplotlib.pyplot as plt

    before, settings = plt.get_fignums(), dict(mpl.rcParams)
    ax = first(pictures.draw(HELD[kind], layout=layout))  # type: ignore[arg-type]
    assert isinstance(ax, Axes)
    ax.figure.savefig("/dev/null", format="png")
    assert plt.get_fignums() == before and dict(mpl.rcParams) == settings
    assert len(pictures.describe(HELD[kind])) > 20


@pytest.mark.parametrize("kind", [k for k in DRAWN if k not in ("distributions",)])
def test_it_draws_on_given_axes(kind: str) -> None:
    held = HELD[kind]
    if isinstance(held, ex.Comparison):
        held = replace(held, rows=held.rows[:2])
    given = Figure().subplots()
    assert held.plot(ax=given) is given
    assert given.has_data() or given.texts or given.patches


def test_several_axes_cannot_be_one() -> None:
    for kind in ("distributions", "comparison"):
        with pytest.raises(DesignError, match="leave ax out"):
            HELD[kind].plot(ax=Figure().subplots())
    with pytest.raises(DesignError, match="'story' is text"):
        HELD["story"].plot()


def test_bars_of_a_distribution_are_densities() -> None:
    axes = HELD["distributions"].plot()
    patches = [p for p in axes[0].patches if hasattr(p, "get_data")]
    heights = {tuple(np.round(p.get_data().values, 6)) for p in patches}
    assert heights == {(0.6, 0.4), (0.3, 0.7)}
    widths = sorted(round(p.get_width(), 3) for p in axes[1].patches)
    assert widths == [30.0, 40.0, 60.0, 70.0]
    assert "Energy test: p = 0.0130 (99 permutations, seed 7)" in axes[1].get_xlabel()


def test_the_truth_of_a_comparison_is_a_band_across() -> None:
    axes = HELD["comparison"].plot()
    assert len(axes) == 2
    spans = [p.get_extents().transformed(axes[0].transData.inverted()) for p in axes[0].patches]
    assert [(round(b.x0, 6), round(b.x1, 6)) for b in spans] == [(0.1, 0.6)]
    assert len(axes[1].patches) == 0
    said = [t.get_text() for t in (*axes[0].texts, *axes[1].texts)]
    assert said == ["0.4321 [0.1000, 0.6000]", "0.9876", "not available"]


def test_a_map_is_drawn_in_place_and_marked_where_significant() -> None:
    ax = HELD["heatmap"].plot()
    (mesh,) = ax.collections
    shown = mesh.get_array()
    assert np.ma.is_masked(shown)
    assert shown.filled(9.0).tolist() == [[0.1, 9.0, 0.3], [0.4, -0.5, 0.6]]
    (dots,) = ax.lines
    assert list(zip(dots.get_xdata(), dots.get_ydata(), strict=True)) == [(0, 1), (1, 1), (2, 1)]
    top, bottom = ax.get_ylim()[::-1]
    assert top < bottom  # the first row is on top
    colours = mesh.get_cmap()(mesh.norm([-0.6, 0.0, 0.6]))
    assert colours[0][2] > colours[0][0] and colours[2][0] > colours[2][2]
    assert min(colours[1][:3]) > 0.95


def test_the_threshold_of_a_contour_is_its_thick_line() -> None:
    grid = np.linspace(0.0, 1.0, 21)
    held = ex.Contour(
        "x", grid.tolist(), "y", grid.tolist(), np.add.outer(grid, -grid).tolist(), 0.0
    )
    ax = held.plot()
    thick = [c for c in ax.collections if np.max(c.get_linewidths()) > 2.0]
    points = np.concatenate([p.vertices for c in thick for p in c.get_paths()])
    assert np.allclose(points[:, 0], points[:, 1])


def test_a_curve_has_its_band() -> None:
    ax = HELD["curve"].plot()
    (band,) = [c for c in ax.collections if hasattr(c, "get_paths") and c.get_alpha() == 0.2]
    ends = band.get_paths()[0].vertices
    assert ends[:, 1].min() == pytest.approx(0.1) and ends[:, 1].max() == pytest.approx(0.3)


def test_bars_of_steps_are_percent_with_intervals() -> None:
    ax = HELD["steps"].plot()
    assert [round(p.get_width(), 6) for p in ax.patches] == [31.0, -7.0]
    ends = [tuple(line.get_xdata()) for line in ax.lines if len(set(line.get_ydata())) == 1]
    assert ends == [(12.0, 50.0), (-20.0, 6.0)]


def test_parts_of_a_circuit_stand_in_their_layers() -> None:
    held = HELD["circuit"]
    assert isinstance(held, ex.Circuit)
    assert circuits.layout(held) == {"in": (0.0, 0.0), "m": (1.0, 0.0), "out": (2.0, 0.0)}
    two = ex.Circuit((ex.Node("a", 0), ex.Node("b", 0), ex.Node("c", 1)), ())
    assert circuits.layout(two)["c"] == (1.0, 0.5)


def test_series_differ_by_dash_as_well_as_by_colour_and_can_be_seen() -> None:
    assert len({str(d) for d in canvas.DASHES[:5]}) == 5
    assert len(set(canvas.SERIES)) == len(canvas.SERIES)
    for colour in (*canvas.SERIES, canvas.ACTIVE):
        assert _contrast(colour, "#ffffff") >= 3.0, colour


def test_every_table_has_a_plot() -> None:
    assert isinstance(first(jobs().plot()), Axes)
    study = xw.datasets.linear(n=200, seed=1).study()
    result = xw.estimate(study, xw.Regression()).illustrated()
    for one in result.exhibits:
        assert isinstance(first(one.plot()), Axes)

"""Contours: what is drawn, where labels stand, what is refused."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from crossworld.errors import DesignError
from crossworld.sensitivity.contour import ABOVE, BELOW, INK, Contours, levels

GRID = np.linspace(0.0, 0.9, 31)
SURFACE = -0.02 + 0.06 * np.sqrt(np.outer(GRID, GRID))
CROWD = (("age", 0.2, 0.2), ("2 x age", 0.22, 0.22), ("econ", 0.21, 0.25), ("edge", 0.9, 0.9))


def sample(**change: Any) -> Contours:
    held: dict[str, Any] = {
        "x_name": "share of m",
        "x": GRID,
        "y_name": "share of y",
        "y": GRID,
        "values": SURFACE,
        "marks": CROWD,
        "title": "nie",
    }
    return Contours(**{**held, **change})


def colours(ax: Any) -> set[str]:
    from matplotlib.colors import to_hex

    return {to_hex(c) for line in ax.collections for c in line.get_edgecolor()}


def test_threshold_is_thick_and_sides_differ_in_colour_and_style() -> None:
    ax = sample().plot()
    widths = [float(w) for c in ax.collections for w in np.atleast_1d(c.get_linewidth())]
    assert max(widths) == 2.4 and widths.count(2.4) == 1
    assert colours(ax) == {INK, ABOVE, BELOW}
    (thick,) = [c for c in ax.collections if c.get_linewidth()[0] == 2.4]
    points = np.concatenate([p.vertices for p in thick.get_paths()])
    inside = points[np.isfinite(points).all(axis=1)]
    assert np.abs(np.sqrt(inside[:, 0] * inside[:, 1]) - 1.0 / 3.0).max() < 2e-3
    dashed = [c for c in ax.collections if c.get_linestyle()[0][1] is not None]
    assert len(dashed) == 1


def test_labels_cover_neither_each_other_nor_marks() -> None:
    ax = sample().plot()
    ax.figure.draw_without_rendering()
    names = {label for label, _, _ in CROWD}
    boxes = {t.get_text(): t.get_window_extent() for t in ax.texts if t.get_text() in names}
    assert set(boxes) == names
    for one, other in combinations(boxes.values(), 2):
        assert not one.overlaps(other)
    places = ax.transData.transform([(x, y) for _, x, y in CROWD])
    for box in boxes.values():
        assert not any(box.contains(*place) for place in places)
        assert ax.bbox.x0 <= box.x0 and box.x1 <= ax.bbox.x1 + 1.0


def test_svg_has_no_background_and_readable_tones() -> None:
    text = sample().svg()
    assert text.startswith("<svg") and text.endswith("</svg>")
    assert ">share of m<" in text and ">econ<" in text
    assert not re.search(r"fill: #(fff|ffffff)\b", text)
    assert f"fill: {INK}; fill: var(--ink, {INK})" in text
    assert "#000000" not in text
    assert sample().svg() == text


@pytest.mark.parametrize("page", [1.0, 0.0063])  # relative luminance of #ffffff and #0d1117
def test_tones_contrast_with_light_and_dark_pages(page: float) -> None:
    from matplotlib.colors import to_rgb

    for colour in (INK, ABOVE, BELOW):
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)
        ]
        light = float(np.dot([0.2126, 0.7152, 0.0722], linear))
        high, low = max(light, page) + 0.05, min(light, page) + 0.05
        assert high / low > 3.5, colour


def test_threshold_out_of_reach_is_said() -> None:
    far = sample(values=SURFACE + 1.0, marks=())
    assert "never reaches 0" in str(far)
    assert [t.get_text() for t in far.plot().texts if "not reached" in t.get_text()]
    assert "reaches 0" in str(sample()) and "never" not in str(sample())
    assert levels(SURFACE + 1.0, 0.0)[1] is False


def test_constant_surface_is_drawn_without_lines() -> None:
    ax = sample(values=np.ones_like(SURFACE), marks=()).plot()
    assert len(ax.collections) == 0


def test_impossible_pairs_are_gaps_and_null() -> None:
    holed = np.where(np.add.outer(GRID, GRID) > 1.5, np.nan, SURFACE)
    found = sample(values=holed, marks=())
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["values"][-1][-1] is None
    assert int(found.to_frame()["value"].isna().sum()) == int(np.isnan(holed).sum())
    found.plot()


def test_frame_pairs_rows_with_y_and_columns_with_x() -> None:
    found = Contours(
        "x", np.array([0.0, 1.0]), "y", np.array([2.0, 3.0]), np.array([[1.0, 2.0], [3.0, 4.0]])
    )
    rows = found.to_frame()
    assert rows[(rows["x"] == 1.0) & (rows["y"] == 2.0)]["value"].item() == 2.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": GRID[::-1]}, "increase"),
        ({"x": GRID[:-1]}, "do not fit"),
        ({"y": GRID[:1]}, "at least two"),
        ({"values": np.full_like(SURFACE, np.nan)}, "finite values"),
        ({"values": np.full_like(SURFACE, np.inf)}, "finite values"),
        ({"marks": (("lost", float("nan"), 0.1),)}, "'lost'"),
    ],
)
def test_bad_input_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DesignError, match=message):
        sample(**change)


def test_draws_on_given_axes() -> None:
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert sample().plot(ax) is ax

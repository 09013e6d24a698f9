"""Rows of a result as lines with bands, for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crossworld.core.exhibits import Curve, Series
from crossworld.core.table import EffectTable


def drawn(
    table: EffectTable,
    lines: Mapping[str, Sequence[tuple[float, str]]],
    *,
    names: tuple[str, str],
    title: str = "",
    null: float | None = None,
) -> EffectTable:
    """Return the result with a curve through some of its rows.

    Parameters
    ----------
    table
        The result.
    lines
        Name of a line -> its points: where it stands, and the term of its row. Lines of fewer than
        two points are left out.
    names
        What the axes are.
    title
        Title.
    null
        Value of no effect.
    """
    series = []
    for name, points in lines.items():
        ordered = sorted(points)
        if len(ordered) < 2:
            continue
        rows = [table[term] for _, term in ordered]
        series.append(
            Series(name, tuple(x for x, _ in ordered), tuple(r.estimate for r in rows),
                   tuple(r.conf_low for r in rows), tuple(r.conf_high for r in rows))
        )  # fmt: skip
    if not series:
        return table
    return table.with_exhibits([Curve(tuple(series), names[0], names[1], null, title)])

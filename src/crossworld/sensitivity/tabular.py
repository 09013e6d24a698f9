"""How results of sensitivity analyses are written: aligned text, rows, JSON-ready values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from crossworld.core.estimand import Estimand
from crossworld.core.expression import Cell
from crossworld.core.parse import estimand as read_estimand
from crossworld.core.regime import Draw
from crossworld.core.table import number
from crossworld.errors import DesignError, SpecError
from crossworld.tables.study import TableStudy

Row = Mapping[str, Any]


def plain(value: Any) -> Any:
    """Make a value JSON-ready: numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def aligned(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Write rows as text, one line each under a head, numbers to the right."""
    head = [c.replace("_", " ") for c in columns]
    body = [[_shown(row.get(c)) for c in columns] for row in rows]
    widths = [max(len(line[j]) for line in [head, *body]) for j in range(len(columns))]
    lines = [
        "  ".join(
            text.ljust(w) if j == 0 else text.rjust(w)
            for j, (text, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in [head, *body]
    ]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return number(value) if isinstance(value, float) else str(value)


def asked(
    study: TableStudy, effects: Sequence[str | Estimand] | str, method: str
) -> list[Estimand]:
    """Read the effects of a question and write them in terms of the study's mediators.

    Raises
    ------
    DesignError
        If the study is no table study.
    SpecError
        If an effect is unknown, asked twice, or no weighted sum of cells.
    """
    if not isinstance(study, TableStudy):
        raise DesignError(f"{method} needs a TableStudy, got {type(study).__name__}")
    given = [effects] if isinstance(effects, str | Estimand) else list(effects)
    if not given:
        raise SpecError("no effect was asked for; try nde, nie")
    bound = [(read_estimand(e) if isinstance(e, str) else e).bind(study.blocks) for e in given]
    names = [e.name for e in bound]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise SpecError(f"effects are asked twice: {', '.join(twice)}")
    for effect in bound:
        if effect.expr.linear() is None:
            raise SpecError(
                f"{method} bounds weighted sums of cells; {effect} is none. Ask for the difference"
            )
        _check_drawn(effect.cells(), study, method)
    return bound


def _check_drawn(cells: frozenset[Cell], study: TableStudy, method: str) -> None:
    names = [name for block in study.blocks for name in block]
    for cell in cells:
        if not all(isinstance(cell.regime(name), Draw) for name in names):
            raise DesignError(
                f"{method} is about natural effects: every mediator follows a level of the "
                f"treatment. {cell} does not"
            )


def check_level(level: float) -> None:
    """Refuse a confidence level outside (0, 1)."""
    if not 0.0 < level < 1.0:
        raise SpecError(f"level is between 0 and 1, got {level!r}")

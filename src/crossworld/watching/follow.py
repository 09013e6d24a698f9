"""Read what was added, close windows, estimate them, weigh the evidence."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimand import Estimand
from crossworld.core.expression import Op
from crossworld.core.protocols import Progress
from crossworld.core.table import EffectTable
from crossworld.errors import CrossworldWarning, DesignError, EstimationError
from crossworld.spec import data_file, from_document
from crossworld.watching.drift import evidence, widened
from crossworld.watching.questions import settle
from crossworld.watching.result import Watched
from crossworld.watching.source import Rows, parsed, read_on
from crossworld.watching.values import Cursor, Setup, Watching, Window
from crossworld.watching.windows import Cut, amount, by_count, by_time, origin, times

Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """What is closed by now, where the stream stands then, what the next window waits for."""

    cuts: Sequence[Cut]
    cursor: Cursor
    waiting: str


def advance(watched: Watched, *, progress: Progress | None = None) -> Watched:
    """Look at the table once: read on, and estimate every window that is closed by now.

    Raises
    ------
    DesignError
        If the table cannot be read, or the first window cannot be estimated.
    SpecError, NotIdentifiedError
        If the spec asks for what there is not.
    """
    setup, cursor = watched.setup, watched.cursor
    file = data_file(setup.document["study"]["data"], Path(setup.folder))
    if not file.exists() and cursor.position.rows:
        return replace(watched, waiting=f"{str(file)!r} is not there at the moment")
    reading = read_on(file, cursor.position)
    pending = cursor.pending.joined(reading.rows)
    cursor = replace(
        cursor, position=reading.position, pending=pending, unfinished=reading.unfinished
    )
    if not len(pending):
        return replace(watched, cursor=cursor, waiting="the first row").noted(*reading.notes)
    look = _look(setup, cursor, len(watched.windows), file)
    if not watched.windows and not look.cuts and not setup.reasoning:
        look = replace(look, waiting=look.waiting + _doubt(setup, cursor, file))
    held = replace(watched, waiting=look.waiting).noted(*reading.notes)
    held = replace(held, cursor=replace(held.cursor, dates=look.cursor.dates))
    for done, cut in enumerate(look.cuts, 1):
        rows = pending.take(cut.rows)
        held = _with_window(held, cut, rows, header=reading.position.header, file=file)
        if progress is not None:
            progress(done, len(look.cuts))
    return replace(held, cursor=look.cursor)


def _doubt(setup: Setup, cursor: Cursor, file: Path) -> str:
    """Say what is wrong with the few rows there are, so that a wrong name is seen at once."""
    data = parsed(cursor.pending, header=cursor.position.header, file=file, reasoning=False)
    try:
        from_document(setup.document, Path(setup.folder), data=data)
    except DesignError as error:
        return f" (as it is now: {error})"
    return ""


def _look(setup: Setup, cursor: Cursor, index: int, file: Path) -> _Look:
    """Find the windows that are closed, and the rows that later ones need."""
    if setup.windows.time is not None:
        return _timed(setup, cursor, index, file)
    n, windows = len(cursor.pending), setup.windows
    if setup.reasoning:
        source = parsed(cursor.pending, header=cursor.position.header, file=file, reasoning=True)
        settled = settle(source, setup.document, setup.folder)
        order = np.where(settled.order < 0, -1, settled.order + cursor.base)
        closed, last, reason = settled.closed, settled.last, settled.reason
    else:
        order, closed, reason = cursor.pending.numbers, np.arange(n), ""
        last = closed
    start = int(cursor.start or 0)
    cuts = list(by_count(order, windows, closed=closed, start=start, index=index))
    start += len(cuts) * int(windows.stride)
    needed = order >= start
    oldest = int(np.flatnonzero(needed)[0]) if needed.any() else -1
    kept = needed | ((order < 0) & (last >= oldest))
    count = cursor.base + closed.size if setup.reasoning else cursor.position.rows
    base = max(cursor.base, min(start, count)) if setup.reasoning else 0
    pending = cursor.pending.take(np.flatnonzero(kept))
    wanted = start + int(windows.size) + int(windows.lag)
    told = f"{setup.unit} up to number {wanted:,}; {count:,} so far"
    if setup.reasoning:
        told += " have every cell that is asked for" + (f" ({reason})" if reason else "")
    return _Look(cuts, replace(cursor, pending=pending, start=start, base=base), told)


def _timed(setup: Setup, cursor: Cursor, index: int, file: Path) -> _Look:
    windows, name = setup.windows, str(setup.windows.time)
    source = parsed(cursor.pending, header=cursor.position.header, file=file, reasoning=True)
    if name not in source.names:
        raise DesignError.missing_column(name, "time", source.names)
    first = int(cursor.pending.numbers[0])
    at, dates = times(source.values(name, "time"), name, first_row=first)
    stride = amount(windows.stride)
    start = origin(float(at.min()), stride, dates) if cursor.start is None else cursor.start
    late = int((at < start).sum())
    cuts = list(by_time(at, windows, start=start, index=index))
    start = cuts[-1].start + stride if cuts else start
    pending = cursor.pending.take(np.flatnonzero(at >= start))
    cursor = replace(cursor, pending=pending, start=start, dates=dates, late=cursor.late + late)
    until = start + amount(windows.size) + amount(windows.lag)
    shown = Watched(setup, cursor=cursor).place
    told = f"a row at or after {shown(until)}; the latest is at {shown(float(at.max()))}"
    return _Look(cuts, cursor, told)


def _with_window(watched: Watched, cut: Cut, rows: Rows, *, header: str, file: Path) -> Watched:
    """Estimate one window and add it."""
    setup = watched.setup
    window = Window(cut.index, cut.start, cut.end, len(rows), apart=False)
    try:
        data = parsed(rows, header=header, file=file, reasoning=setup.reasoning)
        analysis = from_document(setup.document, Path(setup.folder), data=data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CrossworldWarning)  # the window carries them
            table = replace(analysis, refuters=()).run()
    except (DesignError, EstimationError) as error:
        if all(w.failed is not None for w in watched.windows):
            raise type(error)(
                f"the first window ({watched.span(window)}) cannot be estimated: {error}"
            ) from None
        failed = replace(window, failed=str(error))
        return replace(watched, windows=(*watched.windows, failed))
    compared = watched.compared or {e.name: _scale(e) for e in table.estimands}
    watched = replace(watched, compared=compared)
    ends = [w.end for w in watched.windows if w.apart]
    window = replace(window, apart=not ends or cut.start >= ends[-1])
    window = _weighed(watched, _filled(window, table, watched))
    return replace(watched, windows=(*watched.windows, window))


def _filled(window: Window, table: EffectTable, watched: Watched) -> Window:
    """Take over what was estimated."""
    effects = tuple(
        Watching(r.term, r.estimate, r.std_error, r.conf_low, r.conf_high, r.p_value) for r in table
    )
    models = {str(k): str(v) for k, v in table.diagnostics.get("models", {}).items()}
    first = next((w.models for w in watched.windows if w.failed is None), models)
    told = [
        f"the model of {name} is not that of the first window: {models.get(name)!r}, not {was!r}"
        for name, was in first.items()
        if models.get(name) != was
    ]
    return replace(
        window,
        n_units=int(table.diagnostics["n_units"]),
        df=float(table.diagnostics["n_clusters"] - 1),
        effects=effects,
        models=models,
        warnings=(*told, *table.warnings),
    )


def _scale(estimand: Estimand) -> str:
    """Scale on which an effect is compared: its own, logarithms, or none."""
    if estimand.is_ratio:
        return "log"
    quotient = isinstance(estimand.expr, Op) and estimand.expr.symbol == "/"
    return "" if quotient else "identity"


def _weighed(watched: Watched, window: Window) -> Window:
    """Add the evidence after this window, where it is apart from those before."""
    held, first = watched.setup.reference, watched.reference
    if not window.apart or (held is None and first is None):
        return window
    earlier = [w for w in watched.windows if w.apart and w is not first]
    effects = []
    for effect in window.effects:
        scale = watched.compared[effect.term]
        if held is None:
            reference = _compared(first, effect, scale)
        else:
            value, error, df = held.get(effect.term, (None, None, 0.0))
            reference = on_scale(value, error, df=df, scale=scale)
        now = _compared(window, effect, scale)
        if not scale or reference is None or now is None:
            effects.append(effect)
            continue
        path = [(w.index, p) for w in earlier if (p := _compared(w, effect, scale)) is not None]
        path.append((window.index, now))
        values, errors = zip(*(point for _, point in path), strict=True)
        found = evidence(values, errors, reference=reference)
        since = path[found.since][0]
        effects.append(replace(effect, log_e=found.log_e, since=since, shift=found.shift))
    return replace(window, effects=tuple(effects))


def _compared(window: Window | None, effect: Watching, scale: str) -> tuple[float, float] | None:
    """Estimate and widened standard error of an effect in a window, on the scale of comparison."""
    held = None if window is None else window.effect(effect.term)
    if window is None or held is None:
        return None
    return on_scale(held.estimate, held.std_error, df=window.df, scale=scale)


def on_scale(
    estimate: float | None, std_error: float | None, *, df: float, scale: str
) -> tuple[float, float] | None:
    """Return an estimate and its widened standard error on a scale, None where there is none."""
    if estimate is None or std_error is None or not std_error > 0.0:
        return None
    if scale == "log":
        return (math.log(estimate), widened(std_error / estimate, df)) if estimate > 0.0 else None
    return estimate, widened(std_error, df)

"""What watching found: windows, their effects, the evidence that one has moved."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crossworld.core.provenance import installed
from crossworld.core.table import number, probability
from crossworld.errors import hint
from crossworld.io import frame, write_text
from crossworld.watching.drift import threshold
from crossworld.watching.values import (
    SCHEMA,
    Alarm,
    Cursor,
    Setup,
    Watching,
    Window,
    promise,
    window_told,
)

COLUMNS = (
    "window", "start", "end", "term", "estimate", "std_error", "conf_low", "conf_high", "p_value",
    "n_units", "e_value", "alarm",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """Effects over windows, the evidence that one has moved, and how far the table was read.

    Iterate over `windows`, or use `to_frame`, `alarms`, `gauges`, `plot` and `to_json`; `update`
    looks at the table again.

    Parameters
    ----------
    setup
        What is watched, and how.
    windows
        The closed windows in order.
    compared
        Scale on which each effect is compared with the reference: ``"identity"``, ``"log"``, or
        ``""`` for a quotient whose standard error is no measure of it, which raises no alarm.
    notes
        What a person should know: rotated files, late rows.
    waiting
        What the next window waits for.
    cursor
        How far the stream was read and cut.
    """

    setup: Setup
    windows: tuple[Window, ...] = field(default=(), repr=False)
    compared: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    waiting: str = ""
    cursor: Cursor = field(default_factory=Cursor, repr=False)

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def terms(self) -> tuple[str, ...]:
        """The effects, in the order asked."""
        return tuple(self.compared)

    @property
    def reference(self) -> Window | None:
        """The window that the others are compared with; None when it is a result file."""
        if self.setup.reference is not None:
            return None
        return next((w for w in self.windows if w.failed is None), None)

    @property
    def threshold(self) -> float:
        """Value of the evidence at which an alarm is raised."""
        return threshold(self.setup.alpha, sum(bool(scale) for scale in self.compared.values()))

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """Where the evidence about every effect stands."""
        return tuple(self._alarm(term) for term, scale in self.compared.items() if scale)

    def alarm(self, term: str) -> Alarm:
        """Where the evidence about one effect stands.

        Raises
        ------
        KeyError
            If the effect is not watched, or raises no alarm.
        """
        held = {a.term: a for a in self.alarms}
        if term not in held:
            raise KeyError(f"no alarm watches {term!r}. {hint(term, held)}")
        return held[term]

    def _alarm(self, term: str) -> Alarm:
        limit = math.log(self.threshold)
        path = [(w.index, e) for w in self.windows if (e := w.effect(term)) is not None]
        weighed = [(k, e) for k, e in path if e.log_e is not None]
        at = next((k for k, e in weighed if (e.log_e or 0.0) >= limit), None)
        last = weighed[-1][1] if weighed else None
        log_e = 0.0 if last is None or last.log_e is None else last.log_e
        return Alarm(
            term,
            at is not None,
            at,
            None if last is None else last.since,
            None if last is None else last.shift,
            math.exp(min(log_e, 700.0)),
            self.expected(term),
        )

    def expected(self, term: str) -> float | None:
        """Estimate of an effect in the reference."""
        held, first = self.setup.reference, self.reference
        if held is not None:
            return held[term][0] if term in held else None
        effect = None if first is None else first.effect(term)
        return None if effect is None else effect.estimate

    def update(self) -> Watched:
        """Look at the table again; return what is known now, this value stays as it is.

        Raises
        ------
        DesignError
            If the table cannot be read, or the first window cannot be estimated.
        """
        from crossworld.watching.follow import advance

        return advance(self)

    def place(self, value: float, *, last: bool = False) -> str:
        """Write where a window starts (or, with ``last``, ends) for people: from 1, or a time."""
        if self.setup.windows.time is None:
            return f"{int(value) + (0 if last else 1):,}"
        if not self.cursor.dates:
            return f"{value:g}"
        when = datetime.fromtimestamp(value, UTC)
        return when.strftime("%Y-%m-%d" if value % 86400 == 0 else "%Y-%m-%dT%H:%M:%SZ")

    def span(self, window: Window) -> str:
        """Write which part of the stream a window is: ``rows 501-1,000``, ``2026-03-01 to ...``."""
        start, end = self.place(window.start), self.place(window.end, last=True)
        if self.setup.windows.time is None:
            return f"{self.setup.unit} {start}-{end}"
        return f"{start} to {end}"

    def to_frame(self) -> Any:
        """Return one row per window and effect as a pandas frame.

        ``start`` and ``end`` (exclusive) are counted from 0, or times; ``e_value`` is missing
        where a window is not compared; ``alarm`` says whether it had been raised by then.
        """
        limit = math.log(self.threshold)
        rows, raised = [], dict.fromkeys(self.terms, False)
        dates = self.cursor.dates and self.setup.windows.time is not None
        for w in self.windows:
            ends = (w.start, w.end)
            at = [datetime.fromtimestamp(v, UTC) for v in ends] if dates else ends
            for term in self.terms:
                e = w.effect(term) or Watching(term, None, None, None, None, None)
                raised[term] |= e.log_e is not None and e.log_e >= limit
                value = None if e.log_e is None else math.exp(min(e.log_e, 700.0))
                told = (e.estimate, e.std_error, e.conf_low, e.conf_high, e.p_value)
                rows.append((w.index, *at, term, *told, w.n_units, value, raised[term]))
        columns = zip(*rows, strict=True) if rows else [()] * len(COLUMNS)
        return frame({c: list(v) for c, v in zip(COLUMNS, columns, strict=True)})

    def gauges(self) -> str:
        """Return the latest window as gauges in Prometheus' text format."""
        from crossworld.watching.gauges import text

        return text(self)

    def plot(self) -> Any:
        """Draw the effects over the windows, the reference, the evidence and the alarm line.

        Returns
        -------
        matplotlib.figure.Figure
            A figure that belongs to nobody's global state.
        """
        from crossworld.watching.figure import draw

        return draw(self)

    def to_dict(self) -> dict[str, Any]:
        """Return windows and alarms as plain values, ready for JSON."""
        return {
            "schema": SCHEMA,
            "version": installed("crossworld"),
            **self.setup.told(),
            "compared": dict(self.compared),
            "threshold": self.threshold,
            "false_alarms": promise(self.setup.alpha),
            "alarms": [asdict(a) for a in self.alarms],
            "rows": self.cursor.position.rows,
            "late": self.cursor.late,
            "dates": self.cursor.dates,
            "windows": [window_told(w) for w in self.windows],
            "notes": list(self.notes),
            "waiting": self.waiting,
        }

    def to_json(self, file: str | Path | None = None) -> str:
        """Return `to_dict` as JSON text; with ``file``, write it too (whole)."""
        text = json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"
        if file is not None:
            write_text(Path(file), text)
        return text

    def __str__(self) -> str:
        lines = [f"{len(self.windows):,} windows of {self.cursor.position.rows:,} rows"]
        if self.windows:
            lines += self._latest()
        lines += [f"! {note}" for note in self.notes]
        lines += [f"next window: {self.waiting}"] if self.waiting else []
        if self.cursor.late:
            lines.append(f"! {self.cursor.late:,} rows came after their window was closed")
        if self.cursor.unfinished:
            lines.append(
                f"! the last {self.cursor.unfinished:,} bytes are no finished line (no line break, "
                "or an open quote); they are read when they are"
            )
        return "\n".join(lines)

    def _latest(self) -> list[str]:
        last = self.windows[-1]
        told = {a.term: a for a in self.alarms}
        lines = [f"latest: {self.span(last)}, {last.n_units:,} units"]
        if last.failed is not None:
            return [*lines, f"! no estimate: {last.failed}", *self.verdicts()]
        width = max([4, *map(len, self.terms)])
        lines.append(
            f"{'term':<{width}}  {'reference':>10}  {'estimate':>10}  {'interval':>24}  "
            f"{'p_value':>8}  {'evidence':>9}"
        )
        for e in last.effects:
            alarm = told.get(e.term)
            at = number(self.expected(e.term))
            weight = "-" if alarm is None else f"{alarm.e_value:.3g}"
            span = f"[{number(e.conf_low)}, {number(e.conf_high)}]"
            lines.append(
                f"{e.term:<{width}}  {at:>10}  {number(e.estimate):>10}  {span:>24}  "
                f"{probability(e.p_value):>8}  {weight:>9}"
            )
        return [*lines, *(f"! {text}" for text in last.warnings), *self.verdicts()]

    def verdicts(self) -> list[str]:
        """Say which alarms were raised, by how much and since when; or that there is none."""
        raised = [a for a in self.alarms if a.raised]
        if not raised:
            return [
                f"no alarm (evidence below {self.threshold:g}; with this threshold the probability "
                f"of any false alarm, ever, is at most {self.setup.alpha:g})"
            ]
        at = {w.index: w for w in self.windows}
        return [
            f"ALARM {a.term}: moved by about {number(a.shift)}"
            + (" (log scale)" if self.compared[a.term] == "log" else "")
            + f" from {self.span(at[a.since or 0])} on; raised at {self.span(at[a.at or 0])}"
            for a in raised
        ]

    def noted(self, *notes: str) -> Watched:
        """Return the same with more notes."""
        return replace(self, notes=(*self.notes, *notes))

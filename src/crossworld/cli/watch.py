"""``crossworld watch``: effects over the windows of a growing table, with an alarm."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from crossworld.cli.output import say
from crossworld.cli.progress import shown
from crossworld.cli.reading import check_writable, real, whole
from crossworld.core.table import number
from crossworld.errors import DesignError, SpecError
from crossworld.io import whole_file, write_text
from crossworld.spec import data_file
from crossworld.watching.follow import advance
from crossworld.watching.gauges import HOST, served
from crossworld.watching.result import Watched
from crossworld.watching.state import save
from crossworld.watching.watch import begin
from crossworld.watching.windows import Span, Windows

PICTURES = (".svg", ".png", ".pdf")


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files that are written after every look."""

    state: Path | None
    gauges: Path | None
    plot: Path | None
    json: Path | None

    def check(self, inputs: tuple[Path, ...]) -> None:
        """Refuse files that cannot be written, before any work is done."""
        files = [f for f in (self.state, self.gauges, self.plot, self.json) if f is not None]
        for file in files:
            check_writable(inputs, file)
        places = [file.resolve() for file in files]
        twice = next((f for f in files if places.count(f.resolve()) > 1), None)
        if twice is not None:
            raise DesignError(f"two outputs name the same file {str(twice)!r}")

    def write(self, watched: Watched) -> None:
        """Write each of them whole, the state last: what it tells is out by then."""
        if self.gauges is not None:
            write_text(self.gauges, watched.gauges())
        if self.json is not None:
            watched.to_json(self.json)
        if self.plot is not None and any(w.failed is None for w in watched.windows):
            with whole_file(self.plot, "wb") as out:
                watched.plot().savefig(out, format=self.plot.suffix[1:].lower(), dpi=160)
        if self.state is not None:
            save(watched, self.state)


def watch(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="A TOML or JSON spec, or a result.")],
    window: Annotated[
        str,
        typer.Option(help="Rows (questions) of a window; with --time how long it is: 12h, 7d."),
    ],
    step: Annotated[
        str, typer.Option(help="From window to window; smaller than --window overlaps [--window].")
    ] = "",
    time_: Annotated[
        str, typer.Option("--time", help="Column of times; rows are counted without.")
    ] = "",
    lag: Annotated[
        str, typer.Option(help="What has to follow a window before it is closed: rows, or a time.")
    ] = "",
    alpha: Annotated[
        float,
        typer.Option(parser=real, metavar="FLOAT", help="Probability of any false alarm, ever."),
    ] = 0.05,
    reference: Annotated[
        Path | None,
        typer.Option(metavar="RESULT", help="A result to compare with [the first window]."),
    ] = None,
    state: Annotated[
        Path | None, typer.Option(metavar="FILE", help="JSON to go on from; made when not there.")
    ] = None,
    gauges: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write gauges in Prometheus' text format (.prom)."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the windows: .svg, .png or .pdf.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the windows as JSON.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Look once and end: for cron.")] = False,
    every: Annotated[
        float, typer.Option(parser=real, metavar="SECONDS", help="Time between two looks.")
    ] = 10.0,
    port: Annotated[
        int | None,
        typer.Option(parser=whole, metavar="INTEGER", help="Serve the gauges on this local port."),
    ] = None,
) -> None:
    """Watch effects over the windows of a growing table, and raise an alarm when one has moved."""
    windows = _windows(window, step, time_=time_, lag=lag)
    _check(every, once=once, port=port, plot=plot)
    begun = begin(spec, windows, alpha=alpha, reference=reference, state=state)
    outputs = Outputs(state, gauges, plot, json_file)
    inputs = (spec, data_file(begun.setup.document["study"]["data"], Path(begun.setup.folder)))
    outputs.check(inputs if reference is None else (*inputs, reference))
    with shown("windows") as bar:
        watched = advance(begun, progress=bar)
    outputs.write(watched)
    say(watched)
    if not once:
        _follow(watched, outputs, every=every, port=port)


def _windows(window: str, step: str, *, time_: str, lag: str) -> Windows:
    size, between = _span(window, time_), _span(step, time_) if step else None
    return Windows(size, between, time_ or None, _span(lag or "0", time_))


def _check(every: float, *, once: bool, port: int | None, plot: Path | None) -> None:
    """Refuse options that make no sense, before anything is read."""
    if not 0.01 <= every <= 1e6:
        raise SpecError(f"--every is a number of seconds of at least 0.01, got {every:g}")
    if once and port is not None:
        raise SpecError(
            "--once ends after one look, so there is nothing to serve; leave out --port"
        )
    if plot is not None and plot.suffix.lower() not in PICTURES:
        raise DesignError(f"--plot writes {', '.join(PICTURES)}; got {str(plot)[:100]!r}")


def _span(text: str, time_column: str) -> Span:
    """Read the length of a window: a time, or a whole number of rows."""
    if time_column:
        return text
    try:
        return int(text)
    except ValueError:
        raise SpecError(
            f"a window is a whole number of rows, got {text!r}; for windows of time such as '12h' "
            "name the column of times with --time"
        ) from None


def _follow(watched: Watched, outputs: Outputs, *, every: float, port: int | None) -> None:
    """Look again and again until someone stops it."""
    seen, told = [watched], ""

    def latest() -> str:
        return seen[0].gauges()

    with ExitStack() as stack:
        if port is not None:
            taken = stack.enter_context(served(port, latest))
            say(f"gauges: http://{HOST}:{taken}/metrics")
        try:
            while True:
                time.sleep(every)
                try:
                    now = advance(seen[0])
                except DesignError as error:  # a file that is being written or moved
                    if str(error) != told:
                        told = str(error)
                        say(f"! {told}")
                    continue
                if now.cursor.position != seen[0].cursor.position:
                    outputs.write(now)
                    for line in _news(seen[0], now):
                        say(line)
                seen[0] = now
        except KeyboardInterrupt:
            on = "" if outputs.state is None else "; the same command goes on from there"
            say(f"stopped after {len(seen[0]):,} windows{on}")
            raise typer.Exit(130) from None


def _news(before: Watched, now: Watched) -> Iterator[str]:
    """Lines about what has come since the last look."""
    yield from (f"! {note}" for note in now.notes[len(before.notes) :])
    for window in now.windows[len(before.windows) :]:
        told = "   ".join(
            f"{e.term} {number(e.estimate)} [{number(e.conf_low)}, {number(e.conf_high)}]"
            for e in window.effects
        )
        yield f"{now.span(window)}: {told or f'no estimate: {window.failed}'}"
        yield from (f"! {text}" for text in window.warnings)
    raised = {a.term for a in before.alarms if a.raised}
    if {a.term for a in now.alarms if a.raised} - raised:
        yield from now.verdicts()

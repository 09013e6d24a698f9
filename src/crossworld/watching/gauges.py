"""The latest window as gauges in Prometheus' text format, version 0.0.4; as a file or over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossworld.errors import DesignError
from crossworld.watching.values import Window, promise

if TYPE_CHECKING:
    from crossworld.watching.result import Watched

HOST = "127.0.0.1"
TYPE = "text/plain; version=0.0.4; charset=utf-8"
_OF_EFFECTS = (
    ("estimate", "crossworld_effect", "Effect in the latest window."),
    ("std_error", "crossworld_effect_std_error", "Standard error of the effect."),
    ("conf_low", "crossworld_effect_conf_low", "Lower limit of the effect's interval."),
    ("conf_high", "crossworld_effect_conf_high", "Upper limit of the effect's interval."),
)
_LIMIT = "Evidence at which a drift alarm is raised: {}."


def text(watched: Watched) -> str:
    """Write the gauges; a number that does not exist has no line.

    Names begin with ``crossworld_``; effects are told apart by the label ``term``, analyses by
    ``study``.
    """
    return "".join(_families(watched, _study(watched)))


def _study(watched: Watched) -> str:
    study = watched.setup.document["study"]
    return str(study.get("path") or Path(str(study["data"])).name)


def _families(watched: Watched, study: str) -> Iterator[str]:
    last = next((w for w in reversed(watched.windows) if w.failed is None), None)
    for field, name, told in _OF_EFFECTS:
        values = [] if last is None else [(e.term, getattr(e, field)) for e in last.effects]
        yield _family(name, told, [(_labels(study, term), value) for term, value in values])
    alarms = watched.alarms
    for name, told, of in (
        ("crossworld_reference_effect", "Effect in the reference.", lambda a: a.reference),
        ("crossworld_drift_evidence", "Evidence (e-process) of a shift.", lambda a: a.e_value),
        ("crossworld_drift_alarm", "1 once an alarm was raised.", lambda a: float(a.raised)),
    ):
        yield _family(name, told, [(_labels(study, a.term), of(a)) for a in alarms])
    failed = sum(w.failed is not None for w in watched.windows)
    limit = _LIMIT.format(promise(watched.setup.alpha))
    one = _labels(study)
    for name, told, value in (
        ("crossworld_drift_threshold", limit, watched.threshold if alarms else None),
        ("crossworld_windows", "Windows closed so far.", float(len(watched.windows))),
        ("crossworld_windows_failed", "Windows that gave no estimate.", float(failed)),
        ("crossworld_rows", "Rows read so far.", float(watched.cursor.position.rows)),
        ("crossworld_rows_late", "Rows after their window.", float(watched.cursor.late)),
        ("crossworld_window_units", "Units of the latest window.", _units(last)),
        ("crossworld_window_end", _ends(watched), None if last is None else last.end),
    ):
        yield _family(name, told, [(one, value)])


def _units(window: Window | None) -> float | None:
    return None if window is None else float(window.n_units)


def _ends(watched: Watched) -> str:
    if watched.setup.windows.time is None:
        return f"End of the latest window, in {watched.setup.unit}."
    return "End of the latest window" + (
        ", in seconds since 1970." if watched.cursor.dates else " in time."
    )


def _family(name: str, told: str, samples: list[tuple[str, float | None]]) -> str:
    lines = [f"{name}{labels} {value!r}" for labels, value in samples if value is not None]
    if not lines:
        return ""
    return "\n".join([f"# HELP {name} {_escaped(told)}", f"# TYPE {name} gauge", *lines, ""])


def _labels(study: str, term: str | None = None) -> str:
    named = {"study": study} | ({} if term is None else {"term": term})
    return "{" + ",".join(f'{k}="{_quoted(v)}"' for k, v in named.items()) + "}"


def _escaped(told: str) -> str:
    return told.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(value: str) -> str:
    return _escaped(value).replace('"', '\\"')


@contextmanager
def served(port: int, latest: Callable[[], str]) -> Iterator[int]:
    """Serve ``GET /metrics`` on the loopback address while the context is open.

    Parameters
    ----------
    port
        0 takes a free one.
    latest
        Returns the text to serve.

    Yields
    ------
    int
        The port.

    Raises
    ------
    DesignError
        If the port cannot be had.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that http.server asks for
            found = self.path.split("?")[0] in ("/metrics", "/")
            body = latest().encode() if found else b"try /metrics\n"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: the terminal shows the windows."""

    try:
        server = ThreadingHTTPServer((HOST, port), Handler)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise DesignError(f"cannot serve gauges on {HOST}:{port}: {why}; try --port 0") from None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

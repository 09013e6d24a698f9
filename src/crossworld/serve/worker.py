"""One job in a process of its own.

The working directory is the job's folder, which holds the table and ``spec.json``. The outcome is
written to ``outcome.json`` in the attempt's folder, whole or not at all; a worker that leaves none
has died.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from crossworld.core.analysis import Analysis
from crossworld.errors import CrossworldError, NotIdentifiedError
from crossworld.io import write_text
from crossworld.serve.confine import confine, end_with, limit
from crossworld.serve.settings import Limits
from crossworld.serve.tables import TooLargeError, measure
from crossworld.spec import from_document

MODES = ("check", "run")


def work(mode: str, limits: Limits, attempt: Path) -> dict[str, Any]:
    """Check or run the analysis of the working directory, and say how it went.

    Returns
    -------
    dict
        ``status`` (``done``, ``not_identified``, ``failed``) and ``error``: its kind, its message.
    """
    try:
        spec = json.loads(Path("spec.json").read_text(encoding="utf-8"))
        measure(Path(spec["study"]["data"]), limits)
        analysis = from_document(spec, Path())
        if mode == "check":
            return {"status": "done", "error": None}
        return _run(analysis, attempt)
    except TooLargeError as error:
        return _failed("TooLarge", str(error))
    except CrossworldError as error:
        return _failed(type(error).__name__, str(error))
    except MemoryError:
        return _failed(
            "OutOfMemory",
            f"the analysis needs more than {limits.memory:,} bytes of memory; send fewer rows or "
            "columns, or ask for fewer replicates",
        )
    except Exception:
        traceback.print_exc()
        return _failed("Bug", "this is a bug in crossworld; the log of the service has the details")


def _run(analysis: Analysis[Any], attempt: Path) -> dict[str, Any]:
    try:
        result = analysis.run()
    except NotIdentifiedError as error:
        write_text(attempt / "result.json", json.dumps(_licence(analysis), ensure_ascii=False))
        return {
            "status": "not_identified",
            "error": {"kind": "NotIdentifiedError", "message": str(error)},
        }
    text = result.to_json()
    result.report(attempt / "report.html")
    result.report(attempt / "report.md")
    write_text(attempt / "result.json", text)
    return {"status": "done", "error": None}


def _licence(analysis: Analysis[Any]) -> dict[str, Any]:
    """Say what is not identified and why, as ``crossworld identify --json`` does."""
    bound = tuple(e.bind(analysis.study.blocks) for e in analysis.estimands)
    told = replace(analysis, assume=True).identify(bound).to_dict()
    plain: dict[str, Any] = json.loads(json.dumps(told, default=str))
    return plain


def _failed(kind: str, message: str) -> dict[str, Any]:
    return {"status": "failed", "error": {"kind": kind, "message": message}}


def main(mode: str, told: dict[str, Any], attempt: Path, alive: int) -> None:
    """Run one job under limits, in the working directory, and end the process."""
    limits = Limits(**told)
    end_with(alive)
    limit(limits, limits.checking if mode == "check" else limits.seconds)
    confine(Path())
    warnings.simplefilter("ignore")  # results carry what is worth knowing
    outcome = work(mode, limits, attempt)
    write_text(attempt / "outcome.json", json.dumps(outcome, ensure_ascii=False))
    sys.stderr.flush()
    os._exit(0)  # the thread that watches the server holds the interpreter up

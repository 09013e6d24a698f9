"""Log results to an experiment tracker: Weights & Biases or MLflow.

A tracker has one method, `Tracker.keep`; an adapter imports its library inside. Which project,
server or folder is the library's own setting (``WANDB_PROJECT``, ``WANDB_MODE``,
``MLFLOW_TRACKING_URI``, ``MLFLOW_EXPERIMENT_NAME``, ...).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from crossworld.core.table import EffectTable
from crossworld.errors import DesignError, MissingExtraError, SpecError, TrackingError

TRACKERS = ("wandb", "mlflow")
MEASURES = ("estimate", "std_error", "conf_low", "conf_high", "p_value")
COLUMNS = ("name", "term", "passed", "original", "refuted", "detail")
LONGEST = 500  # characters of a parameter that every tracker takes
Plain = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of one analysis.

    Parameters
    ----------
    name
        Name of the run.
    parameters
        The spec, flattened: ``study.path``, ``estimator.name``, ``ask.effects``.
    metrics
        ``nie/estimate`` and the like; a value that does not exist has no entry.
    refutations
        One row of `COLUMNS` per attempt to break the answer.
    pictures, files
        Files to keep, pictures among them named apart.
    """

    name: str
    parameters: Mapping[str, Plain]
    metrics: Mapping[str, float]
    refutations: tuple[tuple[Any, ...], ...] = ()
    pictures: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()


class Tracker(Protocol):
    """Where experiments are kept."""

    def keep(self, record: Record) -> str:
        """Keep a record as one run; return where it is to be found."""


def tracker(name: str) -> Tracker:
    """Return a tracker by name, before anything is computed for it.

    Parameters
    ----------
    name
        ``"wandb"`` or ``"mlflow"``.

    Raises
    ------
    SpecError
        If the name is not known.
    MissingExtraError
        If its package is not installed; the message is the command that installs it.
    """
    if name not in TRACKERS:
        raise SpecError.unknown("tracker", str(name), TRACKERS)
    if find_spec(name) is None:
        raise MissingExtraError.for_feature(f"tracking with {name}", name)
    if name == "wandb":
        from crossworld.interop.tracking_wandb import Wandb

        return Wandb()
    from crossworld.interop.tracking_mlflow import Mlflow

    return Mlflow()


def track(
    result: EffectTable,
    to: str | Tracker,
    *,
    name: str | None = None,
    files: Sequence[str | Path] = (),
) -> str:
    """Log a result: the spec, every effect, refutations, the plot, the report and the JSON.

    Parameters
    ----------
    result
        What `estimate` or `Analysis.run` returned.
    to
        ``"wandb"``, ``"mlflow"``, or any `Tracker`.
    name
        Name of the run; by default made of the study.
    files
        More files to keep as artifacts.

    Returns
    -------
    str
        Where the run is to be found.

    Raises
    ------
    TrackingError
        If the tracker did not take it; the result is not touched.
    SpecError, MissingExtraError
        As `tracker`.

    Examples
    --------
    >>> class Printed:
    ...     def keep(self, record):
    ...         print(record.name, record.metrics["te/estimate"])
    ...         return "the terminal"
    >>> from crossworld.core.table import Effect
    >>> rows = (Effect("te", 1.0, 0.5, 0.0, 2.0, 0.05, "wald"),)
    >>> track(EffectTable(rows, 0.95), Printed(), name="first")
    first 1.0
    'the terminal'
    """
    kept_by = tracker(to) if isinstance(to, str) else to
    with tempfile.TemporaryDirectory(prefix="crossworld-") as folder:
        made = _artifacts(result, Path(folder))
        more = tuple(Path(file) for file in files)
        record = Record(
            name or run_name(result.spec),
            parameters(result),
            metrics(result),
            tuple(tuple(row.get(c) for c in COLUMNS) for row in result.refutations),
            tuple(f for f in made if f.suffix == ".png"),
            (*(f for f in made if f.suffix != ".png"), *more),
        )
        try:
            return kept_by.keep(record)
        except Exception as error:
            what = to if isinstance(to, str) else type(to).__name__
            told = " ".join(str(error).split())[:400] or type(error).__name__
            raise TrackingError(
                f"{what} did not take the result ({told}); what was printed and the files that "
                "were asked for are complete"
            ) from error


def run_name(spec: Mapping[str, Any]) -> str:
    """Name of a run: the path of a table, the data of another study."""
    study = spec.get("study", {})
    told = study.get("path") or study.get("data") or "analysis"
    return f"crossworld: {Path(told).name if 'path' not in study else told}"[:120]


def parameters(result: EffectTable) -> dict[str, Plain]:
    """Return the spec, flattened to text, numbers and truth values, with the version and the data.

    Examples
    --------
    >>> told = EffectTable((), 0.95, spec={"study": {"path": "a -> m -> y", "levels": [0, 1]}})
    >>> parameters(told)["study.levels"]
    '[0, 1]'
    """
    found = dict(_flat(result.spec, ""))
    for name in ("version", "data_sha256", "seed"):
        value = result.provenance.get(name)
        if value is not None:
            found[f"provenance.{name}"] = value
    return found


def _flat(value: Any, prefix: str) -> Iterator[tuple[str, Plain]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, bool | int | float):
        yield prefix, value
    elif value is not None:
        told = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield prefix, told if len(told) <= LONGEST else f"{told[: LONGEST - 3]}..."


def metrics(result: EffectTable) -> dict[str, float]:
    """Return every number of every effect by ``term/measure``."""
    found: dict[str, float] = {}
    for row in result:
        for measure in MEASURES:
            value = getattr(row, measure)
            if value is not None:
                found[f"{row.term}/{measure}"] = float(value)
    found["n_units"] = float(result.diagnostics.get("n_units") or 0)
    return found


def _artifacts(result: EffectTable, folder: Path) -> tuple[Path, ...]:
    """Write report, result and plot."""
    report, held, plot = folder / "report.html", folder / "result.json", folder / "effects.png"
    result.report(report)
    result.to_json(held)
    try:
        drawn = result.plot()
    except DesignError:  # no effect that could be drawn
        return report, held
    axes = drawn[0] if isinstance(drawn, tuple) else drawn
    axes.figure.savefig(plot, dpi=160)
    return report, held, plot

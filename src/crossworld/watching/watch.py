"""The verb: watch effects over the windows of a growing table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossworld.core.protocols import Progress
from crossworld.core.table import SCHEMA, EffectTable
from crossworld.document import read_document
from crossworld.errors import SpecError
from crossworld.spec import KINDS, SECTIONS
from crossworld.watching.drift import threshold
from crossworld.watching.follow import advance
from crossworld.watching.result import Watched
from crossworld.watching.state import resume, save
from crossworld.watching.values import Setup
from crossworld.watching.windows import Windows


def watch(
    source: str | Path | Mapping[str, Any],
    windows: int | Windows,
    *,
    alpha: float = 0.05,
    reference: str | Path | EffectTable | None = None,
    state: str | Path | None = None,
    progress: Progress | None = None,
) -> Watched:
    r"""Estimate effects in every closed window of a growing table, and weigh whether one moved.

    Each window is estimated as ``crossworld run`` would estimate a file that holds only its rows.
    Windows that share no row are compared with the reference by an e-process (see
    `crossworld.watching.drift.evidence`), and an alarm is raised when it reaches :math:`K /
    \alpha` for one of the :math:`K` effects compared: while no effect moves, the probability that
    any alarm is ever raised is at most :math:`\alpha`.

    Parameters
    ----------
    source
        A spec: a file, or the document. Its table is a csv, jsonl or parquet file.
    windows
        Rows of a window (questions, in a study of reasoning), or `Windows` for steps and times.
    alpha
        Probability of any false alarm, ever, over all effects.
    reference
        A result (or its JSON file) to compare with; by default the first window.
    state
        A JSON file to go on from, made when it is not there; it holds the rows of the unfinished
        window.
    progress
        Called with the windows done and all that are closed.

    Returns
    -------
    Watched
        Frozen; its `update` looks at the table again.

    Raises
    ------
    SpecError
        If a setting is not known, or the state belongs to other settings.
    DesignError
        If the table cannot be read, or the first window cannot be estimated.

    Notes
    -----
    Assumptions: windows that share no row are independent (clusters that go on from window to
    window, or questions asked again, make the alarm conservative only where they do not change),
    and large enough for their estimates to be normal. A proportion such as ``pm`` is estimated and
    shown, but raises no alarm.

    Examples
    --------
    >>> import tempfile, numpy as np, pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> a = np.arange(900) % 2
    >>> m = a + rng.normal(size=900)
    >>> y = a + np.where(np.arange(900) < 600, 0.6, 3.0) * m + rng.normal(size=900)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pd.DataFrame({"a": a, "m": m, "y": y}).to_csv(f"{folder}/t.csv", index=False)
    ...     seen = watch({"study": {"data": f"{folder}/t.csv", "path": "a -> m -> y"}}, 300)
    >>> len(seen), [alarm.term for alarm in seen.alarms if alarm.raised]
    (3, ['te', 'nie'])
    """
    begun = begin(source, windows, alpha=alpha, reference=reference, state=state)
    watched = advance(begun, progress=progress)
    if state is not None:
        save(watched, Path(state))
    return watched


def begin(
    source: str | Path | Mapping[str, Any],
    windows: int | Windows,
    *,
    alpha: float = 0.05,
    reference: str | Path | EffectTable | None = None,
    state: str | Path | None = None,
) -> Watched:
    """Return what is known before the table is looked at: nothing, or what the state holds.

    The parameters are those of `watch`.

    Raises
    ------
    SpecError
        If a setting is not known, or the state belongs to other settings.
    """
    document, folder = _document(source)
    cut = windows if isinstance(windows, Windows) else Windows(windows)
    threshold(alpha, 1)
    setup = Setup(document, folder, cut, float(alpha), _reference(reference))
    return Watched(setup) if state is None else resume(setup, Path(state))


def _document(source: str | Path | Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Read the spec, as far as it has to be known before there are rows."""
    folder = Path()
    if isinstance(source, str | Path):
        folder = Path(source).parent
        document: Any = read_document(Path(source))
    elif isinstance(source, Mapping):
        document = source
    else:
        raise SpecError(f"a spec is a file or a document, got {source!r}")
    if document.get("schema") == SCHEMA and "spec" in document:
        document = document["spec"]
    study = document.get("study") if isinstance(document, Mapping) else None
    if not isinstance(study, Mapping):
        raise SpecError(f"the spec has no [study]; its sections are {', '.join(SECTIONS)}")
    kind = study.get("kind", "table")
    if kind not in ("table", "reasoning"):
        known = kind in KINDS
        why = "has no rows to cut into windows" if known else "is not known"
        raise SpecError(f"a study of kind {kind!r} {why}; watch takes table and reasoning")
    data = study.get("data")
    if not isinstance(data, str) or not data.strip():
        raise SpecError(f"[study] needs data, the file that grows, as text; got {data!r}")
    return document, str(folder)


def _reference(
    given: str | Path | EffectTable | None,
) -> dict[str, tuple[float, float, float]] | None:
    """Read what to compare with: estimate, standard error and degrees of freedom by term."""
    if given is None:
        return None
    table = given if isinstance(given, EffectTable) else EffectTable.from_json(given)
    count = table.diagnostics.get("n_clusters")
    df = float(count - 1) if isinstance(count, int) and count > 1 else math.inf
    held = {
        r.term: (float(r.estimate), float(r.std_error), df)
        for r in table
        if r.estimate is not None and r.std_error is not None
    }
    if not held:
        raise SpecError("the reference holds no effect with an estimate and a standard error")
    return held

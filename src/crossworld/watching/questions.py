"""When a question of a growing log is settled: it has a readout in every cell asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimand import needed
from crossworld.errors import DesignError
from crossworld.reasoning.cells import CellTable, Mask, Place
from crossworld.spec import from_document

Index = NDArray[np.int64]
ROLES = ("question", "prompt", "reasoning", "outcome", "draw", "edit", "replayed", "cluster")


@dataclass(frozen=True, slots=True, eq=False)
class Settled:
    """Questions that have every cell, in the order in which they came to have it.

    Parameters
    ----------
    order
        Place of the question of every row in that order, -1 where it lacks a cell, shape (n,).
    closed
        Position of the row that completed each of them.
    last
        Position of the last row of the same question, shape (n,).
    reason
        Why there is none, when there is none.
    """

    order: Index
    closed: Index
    last: Index
    reason: str = ""


def settle(source: Any, document: Mapping[str, Any], folder: str) -> Settled:
    """Order the questions of the readouts at hand by the row that completed them.

    Parameters
    ----------
    source
        The readouts.
    document, folder
        The spec, and where its paths start.

    Raises
    ------
    DesignError
        If a column of the spec is not there.
    """
    for role in ROLES:
        name = document["study"].get(role)
        if isinstance(name, str) and name not in source.names:
            raise DesignError.missing_column(name, role, source.names)
    n = len(source)
    nothing = np.full(n, -1, dtype=np.int64)
    try:
        analysis = from_document(document, Path(folder), data=source)
        study = analysis.study
        asked = needed(tuple(e.bind(study.blocks) for e in analysis.estimands))
        own = getattr(analysis.estimator, "own", "replayed")
        masks = [_stand_for(study.table, study.place(cell), own) for cell in asked]
    except DesignError as error:  # a level or an arm that has not come up yet
        return Settled(nothing, nothing[:0], nothing, str(error))
    kept = np.arange(n) if study.source.rows is None else study.source.rows
    question = study.table.question.codes
    ready = np.zeros(len(study.table.question.labels), dtype=np.int64)
    last = np.zeros(ready.size, dtype=np.int64)
    np.maximum.at(last, question, kept)
    for mask in masks:
        first = np.full(ready.size, n, dtype=np.int64)
        np.minimum.at(first, question[mask], kept[mask])
        ready = np.maximum(ready, first)
    complete = np.flatnonzero(ready < n)
    complete = complete[np.argsort(ready[complete])]
    rank = np.full(ready.size, -1, dtype=np.int64)
    rank[complete] = np.arange(complete.size)
    order, ends = nothing.copy(), nothing.copy()
    order[kept], ends[kept] = rank[question], last[question]
    return Settled(order, ready[complete], ends)


def _stand_for(table: CellTable, place: Place, own: str) -> Mask:
    """Rows of a cell: replayed ones only (or natural ones) where the log has such for the cell."""
    mask = table.rows(place)
    wanted = mask & (table.replayed if own == "replayed" else ~table.replayed)
    return wanted if place.own and wanted.any() else mask

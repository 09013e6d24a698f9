"""Folds: a partition of units, clusters kept whole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimate import Codes
from crossworld.errors import DesignError
from crossworld.tables.study import TableStudy

Index = NDArray[np.int64]


def fold_ids(study: TableStudy, folds: int | str, seed: np.random.SeedSequence) -> Codes:
    """Fold of every row, 0..K-1, from a number of folds or a column of fold ids.

    Raises
    ------
    DesignError
        If there are more folds than clusters, fewer than two, or a fold cuts a cluster.
    """
    n = len(study)
    cluster = np.arange(n) if study.cluster is None else study.cluster
    groups = int(cluster.max()) + 1
    if isinstance(folds, str):
        column = study.column(folds, "fold")
        ids = np.unique(column.values, return_inverse=True)[1].astype(np.int64)
        first = np.zeros(groups, dtype=np.int64)
        first[cluster] = ids
        if (first[cluster] != ids).any():
            raise DesignError(f"the folds of {folds!r} cut a cluster in two")
        if ids.max() < 1:
            raise DesignError(f"the fold column {folds!r} has one value; at least two are needed")
        return ids
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
        raise DesignError(f"folds is a number of at least 2 or the name of a column, got {folds!r}")
    if folds > groups:
        what = "rows" if study.cluster is None else "clusters"
        raise DesignError(f"{folds} folds were asked, but there are only {groups} {what}")
    return (_balanced(study, cluster, groups, seed) % folds)[cluster]


def _balanced(
    study: TableStudy, cluster: Codes, groups: int, seed: np.random.SeedSequence
) -> Index:
    """Order of the clusters in which both treatment levels are spread evenly over folds."""
    rng = np.random.default_rng(seed)
    size = np.maximum(np.bincount(cluster, minlength=groups), 1)
    share = np.bincount(cluster, weights=study.treatment.values, minlength=groups) / size
    place = np.empty(groups, dtype=np.int64)
    place[np.lexsort((rng.random(groups), share))] = np.arange(groups)
    return place


def check_arms(
    ids: Codes, arm: NDArray[np.float64], levels: tuple[float, float], name: str
) -> None:
    """Refuse folds whose training rows lack a treatment level."""
    for fold in range(int(ids.max()) + 1):
        train = arm[ids != fold]
        for level in levels:
            if not (train == level).any():
                raise DesignError(
                    f"without fold {fold + 1} no row has {name} at level {level:g}; use fewer "
                    "folds or folds that spread the levels"
                )

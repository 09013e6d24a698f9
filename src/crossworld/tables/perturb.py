"""A table study with one thing changed: a role permuted, covariates added, covariates blurred."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimate import Codes
from crossworld.errors import DesignError, SpecError
from crossworld.tables.frame import Column

if TYPE_CHECKING:
    from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]
Index = NDArray[np.int64]
S = TypeVar("S", bound="TableStudy")
ROLES = ("treatment", "mediator", "outcome")


def permuted(study: S, role: str, rng: np.random.Generator) -> S:
    """Permute the columns of a role over the units, jointly (see `shuffled`)."""
    if role not in ROLES:
        raise SpecError.unknown("role to permute", role, ROLES)
    names = {
        "treatment": (study.path.treatment,),
        "mediator": study.path.mediators,
        "outcome": (study.path.outcome,),
    }[role]
    columns = [study.table[name] for name in names]
    whole = study.cluster is not None and all(_constant(c, study.cluster) for c in columns)
    index = shuffled(len(study), study.cluster, whole=whole, rng=rng)
    taken = {name: column.take(index) for name, column in zip(names, columns, strict=True)}
    return _changed(study, taken)


def shuffled(n: int, cluster: Codes | None, *, whole: bool, rng: np.random.Generator) -> Index:
    """Rows whose values take the place of each row's own, shape (n,).

    Without clusters a permutation. With clusters and ``whole``, for values that do not vary inside
    clusters, clusters exchange their values. Otherwise the rows are written one cluster after the
    other, clusters in random order and rows in random order inside them, moved round by a random
    number of places, and read off over the clusters: a permutation that keeps most of what rows
    of a cluster have in common, and under which every row is equally likely to get any value.
    """
    if cluster is None:
        return rng.permutation(n)
    groups = int(cluster.max()) + 1
    if whole:
        first = np.zeros(groups, dtype=np.int64)
        first[cluster[::-1]] = np.arange(n - 1, -1, -1)
        return first[rng.permutation(groups)][cluster]
    order = np.lexsort((rng.random(n), rng.permutation(groups)[cluster]))
    index = np.empty(n, dtype=np.int64)
    index[np.argsort(cluster, kind="stable")] = np.roll(order, int(rng.integers(n)))
    return index


def adjusting(study: S, columns: Mapping[str, Array]) -> S:
    """Adjust for further covariates.

    Raises
    ------
    DesignError
        If a name is taken, a column has another length or a value is not finite.
    """
    for name, values in columns.items():
        if name in study.table:
            raise DesignError(f"the study has a column {name!r} already; name the covariate anew")
        if values.shape != (len(study),) or not np.isfinite(values).all():
            raise DesignError(
                f"the covariate {name!r} is {len(study)} finite numbers, got shape {values.shape}"
            )
    added = {name: Column(np.asarray(v, dtype=np.float64)) for name, v in columns.items()}
    return replace(_changed(study, added), adjust=(*study.adjust, *added))


def blurred(study: S, amount: float, rng: np.random.Generator) -> S:
    r"""Measure every covariate with error of reliability :math:`1 / (1 + s^2)`.

    A number gets normal noise of ``amount`` (:math:`s`) times its standard deviation. A category,
    or a number with two values, is replaced with probability :math:`s^2 / (1 + s^2)` by the value
    of a random unit. A covariate that does not vary inside clusters gets one error per cluster.
    """
    columns = {name: _blurred(study, name, amount, rng) for name in study.adjust}
    return _changed(study, columns)


def _blurred(study: TableStudy, name: str, amount: float, rng: np.random.Generator) -> Column:
    column, n = study.table[name], len(study)
    units = np.arange(n)
    if study.cluster is not None and _constant(column, study.cluster):
        units = study.cluster
    if column.is_text or len(column.distinct()) <= 2:
        wrong = rng.random(n)[units] < amount**2 / (1.0 + amount**2)
        other = column.values[rng.integers(n, size=n)][units]
        return replace(column, values=np.where(wrong, other, column.values))
    noise = rng.standard_normal(n)[units]
    return replace(column, values=column.values + amount * column.values.std() * noise)


def _constant(column: Column, cluster: Codes) -> bool:
    """Whether a column does not vary inside clusters."""
    one = np.empty(int(cluster.max()) + 1)
    one[cluster] = column.values
    return bool((one[cluster] == column.values).all())


def _changed(study: S, columns: Mapping[str, Column]) -> S:
    """Replace or add columns; the study no longer is what its file holds."""
    return replace(
        study,
        table={**study.table, **columns},
        origin=replace(study.origin, data=None, sha256=None),
    )

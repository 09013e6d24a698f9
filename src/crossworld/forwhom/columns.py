"""Covariates of a study: groups to compare, columns to regress on, conditions to search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimate import Codes, Vector
from crossworld.errors import DesignError, FitWarning, SpecError

MOST_GROUPS = 20
Told = list[tuple[type[Warning], str]]


class Values(Protocol):
    """A column: numbers, or codes into the labels of its categories."""

    @property
    def values(self) -> Vector:
        """Shape (n,)."""

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The categories, or None for numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class Covariate:
    """A covariate: values (n,), and labels when it has categories."""

    name: str
    values: Vector
    labels: tuple[str, ...] | None = None

    def show(self, value: float) -> str:
        """Write one value as it stands in the table."""
        return self.labels[int(value)] if self.labels is not None else f"{value:.6g}"

    def indicators(self) -> list[tuple[str, Vector]]:
        """Named columns: itself, or a 0/1 column for every category but the first."""
        if self.labels is None:
            return [(self.name, self.values)]
        present = [float(v) for v in np.unique(self.values)]
        return [
            (f"{self.name}={self.show(v)}", (self.values == v).astype(np.float64))
            for v in present[1:]
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """A partition of the units: codes 0..G-1, (n,), and what each group is called."""

    by: str
    codes: Codes
    labels: tuple[str, ...]


def names_of(given: str | Sequence[str], role: str) -> tuple[str, ...]:
    """Names of covariates, one or several."""
    found = (given,) if isinstance(given, str) else tuple(given)
    wrong = [name for name in found if not isinstance(name, str)]
    if wrong or not found:
        raise SpecError(f"{role} is one or more column names, got {wrong[0] if wrong else given!r}")
    return found


def read(study: Any, name: str, role: str, told: Told) -> Covariate:
    """Read a pre-treatment covariate; ``age:4`` cuts it into four quantile groups.

    Raises
    ------
    DesignError
        If there is no such column, it does not vary, or the treatment can have changed it.
    """
    if not hasattr(study, "column"):
        raise DesignError(f"{type(study).__name__} has no columns to take {name!r} from")
    column, bins, bare = _find(study, name, role)
    _refuse_later(study, bare, role)
    if bare not in getattr(study, "adjust", (bare,)):
        told.append(
            (
                FitWarning,
                f"{bare!r} is not among the adjusted covariates: conditional effects given it need "
                "treatment and mediators to be independent of it given those; add it to adjust",
            )
        )
    covariate = Covariate(bare, column.values, column.labels)
    if np.unique(covariate.values).size < 2:
        raise DesignError(f"{role} names {bare!r}, which has the same value in every row")
    return covariate if bins is None else _cut(covariate, bins)


def _find(study: Any, name: str, role: str) -> tuple[Values, int | None, str]:
    stem, colon, count = name.rpartition(":")
    try:
        return study.column(name, role), None, name
    except DesignError:
        if not colon:
            raise
    column: Values = study.column(stem, role)
    if not count.strip().isdigit() or int(count) < 2:
        raise SpecError(f"{name!r} asks for {count!r} quantile groups; write {stem}:4 for quarters")
    if column.labels is not None:
        raise SpecError(f"{stem!r} holds categories, which have no quantiles; write {stem!r}")
    return column, int(count), stem


def _refuse_later(study: Any, name: str, role: str) -> None:
    path = getattr(study, "path", None)
    later = dict.fromkeys(getattr(path, "mediators", ()), "a mediator")
    later |= dict.fromkeys(getattr(study, "intermediate", ()), "an intermediate confounder")
    later |= {getattr(path, "treatment", None): "the treatment"}
    later |= {getattr(path, "outcome", None): "the outcome"}
    if name in later:
        raise DesignError(
            f"{role} names {name!r}, which is {later[name]}; groups must be formed by what was "
            "fixed before the treatment, because comparing units by what it changed is no effect"
        )


def _cut(covariate: Covariate, bins: int) -> Covariate:
    """Cut at quantiles; equal edges fall together."""
    inner = np.quantile(covariate.values, np.arange(1, bins) / bins, method="inverted_cdf")
    edges = np.unique(inner)
    edges = edges[edges < covariate.values.max()]
    if edges.size == 0:
        raise DesignError(
            f"{covariate.name!r} cannot be cut into {bins} groups: most rows share one value; "
            f"group by {covariate.name!r} itself"
        )
    shown = [f"{e:.6g}" for e in edges]
    middle = [f"{a}<{covariate.name}<={b}" for a, b in pairwise(shown)]
    labels = (f"{covariate.name}<={shown[0]}", *middle, f"{covariate.name}>{shown[-1]}")
    codes = np.searchsorted(edges, covariate.values, side="left").astype(np.float64)
    return Covariate(covariate.name, codes, labels)


def group(study: Any, by: str | Sequence[str], told: Told) -> Groups:
    """Cross the groups of one or more columns; combinations that do not occur are left out."""
    names = names_of(by, "by")
    parts = []
    for name in names:
        covariate = read(study, name, "by", told)
        distinct = np.unique(covariate.values)
        if distinct.size > MOST_GROUPS:
            raise DesignError(
                f"by names {name!r}, which has {distinct.size} values; write '{name}:4' for "
                "quarters, or use best_linear_projection for a slope"
            )
        cut = covariate.labels is not None and covariate.name != name
        shown = [covariate.show(v) if cut else f"{name}={covariate.show(v)}" for v in distinct]
        parts.append((np.searchsorted(distinct, covariate.values), shown))
    stacked = np.column_stack([codes for codes, _ in parts])
    kept, codes = np.unique(stacked, axis=0, return_inverse=True)
    labels = tuple(
        ", ".join(shown[int(j)] for j, (_, shown) in zip(row, parts, strict=True)) for row in kept
    )
    return Groups(" and ".join(names), codes.reshape(-1).astype(np.int64), labels)


def matrix(covariates: Sequence[Covariate]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Names and columns to regress on, shape (n, p)."""
    pairs = [pair for c in covariates for pair in c.indicators()]
    return tuple(name for name, _ in pairs), np.column_stack([values for _, values in pairs])

"""Checks of columns in their roles, each with a message that says what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimate import Codes
from crossworld.core.regime import Level
from crossworld.errors import DesignError
from crossworld.tables.frame import LARGEST, Column, Table, repeated
from crossworld.tables.path import Path

Array = NDArray[np.float64]
LONGEST = 80  # characters of one value in a message
DISCRETE = 10  # a numeric treatment with at most this many values is contrasted at observed ones


def names(given: Iterable[str] | str, role: str) -> tuple[str, ...]:
    """Column names of a role, without repeats."""
    if isinstance(given, str):
        raise DesignError(
            f"{role} is a list of column names, got the text {given!r}; write [{given!r}]"
        )
    if not isinstance(given, Iterable):
        raise DesignError(f"{role} is a list of column names, got {given!r}; write [] for none")
    found = tuple(str(name) if isinstance(name, str) else name for name in given)
    wrong = [name for name in found if not isinstance(name, str)]
    if wrong:
        raise DesignError(f"{role} is a list of column names, got {repr(wrong[0])[:80]}")
    twice = repeated(found)
    if twice:
        raise DesignError(f"{role} names {', '.join(map(repr, twice))} more than once")
    return found


def taken(
    adjust: Sequence[str], intermediate: Sequence[str], cluster: object, weights: object
) -> set[str]:
    """Columns with a role outside the path; cluster and weights are names of columns, too."""
    found = {*adjust, *intermediate}
    for given, role in ((cluster, "cluster"), (weights, "weights")):
        if given is None:
            continue
        if not isinstance(given, str):
            plain = isinstance(given, int | float | list | tuple)
            seen = repr(given)[:80] if plain else f"a {type(given).__name__}"
            raise DesignError(
                f"{role} is the name of a column, got {seen}; put it into the table and name it"
            )
        found.add(given)
    return found


def check_distinct(path: Path, adjust: Sequence[str], intermediate: Sequence[str]) -> None:
    """Refuse a column that is asked to play two parts."""
    taken = {path.treatment: "the treatment", path.outcome: "the outcome"}
    taken |= dict.fromkeys(path.mediators, "a mediator")
    for role, given in (("adjust", adjust), ("intermediate", intermediate)):
        for name in given:
            if name in taken:
                raise DesignError(
                    f"{role} names {name!r}, which is {taken[name]} of the path already"
                )
            taken[name] = f"in {role}"


def used(
    path: Path,
    adjust: Sequence[str],
    intermediate: Sequence[str],
    cluster: str | None,
    weights: str | None,
) -> dict[str, str]:
    """Every column in use with its role."""
    found = {path.treatment: "treatment"}
    found |= dict.fromkeys(path.mediators, "mediator") | {path.outcome: "outcome"}
    found |= dict.fromkeys(adjust, "adjustment") | dict.fromkeys(intermediate, "intermediate")
    if weights is not None and weights in found:
        raise DesignError(f"the weights {weights!r} are the {found[weights]} already")
    if cluster is not None and cluster in (path.treatment, path.outcome, *path.mediators):
        raise DesignError(f"the cluster {cluster!r} is the {found[cluster]} already")
    if cluster is not None:
        found.setdefault(cluster, "cluster")
    if weights is not None:
        found.setdefault(weights, "weights")
    return found


def fetch(table: Table, name: str, role: str) -> Column:
    """Read a column or say that it is not there."""
    if name not in table.names:
        raise DesignError.missing_column(name, role, table.names)
    return table.column(name)


def check_finite(columns: Mapping[str, Column]) -> None:
    """Refuse infinite values, counted by column."""
    counts = {name: int(np.isinf(c.values).sum()) for name, c in columns.items()}
    bad = [f"{name!r} ({count})" for name, count in counts.items() if count]
    if bad:
        raise DesignError(f"infinite values in {', '.join(bad)}; replace or remove these rows")
    for name, column in columns.items():
        largest = float(np.nanmax(np.abs(column.values), initial=0.0))
        if largest > LARGEST or 0.0 < largest < 1.0 / LARGEST:
            raise DesignError(
                f"{name!r} has values of size {largest:.3g}, which overflow; rescale the column"
            )


def complete(
    columns: Mapping[str, Column], missing: str
) -> tuple[NDArray[np.int64] | None, dict[str, int]]:
    """Positions of the complete rows (None: all of them) and the missing values by column."""
    holes = {name: np.isnan(c.values) for name, c in columns.items()}
    counts = {name: int(mask.sum()) for name, mask in holes.items() if mask.any()}
    if not counts:
        return None, {}
    incomplete = np.logical_or.reduce(list(holes.values()))
    if missing == "error":
        listed = ", ".join(f"{name!r} ({count})" for name, count in counts.items())
        raise DesignError(
            f"missing values in {listed}: {int(incomplete.sum())} of {incomplete.size} rows are "
            "incomplete; pass missing='drop' to keep the complete rows, or impute first"
        )
    if incomplete.all():
        raise DesignError(f"all {incomplete.size} rows are incomplete; nothing is left to analyse")
    return np.flatnonzero(~incomplete), counts


def outcome(column: Column, name: str, event: Level | None) -> Column:
    """Outcome as numbers; text needs ``event``."""
    if event is not None:
        code = column.code(event)
        if code is None or code not in column.distinct():
            shown = ", ".join(brief(column, v) for v in column.distinct()[:12])
            told = str(event) if hasattr(event, "isoformat") else repr(event)
            raise DesignError(f"event {told} does not occur in the outcome {name!r}: {shown}")
        return Column((column.values == code).astype(np.float64))
    if not column.is_text:
        return column
    labels = [brief(column, v) for v in range(len(column.labels or ()))]
    if len(labels) == 2:
        raise DesignError(
            f"the outcome {name!r} is text with the values {' and '.join(labels)}; say which one "
            f"is the event, e.g. event={labels[0]}"
        )
    raise DesignError(
        f"the outcome {name!r} is text with {len(labels)} values ({', '.join(labels[:6])}); an "
        "outcome is a number, or has an event= that counts as 1"
    )


def brief(column: Column, value: float) -> str:
    """Write one value as it stands in the table, or its beginning when it is long."""
    told = column.show(value)
    return told if len(told) <= LONGEST else f"{told[: LONGEST - 4]}...{told[-1]}"


def check_vary(columns: Mapping[str, Column], used: Mapping[str, str]) -> None:
    """Refuse a column of the path, or a category, that is constant."""
    for name, role in used.items():
        text = role == "adjustment" and columns[name].is_text
        if text or role in ("treatment", "mediator", "intermediate", "outcome"):
            check_varies(columns[name], role, name)


def check_varies(column: Column, role: str, name: str) -> None:
    """Refuse a constant column."""
    values = column.distinct()
    if len(values) < 2:
        raise DesignError(
            f"the {role} {name!r} is constant ({brief(column, values[0])}); nothing can be learned "
            "about its effect"
        )


def levels(column: Column, name: str, given: Sequence[Level] | None) -> tuple[float, float]:
    """Values of the treatment that stand for reference and active."""
    values = column.distinct()
    shown = ", ".join(brief(column, v) for v in values[:8]) + (", ..." if len(values) > 8 else "")
    if given is None:
        if len(values) == 2:
            return values[0], values[1]
        raise DesignError(
            f"the treatment {name!r} has {len(values)} values ({shown}); say which two to "
            "contrast, e.g. levels=(reference, active)"
        )
    given = given.tolist() if isinstance(given, np.ndarray) else given
    if isinstance(given, str) or not isinstance(given, Sequence) or len(given) != 2:
        raise DesignError(f"levels is a pair (reference, active), got {given!r}")
    found = tuple(_level(column, name, level, values, shown) for level in given)
    if found[0] == found[1]:
        raise DesignError(f"levels are the same: {given!r}; the treatment {name!r} has {shown}")
    return found[0], found[1]


def _level(column: Column, name: str, level: Level, values: list[float], shown: str) -> float:
    code = column.code(level)
    discrete = column.is_text or len(values) <= DISCRETE
    if code is None or (discrete and code not in values):
        raise DesignError(f"no row has {name!r} at level {level!r}; its values are {shown}")
    if not values[0] <= code <= values[-1]:
        raise DesignError(
            f"no row has {name!r} near level {level!r}; its values run from {values[0]:.6g} to "
            f"{values[-1]:.6g}"
        )
    return code


def check_arms(column: Column, name: str, pair: tuple[float, float], held: Array | None) -> None:
    """Refuse weights that leave no row at a level of a discrete treatment."""
    if held is None or not (column.is_text or len(column.distinct()) <= DISCRETE):
        return
    for level in pair:
        if not held[column.values == level].sum() > 0:
            raise DesignError(
                f"every row with {name!r} at level {column.show(level)} has weight 0; nothing is "
                "left to contrast"
            )


def clusters(
    columns: Mapping[str, Column], name: str | None, treatment: str, pair: tuple[float, float]
) -> Codes | None:
    """Cluster codes 0..J-1, when they are more than the arms of the treatment."""
    if name is None:
        return None
    codes = np.unique(columns[name].values, return_inverse=True)[1].astype(np.int64)
    one, other = (set(codes[columns[treatment].values == level]) for level in pair)
    if len(one) == len(other) == 1 and one != other:
        raise DesignError(
            f"each arm of the treatment {treatment!r} is one cluster of {name!r}: nothing tells "
            "the treatment from the cluster, and nothing varies between the clusters of an arm"
        )
    return codes


def weights(columns: Mapping[str, Column], name: str | None) -> NDArray[np.float64] | None:
    """Row weights, checked."""
    if name is None:
        return None
    column = columns[name]
    if column.is_text:
        raise DesignError(f"the weights {name!r} are text; weights are non-negative numbers")
    if (column.values < 0).any():
        raise DesignError(
            f"the weights {name!r} are negative in {int((column.values < 0).sum())} rows; weights "
            "are non-negative"
        )
    if not column.values.sum() > 0:
        raise DesignError(f"the weights {name!r} are all 0")
    return column.values


def counted(weights: Array | None) -> NDArray[np.int64] | None:
    """Positions of the rows whose weight is not 0 (None: all of them)."""
    if weights is None or (weights > 0.0).all():
        return None
    return np.flatnonzero(weights > 0.0)

"""Natural runs as a table: what an observer of the network would have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from crossworld.errors import DesignError
from crossworld.internals.metrics import Rows

if TYPE_CHECKING:
    from crossworld.internals.study import PatchStudy
    from crossworld.tables.study import TableStudy


def to_table(
    study: PatchStudy,
    *,
    components: int | None = None,
    outcome: str = "metric",
    covariates: Mapping[str, Sequence[Any]] | None = None,
) -> TableStudy:
    r"""Return a table with one row per run: level, activations, metric.

    The rows are the clean and the corrupt run of every pair, the treatment is the level, and every
    part of the network that the sites name is a block of mediators in the order of the network
    (``layers.3.mlp @ -1`` becomes ``layers_3_mlp_at_last_0``, ``..._1``, ...). Pairs are the
    clusters unless the study has its own.

    The estimators of tables then need what patching does not: no unmeasured common cause of
    activations and metric given the level, and activations of both levels that overlap. In a
    deterministic network the input is such a common cause, so the answers differ by design;
    `Patch` is the experiment they can be held against.

    Parameters
    ----------
    study
        A patching study with pairs.
    components
        Keep so many principal components of each block, of the pooled and centred activations;
        None keeps every coordinate.
    outcome
        Name of the metric's column.
    covariates
        What is known of every pair before it runs, by name, one value a pair: columns that the
        estimators adjust for.

    Raises
    ------
    DesignError
        If the sites have no fixed number of coordinates, or a covariate has another length.
    """
    from crossworld.tables.study import TableStudy

    if not study.sites:
        raise DesignError("a table of activations needs sites; the study names none")
    values = [_natural(study, level) for level in (0, 1)]
    columns: dict[str, Any] = {
        "level": np.repeat([0, 1], len(study)),
        outcome: np.concatenate([v[0] for v in values]),
    }
    assert study.units is not None
    labels = study.pairs.cluster
    named = [labels[u] if labels is not None else str(u) for u in study.units]
    columns["pair"] = np.array([*named, *named])
    known = _known(study, covariates or {}, columns)
    path = ["level"]
    for block in study.blocks:
        held = []
        for name in block:
            part = np.concatenate([v[1][name] for v in values])
            part = _reduced(part, components)
            column = _column(name)
            made = {f"{column}_{j}": part[:, j] for j in range(part.shape[1])}
            columns.update(made)
            held += list(made)
        path.append(" + ".join(held))
    frame = {name: np.asarray(held).tolist() for name, held in columns.items()}
    return TableStudy.from_frame(
        frame, " -> ".join([*path, outcome]), adjust=known, levels=(0, 1), cluster="pair"
    )


def _known(
    study: PatchStudy, covariates: Mapping[str, Sequence[Any]], columns: dict[str, Any]
) -> list[str]:
    """Add covariates of the pairs to the columns and return their names."""
    for name, values in covariates.items():
        held = np.asarray(values)
        if held.shape != (len(study.pairs),):
            raise DesignError(
                f"the covariate {name!r} has one value for each of {len(study.pairs)} pairs, got "
                f"shape {held.shape}"
            )
        if name in columns:
            raise DesignError(f"a covariate cannot be called {name!r}: the table has that column")
        columns[name] = np.tile(held[study.units], 2)
    return list(covariates)


def _natural(study: PatchStudy, level: int) -> tuple[Any, dict[str, Any]]:
    """Metric (n,) and activations (n, d) by site of the natural runs of a level."""
    assert study.units is not None
    metric = np.empty(len(study))
    held: dict[str, dict[int, Any]] = {str(s): {} for s in study.sites}
    for group in study.pairs.groups(study.units, 64):
        units = study.units[group]
        batch = study.pairs.batch(units, level)
        run = study.subject.run(batch, read=study.sites)
        pairs = study.pairs
        reference = study.subject.run(study.pairs.batch(units, 0)).output
        rows = Rows(
            None if pairs.answer is None else pairs.answer[units],
            None if pairs.wrong is None else pairs.wrong[units],
            study.metric.final(reference, batch),
            units,
        )
        found = study.metric(study.metric.final(run.output, batch), rows)
        metric[group] = found.detach().double().cpu().numpy()
        for site in study.sites:
            part = run.values[site].double().cpu().numpy().reshape(group.size, -1)
            held[str(site)].update(zip(group.tolist(), part, strict=True))
    widths = {name: {p.size for p in parts.values()} for name, parts in held.items()}
    uneven = [name for name, sizes in widths.items() if len(sizes) > 1]
    if uneven:
        raise DesignError(
            f"{uneven[0]} has {', '.join(map(str, sorted(widths[uneven[0]])))} coordinates in "
            "different pairs; name positions that all of them have"
        )
    stacked = {n: np.stack([p[i] for i in range(len(study))]) for n, p in held.items()}
    return metric, stacked


def _reduced(part: Any, components: int | None) -> Any:
    """Return principal components of the pooled activations, signs fixed by their largest load."""
    if components is None or components >= part.shape[1]:
        return part
    centred = part - part.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:components]
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.sign(axes[np.arange(len(axes)), largest])[:, None]
    return centred @ axes.T


def _column(site: str) -> str:
    """Return a column name for a site."""
    text = site.replace(" @ -1", " at last").replace(" @ -", " at end minus ").replace("@", "at")
    return "".join(c if c.isalnum() else "_" for c in text).replace("__", "_").strip("_")

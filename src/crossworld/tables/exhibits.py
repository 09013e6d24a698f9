"""What a table study has to show: its mediators under both treatments, and the groups' overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crossworld.core.exhibits import Arm, Distributions, TwoSample, Variable
from crossworld.errors import DesignError, EstimationError
from crossworld.tables.confounding import coded
from crossworld.tables.energy import energy_test
from crossworld.tables.perturb import shuffled
from crossworld.tables.propensity import BOTH, chances

if TYPE_CHECKING:
    from crossworld.tables.frame import Column
    from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

DRAWS, MOST = 999, 1000
_FEW = 3  # up to so many mediators are shown one by one
_COMPONENTS = 3
_DISTINCT = 12  # up to so many values are categories
_LEAST_BINS, _MOST_BINS = 8, 30
_LEAST_ROWS = 5
_ENOUGH = 20_000  # rows from which directions are found
_CATEGORIES = 20  # categories shown by name


def mediator_distributions(
    study: TableStudy, *, draws: int = DRAWS, seed: int = 0, most: int = MOST
) -> Distributions:
    r"""Mediators under both treatments, with a two-sample energy test of all of them at once.

    Up to three mediators are shown one by one. More of them, such as an embedding, are shown along
    the *projection that carries the indirect effect*,

    .. math:: m_i^\top \hat\beta \quad\text{with}\quad
              y = \alpha + \tau a + x^\top \gamma + m^\top \beta + \varepsilon ,

    the fitted linear effect of the mediators on the outcome given treatment and covariates, in
    units of the outcome: what moves between the arms along it moves the outcome, what moves across
    it does not. :math:`\hat\beta` is a ridge estimate whose penalty minimises generalised
    cross-validation. The first principal components of the standardised mediators follow.

    The test compares the mediators as they were observed, standardised. Where covariates drive both
    treatment and mediator, the groups can differ without any effect; the test says whether there is
    a difference, not why.

    Parameters
    ----------
    study
        A table study.
    draws, seed
        Permutations of the test, and their seed. Rows of one cluster move as `shuffled` says.
    most
        Rows the test uses; more are sampled down to it with the same seed.

    Raises
    ------
    DesignError
        If too few rows are at or near a level of the treatment.

    References
    ----------
    Székely and Rizzo (2004), InterStat 5. Golub, Heath and Wahba (1979), Technometrics 21.

    Examples
    --------
    >>> import crossworld as xw
    >>> held = mediator_distributions(xw.datasets.linear(n=200, seed=1).study(), draws=99)
    >>> [arm.label for arm in held.variables[0].arms], held.tests[0].draws
    (['a = 0', 'a = 1'], 99)
    """
    low, high, labels = arms(study)
    rows = np.concatenate([low, high])
    active = np.arange(rows.size) >= low.size
    names = study.path.mediators
    if len(names) <= _FEW:
        shown = [(name, study.table[name], "") for name in names]
    else:
        shown = _vector(study, rows)
    variables = tuple(
        _variable(name, column, note, groups=(low, high), labels=labels, weights=study.weights)
        for name, column, note in shown
    )
    test = _test(study, rows, active, draws=draws, seed=seed, most=most)
    note = "Shares of each group, as observed: not adjusted for covariates."
    if labels[0].startswith("near "):
        note += " The treatment takes many values; a group is the rows nearer to its level."
    return Distributions(variables, (test,), note=note)


def overlap(study: TableStudy) -> Distributions:
    """How likely the active treatment was for the rows of both groups, by logistic regressions.

    Groups that share no values have nobody to be compared with.

    Raises
    ------
    DesignError
        If the treatment is not one of two levels for most rows, or there is nothing to predict it.
    EstimationError
        If the groups are separated.

    Examples
    --------
    >>> import crossworld as xw
    >>> [v.name for v in overlap(xw.datasets.linear(n=200, seed=1).study()).variables]
    ['P(a = 1 | covariates)', 'P(a = 1 | covariates and mediators)']
    """
    _, _, labels = arms(study)
    edges = np.linspace(0.0, 1.0, 21)
    variables = []
    note = "Where one group has no rows, its comparison rests on the models alone."
    try:
        found = chances(study)
    except EstimationError:
        found = chances(study, BOTH[:1])
        note += " The mediators tell the groups apart completely, or almost."
    for name, groups in found.items():
        if np.ptp(np.concatenate(groups)) <= 1e-9:
            continue
        shares = [_shares(held, edges, None) for held in groups]
        told = [
            Arm(label, held.size, share.tolist(), float(held.mean()), float(held.std()))
            for label, held, share in zip(labels, groups, shares, strict=True)
        ]
        variables.append(Variable(f"P({labels[1]} | {name})", tuple(told), tuple(edges.tolist())))
    if not variables:
        raise DesignError("there are no covariates that could tell the groups apart")
    return Distributions(
        tuple(variables),
        title="Overlap: how likely the active treatment was, in both groups",
        note=note,
    )


def exhibits(study: TableStudy) -> list[Distributions]:
    """Everything that can be shown of a study; what cannot is left out."""
    found = []
    for make in (mediator_distributions, overlap):
        try:
            found.append(make(study))
        except (DesignError, EstimationError, np.linalg.LinAlgError):
            continue
    return found


def arms(study: TableStudy) -> tuple[Rows, Rows, tuple[str, str]]:
    """Rows of the reference and the active group, and what they are called.

    Of a treatment with many values, a group is the rows that are nearer to its level than half
    the way to the other.

    Raises
    ------
    DesignError
        If a group has fewer than five rows.
    """
    values, (low, high) = study.treatment.values, study.levels
    name, written = study.path.treatment, study.treatment.labels
    first, second = np.flatnonzero(values == low), np.flatnonzero(values == high)
    shown = [f"{v:.15g}" if written is None else written[int(v)] for v in (low, high)]
    labels = (f"{name} = {shown[0]}", f"{name} = {shown[1]}")
    many = not study.treatment.is_text and len(study.treatment.distinct()) > _DISTINCT
    if many and min(first.size, second.size) < len(study) / 20:
        reach = abs(high - low) / 2.0
        first = np.flatnonzero(np.abs(values - low) < reach)
        second = np.flatnonzero(np.abs(values - high) < reach)
        labels = (f"near {labels[0]}", f"near {labels[1]}")
    if min(first.size, second.size) < _LEAST_ROWS:
        raise DesignError(f"fewer than {_LEAST_ROWS} rows have {labels[0]} or {labels[1]}")
    return first, second, labels


def _vector(study: TableStudy, rows: Rows) -> list[tuple[str, Column, str]]:
    """The projection that carries the indirect effect, and principal components."""
    from crossworld.tables.frame import Column

    m = coded(study, study.path.mediators)
    centred = m - m[rows].mean(axis=0)
    spread = centred[rows].std(axis=0)
    kept = spread > 1e-12 * np.maximum(np.abs(m).max(axis=0), 1e-300)
    z = centred[:, kept] / spread[kept]
    if z.shape[1] == 0:
        raise DesignError("no mediator varies between the rows of the two groups")
    beside = np.column_stack(
        [np.ones(len(study)), study.treatment.values, coded(study, study.adjust)]
    )
    fit = _some(np.arange(len(study)))
    slope = ridge(z[fit], study.outcome[fit], beside[fit])
    told = f"{m.shape[1]} mediators' linear effect on {study.path.outcome}, in its units"
    found = [("the projection that carries the indirect effect", Column(z @ slope), told)]
    _, size, axes = np.linalg.svd(z[_some(rows)], full_matrices=False)
    shares = size**2 / (size**2).sum()
    for k in range(min(_COMPONENTS, int((size > 1e-9 * size[0]).sum()))):
        axis = axes[k] * np.sign(axes[k][np.argmax(np.abs(axes[k]))])
        note = f"{100.0 * shares[k]:.0f} % of the mediators' variance"
        found.append((f"component {k + 1}", Column(z @ axis), note))
    return found


def _some(rows: Rows) -> Rows:
    """At most so many rows, evenly spread: directions need no more."""
    return rows if rows.size <= _ENOUGH else rows[:: -(-rows.size // _ENOUGH)]


def ridge(z: Array, y: Array, beside: Array) -> Array:
    r"""Coefficients of ``z`` (n, p) for ``y``, unpenalised columns ``beside`` partialled out.

    The penalty minimises generalised cross-validation
    :math:`n \, \mathrm{RSS}(\lambda) / (n - q - \mathrm{df}(\lambda))^2`, least squares included
    where it exists.

    Examples
    --------
    >>> z = np.array([[1.0], [2.0], [3.0], [5.0]])
    >>> ridge(z, 2.0 * z[:, 0] + 1.0, np.ones((4, 1))).round(6).tolist()
    [2.0]
    """
    basis, size, _ = np.linalg.svd(beside, full_matrices=False)
    basis = basis[:, size > 1e-10 * size[0]]
    z, y = (v - basis @ (basis.T @ v) for v in (z, y))
    left, size, right = np.linalg.svd(z, full_matrices=False)
    along, free = left.T @ y, len(y) - basis.shape[1]
    rest = float(y @ y - along @ along)
    most = float(size[0]) ** 2
    best, chosen = np.inf, np.zeros_like(along)
    for penalty in (0.0, *(most * 10.0 ** np.linspace(-8.0, 2.0, 41))):
        if penalty == 0.0 and size[-1] <= 1e-8 * size[0]:
            continue
        shrink = size**2 / (size**2 + penalty) if most > 0.0 else np.zeros_like(size)
        left_over = free - shrink.sum()
        if left_over <= 0.5:
            continue
        score = (rest + (((1.0 - shrink) * along) ** 2).sum()) / left_over**2
        if score < best - 1e-15 * abs(score):
            kept = np.divide(shrink, size, out=np.zeros_like(size), where=size > 0.0)
            best, chosen = score, along * kept
    return np.asarray(right.T @ chosen)


def _variable(
    name: str,
    column: Column,
    note: str,
    *,
    groups: tuple[Rows, Rows],
    labels: tuple[str, str],
    weights: Array | None,
) -> Variable:
    held = column.values[np.concatenate(groups)]
    distinct = np.unique(held)
    categories = column.is_text or distinct.size <= _DISTINCT
    edges = np.empty(0) if categories else _edges(held)
    if distinct.size > _CATEGORIES:
        values, counts = np.unique(held, return_counts=True)
        distinct = np.sort(values[np.argsort(-counts, kind="stable")[:_CATEGORIES]])
    shown = [column.labels[int(v)] if column.labels else f"{v:g}" for v in distinct]
    shown += [] if np.isin(held, distinct).all() else ["other"]
    made = []
    for label, rows in zip(labels, groups, strict=True):
        values, w = column.values[rows], None if weights is None else weights[rows]
        if categories:
            shares = np.array([np.average(values == v, weights=w) for v in distinct])
            shares = np.append(shares, np.average(~np.isin(values, distinct), weights=w))
            shares = shares[: len(shown)]
        else:
            shares = _shares(values, edges, w)
        mean = sd = None
        if not column.is_text:
            mean = float(np.average(values, weights=w))
            sd = float(np.sqrt(np.average((values - mean) ** 2, weights=w)))
        made.append(Arm(label, rows.size, tuple(shares.tolist()), mean, sd))
    categories_shown = tuple(shown) if categories else ()
    return Variable(name, tuple(made), tuple(edges.tolist()), categories_shown, note)


def _edges(values: Array) -> Array:
    count = _MOST_BINS
    if values.size < 100_000:
        count = min(max(len(np.histogram_bin_edges(values, bins="auto")) - 1, _LEAST_BINS), count)
    return np.linspace(float(values.min()), float(values.max()), count + 1)


def _shares(values: Array, edges: Array, weights: Array | None) -> Array:
    counts = np.histogram(values, bins=edges, weights=weights)[0].astype(np.float64)
    return np.asarray(counts / counts.sum())


def _test(
    study: TableStudy,
    rows: Rows,
    active: NDArray[np.bool_],
    *,
    draws: int,
    seed: int,
    most: int,
) -> TwoSample:
    first, second = np.random.SeedSequence(seed).spawn(2)
    if rows.size > most:
        kept = np.sort(np.random.default_rng(first).choice(rows.size, most, replace=False))
        rows, active = rows[kept], active[kept]
    m = coded(study, study.path.mediators)[rows]
    spread = m.std(axis=0)
    z = (m - m.mean(axis=0))[:, spread > 0.0] / spread[spread > 0.0]
    cluster = None
    if study.cluster is not None:
        cluster = np.unique(study.cluster[rows], return_inverse=True)[1].astype(np.int64)
    whole = cluster is not None and _whole(active, cluster)

    def shuffle(rng: np.random.Generator) -> Rows:
        return shuffled(rows.size, cluster, whole=whole, rng=rng)

    what = (
        "the mediator" if len(study.path.mediators) == 1 else "all mediators jointly, standardised"
    )
    name = f"Two-sample energy test of {what}"
    if z.shape[1] == 0 or active.all() or not active.any():
        return TwoSample(name, None, draws=draws, seed=seed, n=rows.size, note="nothing varies")
    note = "of the rows as observed" + ("" if study.weights is None else ", unweighted")
    seeds = int(second.generate_state(1)[0])
    distance, p_value = energy_test(z, active, draws=draws, seed=seeds, shuffle=shuffle)
    return TwoSample(name, p_value, distance, draws, seed, rows.size, note=note)


def _whole(active: NDArray[np.bool_], cluster: Rows) -> bool:
    """Whether every cluster is in one group."""
    inside = np.bincount(cluster, weights=active)
    return bool(((inside == 0) | (inside == np.bincount(cluster))).all())

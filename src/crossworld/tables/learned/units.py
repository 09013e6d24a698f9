"""Learned models as plain arrays, and the effects that they predict for new rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.options import check_whole
from crossworld.errors import DesignError, EstimationError, SpecError
from crossworld.tables.learned.coefficients import Coefficients, stacked
from crossworld.tables.learned.fitting import Fit, learn
from crossworld.tables.learned.law import gauss, inverse
from crossworld.tables.learned.setup import Options, set_up
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]
DRAWS = 200  # bootstrap replicates behind the intervals of new rows
FEWEST = 20  # replicates that have to succeed
ROWS = 64  # new rows evaluated at once
TERMS = ("te", "nde", "nie")
LAYER = ("enter", "bias", "leave", "shift")


@dataclass(frozen=True, slots=True, eq=False)
class UnitEffects:
    """Effects of each of n rows: one column for each of ``te``, ``nde``, ``nie``.

    ``estimate``, ``std_error``, ``conf_low``, ``conf_high``: shape (n, 3). The intervals are those
    of the mean effect among units like the row (the error of the models), not of one unit's fate.
    """

    estimate: Array
    std_error: Array
    conf_low: Array
    conf_high: Array
    level: float

    def __len__(self) -> int:
        return len(self.estimate)

    def to_frame(self) -> Any:
        """Return a pandas frame: one row per unit and term."""
        import pandas as pd

        n = len(self)
        columns = {
            name: getattr(self, name).ravel()
            for name in ("estimate", "std_error", "conf_low", "conf_high")
        }
        return pd.DataFrame(
            {"unit": np.repeat(np.arange(n), len(TERMS)), "term": list(TERMS) * n, **columns}
        )


@dataclass(frozen=True, slots=True, eq=False)
class LearnedModels:
    r"""Fitted mediator and outcome models, with R bootstrap replicates, as plain arrays.

    Index 0 of every leading axis is the fit itself, 1..R the replicates. For n rows with coded
    covariates ``x`` (n, p), reference and active arm indicators ``arm(0)``, ``arm(1)`` (k,):

    1. mediator means :math:`\mu_b` = ``[1, arm(b), x] @ mediator`` (+ ``tanh([arm(b), x] @ enter +
       bias) @ leave + shift`` with a network), (1 + R, n, d);
    2. predictor :math:`\eta_{ab} = [1, arm(a), \mu_b, arm(a) \otimes \mu_b, x]` ``@ outcome``;
    3. cell :math:`(a, b) = \sum_q` ``mass[a, q]`` :math:`h(\eta_{ab} +` ``nodes[a, q]`` :math:`)`,
       h the identity or the logistic curve: the Gauss quadrature of the residual law.

    te = cell(1, 1) - cell(0, 0), nde = cell(1, 0) - cell(0, 0), nie = cell(1, 1) - cell(1, 0).

    Parameters
    ----------
    coefficients
        ``mediator`` (1 + R, 1 + k + p, d), ``outcome`` (1 + R, 1 + k + d + k d + p) and the hidden
        layer or None.
    nodes, mass
        Shape (1 + R, 2, q): quadrature of the residual law under the reference and active level.
    logit
        Whether h is the logistic curve.
    indicators
        ``arm(0)`` and ``arm(1)``, shape (2, k).
    levels
        Reference and active level as the table writes them.
    covariates
        Name and categories (None for numbers) of each covariate, in the order of ``x``: text takes
        one indicator for each category but the first.
    mediators
        Names of the raw mediator columns (numeric ones; text is coded like covariates).
    projection
        Shape (raw columns, d), or None: ``m = raw @ projection``.
    failed
        Replicates that could not be fitted and are not here.

    Notes
    -----
    With observed mediators, a unit's own residual :math:`r = m - \mu_{arm}(x)` takes the place of
    the residual law, and its mediator under the other level is :math:`\mu_b(x) + r`: the treatment
    is taken to shift the mediators by the same amount in all units with the same covariates, an
    assumption that mean effects do not need.

    Examples
    --------
    >>> import numpy as np
    >>> import crossworld as xw
    >>> from crossworld.tables.learned_mediator import LearnedMediator
    >>> data = xw.datasets.joint_block(n=500, seed=1)
    >>> models = LearnedMediator().learn(data.study(), draws=50)
    >>> new = models.effects(models.design({"x": [-1.0, 0.0, 1.0]}))
    >>> new.estimate.shape, bool((new.conf_low < new.conf_high).all())
    ((3, 3), True)
    """

    coefficients: Coefficients
    nodes: Array
    mass: Array
    logit: bool
    indicators: Array
    levels: tuple[Any, Any]
    covariates: tuple[tuple[str, tuple[str, ...] | None], ...]
    mediators: tuple[str, ...]
    projection: Array | None
    failed: int = 0

    def design(self, columns: Mapping[str, Sequence[Any]]) -> Array:
        """Code covariates of new rows, given by name, as ``x`` (n, p).

        Raises
        ------
        DesignError
            If a covariate is absent, not finite, or of a category that the models never saw.
        """
        coded: list[Array] = []
        for name, labels in self.covariates:
            if name not in columns:
                raise DesignError.missing_column(name, "covariate", columns)
            coded += _coded(name, labels, list(columns[name]))
        if not coded:
            sizes = [len(c) for c in columns.values()] or [1]
            return np.empty((sizes[0], 0))
        return np.column_stack(coded)

    def cells(self, x: Array, *, mediators: Array | None = None, arm: Any = None) -> Array:
        """Return cell means of new rows, (1 + R, n, 2, 2): level of the outcome, of the mediators.

        Parameters
        ----------
        x
            Coded covariates, (n, p), as `design` makes them.
        mediators
            Observed raw mediators, (n, columns), whose residuals are used; None: the residual law.
        arm
            0 or 1 (reference, active) for each row: the treatment under which they were observed.

        Raises
        ------
        DesignError
            If shapes do not fit or a value is not finite.
        """
        x, observed, codes = self._checked(x, mediators, arm)
        found = np.empty((len(self.nodes), len(x), 2, 2))
        for start in range(0, len(x), ROWS):
            at = slice(start, start + ROWS)
            residual = None if observed is None else (observed[at], codes[at])
            found[:, at] = self._cells(x[at], residual)
        return found

    def _cells(self, x: Array, observed: tuple[Array, Array] | None) -> Array:
        means = [self.coefficients.means(arm, x) for arm in self.indicators]
        own: Array | float = 0.0
        if observed is not None:
            m, codes = observed
            own = m - np.where(codes[:, None] == 1, means[1], means[0])
        found = np.empty((len(self.nodes), len(x), 2, 2))
        for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
            eta = self.coefficients.predictor(self.indicators[a], means[b] + own, x)
            if observed is not None:
                found[..., a, b] = inverse(self.logit, eta)
                continue
            at, mass = self.nodes[:, None, a], self.mass[:, None, a]
            inner = inverse(self.logit, eta[..., None] + at)
            found[..., a, b] = (inner * mass).sum(axis=-1)
        return found

    def effects(
        self, x: Array, *, mediators: Array | None = None, arm: Any = None, level: float = 0.95
    ) -> UnitEffects:
        """Total, direct and indirect effect of each new row, with intervals.

        The standard error is the spread of the replicates, the interval normal around the fit.
        Parameters as in `cells`; ``level`` is the confidence level.
        """
        if not 0.0 < level < 1.0:
            raise SpecError(f"level must lie between 0 and 1, got {level!r}; try 0.95")
        c = self.cells(x, mediators=mediators, arm=arm)
        te, nde = c[..., 1, 1] - c[..., 0, 0], c[..., 1, 0] - c[..., 0, 0]
        terms = np.stack([te, nde, te - nde], axis=-1)
        error = terms[1:].std(axis=0, ddof=1)
        half = NormalDist().inv_cdf(0.5 + level / 2.0) * error
        return UnitEffects(terms[0], error, terms[0] - half, terms[0] + half, level)

    def arrays(self) -> dict[str, Array]:
        """Return every array by name, for export (text categories and names are left out)."""
        c = self.coefficients
        found = {
            "mediator": c.mediator,
            "outcome": c.outcome,
            "nodes": self.nodes,
            "mass": self.mass,
            "indicators": self.indicators,
        }
        if self.projection is not None:
            found["projection"] = self.projection
        if c.hidden is not None:
            found |= {name: getattr(c.hidden, name) for name in LAYER}
        return found

    def _checked(self, x: Array, mediators: Any, arm: Any) -> tuple[Array, Array | None, Array]:
        x = np.asarray(x, dtype=np.float64)
        p = self.coefficients.mediator.shape[-2] - 1 - self.coefficients.arms
        if x.ndim != 2 or x.shape[1] != p or not np.isfinite(x).all():
            raise DesignError(
                f"x has shape {x.shape}; it has to be finite, with {p} columns: code new rows with "
                "design({name: values})"
            )
        if mediators is None:
            return x, None, np.zeros(len(x))
        raw, codes = np.asarray(mediators, dtype=np.float64), np.asarray(arm)
        d = self.coefficients.mediator.shape[-1]
        width = d if self.projection is None else len(self.projection)
        if raw.shape != (len(x), width) or not np.isfinite(raw).all():
            raise DesignError(
                f"mediators have shape {raw.shape}; they have to be finite, of shape "
                f"({len(x)}, {width})"
            )
        if codes.shape not in ((), (len(x),)) or not np.isin(codes, (0, 1)).all():
            raise DesignError(
                "observed mediators need arm=, 0 or 1 for each row: the level under which they "
                f"were observed; got {arm!r}"
            )
        projected = raw if self.projection is None else raw @ self.projection
        return x, projected, np.broadcast_to(codes, (len(x),)).astype(np.float64)


def _coded(name: str, labels: tuple[str, ...] | None, values: list[Any]) -> list[Array]:
    if labels is None:
        try:
            column = np.array(values, dtype=np.float64)
        except (TypeError, ValueError):
            column = np.array([np.nan])
        if not np.isfinite(column).all():
            raise DesignError(f"covariate {name!r} has to be finite numbers, got {values[:3]!r}")
        return [column]
    unknown = sorted({str(v) for v in values} - set(labels))
    if unknown:
        shown = ", ".join(map(repr, labels[:12]))
        raise DesignError(
            f"covariate {name!r} is {unknown[0]!r} in a new row; the models saw {shown}"
        )
    return [np.array([str(v) == label for v in values], dtype=np.float64) for label in labels[1:]]


def learn_models(options: Options, study: TableStudy, *, draws: int = DRAWS) -> LearnedModels:
    """Fit the models and their replicates: clusters (or rows) drawn with replacement.

    Raises
    ------
    EstimationError
        If fewer than 20 replicates can be fitted.
    """
    check_whole("draws", draws, FEWEST)
    setup = set_up(options, study)
    pair = [int(np.flatnonzero(setup.levels == v)[0]) for v in study.levels]
    arms = np.stack([setup.arm(j) for j in pair])
    fits = [(learn(options, setup, setup.weights), setup.weights)]
    for counts in _counts(study, draws, options.seed):
        weights = counts * setup.weights
        try:
            fits.append((learn(options, setup, weights), weights))
        except (EstimationError, ZeroDivisionError):
            continue
    if len(fits) - 1 < FEWEST:
        raise EstimationError(
            f"{draws + 1 - len(fits)} of {draws} replicates could not be fitted; fewer mediator "
            "columns (components=) or more rows would help"
        )
    nodes, mass = _laws(fits, arms)
    labels = study.treatment.labels
    shown = tuple(v if labels is None else labels[int(v)] for v in study.levels)
    return LearnedModels(
        stacked([fit.coefficients for fit, _ in fits]),
        nodes,
        mass,
        setup.logit,
        arms,
        (shown[0], shown[1]),
        tuple((name, study.table[name].labels) for name in study.adjust),
        study.path.mediators,
        setup.projection,
        draws + 1 - len(fits),
    )


def _counts(study: TableStudy, draws: int, seed: int) -> Array:
    """How often each row is drawn in each replicate, (draws, n); clusters are drawn whole."""
    groups = len(study) if study.cluster is None else int(study.cluster.max()) + 1
    rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
    drawn = rng.multinomial(groups, np.full(groups, 1.0 / groups), size=draws).astype(np.float64)
    return drawn if study.cluster is None else drawn[:, study.cluster]


def _laws(fits: list[tuple[Fit, Array]], arms: Array) -> tuple[Array, Array]:
    """Quadratures of every fit under both levels, padded to one number of nodes."""
    laws = [
        [gauss(fit.residual @ fit.coefficients.pull(arm), weights) for arm in arms]
        for fit, weights in fits
    ]
    size = max(len(law.at) for pair in laws for law in pair)
    nodes, mass = np.zeros((len(fits), 2, size)), np.zeros((len(fits), 2, size))
    for r, pair in enumerate(laws):
        for a, law in enumerate(pair):
            nodes[r, a, : len(law.at)] = law.at
            mass[r, a, : len(law.at)] = law.mass
    return nodes, mass

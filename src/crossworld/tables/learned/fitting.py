"""Fit the mediator model and the outcome model to the arrays of a study."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import EstimationError, SpecError
from crossworld.tables.learned.coefficients import Coefficients, Hidden
from crossworld.tables.learned.setup import Options, Setup
from crossworld.tables.robust.binary import Fitted, Sample, fit_glm

Array = NDArray[np.float64]
STEPS = 500  # of the network's optimiser
FLOOR = 1e-6  # of the last layer's penalty: units may be collinear
PIVOT = 1e-9  # smallest pivot, beside the largest, of columns that are not collinear
_QUIET = Lock()  # filters of warnings belong to the process, so one fit at a time changes them


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Both models of one study.

    Parameters
    ----------
    coefficients
        What was learned.
    z
        Design of the mediator model made orthonormal, (n, 1 + k + p).
    basis
        ``z = raw design @ basis``.
    residual
        Mediators less their fitted means, (n, d).
    outcome
        The outcome model with each unit's pull on it.
    columns
        Where the outcome model's columns stand among those of `Coefficients.outcome`.
    notes
        What deserves a look.
    """

    coefficients: Coefficients
    z: Array
    basis: Array
    residual: Array
    outcome: Fitted
    columns: NDArray[np.int64]
    notes: tuple[str, ...] = ()


def learn(options: Options, setup: Setup, weights: Array) -> Fit:
    """Fit both models with row weights, (n,).

    Raises
    ------
    EstimationError
        If a model does not exist: too few rows, collinear columns, separation.
    """
    raw = np.column_stack([np.ones(len(setup.y)), setup.arms, setup.x])
    basis = _basis(raw, weights)
    z = raw @ basis
    share = weights / weights.sum()
    theta = (z * share[:, None]).T @ setup.m
    residual = setup.m - z @ theta
    hidden, notes = None, tuple[str, ...]()
    if options.mediator == "neural":
        entered, notes = _network(options, setup, residual, weights)
        units = np.tanh(raw[:, 1:] @ entered[0] + entered[1])
        theta, leave = _last(z, units, setup.m, weights, options.penalty)
        residual = setup.m - z @ theta - units @ leave
        hidden = Hidden(*entered, leave, np.zeros(setup.m.shape[1]))
    outcome, columns = _outcome(options, setup, weights)
    k, d = setup.arms.shape[1], setup.m.shape[1]
    full = np.zeros(1 + k + d + k * d + setup.x.shape[1])
    full[columns] = outcome.basis @ outcome.theta
    learned = Coefficients(basis @ theta, hidden, full, k)
    return Fit(learned, z, basis, residual, outcome, columns, notes)


def _basis(raw: Array, weights: Array) -> Array:
    """Columns made orthonormal in the weighted mean of products."""
    root = np.sqrt(weights / weights.sum())[:, None]
    size = np.sqrt((root**2 * raw**2).sum(axis=0))
    if (size == 0.0).any() or int((weights > 0).sum()) <= raw.shape[1]:
        raise EstimationError("too few rows, or a constant column, for the mediator model")
    upper = np.linalg.qr(root * raw / size, mode="r")
    pivots = np.abs(np.diag(upper))
    if pivots.min() < PIVOT * pivots.max():
        raise EstimationError("perfect collinearity among the columns of the mediator model")
    return np.asarray(np.linalg.inv(upper) / size[:, None])


def _outcome(options: Options, setup: Setup, weights: Array) -> tuple[Fitted, NDArray[np.int64]]:
    n, k = setup.arms.shape
    d, p = setup.m.shape[1], setup.x.shape[1]
    parts = [np.ones((n, 1)), setup.arms, setup.m]
    columns = list(range(1 + k + d))
    if options.interaction:
        parts += [setup.m * setup.arms[:, [j]] for j in range(k)]
        columns += range(1 + k + d, 1 + k + d + k * d)
    columns += range(1 + k + d + k * d, 1 + k + d + k * d + p)
    design = np.column_stack([*parts, setup.x])
    link = "logit" if setup.logit else "gaussian"
    try:
        fitted = fit_glm(link, design, setup.y, sample=Sample(weights, np.ones(n)), role="outcome")
    except EstimationError as error:
        raise EstimationError(
            f"{error} ({n:,} rows, {design.shape[1]} coefficients, {d} mediator columns"
            f"{' and their products with the treatment' if options.interaction else ''}); fewer "
            "mediator columns may help: components=8 uses 8 directions that are fixed in advance"
        ) from None
    return fitted, np.array(columns, dtype=np.int64)


def _network(
    options: Options, setup: Setup, residual: Array, weights: Array
) -> tuple[tuple[Array, Array], tuple[str, ...]]:
    """Weights and biases of tanh units, on raw columns, that fit what the linear model leaves."""
    inputs = np.column_stack([setup.arms, setup.x])
    centre, scale = _standard(inputs, weights)
    network = _perceptron(options, len(inputs))
    x, extra = (inputs - centre) / scale, dict[str, Any]()
    target = residual / _standard(residual, weights)[1]
    if np.array_equal(weights, np.round(weights)):  # counts: the rows as often as they occur
        rows = np.repeat(np.arange(len(x)), weights.astype(np.int64))
        x, target = x[rows], target[rows]
    else:
        extra["sample_weight"] = weights / weights.mean()
    target = target[:, 0] if target.shape[1] == 1 else target
    converged = _fit_quietly(network, x, target, extra)
    entered = network.coefs_[0] / scale[:, None]
    if not np.isfinite(entered).all():
        raise EstimationError("the network of the mediators diverged; try a larger penalty")
    notes = () if converged else (f"the network did not converge in {STEPS} steps",)
    return (entered, network.intercepts_[0] - centre @ entered), notes


def _last(z: Array, units: Array, m: Array, weights: Array, penalty: float) -> tuple[Array, Array]:
    """Fit the last layer again, with the linear model, by least squares.

    Only the units' coefficients are penalised, so that residuals have mean 0 in every arm however
    the optimiser stopped.
    """
    share = weights / weights.sum()
    _, size = _standard(units, weights)
    both = np.column_stack([z, units / size])
    ridge = np.concatenate([np.zeros(z.shape[1]), np.full(len(size), max(penalty, FLOOR))])
    gram = (both.T * share) @ both + np.diag(ridge / weights.sum())
    theta = np.linalg.solve(gram, (both.T * share) @ m)
    return theta[: z.shape[1]], theta[z.shape[1] :] / size[:, None]


def _perceptron(options: Options, rows: int) -> Any:
    from sklearn.neural_network import MLPRegressor

    size = None if options.batch_size is None else min(options.batch_size, rows)
    return MLPRegressor(
        hidden_layer_sizes=(options.hidden,),
        activation="tanh",
        solver="lbfgs" if size is None else "adam",
        # scikit-learn divides the penalty by the rows of a batch, not by those of the sample
        alpha=options.penalty * (1.0 if size is None else size / rows),
        batch_size="auto" if size is None else size,
        max_iter=STEPS,
        random_state=options.seed,
        learning_rate_init=0.01,
    )


def _fit_quietly(network: Any, x: Array, target: Array, extra: dict[str, Any]) -> bool:
    """Fit, and say whether the optimiser converged."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils.validation import has_fit_parameter

    if extra and not has_fit_parameter(network, "sample_weight"):
        raise SpecError(
            "the study has row weights, and networks of this scikit-learn take none; install "
            "scikit-learn 1.7 or newer, or use mediator='linear'"
        )
    with _QUIET, warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            network.fit(x, target, **extra)
        except ValueError as error:
            raise EstimationError(f"the network of the mediators failed: {error}") from None
    return not any(issubclass(w.category, ConvergenceWarning) for w in seen)


def _standard(columns: Array, weights: Array) -> tuple[Array, Array]:
    share = weights / weights.sum()
    centre = share @ columns
    scale = np.sqrt(share @ (columns - centre) ** 2)
    return centre, np.where(scale > 0.0, scale, 1.0)

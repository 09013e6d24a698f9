r"""A confounder that nobody measured, drawn so that the observed data could have come with it.

For a pair of variables, the first with residual :math:`e_1` given what comes before it and the
second with residual :math:`e_2` given everything before it, the first included, both of variance 1,

.. math:: U = \rho_1 e_1 + \beta e_2 + \gamma \epsilon

has variance 1, is unrelated to the covariates and to whatever the pair leaves out, has correlation
:math:`\rho_1` with :math:`e_1`, and :math:`\beta` is such that its partial correlation with the
second variable given all others is :math:`\rho_2`. What adjusting for an omitted variable does to a
linear regression depends on these two numbers alone (Cinelli and Hazlett 2020, JRSS-B 82), so
adjusting for this one shows what adjusting for a real one of that strength would have done. The
residual of a two-valued variable is drawn from its latent normal scale (probit), given the value
observed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr, ndtri_exp

from crossworld.errors import SpecError
from crossworld.tables.robust.binary import Sample, fit_glm

if TYPE_CHECKING:
    from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]
PAIRS = ("treatment-mediator", "mediator-outcome", "treatment-outcome")
MOST = 0.7  # strongest partial correlation that every pair can have at once
ROOM = 5  # rows for each column of a residual's regression, products included


@dataclass(frozen=True, slots=True, eq=False)
class Confounding:
    """Residuals of treatment, mediators and outcome, and noise unrelated to them.

    Parameters
    ----------
    residuals
        By role, each of shape (n,) and variance 1.
    spread
        By role, the share of the residual's variance that is left once the variable itself is
        given: 0, or that of a latent normal given its side of the threshold.
    noise
        Shape (n,), variance 1, unrelated to everything observed.
    """

    residuals: dict[str, Array]
    spread: dict[str, float]
    noise: Array

    def draw(self, pair: str, first: float, second: float) -> Array:
        """Confounder of a pair with given partial correlations, shape (n,)."""
        if pair not in PAIRS:
            raise SpecError.unknown("pair", pair, PAIRS)
        for value in (first, second):
            if not -MOST <= value <= MOST:
                raise SpecError(f"a strength is a correlation within {MOST}, got {value!r}")
        one, two = pair.split("-")
        left = 1.0 - first**2
        beta = second * np.sqrt(left + first**2 * self.spread[one])
        gamma = np.sqrt(left - beta**2)
        found = first * self.residuals[one] + beta * self.residuals[two] + gamma * self.noise
        return np.asarray(found)


def confounding(study: TableStudy, rng: np.random.Generator) -> Confounding:
    """Draw what confounders of every pair and strength are made of.

    Residuals are those of regressions with main effects and, where there are rows enough, products
    with the treatment. With several mediators, or one with categories, "the mediator" is their
    linear index that predicts the outcome.
    """
    rows = np.ones(len(study)) if study.weights is None else study.weights
    parts = _parts(study)
    x, arm, between, mediators, outcome = parts
    before = _products(np.column_stack([x, between]), arm)
    given = _products(np.column_stack([x, between, mediators]), arm)
    mediator = mediators[:, 0]
    if mediators.shape[1] > 1:
        plain = np.column_stack([x, arm, between, mediators])
        fitted = _least_squares(plain, outcome, rows)
        mediator = mediators @ fitted[-mediators.shape[1] :]
    residuals, spread = {}, {}
    for role, design, target in (
        ("treatment", x, arm),
        ("mediator", before, mediator),
        ("outcome", given, outcome),
    ):
        residuals[role], spread[role] = _residual(design, target, rows, rng)
    noise = rng.standard_normal(len(study))
    known = np.column_stack([given, *residuals.values(), outcome])
    noise = _scaled(noise - known @ _least_squares(known, noise, rows), rows)
    return Confounding(residuals, spread, noise)


def benchmarks(study: TableStudy) -> list[dict[str, Any]]:
    """Partial correlations of each covariate with treatment, mediator and outcome, as a yardstick.

    Returns
    -------
    list
        Covariate and its partial correlations given the other covariates (treatment), these and the
        treatment (mediator), and these and the mediators (outcome), in absolute value; for a
        covariate with several columns the multiple partial correlation.
    """
    rows = np.ones(len(study)) if study.weights is None else study.weights
    x, arm, between, mediators, outcome = _parts(study)
    mediator = mediators[:, 0]
    if mediators.shape[1] > 1:
        plain = np.column_stack([x, arm, between, mediators])
        mediator = mediators @ _least_squares(plain, outcome, rows)[-mediators.shape[1] :]
    told = []
    for name in study.adjust:
        own = coded(study, (name,))
        others = coded(study, tuple(v for v in study.adjust if v != name))
        base = np.column_stack([np.ones(len(own)), others])
        after = np.column_stack([base, arm, between])
        told.append(
            {
                "covariate": name,
                "treatment": _partial(own, base, arm, rows),
                "mediator": _partial(own, after, mediator, rows),
                "outcome": _partial(own, np.column_stack([after, mediators]), outcome, rows),
            }
        )
    return told


def _parts(study: TableStudy) -> tuple[Array, Array, Array, Array, Array]:
    """Covariates with an intercept, treatment, intermediate confounders, mediators, outcome."""
    arm = study.treatment.values
    if study.treatment.is_text and len(study.treatment.distinct()) > 2:
        arm = (arm == study.levels[1]).astype(np.float64)
    x = np.column_stack([np.ones(len(study)), coded(study, study.adjust)])
    between = coded(study, study.intermediate)
    return x, arm, between, coded(study, study.path.mediators), study.outcome


def coded(study: TableStudy, names: tuple[str, ...]) -> Array:
    """Columns as numbers, categories as indicators of all but the first."""
    found: list[Array] = []
    for name in names:
        column = study.table[name]
        if column.labels is None:
            found.append(column.values)
        else:
            codes = column.distinct()[1:]
            found += [(column.values == code).astype(np.float64) for code in codes]
    return np.column_stack(found) if found else np.empty((len(study), 0))


def _products(x: Array, arm: Array) -> Array:
    """Main effects and the treatment, with its products where there are rows enough for them."""
    plain = np.column_stack([x, arm])
    if len(x) < ROOM * 2 * x.shape[1]:
        return plain
    return np.column_stack([plain, x[:, 1:] * (arm - arm.mean())[:, None]])


def _least_squares(x: Array, y: Array, rows: Array) -> Array:
    root = np.sqrt(rows)
    size = np.maximum(np.sqrt((root[:, None] ** 2 * x**2).sum(axis=0)), 1e-300)
    found = np.linalg.lstsq(root[:, None] * x / size, root * y, rcond=1e-10)[0]
    return np.asarray(found / size)


def _scaled(values: Array, rows: Array) -> Array:
    spread = float(np.sqrt(np.average(values**2, weights=rows)))
    return np.asarray(values / spread) if spread > 0.0 else values


def _residual(x: Array, y: Array, rows: Array, rng: np.random.Generator) -> tuple[Array, float]:
    """Residual of variance 1, and the share of it that ``y`` and ``x`` do not determine."""
    values = np.unique(y[rows > 0.0])
    if values.size == 2:
        return _latent(x, (y == values[1]).astype(np.float64), rows, rng)
    return _scaled(y - x @ _least_squares(x, y, rows), rows), 0.0


def _latent(x: Array, y: Array, rows: Array, rng: np.random.Generator) -> tuple[Array, float]:
    """Draw a probit model's normal error given on which side of the threshold it fell."""
    root = np.sqrt(rows)[:, None]
    left, size, _ = np.linalg.svd(root * x, full_matrices=False)
    kept = left[:, size > 1e-10 * size.max()]
    basis = np.where(root > 0.0, kept / np.where(root > 0.0, root, 1.0), 0.0)
    whole = np.ones(y.size)
    eta = fit_glm("probit", basis, y, sample=Sample(rows, whole), role="confounded").predictor(
        basis
    )
    side = 2.0 * y - 1.0  # y is 1 where eta + e > 0: side * e > -side * eta
    log = log_ndtr(side * eta) + np.log1p(-rng.random(y.size))
    error = -side * ndtri_exp(np.minimum(log, -1e-16))
    shift = np.exp(-0.5 * eta**2) / np.sqrt(2.0 * np.pi) / ndtr(side * eta)
    within = 1.0 - side * eta * shift - shift**2
    return np.asarray(error), float(np.average(within, weights=rows))


def _partial(own: Array, given: Array, target: Array, rows: Array) -> float:
    without = target - given @ _least_squares(given, target, rows)
    both = np.column_stack([given, own])
    left = target - both @ _least_squares(both, target, rows)
    total = float(np.average(without**2, weights=rows))
    share = 1.0 - float(np.average(left**2, weights=rows)) / total if total > 0.0 else 0.0
    return float(np.sqrt(max(share, 0.0)))


__all__ = ["MOST", "PAIRS", "Confounding", "benchmarks", "confounding"]

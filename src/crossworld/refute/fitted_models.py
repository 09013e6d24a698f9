"""Moments of a model fitted by maximum likelihood, its estimated parameters accounted for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, ndtr, pdtr

from crossworld.refute.added_terms import Base, Terms, bins, curves, mains, products
from crossworld.refute.moment_tests import Group
from crossworld.tables.parametric.families import (
    BINARY,
    Family,
    Gaussian,
    Multinomial,
    NegativeBinomial,
    Ordinal,
    Poisson,
)
from crossworld.tables.parametric.newton import Gram, Layout, hessian

Array = NDArray[np.float64]
STEP = 1e-4  # move of a parameter in a numerical derivative; parameters have unit scale
SPANNED = 0.02  # share of a column outside the design below which it counts as inside
# Legendre polynomials on [0, 1] with unit variance, lowest power first
_LEGENDRE = (
    np.sqrt(3.0) * np.array([-1.0, 2.0]),
    np.sqrt(5.0) * np.array([1.0, -6.0, 6.0]),
    np.sqrt(7.0) * np.array([-1.0, 12.0, -30.0, 20.0]),
    3.0 * np.array([1.0, -20.0, 90.0, -140.0, 70.0]),
)


@dataclass(frozen=True, slots=True, eq=False)
class FittedModel:
    """A maximum-likelihood fit with everything its moments need.

    Parameters
    ----------
    name
        The response.
    family
        Its law.
    z
        Design in orthonormal coordinates, (n, p).
    y
        Response or codes, (n,).
    theta
        Parameters, (P,).
    weights
        Row weights, (n,); 0 for rows left out.
    """

    name: str
    family: Family
    z: Array
    y: Array
    theta: Array
    weights: Array

    @property
    def layout(self) -> Layout:
        """Positions of the parameters."""
        return Layout(self.z.shape[1], self.family)

    def predictors(self, theta: Array | None = None) -> list[Array]:
        """Linear predictors, (n,) each."""
        held = self.theta if theta is None else theta
        n = self.y.size
        return [np.broadcast_to(u[0], (n,)) for u in self.layout.predictors(held[None], self.z)]

    def derivatives(self) -> tuple[list[Array], dict[tuple[int, int], Array]]:
        """First and second derivatives of the log-likelihood in the predictors, (n,) each."""
        first, second = self.family.derivatives(self.y, [u[None] for u in self.predictors()])
        return [g[0] for g in first], {
            k: np.broadcast_to(h[0], self.y.shape) for k, h in second.items()
        }

    def pull(self) -> Array:
        """Influence of each unit on the parameters before row weights, (n, P)."""
        first, second = self.derivatives()
        wide = self.family.wide
        score = np.column_stack(
            [g[:, None] * self.z if k < wide else g for k, g in enumerate(first)]
        )
        bent = {k: h[None] for k, h in second.items()}
        total = -hessian(self.layout, Gram(self.z), bent, self.weights[None])[0]
        information = total / self.weights.sum()
        return np.asarray(np.linalg.solve(information, score.T).T)


def added(model: FittedModel, terms: Terms, pull: Array) -> Group | None:
    r"""Scores of terms added to a model, less what the fitted parameters take from them.

    .. math:: \psi_i = g_i v_i - B A^{-1} s_i, \qquad B = -\frac1n \sum_i h_i v_i z_i^\top,

    with :math:`g, h` the derivatives of the log-likelihood in the predictor. No variance function
    is assumed.
    """
    outside = _outside(terms.values, model.z, model.weights)
    if not outside.any():
        return None
    v = terms.values[:, outside]
    labels = [label for label, out in zip(terms.labels, outside, strict=True) if out]
    first, second = model.derivatives()
    share = model.weights / model.weights.sum()
    parts, named = [], []
    for k in range(model.family.wide):
        cross = np.zeros((v.shape[1], model.layout.size))
        for j in range(model.family.predictors):
            bend = second.get((min(k, j), max(k, j)))
            if bend is None:
                continue
            weighted = (v * (share * bend)[:, None]).T
            block = weighted @ model.z if j < model.family.wide else weighted.sum(axis=1)[:, None]
            cross[:, model.layout.part(j)] = -block
        parts.append(v * first[k][:, None] - pull @ cross.T)
        suffix = f" [predictor {k + 1}]" if model.family.wide > 1 else ""
        named += [f"{label}{suffix}" for label in labels]
    psi = np.column_stack(parts) * model.weights[:, None]
    return Group(terms.name, tuple(named), psi, _root(model, psi))


def _root(model: FittedModel, psi: Array) -> Array | None:
    """Influence with each unit's score replaced by its deviation, for a response of 0 and 1."""
    if model.family.name not in BINARY or not np.isin(model.y, (0.0, 1.0)).all():
        return None
    u = [v[None] for v in model.predictors()]
    p = model.family.mean(u)[0]
    at = [model.family.derivatives(np.full(p.size, v), u)[0][0][0] for v in (0.0, 1.0)]
    deviation = np.sqrt((1.0 - p) * at[0] ** 2 + p * at[1] ** 2)
    score = np.where(model.y > 0.0, at[1], at[0])
    return np.asarray(psi * (deviation / np.where(score == 0.0, 1.0, score))[:, None])


def _outside(v: Array, z: Array, weights: Array) -> NDArray[np.bool_]:
    """Which columns are not combinations of the design's."""
    root = np.sqrt(weights)[:, None]
    basis, _ = np.linalg.qr(root * z)
    w = root * v
    left = w - basis @ (basis.T @ w)
    size = (w**2).sum(axis=0)
    return np.asarray((left**2).sum(axis=0) > SPANNED * np.maximum(size, 1e-300))


def mean_groups(model: FittedModel, bases: Sequence[Base], *, most: int, count: int) -> list[Group]:
    """Moments of the mean: left-out regressors, products, squares, link, calibration."""
    pull, w = model.pull(), model.weights
    found = [mains(bases, w, most), *products(bases, w, most)]
    for k in range(model.family.wide):
        u = model.predictors()[k]
        name = "link" if model.family.wide == 1 else f"link of predictor {k + 1}"
        found.append(curves(u, w, name=name))
    if model.family.wide == 1:
        found.append(bins(model.predictors()[0], w, count))
    groups = [added(model, terms, pull) for terms in found if terms is not None]
    return [g for g in groups if g is not None]


def law_groups(model: FittedModel, bases: Sequence[Base], most: int) -> list[Group]:
    r"""Moments of the whole law: Neyman's smooth test of the probability integral transform.

    :math:`L_j(F(y_i))` are Legendre polynomials of the fitted distribution function; for a discrete
    law they are averaged over the jump, :math:`\int L_j` from :math:`F(y_i^-)` to :math:`F(y_i)`
    divided by its height, the mean of the randomised quantile residual's. Products of
    :math:`L_2` with the regressors look for a spread that varies.
    """
    start, pull = _parameters(model)
    columns = [b.values for b in bases][:most]
    labels = [b.label for b in bases][:most]
    at = _legendre(*_limits(model, start))
    slopes = np.empty((at.shape[1] * (1 + len(columns)), start.size))
    share = model.weights / model.weights.sum()
    extra = np.column_stack([np.ones(model.y.size), *columns])

    def every(moments: Array) -> Array:
        return np.asarray((extra[:, :, None] * moments[:, None, :]).reshape(len(moments), -1))

    for j in range(start.size):
        moved = [start.copy(), start.copy()]
        moved[0][j] += STEP
        moved[1][j] -= STEP
        up, down = (_legendre(*_limits(model, m)) for m in moved)
        slopes[:, j] = share @ every((up - down) / (2.0 * STEP))
    psi = (every(at) + pull @ slopes.T) * model.weights[:, None]
    names = [f"shape {j + 1}" for j in range(at.shape[1])]
    shape = Group("shape of the distribution", tuple(names), psi[:, : at.shape[1]])
    if not columns:
        return [shape]
    spread = [at.shape[1] * (1 + j) + 1 for j in range(len(columns))]
    told = tuple(f"spread along {label}" for label in labels)
    return [shape, Group("spread", told, psi[:, spread])]


def _parameters(model: FittedModel) -> tuple[Array, Array]:
    """All parameters of the law and their influence: a normal law has a log deviation too."""
    pull = model.pull()
    if not isinstance(model.family, Gaussian):
        return model.theta, pull
    residual = model.y - model.predictors()[0]
    variance = float(model.weights @ residual**2 / model.weights.sum())
    own = 0.5 * (residual**2 / variance - 1.0)
    scale = np.sqrt(variance)
    # coefficients in units of the deviation, so that one step fits all
    theta = np.append(model.theta / scale, 0.5 * np.log(variance))
    return theta, np.column_stack([pull / scale, own])


def _limits(model: FittedModel, theta: Array) -> tuple[Array, Array]:
    """Fitted distribution function just before and at the response, (n,) each."""
    y, family = model.y, model.family
    if isinstance(family, Gaussian):
        start, _ = _scale_of(model)
        mean = model.z @ (theta[:-1] * start)
        at = ndtr((y - mean) / np.exp(theta[-1]))
        return at, at
    u = model.predictors(theta)
    if isinstance(family, Poisson):
        mu = np.exp(u[0])
        return np.where(y > 0.0, pdtr(np.maximum(y - 1.0, 0.0), mu), 0.0), pdtr(y, mu)
    if isinstance(family, NegativeBinomial):
        r = np.exp(-u[1])
        chance = r / (r + np.exp(u[0]))
        below = betainc(r, np.maximum(y, 1.0), chance)
        return np.where(y > 0.0, below, 0.0), betainc(r, y + 1.0, chance)
    if isinstance(family, Multinomial | Ordinal):
        raised = np.cumsum(np.stack(family.probabilities(u)), axis=0)
        code = y.astype(np.int64)
        rows = np.arange(y.size)
        return np.where(code > 0, raised[np.maximum(code - 1, 0), rows], 0.0), raised[code, rows]
    mean = family.mean(u)
    return np.where(y > 0.0, 1.0 - mean, 0.0), np.where(y > 0.0, 1.0, 1.0 - mean)


def _scale_of(model: FittedModel) -> tuple[float, Array]:
    residual = model.y - model.predictors()[0]
    return float(np.sqrt(model.weights @ residual**2 / model.weights.sum())), residual


def _legendre(low: Array, high: Array) -> Array:
    """Mean of the Legendre polynomials between two points of [0, 1], (n, 4)."""
    height = high - low
    narrow = height < 1e-6
    found = []
    for coefficients in _LEGENDRE:
        polynomial = np.polynomial.Polynomial(coefficients)
        integral = polynomial.integ()
        mean = (integral(high) - integral(low)) / np.where(narrow, 1.0, height)
        found.append(np.where(narrow, polynomial(0.5 * (low + high)), mean))
    return np.column_stack(found)

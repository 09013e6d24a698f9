"""Exact laws with an unmeasured confounder, enumerated; studies whose rows are a law."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import crossworld as xw


@dataclass(frozen=True, slots=True, eq=False)
class Law:
    """p(x), p(u | x), p(a | x), p(m | a, x, u), p(y | a, m, x, u) over small supports."""

    x: np.ndarray  # (X,)
    u: np.ndarray  # (X, U)
    a: np.ndarray  # (X, 2)
    m: np.ndarray  # (A, X, U, M)
    y: np.ndarray  # (A, M, X, U, Y)
    values: np.ndarray  # (Y,)

    def joint(self) -> np.ndarray:
        """p(x, u, a, m, y)."""
        return np.einsum("x,xu,xa,axum,amxuy->xuamy", self.x, self.u, self.a, self.m, self.y)

    def observed(self) -> np.ndarray:
        """p(x, a, m, y)."""
        return self.joint().sum(axis=1)

    def truth(self, a: int, b: int) -> float:
        """E Y(a, M(b)) with U held: mediators and outcome are unconfounded given X and U."""
        g = self.y[a] @ self.values  # (M, X, U)
        return float(np.einsum("x,xu,xum,mxu->", self.x, self.u, self.m[b], g))


def random_law(rng, *, nx=2, nu=2, nm=2, ny=2, values=None, strength=1.0) -> Law:
    def dirichlet(*shape):
        raw = rng.gamma(1.0 / strength, size=shape) + 0.15
        return raw / raw.sum(axis=-1, keepdims=True)

    values = np.arange(ny, dtype=float) if values is None else np.asarray(values, float)
    return Law(
        dirichlet(nx), dirichlet(nx, nu), dirichlet(nx, 2), dirichlet(2, nx, nu, nm),
        dirichlet(2, nm, nx, nu, ny), values,
    )  # fmt: skip


def study_of(p: np.ndarray, values: np.ndarray, covariates=None, copies=2) -> xw.TableStudy:
    """A study whose weighted rows are the law p(x, a, m, y), once in every fold.

    ``covariates`` maps the index x to named columns; by default one column ``x``.
    """
    where = np.argwhere(p > 0.0)
    x, a, m, y = where.T
    named = {"x": np.arange(p.shape[0], dtype=float)} if covariates is None else covariates
    table = {name: np.tile(np.asarray(c, float)[x], copies) for name, c in named.items()}
    table |= {"a": np.tile(a, copies).astype(float), "m": np.tile(m, copies).astype(float)}
    table |= {"y": np.tile(values[y], copies), "w": np.tile(p[tuple(where.T)], copies)}
    table["fold"] = np.repeat(np.arange(copies), len(where)).astype(float)
    return xw.TableStudy.from_frame(table, "a -> m -> y", adjust=list(named), weights="w")


def saturated() -> xw.MultiplyRobust:
    """Cell means of a discrete law, exactly."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    return xw.MultiplyRobust(
        outcome=DecisionTreeRegressor(random_state=0),
        treatment=DecisionTreeClassifier(random_state=0),
        folds="fold",
        trim=1e-6,
    )

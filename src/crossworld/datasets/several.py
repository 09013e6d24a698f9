"""Generators with several mediators: causally ordered, or one joint block."""

from __future__ import annotations

from typing import Literal

from crossworld.datasets.laws import (
    Array,
    Bernoulli,
    Discrete,
    Gaussian,
    State,
    expit,
    probit,
)
from crossworld.datasets.simulated import Model, Simulated, simulate
from crossworld.errors import SpecError

X = Discrete("x", (-1.0, 0.0, 1.0), (0.3, 0.4, 0.3))
TREATMENT = Bernoulli("a", lambda s: expit(0.2 + 0.5 * s["x"]))


def ordered(*, n: int = 1000, seed: int = 0) -> Simulated:
    r"""Draw two causally ordered normal mediators, ``m1 -> m2``, with interactions throughout.

    .. math::
        x &\in \{-1, 0, 1\} \text{ with } (0.3, 0.4, 0.3), \quad
        a \sim \mathrm{Bern}(\mathrm{expit}(0.2 + 0.5 x)) \\
        m_1 &= 0.1 + 0.6 a + 0.4 x + e_1, \quad e_1 \sim N(0, 1) \\
        m_2 &= -0.2 + 0.4 a + 0.5 m_1 + 0.3 a m_1 + 0.3 x + e_2, \quad e_2 \sim N(0, 0.9^2) \\
        y &= 0.5 a + 0.6 m_1 + 0.7 m_2 + 0.3 a m_1 - 0.2 a m_2 + 0.5 x + u,
        \quad u \sim N(0, 1)

    Parameters
    ----------
    n, seed
        Number of units; seed.
    """
    outcome = Gaussian(
        "y",
        lambda s: (
            0.5 * s["a"]
            + (0.6 + 0.3 * s["a"]) * s["m1"]
            + (0.7 - 0.2 * s["a"]) * s["m2"]
            + 0.5 * s["x"]
        ),
    )
    model = Model((X,), TREATMENT, _chain(), outcome, (("m1",), ("m2",)))
    return simulate(model, n=n, seed=seed)


def ordered_binary(*, n: int = 1000, seed: int = 0) -> Simulated:
    r"""Draw the mediators of `ordered` and a logit outcome: more than their means matters.

    .. math::
        x &\in \{-1, 0, 1\} \text{ with } (0.3, 0.4, 0.3), \quad
        a \sim \mathrm{Bern}(\mathrm{expit}(0.2 + 0.5 x)) \\
        m_1 &= 0.1 + 0.6 a + 0.4 x + e_1, \quad e_1 \sim N(0, 1) \\
        m_2 &= -0.2 + 0.4 a + 0.5 m_1 + 0.3 a m_1 + 0.3 x + e_2, \quad e_2 \sim N(0, 0.9^2) \\
        y &\sim \mathrm{Bern}(\mathrm{expit}(-0.9 + 0.4 a + 0.7 m_1 + 0.8 m_2 + 0.3 a m_1
        - 0.2 a m_2 + 0.2 x))

    Parameters
    ----------
    n, seed
        Number of units; seed.
    """
    outcome = Bernoulli(
        "y",
        lambda s: expit(
            -0.9
            + 0.4 * s["a"]
            + (0.7 + 0.3 * s["a"]) * s["m1"]
            + (0.8 - 0.2 * s["a"]) * s["m2"]
            + 0.2 * s["x"]
        ),
    )
    model = Model((X,), TREATMENT, _chain(), outcome, (("m1",), ("m2",)))
    return simulate(model, n=n, seed=seed)


def _chain() -> tuple[Gaussian, Gaussian]:
    first = Gaussian("m1", lambda s: 0.1 + 0.6 * s["a"] + 0.4 * s["x"])
    second = Gaussian(
        "m2",
        lambda s: -0.2 + 0.4 * s["a"] + (0.5 + 0.3 * s["a"]) * s["m1"] + 0.3 * s["x"],
        sd=0.9,
    )
    return first, second


def joint_block(
    *, n: int = 1000, seed: int = 0, link: Literal["logit", "probit"] = "logit"
) -> Simulated:
    r"""Draw a block of two normal mediators with correlated residuals, logit or probit outcome.

    .. math::
        x &\in \{-1, 0, 1\} \text{ with } (0.3, 0.4, 0.3), \quad
        a \sim \mathrm{Bern}(\mathrm{expit}(0.2 + 0.5 x)) \\
        m_1 &= 0.1 + 0.6 a + 0.4 x + e_1, \quad m_2 = -0.3 + 0.5 a - 0.3 x + e_2 \\
        (e_1, e_2) &\sim N(0, \Sigma), \quad
        \Sigma = \begin{pmatrix} 1 & 0.6 \\ 0.6 & 1.17 \end{pmatrix} \\
        P(y = 1) &= g(-0.4 + 0.5 a + 0.5 m_1 + 0.6 m_2 + 0.3 a m_1 - 0.2 a m_2 + 0.2 x)

    with ``g`` the inverse logit or the normal distribution function.

    Parameters
    ----------
    n, seed
        Number of units; seed.
    link
        ``"logit"`` or ``"probit"``.
    """
    if link not in ("logit", "probit"):
        raise SpecError.unknown("link", str(link), ("logit", "probit"))
    inverse = expit if link == "logit" else probit

    def mean1(s: State) -> Array:
        return 0.1 + 0.6 * s["a"] + 0.4 * s["x"]

    first = Gaussian("m1", mean1)
    second = Gaussian(
        "m2",
        lambda s: -0.3 + 0.5 * s["a"] - 0.3 * s["x"] + 0.6 * (s["m1"] - mean1(s)),
        sd=0.9,
    )
    outcome = Bernoulli(
        "y",
        lambda s: inverse(
            -0.4
            + 0.5 * s["a"]
            + (0.5 + 0.3 * s["a"]) * s["m1"]
            + (0.6 - 0.2 * s["a"]) * s["m2"]
            + 0.2 * s["x"]
        ),
    )
    model = Model((X,), TREATMENT, (first, second), outcome, (("m1", "m2"),))
    return simulate(model, n=n, seed=seed)


def mixed_block(*, n: int = 1000, seed: int = 0) -> Simulated:
    r"""Draw a joint block of a binary and a normal mediator and a logit outcome.

    .. math::
        x &\in \{-1, 0, 1\} \text{ with } (0.3, 0.4, 0.3), \quad
        a \sim \mathrm{Bern}(\mathrm{expit}(0.2 + 0.5 x)) \\
        m_1 &\sim \mathrm{Bern}(\mathrm{expit}(-0.5 + 0.9 a + 0.4 x)) \\
        m_2 &= 0.2 + 0.5 a + 0.8 m_1 + 0.3 x + e, \quad e \sim N(0, 1) \\
        y &\sim \mathrm{Bern}(\mathrm{expit}(-1 + 0.4 a + 0.6 m_1 + 0.5 m_2 + 0.5 a m_1
        + 0.2 a m_2 + 0.3 x))

    Parameters
    ----------
    n, seed
        Number of units; seed.
    """
    first = Bernoulli("m1", lambda s: expit(-0.5 + 0.9 * s["a"] + 0.4 * s["x"]))
    second = Gaussian("m2", lambda s: 0.2 + 0.5 * s["a"] + 0.8 * s["m1"] + 0.3 * s["x"])
    outcome = Bernoulli(
        "y",
        lambda s: expit(
            -1.0
            + 0.4 * s["a"]
            + (0.6 + 0.5 * s["a"]) * s["m1"]
            + (0.5 + 0.2 * s["a"]) * s["m2"]
            + 0.3 * s["x"]
        ),
    )
    model = Model((X,), TREATMENT, (first, second), outcome, (("m1", "m2"),))
    return simulate(model, n=n, seed=seed)

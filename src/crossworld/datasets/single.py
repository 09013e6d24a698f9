"""Generators with one mediator, by the families of mediator and outcome."""

from __future__ import annotations

from typing import Literal

import numpy as np

from crossworld.datasets.laws import (
    Array,
    Bernoulli,
    Gaussian,
    Law,
    Nominal,
    Outcome,
    Poisson,
    State,
    coin,
    expit,
    normal,
    softmax,
)
from crossworld.datasets.simulated import Model, Simulated, simulate
from crossworld.errors import SpecError

TREATMENT = Bernoulli("a", lambda s: expit(0.5 * s["x"]))
X = normal("x")


def _gaussian_mediator() -> Gaussian:
    return Gaussian("m", lambda s: 0.2 + 0.6 * s["a"] + 0.5 * s["x"])


def _draw(mediator: Law, outcome: Outcome, n: int, seed: int) -> Simulated:
    model = Model((X,), TREATMENT, (mediator,), outcome, (("m",),))
    return simulate(model, n=n, seed=seed)


def linear(*, n: int = 1000, seed: int = 0) -> Simulated:
    r"""Draw a normal mediator and outcome, confounding by ``x``, no interaction.

    .. math::
        x &\sim N(0, 1), \quad a \sim \mathrm{Bern}(\mathrm{expit}(0.5 x)) \\
        m &= 0.5 a + 0.4 x + e, \quad e \sim N(0, 1) \\
        y &= 0.3 a + 0.6 m + 0.5 x + u, \quad u \sim N(0, 1)

    so ``te`` is 0.6 and ``nde`` and ``nie`` are 0.3.

    Parameters
    ----------
    n, seed
        Number of units; seed.
    """
    mediator = Gaussian("m", lambda s: 0.5 * s["a"] + 0.4 * s["x"])
    outcome = Gaussian("y", lambda s: 0.3 * s["a"] + 0.6 * s["m"] + 0.5 * s["x"])
    return _draw(mediator, outcome, n, seed)


def interaction(*, n: int = 1000, seed: int = 0) -> Simulated:
    r"""Draw a normal mediator and outcome with their treatment interaction, confounded by ``x``.

    .. math::
        x &\sim N(0, 1), \quad a \sim \mathrm{Bern}(\mathrm{expit}(0.5 x)) \\
        m &= 0.2 + 0.6 a + 0.5 x + e, \quad e \sim N(0, 1) \\
        y &= 1 + 0.4 a + 0.7 m + 0.5 a m - 0.4 x + u, \quad u \sim N(0, 0.8^2)

    Parameters
    ----------
    n, seed
        Number of units; seed.
    """
    outcome = Gaussian(
        "y",
        lambda s: 1.0 + 0.4 * s["a"] + (0.7 + 0.5 * s["a"]) * s["m"] - 0.4 * s["x"],
        sd=0.8,
    )
    return _draw(_gaussian_mediator(), outcome, n, seed)


def binary_mediator(*, n: int = 1000, seed: int = 0) -> Simulated:
    r"""Draw a logit mediator and a normal outcome with interaction.

    .. math::
        x &\sim N(0, 1), \quad a \sim \mathrm{Bern}(\mathrm{expit}(0.5 x)) \\
        m &\sim \mathrm{Bern}(\mathrm{expit}(-0.4 + 0.9 a + 0.6 x)) \\
        y &= 0.5 a + 0.8 m + 0.6 a m + 0.4 x + u, \quad u \sim N(0, 1)

    Parameters
    ----------
    n, seed
        Number of units; seed.
    """
    mediator = Bernoulli("m", lambda s: expit(-0.4 + 0.9 * s["a"] + 0.6 * s["x"]))
    outcome = Gaussian("y", lambda s: 0.5 * s["a"] + (0.8 + 0.6 * s["a"]) * s["m"] + 0.4 * s["x"])
    return _draw(mediator, outcome, n, seed)


def binary_outcome(*, n: int = 1000, seed: int = 0) -> Simulated:
    r"""Draw a normal mediator and a logit outcome with interaction; the outcome is not rare.

    .. math::
        x &\sim N(0, 1), \quad a \sim \mathrm{Bern}(\mathrm{expit}(0.5 x)) \\
        m &= 0.2 + 0.6 a + 0.5 x + e, \quad e \sim N(0, 1) \\
        y &\sim \mathrm{Bern}(\mathrm{expit}(-0.5 + 0.5 a + 0.7 m + 0.4 a m + 0.3 x))

    Parameters
    ----------
    n, seed
        Number of units; seed.
    """
    outcome = Bernoulli(
        "y",
        lambda s: expit(-0.5 + 0.5 * s["a"] + (0.7 + 0.4 * s["a"]) * s["m"] + 0.3 * s["x"]),
    )
    return _draw(_gaussian_mediator(), outcome, n, seed)


def binary_both(*, n: int = 1000, seed: int = 0) -> Simulated:
    r"""Draw a logit mediator and a logit outcome with interaction.

    .. math::
        x &\sim N(0, 1), \quad a \sim \mathrm{Bern}(\mathrm{expit}(0.5 x)) \\
        m &\sim \mathrm{Bern}(\mathrm{expit}(-0.3 + 1.0 a + 0.5 x)) \\
        y &\sim \mathrm{Bern}(\mathrm{expit}(-0.8 + 0.6 a + 0.9 m + 0.5 a m + 0.4 x))

    Parameters
    ----------
    n, seed
        Number of units; seed.
    """
    mediator = Bernoulli("m", lambda s: expit(-0.3 + s["a"] + 0.5 * s["x"]))
    outcome = Bernoulli(
        "y",
        lambda s: expit(-0.8 + 0.6 * s["a"] + (0.9 + 0.5 * s["a"]) * s["m"] + 0.4 * s["x"]),
    )
    return _draw(mediator, outcome, n, seed)


def count_mediator(
    *, n: int = 1000, seed: int = 0, outcome: Literal["gaussian", "logit"] = "gaussian"
) -> Simulated:
    r"""Draw a Poisson mediator and a normal or logit outcome with interaction.

    .. math::
        x &\sim \mathrm{Bern}(0.5), \quad a \sim \mathrm{Bern}(\mathrm{expit}(-0.3 + 0.6 x)) \\
        m &\sim \mathrm{Poisson}(\exp(0.2 + 0.5 a + 0.3 x)) \\
        \eta &= -1 + 0.4 a + 0.3 m + 0.2 a m + 0.5 x \\
        y &= \eta + u, \ u \sim N(0, 1) \quad\text{or}\quad
        y \sim \mathrm{Bern}(\mathrm{expit}(\eta))

    Parameters
    ----------
    n, seed
        Number of units; seed.
    outcome
        ``"gaussian"`` or ``"logit"``.
    """

    def eta(s: State) -> Array:
        return -1.0 + 0.4 * s["a"] + (0.3 + 0.2 * s["a"]) * s["m"] + 0.5 * s["x"]

    if outcome not in ("gaussian", "logit"):
        raise SpecError.unknown("outcome family", str(outcome), ("gaussian", "logit"))
    last: Outcome = (
        Gaussian("y", eta) if outcome == "gaussian" else Bernoulli("y", lambda s: expit(eta(s)))
    )
    model = Model(
        (coin("x", 0.5),),
        Bernoulli("a", lambda s: expit(-0.3 + 0.6 * s["x"])),
        (Poisson("m", lambda s: np.exp(0.2 + 0.5 * s["a"] + 0.3 * s["x"])),),
        last,
        (("m",),),
    )
    return simulate(model, n=n, seed=seed)


def count_outcome(*, n: int = 1000, seed: int = 0) -> Simulated:
    r"""Draw a normal mediator and a Poisson outcome with log link and interaction.

    .. math::
        x &\sim N(0, 1), \quad a \sim \mathrm{Bern}(\mathrm{expit}(0.5 x)) \\
        m &= 0.2 + 0.6 a + 0.5 x + e, \quad e \sim N(0, 1) \\
        y &\sim \mathrm{Poisson}(\exp(0.1 + 0.3 a + 0.25 m + 0.15 a m + 0.2 x))

    Parameters
    ----------
    n, seed
        Number of units; seed.
    """
    outcome = Poisson(
        "y",
        lambda s: np.exp(0.1 + 0.3 * s["a"] + (0.25 + 0.15 * s["a"]) * s["m"] + 0.2 * s["x"]),
    )
    return _draw(_gaussian_mediator(), outcome, n, seed)


def nominal_mediator(*, n: int = 1000, seed: int = 0) -> Simulated:
    r"""Draw a mediator with three text categories and a normal outcome with interaction.

    .. math::
        x &\sim N(0, 1), \quad a \sim \mathrm{Bern}(\mathrm{expit}(0.5 x)) \\
        P(m = k) &\propto (1,\ e^{0.3 + 0.8 a + 0.4 x},\ e^{-0.2 + 1.2 a - 0.5 x})
        \quad\text{for bus, car, walk} \\
        y &= 0.4 a + (0.7 + 0.3 a) [m = \mathrm{car}] + (-0.5 + 0.9 a) [m = \mathrm{walk}]
        + 0.3 x + u, \quad u \sim N(0, 1)

    Parameters
    ----------
    n, seed
        Number of units; seed.
    """
    mediator = Nominal(
        "m",
        lambda s: softmax(
            0.0 * s["x"],
            0.3 + 0.8 * s["a"] + 0.4 * s["x"],
            -0.2 + 1.2 * s["a"] - 0.5 * s["x"],
        ),
        ("bus", "car", "walk"),
    )
    outcome = Gaussian(
        "y",
        lambda s: (
            0.4 * s["a"]
            + (0.7 + 0.3 * s["a"]) * (s["m"] == 1.0)
            + (-0.5 + 0.9 * s["a"]) * (s["m"] == 2.0)
            + 0.3 * s["x"]
        ),
    )
    return _draw(mediator, outcome, n, seed)

"""Generators for other designs: treatments with many values, clusters, intermediate confounders."""

from __future__ import annotations

import numpy as np

from crossworld.datasets.laws import (
    Bernoulli,
    Discrete,
    Gaussian,
    Nominal,
    expit,
    normal,
    softmax,
)
from crossworld.datasets.simulated import Model, Simulated, simulate
from crossworld.errors import DesignError


def continuous_treatment(*, n: int = 1000, seed: int = 0) -> Simulated:
    r"""Draw a normal treatment, contrasted at 0 and 1.5.

    .. math::
        x &\sim N(0, 1), \quad a = 0.3 + 0.5 x + e_a, \quad e_a \sim N(0, 1) \\
        m &= 0.2 + 0.6 a + 0.4 x + e, \quad e \sim N(0, 1) \\
        y &= 0.3 a + 0.5 m + 0.25 a m + 0.4 x + u, \quad u \sim N(0, 1)

    Parameters
    ----------
    n, seed
        Number of units; seed.
    """
    model = Model(
        (normal("x"),),
        Gaussian("a", lambda s: 0.3 + 0.5 * s["x"]),
        (Gaussian("m", lambda s: 0.2 + 0.6 * s["a"] + 0.4 * s["x"]),),
        Gaussian("y", lambda s: 0.3 * s["a"] + (0.5 + 0.25 * s["a"]) * s["m"] + 0.4 * s["x"]),
        (("m",),),
    )
    return simulate(model, n=n, seed=seed, levels=(0.0, 1.5))


def multilevel_treatment(*, n: int = 1000, seed: int = 0) -> Simulated:
    r"""Draw a treatment ``low``, ``mid`` or ``high`` (text), contrasted at low and high.

    .. math::
        x &\sim N(0, 1), \quad
        P(a = k) \propto (1,\ e^{0.1 + 0.4 x},\ e^{-0.1 - 0.3 x})
        \quad\text{for low, mid, high} \\
        m &= 0.5 [a = \mathrm{mid}] + 1.1 [a = \mathrm{high}] + 0.4 x + e, \quad e \sim N(0, 1) \\
        y &= 0.2 [a = \mathrm{mid}] + 0.7 [a = \mathrm{high}]
        + (0.5 - 0.2 [a = \mathrm{mid}] + 0.3 [a = \mathrm{high}]) m + 0.4 x + u,
        \quad u \sim N(0, 1)

    Parameters
    ----------
    n, seed
        Number of units; seed.
    """
    treatment = Nominal(
        "a",
        lambda s: softmax(0.0 * s["x"], 0.1 + 0.4 * s["x"], -0.1 - 0.3 * s["x"]),
        ("low", "mid", "high"),
    )
    mediator = Gaussian("m", lambda s: 0.5 * (s["a"] == 1.0) + 1.1 * (s["a"] == 2.0) + 0.4 * s["x"])
    outcome = Gaussian(
        "y",
        lambda s: (
            0.2 * (s["a"] == 1.0)
            + 0.7 * (s["a"] == 2.0)
            + (0.5 - 0.2 * (s["a"] == 1.0) + 0.3 * (s["a"] == 2.0)) * s["m"]
            + 0.4 * s["x"]
        ),
    )
    model = Model((normal("x"),), treatment, (mediator,), outcome, (("m",),))
    return simulate(model, n=n, seed=seed, levels=("low", "high"))


def clustered(*, n: int = 1000, seed: int = 0, size: int = 20) -> Simulated:
    r"""Draw units in clusters that share effects on treatment propensity, mediator and outcome.

    With independent standard normal :math:`v_j, b_j, d_j` per cluster ``j`` of unit ``i``,

    .. math::
        x_i &= 0.6 v_j + 0.8 e_x, \quad
        a_i \sim \mathrm{Bern}(\mathrm{expit}(0.8 x_i)) \\
        m_i &= 0.2 + 0.6 a_i + 0.5 x_i + 0.7 b_j + e_m \\
        y_i &= 0.4 a_i + 0.6 m_i + 0.4 a_i m_i + 0.3 x_i + 0.7 d_j + e_y

    and standard normal residuals :math:`e`. Neither cluster effect confounds, and the outcome is
    linear in the mediator, so cell means are those with both at their mean 0.

    Parameters
    ----------
    n, seed
        Number of units; seed.
    size
        Units per cluster; the last cluster may be smaller.
    """
    if size < 1:
        raise DesignError(f"size must be at least 1, got {size!r}")
    model = Model(
        (normal("x"),),
        Bernoulli("a", lambda s: expit(0.8 * s["x"])),
        (Gaussian("m", lambda s: 0.2 + 0.6 * s["a"] + 0.5 * s["x"]),),
        Gaussian("y", lambda s: 0.4 * s["a"] + (0.6 + 0.4 * s["a"]) * s["m"] + 0.3 * s["x"]),
        (("m",),),
    )
    rng = np.random.default_rng(seed)
    cluster = np.arange(n) // size
    shared = rng.standard_normal((3, -(-n // size)))[:, cluster]
    state = {"x": 0.6 * shared[0] + 0.8 * rng.standard_normal(n)}
    state["a"] = model.treatment.draw(state, rng)
    state["m"] = model.chain[0].draw(state, rng) + 0.7 * shared[1]
    state["y"] = model.outcome.draw(state, rng) + 0.7 * shared[2]
    return simulate(model, n=n, seed=seed, cluster=cluster, values=state)


def intermediate(*, n: int = 1000, seed: int = 0) -> Simulated:
    r"""Draw a confounder ``l`` of mediator and outcome that the treatment affects.

    .. math::
        x &\in \{-1, 0, 1\} \text{ with } (0.3, 0.4, 0.3), \quad
        a \sim \mathrm{Bern}(\mathrm{expit}(0.4 x)) \\
        l &\sim \mathrm{Bern}(\mathrm{expit}(-0.4 + 1.0 a + 0.5 x)) \\
        m &= 0.1 + 0.5 a + 0.8 l + 0.3 x + e, \quad e \sim N(0, 1) \\
        y &= 0.3 a + 0.5 m + 0.6 l + 0.4 a m + 0.3 l m + 0.4 x + u, \quad u \sim N(0, 1)

    Natural direct and indirect effects are not identified; ``te``, ``cde``, ``ide``, ``iie`` and
    ``oe`` are.

    Parameters
    ----------
    n, seed
        Number of units; seed.
    """
    model = Model(
        (Discrete("x", (-1.0, 0.0, 1.0), (0.3, 0.4, 0.3)),),
        Bernoulli("a", lambda s: expit(0.4 * s["x"])),
        (
            Bernoulli("l", lambda s: expit(-0.4 + s["a"] + 0.5 * s["x"])),
            Gaussian("m", lambda s: 0.1 + 0.5 * s["a"] + 0.8 * s["l"] + 0.3 * s["x"]),
        ),
        Gaussian(
            "y",
            lambda s: (
                0.3 * s["a"]
                + (0.5 + 0.4 * s["a"] + 0.3 * s["l"]) * s["m"]
                + 0.6 * s["l"]
                + 0.4 * s["x"]
            ),
        ),
        (("m",),),
    )
    return simulate(model, n=n, seed=seed)

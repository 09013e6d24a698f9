"""Discrete generators that other packages test themselves with; cells are finite sums."""

from __future__ import annotations

import numpy as np

from crossworld.datasets.laws import Array, Bernoulli, Gaussian, State, coin, expit
from crossworld.datasets.simulated import Model, Simulated, simulate


def medoutcon(*, n: int = 1000, seed: int = 0) -> Simulated:
    r"""Draw from the generator of R ``medoutcon``: binary, with an intermediate confounder.

    .. math::
        w_1 &\sim \mathrm{Bern}(0.6), \quad w_2 \sim \mathrm{Bern}(0.3), \quad
        w_3 \sim \mathrm{Bern}(\min(0.2 + (w_1 + w_2) / 3,\ 1)) \\
        a &\sim \mathrm{Bern}(0.1 + (w_1 + w_2 + w_3) / 4) \\
        z &\sim \mathrm{Bern}\Big(\mathrm{expit}\Big(
        \tfrac{1}{3} \sum_{j=1}^{3} (-\log 2 + w_j - a) + 0.2\Big)\Big) \\
        m &\sim \mathrm{Bern}\Big(\mathrm{expit}\Big(
        \sum_{j=1}^{2} (\log(3)\, w_j + a - z)\Big)\Big) \\
        y &\sim \mathrm{Bern}(\mathrm{expit}(1 / s)), \quad s = w_1 + w_2 + w_3 - z + a + m

    with probability 1 where ``s`` is 0. ``z`` is intermediate, so natural effects are not
    identified. No cell depends on the propensity, which is ours.

    Parameters
    ----------
    n, seed
        Number of units; seed.

    References
    ----------
    Hejazi, N. S., Rudolph, K. E., Diaz, I. (2022). medoutcon: Nonparametric efficient causal
    mediation analysis with machine learning in R. Journal of Open Source Software 7.
    """

    def total(s: State) -> Array:
        return s["w1"] + s["w2"] + s["w3"]

    def chance(s: State) -> Array:
        scale = total(s) - s["z"] + s["a"] + s["m"]
        at_zero = scale == 0.0
        return np.where(at_zero, 1.0, expit(1.0 / np.where(at_zero, 1.0, scale)))

    model = Model(
        (
            coin("w1", 0.6),
            coin("w2", 0.3),
            Bernoulli("w3", lambda s: np.minimum(0.2 + (s["w1"] + s["w2"]) / 3.0, 1.0)),
        ),
        Bernoulli("a", lambda s: 0.1 + total(s) / 4.0),
        (
            Bernoulli("z", lambda s: expit(total(s) / 3.0 - np.log(2.0) - s["a"] + 0.2)),
            Bernoulli(
                "m",
                lambda s: expit(np.log(3.0) * (s["w1"] + s["w2"]) + 2.0 * (s["a"] - s["z"])),
            ),
        ),
        Bernoulli("y", chance),
        (("m",),),
    )
    return simulate(model, n=n, seed=seed)


def tmle3mediate(*, n: int = 1000, seed: int = 0) -> Simulated:
    r"""Draw from the generator of R ``tmle3mediate``: three binary mediators in one block.

    .. math::
        w_1, w_2, w_3 &\sim \mathrm{Bern}(0.5), \mathrm{Bern}(0.65), \mathrm{Bern}(0.35), \quad
        a \sim \mathrm{Bern}(\mathrm{expit}((w_1 + w_2 + w_3) / 4 - 0.4)) \\
        z_1 &\sim \mathrm{Bern}(1 - \mathrm{expit}((a + w_1) / (a + w_1^3 + 0.5))) \\
        z_2 &\sim \mathrm{Bern}(\mathrm{expit}((a - 1) + w_2 / (w_3 + 3))) \\
        z_3 &\sim \mathrm{Bern}(\mathrm{expit}((a - 1) + 2 w_1^3 - 1 / (2 w_1 + 0.5))) \\
        y &= z_1^2 + z_2^2 - z_3 + \exp(a + z_3 / (1 + (w_1 + w_2 + w_3)^2)) + u,
        \quad u \sim N(0, 1)

    No cell depends on the propensity or on the noise, which are ours.

    Parameters
    ----------
    n, seed
        Number of units; seed.

    References
    ----------
    Hejazi, N. S., Duzan, J., McCoy, D., van der Laan, M. J. (2021). tmle3mediate: Targeted
    learning for causal mediation analysis. R package.
    """

    def total(s: State) -> Array:
        return s["w1"] + s["w2"] + s["w3"]

    model = Model(
        (coin("w1", 0.5), coin("w2", 0.65), coin("w3", 0.35)),
        Bernoulli("a", lambda s: expit(total(s) / 4.0 - 0.4)),
        (
            Bernoulli(
                "z1",
                lambda s: 1.0 - expit((s["a"] + s["w1"]) / (s["a"] + s["w1"] ** 3 + 0.5)),
            ),
            Bernoulli("z2", lambda s: expit(s["a"] - 1.0 + s["w2"] / (s["w3"] + 3.0))),
            Bernoulli(
                "z3",
                lambda s: expit(s["a"] - 1.0 + 2.0 * s["w1"] ** 3 - 1.0 / (2.0 * s["w1"] + 0.5)),
            ),
        ),
        Gaussian(
            "y",
            lambda s: (
                s["z1"] ** 2
                + s["z2"] ** 2
                - s["z3"]
                + np.exp(s["a"] + s["z3"] / (1.0 + total(s) ** 2))
            ),
        ),
        (("z1", "z2", "z3"),),
    )
    return simulate(model, n=n, seed=seed)

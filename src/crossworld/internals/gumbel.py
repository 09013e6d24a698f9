"""Noise of a text that was written: Gumbel variables given which of them won."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError

Vector = NDArray[np.float64]


def choose(logits: Vector, noise: Vector) -> int:
    r"""Return the token that noise chooses, :math:`\arg\max_j\, l_j + g_j`.

    With standard Gumbel noise its law is ``softmax(logits)``.

    References
    ----------
    Gumbel (1954). Statistical theory of extreme values. Maddison, Tarlow & Minka (2014). A*
    sampling. NeurIPS.
    """
    return int(np.argmax(logits + noise))


def hindsight(logits: Vector, token: int, rng: np.random.Generator) -> Vector:
    r"""Draw the noise behind a token that was chosen.

    With :math:`Z = \log\sum_j e^{l_j} + G_0` the value that won and, for every other token,

    .. math:: l_j + g_j = -\log\big(e^{-(l_j + G_j)} + e^{-Z}\big),\qquad l_k + g_k = Z ,

    :math:`G` standard Gumbel: a Gumbel variable of location :math:`l_j` cut off at Z. This is the
    law of the noise given that token k won. A token of probability 0 says nothing about its noise,
    which is drawn afresh.

    Parameters
    ----------
    logits
        Log weights under which the token was chosen, (V,).
    token
        The token k.
    rng
        Where V + 1 numbers are drawn from.

    Raises
    ------
    DesignError
        If there is no such token, or it has probability 0.

    References
    ----------
    Oberst & Sontag (2019). Counterfactual off-policy evaluation with Gumbel-max structural causal
    models. ICML. Ravfogel, Svete, Snaebjarnarson & Cotterell (2025). Gumbel counterfactual
    generation from language models. ICLR.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> logits = np.array([0.0, 1.0, 2.0])
    >>> [choose(logits, hindsight(logits, k, rng)) for k in (0, 1, 2)]
    [0, 1, 2]
    """
    if not 0 <= token < len(logits):
        raise DesignError(f"there is no token {token}, the model has {len(logits)}")
    if not np.isfinite(logits[token]):
        raise DesignError(f"token {token} has probability 0, so the model cannot have written it")
    drawn = rng.gumbel(size=len(logits) + 1)
    largest = float(logits.max())
    top = largest + float(np.log(np.exp(logits - largest).sum())) + drawn[-1]
    possible = np.isfinite(logits)
    safe = np.where(possible, logits, 0.0)
    value = -np.logaddexp(-(safe + drawn[:-1]), -top)
    noise = np.where(possible, value - safe, drawn[:-1])
    noise[token] = top - logits[token]
    return np.asarray(noise, dtype=np.float64)

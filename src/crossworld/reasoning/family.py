"""A family of effects, one per model, whose statistics move together over shared questions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from crossworld.core.student import critical, two_sided
from crossworld.errors import SpecError
from crossworld.reasoning.cells import Array


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Holm's step-down adjusted p values; one that does not exist is left out of the family.

    References
    ----------
    Holm (1979). A simple sequentially rejective multiple test procedure.

    Examples
    --------
    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": None})
    {'a': 0.03, 'b': 0.06, 'c': 0.06, 'd': None}
    """
    held = sorted((p, name) for name, p in p_values.items() if p is not None)
    found: dict[str, float | None] = dict.fromkeys(p_values)
    largest = 0.0
    for rank, (p, name) in enumerate(held):
        largest = max(largest, min(1.0, (len(held) - rank) * p))
        found[name] = largest
    return found


def max_t(
    psi: Mapping[str, Array],
    values: Mapping[str, float],
    *,
    draws: int,
    seed: int,
    level: float = 0.95,
) -> tuple[dict[str, float | None], float]:
    r"""Single-step max-t p values and the critical value of bands that hold together.

    With the contribution :math:`\psi_{qm}` of question :math:`q` to the effect in model :math:`m`
    (0 where the model did not answer it) and Gaussian multipliers,

    .. math:: T^* = \max_m \Big| \sum_q \xi_q \psi_{qm} \Big| \Big/ \sqrt{\sum_q \psi_{qm}^2}
              \Big/ \sqrt{\chi^2_{\nu} / \nu}, \qquad \nu = \min_m J_m - 1 .

    A question that several models answered moves their statistics together, so the adjustment is
    smaller than Holm's where models agree.

    Parameters
    ----------
    psi
        By model, shape (questions,), the same questions for all, NaN where it did not answer.
    values
        The estimates.
    draws, seed
        Draws of the multipliers.
    level
        Level of the bands.

    Returns
    -------
    (p values, critical value)
        No p value is smaller than the pointwise one; None where an effect does not vary. The
        critical value counts standard errors.

    Raises
    ------
    SpecError
        If there are fewer than 100 draws.

    References
    ----------
    Westfall and Young (1993). Resampling-based multiple testing.
    """
    if isinstance(draws, bool) or draws < 100:
        raise SpecError(f"max-t needs at least 100 draws, got {draws!r}")
    found: dict[str, float | None] = dict.fromkeys(psi)
    sizes = {name: int(np.isfinite(p).sum()) for name, p in psi.items()}
    names = [name for name, p in psi.items() if sizes[name] > 1 and np.nansum(p**2) > 0.0]
    if not names:
        return found, critical(level)
    root = np.nan_to_num(np.column_stack([psi[name] for name in names]))
    norms = np.sqrt((root**2).sum(axis=0))
    errors = norms * np.sqrt([sizes[n] / (sizes[n] - 1) for n in names])
    df = min(sizes[n] for n in names) - 1
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    spectrum, vectors = np.linalg.eigh((root / norms).T @ (root / norms))
    half = np.sqrt(np.clip(spectrum, 0.0, None))[:, None] * vectors.T
    statistics = np.abs(rng.standard_normal((draws, len(names))) @ half).max(axis=1)
    largest = np.sort(statistics / np.sqrt(rng.chisquare(df, draws) / df))
    for j, name in enumerate(names):
        t = abs(values[name]) / float(errors[j])
        reached = draws - int(np.searchsorted(largest, t, side="left"))
        found[name] = max((1.0 + reached) / (1.0 + draws), two_sided(t, df))
    rank = min(int(np.ceil(level * (draws + 1))), draws) - 1
    return found, max(float(largest[rank]), critical(level, df))

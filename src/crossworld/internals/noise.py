"""Corruption by noise on the clean input, as in causal tracing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from crossworld.core.options import check_whole_fields
from crossworld.errors import DesignError, SpecError
from crossworld.internals.backend import torch
from crossworld.internals.inputs import Batch, numbers
from crossworld.internals.pairs import Pairs
from crossworld.internals.site import Site


@dataclass(frozen=True, slots=True)
class Noise:
    r"""Make the corrupt input from the clean one by Gaussian noise on an activation.

    .. math:: h \leftarrow h + \varepsilon,\qquad \varepsilon \sim N(0, (c\,\hat\sigma)^2 I)

    with :math:`\hat\sigma` the standard deviation of the embedding's weights (or, at another site,
    of its activations in the batch). Every cell of a pair sees the same draw.

    Parameters
    ----------
    at
        The site that is noised, such as ``embed @ subject``.
    scale
        The factor :math:`c`.
    draws
        Draws per pair; cells are averaged over them, and their Monte Carlo error is reported apart
        from the sampling error over pairs.
    seed
        Seed; a pair's draws depend on the seed and on its position alone.

    References
    ----------
    Meng et al. (2022). Locating and editing factual associations in GPT.
    """

    at: str
    scale: float = 3.0
    draws: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        Site.parse(self.at)
        check_whole_fields(self, {"draws": 1, "seed": 0})
        is_number = isinstance(self.scale, int | float) and not isinstance(self.scale, bool)
        if not is_number or not np.isfinite(self.scale) or self.scale <= 0:
            raise SpecError(f"scale of Noise is positive, got {self.scale!r}")

    def pairs(self, pairs: Pairs) -> Pairs:
        """Return pairs whose corrupt input is the clean one."""
        if pairs.corrupt is not None and not _alike(pairs):
            raise DesignError(
                "noise makes the corrupt input from the clean one, but these pairs have a corrupt "
                "input of their own; leave out one of the two"
            )
        spans = pairs.spans
        both = None if spans is None else tuple((clean, clean) for clean, _ in spans)
        return replace(pairs, corrupt=pairs.clean, spans=both)

    def write(
        self, subject: Any, batch: Batch, *, units: Sequence[int], draw: int
    ) -> dict[Site, Any]:
        """Return the write that adds one draw of the noise."""
        site = Site.parse(self.at)
        sd = self._spread(subject, site, batch)
        shape = tuple(subject.run(batch, read=(site,)).values[site].shape)
        seeds = [np.random.SeedSequence((self.seed, int(u), draw)) for u in units]
        noise = np.stack([np.random.default_rng(s).normal(size=shape[1:]) for s in seeds])

        def noised(present: Any) -> Any:
            eps = torch().as_tensor(noise, dtype=present.dtype, device=present.device)
            return present + self.scale * sd * eps

        return {site: noised}

    def _spread(self, subject: Any, site: Site, batch: Batch) -> float:
        port = subject.port(site)
        weight = getattr(subject.modules[port.path], "weight", None)
        if site.where == "embed" and weight is not None:
            return float(weight.detach().float().std())
        return float(subject.run(batch, read=(site,)).values[site].float().std())

    def spec(self) -> dict[str, Any]:
        """Return the fields as the ``noise`` table of a spec."""
        return {"at": self.at, "scale": self.scale, "draws": self.draws, "seed": self.seed}


def _alike(pairs: Pairs) -> bool:
    assert pairs.corrupt is not None
    same = (np.array_equal(numbers(a), numbers(b))
            for a, b in zip(pairs.clean, pairs.corrupt, strict=True)
            if not isinstance(a, dict))  # fmt: skip
    return all(same)

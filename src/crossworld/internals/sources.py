"""What a site is set to: its value under a level, changed or not, or a value of another kind.

===================  ==============================================================================
regime               value
===================  ==============================================================================
``M(0)``, ``M(1)``   what the site holds under that input
``M("zero")``        zero
``M("mean")``        mean over the pairs of the study under the clean input; ``M(1, "mean")`` of the
                     corrupt one
``M("resample")``    what it holds under another pair's input, drawn without replacement
``M("knockout")``    of attention weights: none from the keys meant, the others rescaled
``M(0, "scale(2)")`` its value under that input times 2
``M(0, "add(v, 3)")``  plus 3 times the direction registered as ``v``
``set_(0.5)``        that number
===================  ==============================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossworld.core.regime import Draw, Fixed, Regime
from crossworld.errors import DesignError, SpecError
from crossworld.internals.backend import torch
from crossworld.internals.basis import Basis, Subspace
from crossworld.internals.ports import KNOCKOUT
from crossworld.internals.site import Site

WHOLE = ("zero", "mean", "resample", "knockout")
EDITS = ("scale", "add", *WHOLE)
_EDIT = re.compile(r"^([a-z_]+)(?:\(([^()]*)\))?$")


@dataclass(frozen=True, slots=True)
class Source:
    """A value of a site, before it is computed.

    Parameters
    ----------
    kind
        ``level``, ``fixed`` or the name of an edit.
    level
        The input it is taken under.
    number
        Of ``scale``, ``add`` and ``fixed``.
    name
        Of ``add``: the direction.
    """

    kind: str
    level: int = 0
    number: float = 0.0
    name: str = ""

    @property
    def needs_others(self) -> bool:
        """Whether it is computed from other pairs."""
        return self.kind in ("mean", "resample")


def read_source(regime: Regime) -> Source:
    """Read what a regime sets a site to.

    Raises
    ------
    DesignError
        If no site can follow such a regime.
    """
    if isinstance(regime, Fixed):
        if isinstance(regime.value, str):
            raise DesignError(f"a site is set to a number, got {regime}")
        return Source("fixed", number=float(regime.value))
    if not isinstance(regime, Draw):
        raise DesignError(
            f"{regime} draws a mediator at random given covariates, which patching has none of; "
            "ask for M('resample'), a draw from the other pairs"
        )
    level, edit = regime.level, regime.edit
    if isinstance(level, str) and level not in ("0", "1"):
        if edit is not None or level not in WHOLE:
            raise SpecError.unknown("source of activations", level, WHOLE)
        return Source(level)
    if level not in (0, 1, "0", "1"):
        raise DesignError(
            f"a patching study has the levels 0 (clean) and 1 (corrupt), got M({level!r})"
        )
    return Source("level", int(level)) if edit is None else _edit(edit, int(level))


def _edit(text: str, level: int) -> Source:
    found = _EDIT.match(text.strip())
    if found is None or found[1] not in EDITS:
        raise SpecError.unknown("edit of activations", text, EDITS)
    name = found[1]
    arguments = [a.strip() for a in (found[2] or "").split(",") if a.strip()]
    try:
        if name == "scale" and len(arguments) == 1:
            return Source(name, level, float(arguments[0]))
        if name == "add" and len(arguments) == 2:
            return Source(name, level, float(arguments[1]), arguments[0])
    except ValueError:
        pass
    else:
        if name in WHOLE and not arguments:
            return Source(name, level)
    raise SpecError(f"cannot read the edit {text!r}; try scale(0.5), add(direction, 2) or zero")


def value_of(
    source: Source,
    site: Site,
    natural: Mapping[int, Mapping[Site, Any]],
    others: Mapping[tuple[Site, Source], Any],
    bases: Mapping[str, Basis],
) -> Any:
    """Tensor (B, k, d) that a site is set to, or a function of what it holds."""
    if source.kind == "level":
        return natural[source.level][site]
    if source.kind == "fixed":
        return lambda present: torch().full_like(present, source.number)
    if source.kind == "zero":
        return lambda present: torch().zeros_like(present)
    if source.kind == "knockout":
        _check_knockout(site)
        return KNOCKOUT
    if source.needs_others:
        return others[site, source]
    held = natural[source.level][site]
    if source.kind == "scale":
        return held * source.number
    return held + source.number * _direction(source.name, held, bases)


def _direction(name: str, held: Any, bases: Mapping[str, Basis]) -> Any:
    basis = bases.get(name)
    if not isinstance(basis, Subspace) or basis.matrix.shape[1] != 1:
        known = [k for k, v in bases.items() if isinstance(v, Subspace) and v.matrix.shape[1] == 1]
        raise SpecError.unknown("direction", name, known)
    if basis.matrix.shape[0] != held.shape[-1]:
        raise DesignError(
            f"the direction {name!r} has {basis.matrix.shape[0]} features, the activation it is "
            f"added to {held.shape[-1]}"
        )
    return torch().as_tensor(basis.matrix[:, 0], dtype=held.dtype, device=held.device)


def _check_knockout(site: Site) -> None:
    if site.stream != "pattern" or site.keys is None:
        raise DesignError(
            f"attention is knocked out from keys of a pattern, such as "
            f"'layers.3.heads.*.pattern @ -1 <- subject', not at {site}"
        )


def derangement(count: int, seed: np.random.SeedSequence) -> np.ndarray:
    """Return a random permutation without fixed points (Sattolo 1986)."""
    if count < 2:
        raise DesignError(
            "M('resample') needs another pair whose inputs are equally long, and there is a pair "
            "without one"
        )
    rng, order = np.random.default_rng(seed), np.arange(count)
    for i in range(count - 1, 0, -1):
        j = int(rng.integers(i))
        order[i], order[j] = order[j], order[i]
    return order


def mean_of(parts: Sequence[Any], site: Site) -> Any:
    """Mean over pairs of activations (b, k, d), shape (1, k, d)."""
    shapes = {tuple(p.shape[1:]) for p in parts}
    if len(shapes) > 1:
        raise DesignError(
            f"the mean at {site} is over inputs of different lengths; name positions from the end "
            "or spans that are equally long"
        )
    total = sum(p.double().sum(0) for p in parts)
    mean = total / sum(p.shape[0] for p in parts)
    return mean[None].to(parts[0].dtype)

"""Effects inside networks that others have published, read as scores: Vig et al. (2020)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimand import Estimand
from crossworld.core.expression import Cell, Expr, Y
from crossworld.core.regime import ALL, M, Regime
from crossworld.core.scores import Scores
from crossworld.errors import DesignError, SpecError, hint

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
PROFESSIONS = (
    "accountant", "analyst", "assistant", "attendant", "auditor", "baker", "carpenter", "cashier",
    "ceo", "chief", "cleaner", "clerk", "construction worker", "cook", "counselor", "designer",
    "developer", "driver", "editor", "farmer", "guard", "hairdresser", "housekeeper", "janitor",
    "laborer", "lawyer", "librarian", "manager", "mechanic", "mover", "nurse", "physician",
    "receptionist", "salesperson", "secretary", "sheriff", "supervisor", "tailor", "teacher",
    "writer",
)  # fmt: skip
_PROFESSION = re.compile(rf"\bthe ({'|'.join(PROFESSIONS)})\b")
_TEXTS = ("base_string1", "base_string2")
_EFFECTS = ("total_effect", "indirect_effect", "direct_effect")


@dataclass(frozen=True, slots=True, eq=False)
class PublishedEffects:
    r"""Effects of attention on the gender bias of a language model, one row per sentence.

    With :math:`y` the odds of the anti-stereotypical against the stereotypical continuation, and
    every attention weight of some heads as the mediator, the file holds for each sentence

    .. math:: \frac{y(1)}{y(0)} - 1, \qquad \frac{y(0, M(1))}{y(0)} - 1, \qquad
              \frac{y(1, M(0))}{y(0)} - 1

    that is, cells on the scale :math:`Y / y(0)`: ``Y(0)`` is 1 in every row. What the paper calls
    the indirect effect is ``pnie`` here, its direct effect is ``nde``; means over sentences are
    means of ratios.

    Parameters
    ----------
    model
        Name of the language model.
    texts
        The sentences under the reference pronoun, (n,).
    total
        Total effect, (n,).
    indirect, direct
        Effects of all heads together, (n,).
    indirect_heads, direct_heads
        Effects of one head at a time, (n, layers, heads).
    indirect_layers, direct_layers
        Effects of the heads of one layer together, (n, layers).

    References
    ----------
    Vig, Gehrmann, Belinkov, Qian, Nevo, Singer, Shieber (2020). Investigating gender bias in
    language models using causal mediation analysis. NeurIPS 33, arXiv 2004.12265. Sentences are
    from WinoBias (Zhao et al., 2018, NAACL).

    Examples
    --------
    >>> import numpy as np, crossworld as xw
    >>> held = PublishedEffects(
    ...     "tiny", ("The nurse met the driver", "The cook met the baker"), np.array([0.4, 0.2]),
    ...     np.array([0.3, 0.1]), np.array([0.3, 0.0]), np.full((2, 1, 2), 0.1),
    ...     np.full((2, 1, 2), 0.3), np.full((2, 1), 0.2), np.full((2, 1), 0.1),
    ... )  # fmt: skip
    >>> found = xw.contrast(held.scores(), [xw.TE, xw.NDE, xw.NIE, xw.PNIE])
    >>> [round(row.estimate, 6) for row in found]
    [0.3, 0.15, 0.15, 0.2]
    """

    model: str
    texts: tuple[str, ...]
    total: Array
    indirect: Array
    direct: Array
    indirect_heads: Array
    direct_heads: Array
    indirect_layers: Array
    direct_layers: Array

    def __len__(self) -> int:
        return len(self.texts)

    @classmethod
    def read(cls, file: str | Path) -> Self:
        """Read a result file of the paper's code (``head_intervention_*.json``).

        Raises
        ------
        DesignError
            If the file cannot be read, lacks a field, or holds numbers that are not finite.
        """
        path = Path(file)
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
            raise DesignError(f"{str(path)!r} cannot be read: {error}") from None
        rows = held.get("results") if isinstance(held, dict) else None
        if not isinstance(rows, list) or not rows or not all(isinstance(r, dict) for r in rows):
            raise DesignError(
                f"{str(path)!r} is no result of attention interventions: it has no list 'results'"
            )
        parts = [f"{e}_{p}" for e in _EFFECTS[1:] for p in ("model", "head", "layer")]
        needed = (_TEXTS[0], _EFFECTS[0], *parts)
        for at, row in enumerate(rows):
            missing = [name for name in needed if name not in row]
            if missing:
                raise DesignError(f"row {at} of {str(path)!r} has no {missing[0]!r}")
        numbers = {name: _numbers(rows, name, path) for name in needed[1:]}
        return cls(
            str(held.get("model_version", path.stem)),
            tuple(str(row[_TEXTS[0]]) for row in rows),
            numbers["total_effect"],
            numbers["indirect_effect_model"],
            numbers["direct_effect_model"],
            numbers["indirect_effect_head"],
            numbers["direct_effect_head"],
            numbers["indirect_effect_layer"],
            numbers["direct_effect_layer"],
        )

    @property
    def heads(self) -> tuple[str, ...]:
        """Sites of all heads, layer by layer."""
        _, layers, heads = self.indirect_heads.shape
        return tuple(_site(layer, head) for layer in range(layers) for head in range(heads))

    @property
    def layers(self) -> tuple[str, ...]:
        """Sites of all layers: the heads of one together."""
        return tuple(_site(layer, "*") for layer in range(self.indirect_layers.shape[1]))

    def scores(self, *, units: Literal["examples", "professions"] = "examples") -> Scores:
        """Return every cell of every sentence, ready for `crossworld.contrast`.

        Parameters
        ----------
        units
            ``examples`` takes the sentences for independent; ``professions`` clusters those about
            the same two professions, in either order.

        Returns
        -------
        Scores
            Shape (n, 4 + 2 layers + 2 layers heads): the reference, the total, and for all heads,
            each layer and each head the two cells that cross worlds.
        """
        if units not in ("examples", "professions"):
            raise SpecError.unknown("units", str(units), ("examples", "professions"))
        n = len(self)
        cells: list[Cell] = [Y(0), Y(1), Y(0, M(1)), Y(1, M(0))]
        columns = [np.zeros(n), self.total, self.indirect, self.direct]
        for layer, site in enumerate(self.layers):
            cells += self._cells(site)
            columns += [self.indirect_layers[:, layer], self.direct_layers[:, layer]]
        shape = self.indirect_heads.shape[1:]
        for at, site in zip(np.ndindex(*shape), self.heads, strict=True):
            cells += self._cells(site)
            columns += [self.indirect_heads[:, *at], self.direct_heads[:, *at]]
        cluster = None if units == "examples" else self.professions()
        return Scores(1.0 + np.column_stack(columns), tuple(cells), cluster)

    def _cells(self, site: str) -> tuple[Cell, Cell]:
        """The two cells in which one site alone crosses worlds."""
        moved = self._members(site)
        return Y(0, **dict.fromkeys(moved, 1)), Y(1, **dict.fromkeys(moved, 0))

    def sweep(self, estimand: Estimand, sites: Sequence[str] | None = None) -> list[Estimand]:
        """Ask a question of each site alone: ``pnie[layers.5.heads.8.pattern]``.

        Parameters
        ----------
        estimand
            A question over natural cells such as ``xw.PNIE`` or ``xw.NDE``.
        sites
            Members of `heads` or `layers`; all heads by default.

        Raises
        ------
        SpecError
            If a site was not published.
        """
        asked = self.heads if sites is None else tuple(sites)
        known = (*self.heads, *self.layers)
        for site in asked:
            if site not in known:
                raise SpecError(f"no effect of {site!r} was published. {hint(site, known)}")
        return [self._alone(estimand, site) for site in asked]

    def _alone(self, estimand: Estimand, site: str) -> Estimand:
        asked = estimand.at(site)

        def spread(cell: Cell) -> Expr:
            named = {key: regime for key, regime in cell.regimes if key != ALL}
            if not named:
                return cell
            own: Regime = dict(cell.regimes)[ALL]
            held = {ALL: own, **dict.fromkeys(self._members(site), named[site])}
            return replace(cell, regimes=tuple(sorted(held.items())))

        return replace(asked, expr=asked.expr.map(spread))

    def _members(self, site: str) -> list[str]:
        """Heads that a site stands for: itself, or all of its layer."""
        start = site.split("*")[0]
        return [site] if start == site else [h for h in self.heads if h.startswith(start)]

    def professions(self) -> Codes:
        """Codes of the unordered pair of professions of every sentence, shape (n,).

        Raises
        ------
        DesignError
            If a sentence does not name exactly two professions of WinoBias.
        """
        pairs = [tuple(sorted(set(_PROFESSION.findall(text.lower())))) for text in self.texts]
        for at, pair in enumerate(pairs):
            if len(pair) != 2:
                raise DesignError(
                    f"sentence {at} ({self.texts[at]!r}) names {len(pair)} of the professions of "
                    "WinoBias, not 2; take units='examples'"
                )
        return np.unique(np.array(pairs), axis=0, return_inverse=True)[1].ravel().astype(np.int64)


def _site(layer: int, head: int | str) -> str:
    return f"layers.{layer}.heads.{head}.pattern"


def _numbers(rows: Sequence[dict[str, Any]], name: str, path: Path) -> Array:
    """One field of all rows as an array."""
    try:
        held = np.array([row[name] for row in rows], dtype=np.float64)
    except (TypeError, ValueError):
        raise DesignError(
            f"{name!r} of {str(path)!r} is not a number, or not a grid of one shape, in every row"
        ) from None
    depth = {"head": 3, "layer": 2}.get(name.rsplit("_", 1)[-1], 1)
    if held.ndim != depth:
        raise DesignError(
            f"{name!r} of {str(path)!r} has {held.ndim - 1} dimensions, not {depth - 1}"
        )
    if not np.isfinite(held).all():
        at = int(np.argwhere(~np.isfinite(held))[0][0])
        raise DesignError(f"{name!r} of row {at} of {str(path)!r} is not finite")
    return held

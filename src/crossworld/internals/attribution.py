"""Attribution patching: every cell to first order, from one pass with gradients per input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from crossworld.core.expression import Cell, Y
from crossworld.core.fits import Given
from crossworld.core.options import check_whole_fields
from crossworld.core.protocols import Fit, Progress
from crossworld.core.scores import Scores
from crossworld.errors import DesignError, EstimationError
from crossworld.internals.agreement import agreement, drawn
from crossworld.internals.frames import Frame, frames
from crossworld.internals.linear import Linear, plain_value
from crossworld.internals.patch import Patch
from crossworld.internals.site import Site
from crossworld.internals.study import Forced, PatchStudy


@final
@dataclass(frozen=True, slots=True)
class Attribution:
    r"""Interchange interventions to first order: a stand-in for `Patch` with the same cells.

    .. math:: y\big(x; \mathrm{do}(z_S = z_S')\big) \approx
              y(x) + \sum_{u \in S} (z_u' - z_u) \cdot \frac{\partial y}{\partial z_u}\Big|_x

    One pass with gradients per input serves all cells that set one site, however many there are;
    a cell that sets several sites takes one more, with each site held fixed where another is
    before it. With ``pnie`` the slope is taken at the clean input, with ``nie`` at the corrupt
    one.

    The error is not small where the metric is far from linear between the two values, and a
    saturated softmax has a slope of nearly 0 whatever its exact effect. Every result carries its
    error beside exact patching on a random sample of its cells, in
    ``diagnostics["approximation"]``.

    Parameters
    ----------
    qk_fix
        For queries and keys, recompute the attention weights exactly and take the slope behind
        the softmax (AtP*).
    batch_size
        Pairs that run together.
    check
        How many cells are compared with exact patching, on the first batch of pairs; 0 for none.
    seed
        Seed of that sample, and of ``M("resample")`` in it.

    Raises
    ------
    DesignError
        If the metric has no derivative, or a source cannot be attributed.

    References
    ----------
    Nanda (2023). Attribution patching. Kramar et al. (2024). AtP*.

    Examples
    --------
    >>> import pytest; torch = pytest.importorskip("torch")
    >>> import numpy as np, crossworld as xw
    >>> from crossworld.internals.subject import TorchSubject
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 1))
    >>> for layer, weight in zip(net, ([[1.0, 0.0], [0.0, 1.0]], [[3.0, 5.0]])):
    ...     _ = layer.weight.data.copy_(torch.tensor(weight))
    >>> other = np.column_stack([np.linspace(0.5, 1.5, 10), np.ones(10)]).astype(np.float32)
    >>> pairs = (np.zeros((10, 2), np.float32), other)
    >>> study = PatchStudy(TorchSubject(net), pairs, lambda y: y[:, 0], sites=["0.neurons.0"])
    >>> print(round(xw.estimate(study, Attribution(), [xw.PNIE])["pnie"].estimate, 6))
    3.0
    """

    qk_fix: bool = False
    batch_size: int = 32
    check: int = 16
    seed: int = 0
    progress: Progress | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_whole_fields(self, {"batch_size": 1, "check": 0, "seed": 0})

    def prepare(self, study: PatchStudy, cells: Sequence[Cell]) -> Fit:
        """Linearise once; resampling reweights the pairs."""
        return Given(self.scores(study, cells))

    def scores(self, study: PatchStudy, cells: Sequence[Cell]) -> Scores:
        """Return the approximate metric of every pair in every cell."""
        forced = [study.forced(cell) for cell in cells]
        check_sources(forced)
        levels = tuple(sorted({0, *(f.level for f in forced), *(
            s.level for f in forced for _, s in f.writes if s.kind in ("level", "scale", "add")
        )}))  # fmt: skip
        values = np.zeros((len(study), len(cells)))
        for done, frame in enumerate(frames(study, self.batch_size, levels=levels), start=1):
            check_places(frame, forced)
            values[frame.at] += self._frame(frame, forced) / frame.draws
            if self.progress is not None:
                self.progress(done * self.batch_size, len(study) * frame.draws)
        bad = ~np.isfinite(values)
        if bad.any():
            raise EstimationError(
                f"the slope of {study.metric.name} is not finite in {cells[np.argwhere(bad)[0][1]]}"
            )
        told = self._compared(study, cells, forced, values)
        return Scores(values, tuple(cells), study.clusters(), diagnostics=told)

    def _frame(self, frame: Frame, forced: Sequence[Forced]) -> Any:
        """Approximate metric of a frame's pairs in every cell, (b, cells)."""
        found = np.zeros((frame.at.size, len(forced)))
        for level in sorted({f.level for f in forced}):
            mine = [(j, f) for j, f in enumerate(forced) if f.level == level]
            single = [(j, f) for j, f in mine if len(f.writes) <= 1]
            joint = [(j, f) for j, f in mine if len(f.writes) > 1]
            sites = tuple(dict.fromkeys(s for _, f in single for s, _ in f.writes))
            if single and not sites:
                for j, _ in single:
                    found[:, j] = plain_value(frame, level)
            elif single:
                linear = Linear.at(frame, level, sites, qk_fix=self.qk_fix)
                for j, one in single:
                    found[:, j] = linear.cell(one.writes)
            groups: dict[tuple[Site, ...], list[tuple[int, Forced]]] = {}
            for j, one in joint:
                groups.setdefault(tuple(s for s, _ in one.writes), []).append((j, one))
            for sites, held in groups.items():
                linear = Linear.at(frame, level, sites, blocked=True)
                for j, one in held:
                    found[:, j] = linear.cell(one.writes)
        return found

    def _compared(
        self, study: PatchStudy, cells: Sequence[Cell], forced: Sequence[Forced], values: Any
    ) -> dict[str, Any]:
        """Error beside exact patching on a sample of cells, for the first batch of pairs."""
        crossed = [j for j, f in enumerate(forced) if f.writes]
        if self.check == 0 or not crossed:
            return {}
        at = [crossed[i] for i in drawn(len(crossed), self.check, self.seed)]
        assert study.units is not None
        rows = next(iter(study.pairs.groups(study.units, self.batch_size)))
        some = study.take(rows)
        base = [_own(cells[j]) for j in at]
        asked = tuple(dict.fromkeys([*(cells[j] for j in at), *base]))
        patch = Patch(batch_size=self.batch_size, seed=self.seed, check=False)
        exact = dict(zip(asked, patch.scores(some, asked).values.T, strict=True))
        own = {j: exact[b] for j, b in zip(at, base, strict=True)}
        left = np.array([(values[rows, j] - own[j]).mean() for j in at])
        right = np.array([(exact[cells[j]] - own[j]).mean() for j in at])
        found = agreement([str(cells[j]) for j in at], left, right, (len(crossed), self.seed))
        return {"approximation": found.to_dict(), "models": {"approximation": str(found)}}


def _own(cell: Cell) -> Cell:
    """The cell of the same input with nothing set."""
    return Y(cell.treatment)


def check_sources(forced: Sequence[Forced]) -> None:
    """Refuse values that are no small change of what a site holds."""
    for one in forced:
        for site, source in one.writes:
            if source.kind not in ("level", "zero", "fixed", "scale", "add"):
                raise DesignError(
                    f"{site} is set by {source.kind!r}, which attribution does not approximate; "
                    "use Patch, or the other input, zero, a number, scale or add"
                )


def check_places(frame: Frame, forced: Sequence[Forced]) -> None:
    """Refuse to compare positions of inputs that differ in length."""
    counts = [b.count for b in frame.batches.values() if b.count is not None]
    if len(counts) < 2 or np.array_equal(counts[0], counts[1]):
        return
    for one in forced:
        for site, source in one.writes:
            if source.level != one.level and not _corresponds(site):
                raise DesignError(
                    f"the inputs of a pair differ in length, so {site} is not the same place in "
                    "both; name a span, or count from the end ('@ -1')"
                )


def _corresponds(site: Site) -> bool:
    position = site.position
    if position is None:
        return False
    named = position[0].isalpha() or position[0] == "_"
    return named or (position[0] == "-" and ":" not in position)

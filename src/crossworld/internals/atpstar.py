"""AtP*: rank sites by attribution that does not miss saturated softmaxes and cancelled paths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np

from crossworld.core.expression import Y
from crossworld.core.options import check_whole_fields
from crossworld.core.protocols import Progress
from crossworld.core.table import EffectTable
from crossworld.errors import DesignError
from crossworld.infer.multiplier import Multiplier
from crossworld.internals import family
from crossworld.internals.agreement import agreement, drawn
from crossworld.internals.frames import Frame, frames
from crossworld.internals.linear import Linear, backward, graph
from crossworld.internals.patch import Patch
from crossworld.internals.site import Site
from crossworld.internals.sources import Source
from crossworld.internals.study import PatchStudy
from crossworld.internals.tape import frozen


@final
@dataclass(frozen=True, slots=True)
class AtPStar:
    r"""Sites ranked by the size of their effect, from a few passes with gradients.

    With :math:`\hat I_{-l}` the first-order effect of a site when no gradient flows through what
    block :math:`l` adds to the stream,

    .. math:: c(u) = E_x \frac{1}{L - 1} \sum_l |\hat I_{-l}(u; x)|

    so that a direct effect and one through later blocks that cancel it are both seen (GradDrop;
    one backward pass per block). For queries and keys the attention weights are recomputed exactly
    (QK fix). What is ranked is a size, not an effect: it has no sign, and its interval is about
    the mean size over pairs. Take the sites it ranks high and patch them.

    Parameters
    ----------
    qk_fix
        Recompute the softmax for queries and keys.
    grad_drop
        Average over blocks whose gradient is dropped; else :math:`E_x |\hat I(u; x)|`.
    batch_size
        Pairs that run together.
    check
        How many sites are compared with exact patching on the first batch, 0 for none.
    seed
        Seed of that draw.

    References
    ----------
    Kramar, Lieberum, Shah and Nanda (2024). AtP*: an efficient and scalable method for localizing
    LLM behaviour to components.
    """

    qk_fix: bool = True
    grad_drop: bool = True
    batch_size: int = 32
    check: int = 16
    seed: int = 0
    progress: Progress | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_whole_fields(self, {"batch_size": 1, "check": 0, "seed": 0})

    def sizes(self, study: PatchStudy) -> Any:
        """Size of every site's effect for every pair, (n, sites)."""
        if not study.sites:
            raise DesignError("there is nothing to rank: the study names no sites")
        if study.source not in ("other", "zero"):
            raise DesignError(f"attribution takes the other value or zero, not {study.source!r}")
        found = np.zeros((len(study), len(study.sites)))
        for done, frame in enumerate(frames(study, self.batch_size), start=1):
            for linear in self._linear(frame, study.sites):
                found[frame.at] += self._sizes(linear, study) / frame.draws
            if self.progress is not None:
                self.progress(done * self.batch_size, len(study) * frame.draws)
        if self.grad_drop:
            found /= len(study.subject.layout.blocks) - 1
        return found

    def rank(
        self, study: PatchStudy, *, inference: Multiplier | None = None, level: float = 0.95
    ) -> EffectTable:
        """Rows ``atp[site]``, the largest first.

        Parameters
        ----------
        study
            Its sites are ranked.
        inference
            None for pointwise intervals, `Multiplier` for a band over all sites.
        level
            Confidence level.
        """
        sizes = self.sizes(study)
        cluster = study.clusters()
        order = np.argsort(-sizes.mean(axis=0), kind="stable")
        band = None
        if inference is not None:
            band = family.band(sizes, cluster, inference, level=level)
        terms = [f"atp[{study.sites[j]}]" for j in order]
        rows = family.rows(terms, sizes[:, order], cluster, level=level, shared=band)
        rows = tuple(replace(row, p_value=None) for row in rows)  # that a size is 0 is no question
        found = self._compared(study, sizes)
        heading = [study.describe(), f"{self!r}, {len(study):,} pairs"]
        diagnostics: dict[str, Any] = {
            "warnings": [], "n_units": len(study), "level": level, "overlap": None,
            "n_clusters": int(cluster.max()) + 1,
            "failed_replicates": 0,
        }  # fmt: skip
        if found is not None:
            heading.append(f"  sizes: {found}")
            diagnostics["approximation"] = found.to_dict()
        diagnostics["heading"] = heading
        return EffectTable(rows, level, tuple(heading), diagnostics=diagnostics)

    def _linear(self, frame: Frame, sites: Sequence[Site]) -> Iterator[Linear]:
        """Linearisations whose sizes are added up."""
        plain = Linear.at(frame, 0, sites, qk_fix=self.qk_fix)
        if not self.grad_drop:
            yield plain
            return
        blocks = frame.study.subject.layout.blocks
        if len(blocks) < 2:
            raise DesignError("GradDrop needs at least two blocks; leave out grad_drop")
        dropped: list[int | None] = [None]
        taps = {
            Site(f"layers.{i}.{part}"): _tap(i, dropped)
            for i, block in enumerate(blocks) for part in ("attn", "mlp", "mixer")
            if getattr(block, part) is not None
        }  # fmt: skip
        wanted = [*sites, *(Site(f"layers.{i}.heads.0.pattern") for i in plain.layers)]
        with frozen(frame.network.model):
            value, run, plugs = graph(frame, 0, wanted, write=taps)
            for layer in range(len(blocks)):
                dropped[0] = layer
                slopes = backward(value, run, plugs, keep=layer + 1 < len(blocks))
                for site in taps:  # what a dropped block itself adds has no slope
                    plug = frame.study.subject.port(site).plug
                    if site.layer == layer and plug in slopes:
                        slopes[plug] = slopes[plug] * 0.0
                yield replace(plain, slopes=slopes)

    def _sizes(self, linear: Linear, study: PatchStudy) -> Any:
        source = Source("zero") if study.source == "zero" else Source("level", 1)
        columns = [linear.effect(site, source).abs().cpu().numpy() for site in study.sites]
        return np.stack(columns, axis=1)

    def _compared(self, study: PatchStudy, sizes: Any) -> Any:
        """Sizes beside the mean absolute exact effects of a sample of sites."""
        if self.check == 0:
            return None
        at = drawn(len(study.sites), self.check, self.seed)
        assert study.units is not None
        rows = next(iter(study.pairs.groups(study.units, self.batch_size)))
        names = [str(study.sites[j]) for j in at]
        cells = [Y(0), *(Y(0, **{name: 1}) for name in names)]
        bound = tuple(dict.fromkeys(c.bind(study.blocks) for c in cells))
        patch = Patch(batch_size=self.batch_size, seed=self.seed, check=False)
        values = patch.scores(study.take(rows), bound).values
        held = dict(zip(bound, values.T, strict=True))
        own = held[bound[0]]
        exact = [np.abs(held[c.bind(study.blocks)] - own).mean() for c in cells[1:]]
        drawn_from = (len(study.sites), self.seed)
        found = agreement(names, sizes[rows][:, at].mean(axis=0), np.array(exact), drawn_from)
        # with GradDrop a size ranks, it does not estimate
        return replace(found, relative_error=None) if self.grad_drop else found


def _tap(layer: int, dropped: list[int | None]) -> Any:
    """Let values through, and gradients too unless the block is dropped."""

    def tap(present: Any) -> Any:
        through = present.view_as(present)
        if through.requires_grad:
            through.register_hook(lambda g: g * 0.0 if dropped[0] == layer else None)
        return through

    return tap

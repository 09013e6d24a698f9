"""Path patching: effects that run along chosen edges alone, exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

import numpy as np

from crossworld.core.analysis import contrast
from crossworld.core.estimand import Estimand
from crossworld.core.expression import Y
from crossworld.core.protocols import Inference, Progress
from crossworld.core.scores import Scores
from crossworld.core.table import EffectTable
from crossworld.errors import DesignError, EstimationError, SpecError
from crossworld.internals.backend import torch
from crossworld.internals.eap import mask
from crossworld.internals.edges import Reference
from crossworld.internals.edgescores import Edge
from crossworld.internals.exact import rewired
from crossworld.internals.frames import Frame, check_aligned, frames, wiring_of
from crossworld.internals.receivers import Receivers
from crossworld.internals.search import prune
from crossworld.internals.study import PatchStudy
from crossworld.internals.tape import Tape
from crossworld.internals.wiring import LOGITS, Wiring

Tensor = Any
CARRY = ("receivers", "paths", "edges")


@final
@dataclass(frozen=True, slots=True)
class PathPatch:
    r"""Effects along edges of the residual stream, by running them.

    ``receivers`` (path patching): the readers of the edges get their stream of the clean input with
    what their senders write under the corrupt one in it,

    .. math:: \mathrm{in}_v = \mathrm{stream}_v(x) + \sum_{u \in E(v)} (c_u(x') - c_u(x)),

    and everything that is no such reader responds. A reader does not respond to another one. With
    ``mlps="recomputed"`` the MLPs between sender and reader respond to the sender too and pass that
    on to the readers (and to nobody else), as in the code of Wang et al.; ``frozen`` leaves them as
    they are: the direct edge alone. These are different effects.

    ``paths``: the edges are whole paths from the input to the logits. Along them travels what the
    corrupt input gives, everything off them is as under the clean input: the path-specific effect
    of Pearl and of Avin et al.

    ``edges``: along the edges travels what their senders write under the corrupt input, along all
    others what their senders write in this very run, so readers respond to one another. All edges
    out of one sender together are the effect of patching that sender.

    Parameters
    ----------
    carry
        ``receivers``, ``paths`` or ``edges``.
    mlps
        With ``receivers``: ``frozen`` or ``recomputed``.
    batch_size
        Pairs that run together.

    Raises
    ------
    DesignError
        If an edge does not exist, or edges meant as paths lead nowhere.

    References
    ----------
    Wang et al. (2023). Interpretability in the wild. Goldowsky-Dill et al. (2023). Localizing model
    behavior with path patching. Avin, Shpitser and Pearl (2005). Shpitser and Tchetgen Tchetgen
    (2016), on interventions on edges.

    Examples
    --------
    >>> PathPatch("paths").carry
    'paths'
    """

    carry: Literal["receivers", "paths", "edges"] = "receivers"
    mlps: Literal["frozen", "recomputed"] = "frozen"
    batch_size: int = 8
    progress: Progress | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, known in (("carry", CARRY), ("mlps", ("frozen", "recomputed"))):
            if getattr(self, name) not in known:
                raise SpecError.unknown(f"{name} of PathPatch", str(getattr(self, name)), known)
        if self.carry != "receivers" and self.mlps != "frozen":
            raise SpecError(
                f"with carry={self.carry!r} name the edges through MLPs; mlps is for receivers"
            )

    def effects(
        self,
        study: PatchStudy,
        paths: Mapping[str, Sequence[Edge | str | tuple[str, str]]],
        *,
        inference: Inference | None = None,
        level: float = 0.95,
    ) -> EffectTable:
        """Rows ``te``, and ``pse[name]`` for every set of edges.

        Parameters
        ----------
        study
            Pairs, metric and network; its sites are not used.
        paths
            Sets of edges by name: ``{"induction": ["layers.0.heads.1 -> layers.1.heads.0.k"]}``.
        inference
            `Wald` by default, `Multiplier` for intervals that hold at once.
        level
            Confidence level.
        """
        scores = self.scores(study, paths)
        asked = [Estimand("te", Y(1) - Y(0))]
        asked += [Estimand(f"pse[{name}]", Y(0, **{name: 1}) - Y(0)) for name in paths]
        return contrast(scores, asked, inference=inference, level=level)

    def scores(
        self, study: PatchStudy, paths: Mapping[str, Sequence[Edge | str | tuple[str, str]]]
    ) -> Scores:
        """Metric under both inputs, and with every set of edges carrying the corrupt one."""
        if not paths:
            raise SpecError("no path was named; try {'direct': ['layers.0.heads.1 -> logits']}")
        for name, named in paths.items():
            if not named:
                raise SpecError(f"the path {name!r} names no edge, so nothing travels along it")
        if study.source != "other":
            raise DesignError("paths carry the other input; make the study with source='other'")
        edges = {name: [Edge.parse(e) for e in held] for name, held in paths.items()}
        values = np.zeros((len(study), 2 + len(edges)))
        wiring: Wiring | None = None
        for done, frame in enumerate(frames(study, self.batch_size), start=1):
            check_aligned(frame)
            wiring = wiring_of(frame) if wiring is None else wiring
            tapes = {level: Reference.other(frame, wiring, level) for level in (0, 1)}
            whole = mask(wiring)
            columns = [rewired(frame, wiring, tapes[1], whole, level=level) for level in (0, 1)]
            receivers = Receivers(frame, wiring, tapes) if self.carry == "receivers" else None
            for held in edges.values():
                chosen = _chosen(wiring, held)
                columns.append(
                    self._run(frame, wiring, tapes, chosen) if receivers is None
                    else receivers.patched(chosen, recomputed=self.mlps == "recomputed")
                )  # fmt: skip
            values[frame.at] += np.stack(columns, axis=1) / frame.draws
            if self.progress is not None:
                self.progress(done * self.batch_size, len(study) * frame.draws)
        if not np.isfinite(values).all():
            raise EstimationError(f"the metric {study.metric.name} is not finite on a path")
        cells = (Y(0), Y(1), *(Y(0, **{name: 1}) for name in edges))
        return Scores(values, cells, study.clusters())

    def _run(self, frame: Frame, wiring: Wiring, tapes: Mapping[int, Tape], chosen: Tensor) -> Any:
        if self.carry == "edges":
            return rewired(frame, wiring, tapes[1], mask(wiring) & ~chosen)
        live = torch().as_tensor(prune(chosen.numpy(), wiring.readers))
        if bool((live != chosen).any()):
            u, v = np.argwhere((chosen & ~live).numpy())[0]
            raise DesignError(
                f"{wiring.senders[u]} -> {wiring.readers[v].name} lies on no path of these "
                f"edges from the input to the {LOGITS}; name the whole path"
            )
        return rewired(frame, wiring, tapes[0], live, level=1)


def _chosen(wiring: Wiring, edges: Sequence[Edge]) -> Tensor:
    found = torch().zeros_like(mask(wiring))
    for edge in edges:
        u, v = wiring.sender(edge.sender), wiring.reader(edge.reader)
        if not bool(mask(wiring)[u, v]):
            raise DesignError(f"there is no edge {edge}: its sender is not before its reader")
        found[u, v] = True
    return found

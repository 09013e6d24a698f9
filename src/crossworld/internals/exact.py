"""Exact effects of edges: one pass each, with one edge rewired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.internals.eap import mask
from crossworld.internals.edgescores import Edge
from crossworld.internals.frames import Frame
from crossworld.internals.rewire import Rewired
from crossworld.internals.tape import Tape
from crossworld.internals.wiring import Wiring


def edge_effects(
    frame: Frame, wiring: Wiring, reference: Tape, edges: Sequence[Edge]
) -> NDArray[np.float64]:
    """Change of the metric when one reader sees one sender's reference value, (b, edges).

    Parameters
    ----------
    frame
        The pairs; their clean input runs.
    wiring
        Graph of the network.
    reference
        The senders' other values.
    edges
        Each is rewired alone.
    """
    clean = rewired(frame, wiring, reference, mask(wiring))
    found = np.empty((clean.size, len(edges)))
    for j, edge in enumerate(edges):
        kept = mask(wiring)
        kept[wiring.sender(edge.sender), wiring.reader(edge.reader)] = False
        found[:, j] = rewired(frame, wiring, reference, kept) - clean
    return found


def rewired(
    frame: Frame,
    wiring: Wiring,
    reference: Tape,
    kept: Any,
    *,
    level: int = 0,
    given: Mapping[int, Any] | None = None,
) -> NDArray[np.float64]:
    """Metric of a frame's pairs with all edges cut that are not kept, (b,).

    ``given`` holds what some readers get, whatever arrives.
    """
    network = Rewired(frame.network, wiring, kept, reference, given or {})
    batch = frame.batches[level]
    output = network.run(batch, base=frame.base[level], last=frame.last)
    found: NDArray[np.float64] = frame.score(output, batch).double().cpu().numpy()
    return found

"""Find circuits by the size of edges."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crossworld.internals.wiring import Reader

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def top(size: Floats, readers: Sequence[Reader], n: int) -> Bools:
    """Return the n largest edges; ties go to the earlier one."""
    found = np.zeros(size.size, dtype=bool)
    found[np.argsort(-size.ravel(), kind="stable")[:n]] = True
    kept: Bools = found.reshape(size.shape) & np.isfinite(size)
    return kept


def greedy(size: Floats, readers: Sequence[Reader], n: int) -> Bools:
    """Grow from the logits: the largest edge into a part that is already in, n times."""
    into: dict[int, list[int]] = {}
    for v, reader in enumerate(readers):
        for owner in reader.owner:
            into.setdefault(owner, []).append(v)
    kept = np.zeros(size.shape, dtype=bool)
    heap: list[tuple[float, int, int]] = []
    opened: set[int] = set()

    def open_(v: int) -> None:
        if v not in opened:
            opened.add(v)
            for u in np.flatnonzero(np.isfinite(size[:, v])):
                heapq.heappush(heap, (-float(size[u, v]), int(u), v))

    open_(len(readers) - 1)
    while heap and int(kept.sum()) < n:
        _, u, v = heapq.heappop(heap)
        kept[u, v] = True
        for owned in into.get(u, ()):
            open_(owned)
    return kept


def prune(kept: Bools, readers: Sequence[Reader]) -> Bools:
    """Drop edges that lie on no path from the input to the logits."""
    found: Bools = np.array(kept, dtype=np.bool_)
    owner = ownership(readers, int(np.shape(kept)[0]))
    while True:
        into = np.atleast_1d(found.any(axis=0))
        fed = np.asarray((into[:, None] & owner).any(axis=0))
        fed[0] = True  # the input needs nothing
        alive = np.asarray(fed & found.any(axis=1))
        used = np.asarray((owner & alive[None, :]).any(axis=1))
        used[-1] = True  # the logits
        left: Bools = np.asarray(found & alive[:, None] & used[None, :])
        if np.array_equal(left, found):
            return found
        found = left


def allowed(readers: Sequence[Reader], senders: int) -> Bools:
    """Which couples are edges, bool (senders, readers)."""
    before = np.array([r.senders for r in readers])
    found: Bools = np.arange(senders)[:, None] < before[None, :]
    return found


def ownership(readers: Sequence[Reader], senders: int) -> Bools:
    """Whose output a reader changes, bool (readers, senders)."""
    owner = np.zeros((len(readers), senders), dtype=bool)
    for v, reader in enumerate(readers):
        owner[v, list(reader.owner)] = True
    return owner

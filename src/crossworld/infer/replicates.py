"""Replicates in blocks: the same numbers whatever the number of workers, memory that stays put."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from crossworld.core.options import check_whole
from crossworld.core.protocols import Array, Progress

BLOCK = 1 << 15  # replicates x units handled at once: arrays that stay in cache
Task = Callable[[np.random.SeedSequence, int], Array]


def blocks(draws: int, units: int) -> list[int]:
    """Sizes of the blocks; they depend on the problem alone, never on the workers."""
    size = max(1, min(draws, BLOCK // max(units, 1)))
    whole, rest = divmod(draws, size)
    return [size] * whole + ([rest] if rest else [])


def run(
    task: Task,
    sizes: Sequence[int],
    *,
    seed: int,
    workers: int = 1,
    progress: Progress | None = None,
) -> Array:
    """Run ``task(seed, size)`` for every block and stack the (size, k) results."""
    check_whole("workers", workers, 1)
    check_whole("seed", seed, 0)
    seeds = np.random.SeedSequence(seed).spawn(len(sizes))
    total, done, parts = sum(sizes), 0, []
    with _one_thread():
        for part in _results(task, list(zip(seeds, sizes, strict=True)), workers):
            parts.append(part)
            done += len(part)
            if progress is not None:
                progress(done, total)
    return np.concatenate(parts)


def _results(
    task: Task, jobs: Sequence[tuple[np.random.SeedSequence, int]], workers: int
) -> Iterator[Array]:
    if workers == 1 or len(jobs) == 1:
        yield from (task(seed, size) for seed, size in jobs)
        return
    from joblib import Parallel, delayed

    pool = Parallel(n_jobs=workers, prefer="threads", return_as="generator")
    yield from pool(delayed(task)(seed, size) for seed, size in jobs)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Hold linear algebra to one thread: its rounding depends on the number of threads."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield


def resample_counts(
    seed: np.random.SeedSequence, draws: int, cluster: np.ndarray | None, units: int
) -> Array:
    """How often each unit occurs in each of ``draws`` resamples, shape (draws, units).

    Clusters, where given, are drawn whole.
    """
    groups = units if cluster is None else int(cluster.max()) + 1
    rng = np.random.default_rng(seed)
    drawn = rng.integers(groups, size=(draws, groups), dtype=np.int32)
    drawn += (np.arange(draws, dtype=np.int32) * groups)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=draws * groups).reshape(draws, groups)
    whole = counts.astype(np.float64)
    return whole if cluster is None else whole[:, cluster]

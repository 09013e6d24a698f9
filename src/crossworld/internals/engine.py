"""Many patched passes of one batch, sharing what they have in common.

A site in block ``l`` cannot change the blocks below it, and in a causal model a site at position
``p`` cannot change the positions before it. So the patched inputs of all cells travel in one pass:
each joins the batch at its own block, with the residual stream of the unpatched run, and only the
positions from ``p`` on are computed, with keys and values of the earlier ones taken from the
unpatched run. Every number is that of a full pass of its own, up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crossworld.internals.backend import torch
from crossworld.internals.inputs import Batch
from crossworld.internals.joined import Joined, Recorded
from crossworld.internals.metrics import reads_last
from crossworld.internals.site import Site
from crossworld.internals.study import PatchStudy


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One cell of a batch.

    Parameters
    ----------
    at
        Which cell.
    level
        The input that runs.
    writes
        What each site is set to.
    """

    at: int
    level: int
    writes: Mapping[Site, Any]


def run_jobs(
    study: PatchStudy,
    batch: Batch,
    base: Mapping[Site, Any],
    jobs: Sequence[Job],
    recorded: Recorded | None,
    *,
    memory: int,
) -> Iterator[tuple[Job, Any]]:
    """Run every job and yield the part of its output that the metric is computed from.

    Parameters
    ----------
    study, batch
        The network, and the inputs that run.
    base
        Writes that every job has, such as the noise of a corrupt input.
    jobs
        What to run.
    recorded
        The unpatched run that rows join, None where they cannot.
    memory
        Megabytes that the rows of one pass may take.
    """
    patterns = tuple(dict.fromkeys(s for job in jobs for s in job.writes if s.stream == "pattern"))
    alike = recorded is not None and not patterns  # hooked attention rounds in its own way
    shared = [job for job in jobs if can_join(study, job)] if alike else []
    if recorded is not None and shared and not _agrees(study, batch, recorded):
        shared = []
    joined = {id(job) for job in shared}
    for job in jobs:
        if id(job) not in joined:
            yield job, plain(study, batch, {**base, **job.writes}, patterns)
    if recorded is not None and shared:
        for chunk in chunks(study, batch, shared, recorded, memory=memory):
            yield from Joined(study, batch, recorded, chunk).run()


def can_join(study: PatchStudy, job: Job) -> bool:
    """Whether a job touches only what lies inside the blocks."""
    return bool(study.subject.layout.blocks) and all(s.layer is not None for s in job.writes)


def plain(
    study: PatchStudy, batch: Batch, writes: Mapping[Site, Any], patterns: tuple[Site, ...]
) -> Any:
    """Run one job in a pass of its own."""
    last = reads_last(study.metric, batch)
    run = study.subject.run(batch, write=writes, read=patterns, last=last)
    return study.metric.final(run.output, batch)


def _agrees(study: PatchStudy, batch: Batch, recorded: Recorded) -> bool:
    """Whether a row that joins midway and is left alone ends where the unpatched run ended.

    A network whose blocks carry state past one another, or cut their inputs, differs here or
    fails, and is then run pass by pass.
    """
    try:
        ((_, joined),) = Joined(study, batch, recorded, [Job(0, 0, {})]).run()
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError):
        return False
    alone = study.metric.final(recorded.output, batch)
    scale = float(alone.abs().max()) + 1e-12
    same: bool = torch().allclose(joined, alone, rtol=1e-3, atol=1e-4 * scale)
    return same


def chunks(
    study: PatchStudy, batch: Batch, jobs: Sequence[Job], recorded: Recorded, *, memory: int
) -> Iterator[list[Job]]:
    """Jobs that travel together: same first position, and no more rows than memory allows.

    Those that set something inside the last block keep it whole, so they travel by themselves.
    """
    deepest = len(study.subject.layout.blocks) - 1
    groups: dict[tuple[int, bool], list[Job]] = {}
    for job in jobs:
        inside = any(s.layer == deepest and not s.where.endswith("resid_pre") for s in job.writes)
        key = (recorded.first(study, batch, job.writes), inside)
        groups.setdefault(key, []).append(job)
    for (first, _), held in sorted(groups.items()):
        rows = recorded.footprint.rows(first, batch.size, memory=memory)
        most = max(1, rows // batch.size)
        held.sort(key=lambda job: recorded.entry(study, job.writes))
        for start in range(0, len(held), most):
            yield held[start : start + most]

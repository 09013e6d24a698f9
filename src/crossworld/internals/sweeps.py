"""Many patched passes of one batch, sharing what they have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crossworld.internals.inputs import Batch
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
    *,
    memory: int,
) -> Iterator[tuple[Job, Any]]:
    """Run every job and yield the part of its output that the metric is computed from."""
    last = getattr(study.metric, "at", None) == "-1"
    for job in jobs:
        run = study.subject.run(batch, write={**base, **job.writes}, read=_patterns(job), last=last)
        yield job, study.metric.final(run.output, batch)


def _patterns(job: Job) -> tuple[Site, ...]:
    return tuple(s for s in job.writes if s.stream == "pattern")

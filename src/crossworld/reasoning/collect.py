"""Collecting: a plan is asked of a model, every answer goes to the log, only what lacks is asked.

Calls run interleaved in a random order over questions, arms and cells, so that drift of a server
in time falls on every cell alike. Own reasoning comes before the replays that show it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from crossworld.errors import DesignError
from crossworld.reasoning.asking import HIDDEN, Run
from crossworld.reasoning.limits import Collected, Limits, Progress
from crossworld.reasoning.log import ReadoutLog
from crossworld.reasoning.models.protocol import LanguageModel
from crossworld.reasoning.plan import Plan


async def collect(
    plan: Plan,
    model: LanguageModel,
    *,
    log: str | Path | ReadoutLog,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Collected:
    """Ask a model everything of a plan that the log does not hold yet.

    A cancelled collection (Ctrl-C) starts no further call, keeps the answers in flight, and can
    be taken up again by the same words.

    Parameters
    ----------
    plan
        What to ask.
    model
        Whom to ask.
    log
        File of the log, or a log that is open.
    limits
        How hard to ask, and when to stop.
    progress
        Called after every readout.

    Raises
    ------
    DesignError
        If the log cannot be used, or the model cannot replay and the plan has replays.
    NotIdentifiedError
        If the plan has replays and the model reasons where it cannot be seen.

    Examples
    --------
    >>> import asyncio, tempfile
    >>> from crossworld.reasoning.models.simulated import SimulatedReasoner
    >>> from crossworld.reasoning.plan import Plan, Question, Template, four_cells
    >>> plan = Plan(
    ...     (Question("q1", answer="41"),), (Template("0", ""), Template("1", "")),
    ...     four_cells("0", "1"),
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     done = asyncio.run(collect(plan, SimulatedReasoner(), log=f"{folder}/log.jsonl"))
    >>> done.held, done.made, done.complete
    (6, 6, True)
    """
    if plan.cells and not model.modes:
        raise DesignError(f"{HIDDEN.format(model=model.name)}. It declares no replay mode at all")
    opened = log if isinstance(log, ReadoutLog) else ReadoutLog(log)
    try:
        return await Run(plan, model, opened, limits or Limits(), progress).go()
    finally:
        close = getattr(model, "aclose", None)
        if close is not None:
            await close()
        if opened is log:
            opened.flush()
        else:
            opened.close()


def collect_now(
    plan: Plan,
    model: LanguageModel,
    *,
    log: str | Path | ReadoutLog,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Collected:
    """Do the same from code that is not asynchronous: `collect` in an event loop of its own.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C, after the answers in flight are in the log; a second Ctrl-C stops at once.
    """
    return asyncio.run(collect(plan, model, log=log, limits=limits, progress=progress))

"""Collecting: a plan is asked of a model, every answer goes to the log, only what lacks is asked.

Calls run interleaved in a random order over questions, arms and cells, so that drift of a server
in time falls on every cell alike. Own reasoning comes before the replays that show it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from crossworld.errors import DesignError
from crossworld.reasoning.asking import HIDDEN, Run, frozen, mode_of
from crossworld.reasoning.edits.protocol import NotApplicable
from crossworld.reasoning.limits import Collected, Limits, Progress
from crossworld.reasoning.log import ReadoutLog, read_log
from crossworld.reasoning.models.protocol import LanguageModel
from crossworld.reasoning.plan import Plan
from crossworld.reasoning.rows import identity_key


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a plan still asks for.

    Parameters
    ----------
    total, held
        Calls of the plan, and how many of them the log holds.
    cost, price
        What those cost, and the mean of the calls that have a price; None where none has.
    inapplicable
        Calls that will not be made, because their edit does not apply to a trace in the log.
    """

    total: int
    held: int
    cost: float
    price: float | None
    inapplicable: int = 0

    def __str__(self) -> str:
        left = self.total - self.held - self.inapplicable
        text = f"{self.total:,} calls, {self.held:,} in the log, {left:,} to go"
        if self.inapplicable:
            text += f", {self.inapplicable:,} whose edit does not apply to their trace"
        if self.price is None:
            return text
        return f"{text}; cost so far {self.cost:.4f}, about {left * self.price:.4f} to come"


def outlook(plan: Plan, model: LanguageModel, *, log: str | Path) -> Outlook:
    """Count what a plan still asks for, without asking anything.

    Raises
    ------
    DesignError
        If a log is there and cannot be read.
    """
    mode = mode_of(model)
    calls = {identity_key(plan.identity(c, model.name, mode=mode)): c for c in plan.calls()}
    held = {r.key: r for r in (read_log(log) if Path(log).exists() else []) if r.key in calls}
    paid = [r.cost for r in held.values() if r.cost is not None]
    price = sum(paid) / len(paid) if paid else None
    traces = {r.trace: frozen(r) for r in held.values() if not r.replayed}
    left = [c for key, c in calls.items() if key not in held and c.trace in traces]
    made = [plan.show(c, traces[c.trace]) for c in left if c.replay]
    refused = sum(isinstance(m, NotApplicable) for m in made)
    return Outlook(len(calls), len(held), sum(paid), price, refused)


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

"""The engine of a collection: workers, retries, the ceiling, and the order of the calls."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, final

import numpy as np

from crossworld.errors import CrossworldError, DesignError, NotIdentifiedError
from crossworld.reasoning.edits.detect import contains_answer
from crossworld.reasoning.edits.protocol import NotApplicable
from crossworld.reasoning.limits import Collected, Limits, Progress
from crossworld.reasoning.log import ReadoutLog
from crossworld.reasoning.models.failures import TransientError
from crossworld.reasoning.models.protocol import Completion, LanguageModel, Request
from crossworld.reasoning.plan import Call, Plan
from crossworld.reasoning.rows import Readout, identity_key, request_fingerprint
from crossworld.reasoning.trace import Trace

IN_A_ROW = 10  # failed calls after which a model counts as broken
HIDDEN = (
    "{model} reasons where it cannot be seen or shown again (hidden or signed reasoning), so the "
    "text is not the whole mediator: natural direct and indirect effects through the reasoning are "
    "not identified. Collect no replays (cells=()) and ask for the total effect, or declare the "
    "replay mode 'user-turn', which gives effects through the visible text alone"
)


def mode_of(model: LanguageModel) -> str:
    """Return the replay mode a model uses: the one it declares, else the only one it has."""
    declared = getattr(model, "mode", None)
    return str(declared) if declared else "|".join(sorted(model.modes))


def frozen(own: Readout) -> Trace:
    """Return the trace that a readout of the model's own reasoning holds."""
    return Trace(
        own.shown, own.question, own.prompt, int(own.draw), id=own.trace, answer=own.answer
    )


def row(plan: Plan, call: Call, request: Request, *, trace: Trace, told: Any) -> Readout:
    """Build the row of a readout from what was asked and what came back.

    ``told`` is (completion, identity, retries, cost).
    """
    completion, identity, retries, cost = told
    gold = call.question.answer
    shown = completion.reasoning if request.shown is None else request.shown
    author = completion.answer if request.shown is None else trace.answer
    answer = completion.answer
    correct = None if gold is None else int(answer is not None and plan.judge(answer, gold))
    law = completion.probabilities
    p = None
    if law and gold is not None:
        p = float(sum(v for c, v in law.items() if plan.judge(c, gold)))
    return Readout(
        **identity,
        shown=shown,
        text=completion.text,
        answer=answer,
        correct=correct,
        p_answer=p,
        probabilities=None if law is None else dict(law),
        tokens_in=completion.tokens_in,
        tokens_out=completion.tokens_out,
        cost=cost,
        snapshot=completion.model,
        leaked=int(bool(author and author.strip()) and contains_answer(shown, str(author))),
        finish=completion.finish,
        hidden=completion.hidden,
        retries=retries,
        request=request_fingerprint(request),
    )


@final
class Run:
    """One collection under way; the only mutable thing here."""

    def __init__(
        self,
        plan: Plan,
        model: LanguageModel,
        log: ReadoutLog,
        limits: Limits,
        progress: Progress | None,
    ) -> None:
        self.plan, self.model, self.log, self.limits = plan, model, log, limits
        self.progress = progress
        self.mode, self.name = mode_of(model), model.name
        self.order: list[int] = []
        self.rng = np.random.default_rng(plan.seed)
        self.queue: asyncio.PriorityQueue[tuple[float, int]] = asyncio.PriorityQueue()
        self.calls = list(plan.calls())
        self.identities = [plan.identity(c, self.name, mode=self.mode) for c in self.calls]
        self.keys = [identity_key(identity) for identity in self.identities]
        self.traces: dict[str, Trace] = {}
        self.waiting: dict[str, list[int]] = {}
        self.stopping, self.settled = asyncio.Event(), asyncio.Event()
        self.reason: str | None = None
        self.workers = self.left = self.made = self.flying = self.in_a_row = 0
        self.not_before = self.spent = 0.0
        self.dearest: float | None = None
        self.failed: list[tuple[str, str]] = []
        self.inapplicable: list[tuple[str, str]] = []
        self.snapshots: Counter[str] = Counter()

    async def go(self) -> Collected:
        """Ask what lacks, and say what became of it."""
        self._enqueue()
        count = min(self.limits.concurrency, max(self.left, 1))
        self.workers = count
        workers = [asyncio.create_task(self._work()) for _ in range(count)]
        self._end_if_done()
        try:
            done, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        except BaseException as error:
            self._stop("interrupted" if isinstance(error, asyncio.CancelledError) else str(error))
            await asyncio.wait(workers, timeout=self.limits.grace)
            raise
        finally:
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return Collected(
            len(self.calls),
            sum(key in self.log for key in self.keys),
            self.made,
            self.spent,
            tuple(self.failed),
            tuple(self.inapplicable),
            dict(self.snapshots),
            self.reason,
        )

    def _enqueue(self) -> None:
        mine = set(self.keys)
        for held in self.log.rows:
            if held.key not in mine:
                continue
            self._account(held)
            if not held.replayed:
                self._know(held)
        self.order = self.rng.permutation(len(self.calls)).tolist()
        for i, call in enumerate(self.calls):
            if self.keys[i] in self.log:
                continue
            self.left += 1
            given = self.plan.given(call)
            if given is not None:
                source = str(call.replay.reasoning) if call.replay else ""
                gold = call.question.answer
                self.traces[call.trace] = Trace(
                    given, call.question.id, source, id=call.trace, answer=gold
                )
            if call.replay is None or call.trace in self.traces:
                self.queue.put_nowait((self.order[i], i))
            else:
                self.waiting.setdefault(call.trace, []).append(i)

    def _account(self, held: Readout) -> None:
        self.snapshots[held.snapshot] += 1
        if held.cost is not None:
            self.spent += held.cost
            self.dearest = max(self.dearest or 0.0, held.cost)

    def _know(self, own: Readout) -> None:
        """Freeze a trace and let the replays go that show it."""
        if own.hidden and self.plan.cells and self.mode != "user-turn":
            raise NotIdentifiedError(HIDDEN.format(model=self.name))
        self.traces[own.trace] = frozen(own)
        for i in self.waiting.pop(own.trace, []):
            self.queue.put_nowait((self.order[i], i))

    async def _work(self) -> None:
        while not self.stopping.is_set():
            _, i = await self.queue.get()
            await asyncio.sleep(0)  # a model that never waits would keep Ctrl-C from coming through
            if i < 0 or not await self._may_start():
                return
            self.flying += 1
            try:
                await self._call(i)
            finally:
                self.flying -= 1
                self.settled.set()

    async def _may_start(self) -> bool:
        """Wait until one more call surely fits under the ceiling; False when none ever will."""
        ceiling = self.limits.ceiling
        while ceiling is not None and not self.stopping.is_set():
            if self.dearest is None and not self.flying and self.spent < ceiling:
                break
            room = ceiling - self.spent - (self.flying + 1) * (self.dearest or 0.0)
            if self.dearest is not None and room >= -1e-12:
                break
            if not self.flying:
                self._stop(f"the next call might pass the cost ceiling of {ceiling:g}")
                break
            self.settled.clear()
            await self.settled.wait()
        return not self.stopping.is_set()

    async def _call(self, i: int) -> None:
        call = self.calls[i]
        trace = self.traces.get(call.trace, Trace("", call.question.id))
        edited = self.plan.show(call, trace)
        if isinstance(edited, NotApplicable):
            self.inapplicable.append((self._where(call), edited.reason))
            self._finish(1)
            return
        request = self.plan.request(call, edited.text if call.replay else None)
        answered = await self._ask(call, request)
        if answered is None:
            return
        completion, retries = answered
        told = (completion, self.identities[i], retries, self._cost(completion))
        made = row(self.plan, call, request, trace=trace, told=told)
        self.log.append(made)
        self.made += 1
        self._account(made)
        if made.cost is None and self.limits.ceiling is not None:
            self._stop("no price")
            raise DesignError(
                f"{self.name} reports no price, so no cost ceiling can be kept; give "
                "Limits(prices=(per million tokens in, per million tokens out))"
            )
        if not made.replayed:
            self._know(made)
        self._finish(1)

    async def _ask(self, call: Call, request: Request) -> tuple[Completion, int] | None:
        """Ask until there is an answer; None when there is none or collecting stops."""
        for attempt in range(self.limits.retries + 1):
            await self._rest(self.not_before - asyncio.get_running_loop().time())
            if self.stopping.is_set():
                return None
            try:
                async with asyncio.timeout(self.limits.timeout):
                    completion = await self.model.complete(request)
            except (TransientError, OSError) as error:
                text = str(error) or f"no answer within {self.limits.timeout:g} s"
                asked = getattr(error, "retry_after", None)
            except CrossworldError as error:
                self._fail(call, str(error))
                return None
            else:
                self.in_a_row = 0
                return completion, attempt
            now = asyncio.get_running_loop().time()
            if asked is not None:
                self.not_before = max(self.not_before, now + asked)
            if attempt < self.limits.retries:
                first, longest = self.limits.backoff
                wait = min(first * 2.0**attempt, longest) * self.rng.uniform(0.5, 1.0)
                await self._rest(max(wait, asked or 0.0))
        if not self.stopping.is_set():
            self._fail(call, f"{text} (after {self.limits.retries + 1} attempts)")
        return None

    async def _rest(self, seconds: float) -> None:
        if seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self.stopping.wait()
            except TimeoutError:
                return

    def _cost(self, completion: Completion) -> float | None:
        if completion.cost is not None or self.limits.prices is None:
            return completion.cost
        into, out = self.limits.prices
        return (completion.tokens_in * into + completion.tokens_out * out) / 1e6

    def _fail(self, call: Call, why: str) -> None:
        lost = [call] if call.replay else [call, *self._blocked(call)]
        self.failed += [
            (self._where(c), why if c is call else "its trace is missing") for c in lost
        ]
        self.in_a_row += 1
        if self.in_a_row >= IN_A_ROW:
            self._stop(f"{IN_A_ROW} calls in a row failed; the last one: {why}")
        self._finish(len(lost))

    def _blocked(self, call: Call) -> list[Call]:
        return [self.calls[i] for i in self.waiting.pop(call.trace, [])]

    def _where(self, call: Call) -> str:
        edit = f", edit {call.replay.edit!r}" if call.replay and call.replay.edit else ""
        kind = "shown" if call.replay else "own"
        return f"prompt {call.template.arm!r}, {kind} reasoning {call.trace!r}{edit}, {call.r}"

    def _finish(self, calls: int) -> None:
        self.left -= calls
        if self.progress is not None:
            self.progress(len(self.calls) - self.left, len(self.calls), self.spent)
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self.left == 0:
            for _ in range(self.workers):
                self.queue.put_nowait((-1, -1))

    def _stop(self, reason: str) -> None:
        self.reason = self.reason or reason
        self.stopping.set()
        self.settled.set()
        for _ in range(self.limits.concurrency):
            self.queue.put_nowait((-1, -1))

"""Plans and collecting, with reasoners that need no server."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest

from crossworld.errors import DesignError, NotIdentifiedError, SpecError
from crossworld.reasoning.collect import collect, collect_now, outlook
from crossworld.reasoning.edits.protocol import Edited, NotApplicable
from crossworld.reasoning.limits import Limits
from crossworld.reasoning.log import ReadoutLog, columns, read_log
from crossworld.reasoning.models.failures import TransientError
from crossworld.reasoning.models.protocol import Completion, Request
from crossworld.reasoning.models.simulated import SimulatedReasoner
from crossworld.reasoning.plan import Plan, Question, Replayed, Template, four_cells, is_right
from crossworld.reasoning.trace import Trace

MODEL = SimulatedReasoner(contributions=(0.25, 0.25), sound=(0.2, 0.8), leak=(0.2, 0.2), seed=3)


@dataclass(frozen=True)
class Known:
    """An edit of the simulated reasoner's own, in the shape of the package's edits."""

    name: str
    control: None = None

    def __call__(self, trace: Trace, /) -> Edited:
        text = MODEL.edit(trace.text, self.name)
        if text == trace.text:
            return NotApplicable(trace, self.name, "nothing to change")
        return replace(trace, text=text, edits=(self.name,))


def make_plan(questions: int = 4, **more: object) -> Plan:
    asked = tuple(
        Question(f"q{i}", MODEL.question(f"q{i}").words(), str(MODEL.question(f"q{i}").gold))
        for i in range(questions)
    )
    more.setdefault("cells", four_cells("0", "1"))
    return Plan(asked, (Template("0", "{question}"), Template("1", "Think. {question}")), **more)


@dataclass
class Spy:
    """A model that notes what it is asked and can be made to fail, wait or cost."""

    inner: SimulatedReasoner = MODEL
    cost: float | None = None
    wait: float = 0.0
    trouble: Exception | None = None
    hidden: bool = False
    asked: list[Request] = field(default_factory=list)
    modes: frozenset[str] = frozenset({"continuation"})
    name: str = "spy"
    at_once: int = 0
    most: int = 0

    async def complete(self, request: Request) -> Completion:
        self.asked.append(request)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(self.wait)
        self.at_once -= 1
        if self.trouble is not None:
            raise self.trouble
        told = await self.inner.complete(request)
        return replace(told, cost=self.cost, hidden=self.hidden)


def test_replays_show_the_frozen_trace_under_the_other_prompt(tmp_path: Path) -> None:
    cells = (*four_cells("0", "1"), Replayed("1", "1", "delete"), Replayed("0", "gold"))
    gold = {f"q{i}": f"gold reasoning {i}" for i in range(4)}
    plan = make_plan(
        cells=cells, traces=2, readouts=3, edits=(Known("delete"),), sources={"gold": gold}
    )
    spy = Spy()
    done = collect_now(plan, spy, log=tmp_path / "a.jsonl")
    rows = read_log(tmp_path / "a.jsonl")
    assert done.complete and done.held == len(rows) == plan.size == 4 * (4 + 5 * 6 + 3)
    own = {r.trace: r for r in rows if not r.replayed}
    assert len(own) == 16
    for r in rows:
        if not r.replayed:
            assert r.reasoning == r.prompt and r.readout == "free"
        elif r.edit == "delete":
            assert r.shown == "" and r.leaked == 0
        elif r.reasoning == "gold":
            assert r.shown == gold[r.question]
        else:
            assert r.shown == own[r.trace].shown and own[r.trace].prompt == r.reasoning
            assert r.leaked == own[r.trace].leaked
    assert len(spy.asked) == plan.size
    assert all(a.prompt.startswith("Think. ") == (a.arm == "1") for a in spy.asked)
    table = columns(rows)
    per_cell = Counter(
        zip(*(table[c] for c in ("prompt", "reasoning", "edit", "replayed")), strict=True)
    )
    assert per_cell["1", "0", None, 1] == 24 and per_cell["0", "0", None, 0] == 8
    leaks = [r.leaked for r in rows if not r.replayed]
    assert 0 < sum(leaks) < len(leaks)
    stated = [r for r in rows if r.answer and f"answer is {r.answer}." in r.shown]
    assert stated and all(r.leaked for r in stated if not r.replayed)


def test_the_order_is_mixed_over_cells_and_the_result_does_not_depend_on_it(tmp_path: Path) -> None:
    plan, found = make_plan(30), []
    for seed, concurrency in ((0, 1), (1, 7)):
        spy, file = Spy(), tmp_path / f"{seed}.jsonl"
        collect_now(replace(plan, seed=seed), spy, log=file, limits=Limits(concurrency=concurrency))
        found.append(sorted(file.read_text().splitlines()))
        kinds = [(a.arm, a.shown is None) for a in spy.asked]
        changes = sum(a != b for a, b in pairwise(kinds))
        assert changes > 60  # of 179; sorted by cell there would be three
        first, second = kinds[:90], kinds[90:]
        assert all(kind in first and kind in second for kind in kinds)
    assert found[0] == found[1]


def test_only_what_lacks_is_asked(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    small, spy = make_plan(cells=four_cells("0", "1")[:2]), Spy()
    collect_now(small, spy, log=file)
    bigger = make_plan(traces=2, readouts=2)
    before = len(spy.asked)
    done = collect_now(bigger, spy, log=file)
    assert done.made == len(spy.asked) - before == bigger.size - small.size
    assert collect_now(bigger, spy, log=file).made == 0
    warmer = collect_now(replace(bigger, temperature=0.5), spy, log=file)
    assert warmer.made == bigger.size  # other reasoning, so other traces are shown
    colder = collect_now(replace(bigger, readout_temperature=0.5), spy, log=file)
    assert colder.made == 64  # the same traces, read out otherwise
    assert {r.trace for r in read_log(file) if r.replayed} == {
        r.trace for r in read_log(file) if not r.replayed
    }
    asked = tuple(replace(q, text=f"{q.text} Now.") for q in bigger.questions)
    assert collect_now(replace(bigger, questions=asked), spy, log=file).made == bigger.size


def test_concurrency_and_progress(tmp_path: Path) -> None:
    told: list[tuple[int, int, float]] = []
    spy = Spy(wait=0.005, cost=0.25)
    collect_now(
        make_plan(), spy, log=tmp_path / "a.jsonl", limits=Limits(concurrency=5),
        progress=lambda done, total, cost: told.append((done, total, cost)),
    )  # fmt: skip
    assert spy.most == 5
    assert [d for d, _, _ in told] == list(range(1, 25))
    assert told[-1] == (24, 24, 6.0)


@pytest.mark.parametrize("concurrency", [1, 8])
def test_the_ceiling_is_never_passed(concurrency: int, tmp_path: Path) -> None:
    spy, file = Spy(cost=1.0, wait=0.001), tmp_path / "a.jsonl"
    limits = Limits(concurrency=concurrency, ceiling=10.0)
    done = collect_now(make_plan(), spy, log=file, limits=limits)
    assert len(spy.asked) == done.made == 10 and done.cost == 10.0 and not done.complete
    assert done.stopped is not None and "ceiling of 10" in done.stopped
    again = collect_now(make_plan(), spy, log=file, limits=limits)
    assert again.made == 0  # what was spent before counts
    more = collect_now(make_plan(), spy, log=file, limits=replace(limits, ceiling=24.0))
    assert more.complete and more.cost == 24.0


def test_a_ceiling_needs_prices(tmp_path: Path) -> None:
    limits = Limits(ceiling=1.0)
    with pytest.raises(DesignError, match="reports no price"):
        collect_now(make_plan(), Spy(), log=tmp_path / "a.jsonl", limits=limits)
    assert len(read_log(tmp_path / "a.jsonl")) == 1  # the answer that was paid for is kept
    limits = Limits(ceiling=1.0, prices=(1.0, 100.0))
    done = collect_now(make_plan(), Spy(), log=tmp_path / "b.jsonl", limits=limits)
    rows = read_log(tmp_path / "b.jsonl")
    assert done.cost == pytest.approx(sum(r.tokens_in + 100 * r.tokens_out for r in rows) / 1e6)


def test_models_that_cannot_show_reasoning_again_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DesignError, match="no replay mode"):
        collect_now(make_plan(), Spy(modes=frozenset()), log=tmp_path / "a.jsonl")
    assert not (tmp_path / "a.jsonl").exists()
    spy = Spy(hidden=True)
    with pytest.raises(NotIdentifiedError, match="total effect"):
        collect_now(make_plan(), spy, log=tmp_path / "b.jsonl", limits=Limits(concurrency=1))
    assert len(spy.asked) == 1 == len(read_log(tmp_path / "b.jsonl"))
    with pytest.raises(NotIdentifiedError):  # the log remembers
        collect_now(make_plan(), spy, log=tmp_path / "b.jsonl")
    assert len(spy.asked) == 1
    assert collect_now(make_plan(cells=()), spy, log=tmp_path / "c.jsonl").complete


def test_an_edit_that_does_not_apply_is_counted_and_not_asked(tmp_path: Path) -> None:
    cells = (Replayed("1", "1", "strip"),)
    plan, spy = make_plan(30, cells=cells, edits=(Known("strip"),)), Spy()
    done = collect_now(plan, spy, log=tmp_path / "a.jsonl")
    rows = read_log(tmp_path / "a.jsonl")
    own = [r for r in rows if not r.replayed and r.prompt == "1"]
    leaked = sum("So the answer is" in r.shown for r in own)
    assert 0 < leaked < 30
    assert sum(r.replayed for r in rows) == leaked
    assert len(done.inapplicable) == 30 - leaked and done.complete
    assert done.inapplicable[0][1] == "nothing to change"


def test_a_bug_in_a_model_is_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        collect_now(make_plan(), Spy(trouble=ZeroDivisionError()), log=tmp_path / "a.jsonl")


def test_attempts_are_limited_and_timed(tmp_path: Path) -> None:
    spy = Spy(trouble=TransientError("busy"))
    plan = make_plan(1, cells=())
    limits = Limits(retries=2, backoff=(0.001, 0.002))
    done = collect_now(plan, spy, log=tmp_path / "a.jsonl", limits=limits)
    assert len(spy.asked) == 2 * 3 and len(done.failed) == 2
    assert "after 3 attempts" in done.failed[0][1]
    slow = Spy(wait=5.0)
    limits = Limits(retries=1, timeout=0.05, backoff=(0.001, 0.002))
    done = collect_now(plan, slow, log=tmp_path / "b.jsonl", limits=limits)
    assert len(slow.asked) == 4 and "no answer within 0.05 s" in done.failed[0][1]


def test_an_open_log_stays_open(tmp_path: Path) -> None:
    with ReadoutLog(tmp_path / "a.jsonl") as log:
        asyncio.run(collect(make_plan(1), MODEL, log=log))
        asyncio.run(collect(make_plan(2), MODEL, log=log))
        assert len(log.rows) == 12


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        ({"cells": (Replayed("2", "0"),)}, SpecError, "prompt arm '2'"),
        ({"cells": (Replayed("0", "golden"),)}, SpecError, "reasoning 'golden'"),
        ({"cells": (Replayed("0", "1", "shufle"),)}, SpecError, "edit 'shufle'"),
        ({"cells": (Replayed("0", "1"),) * 2}, DesignError, "twice"),
        ({"sources": {"g": {"q0": ""}}, "cells": (Replayed("0", "g"),)}, DesignError, "'q1'"),
        ({"sources": {"1": {}}}, DesignError, "rename the source"),
        ({"traces": 0}, DesignError, "traces"),
        ({"readout": "choice"}, DesignError, "needs choices"),
    ],
)
def test_plans_that_cannot_be_are_refused(change: dict, error: type[Exception], word: str) -> None:
    with pytest.raises(error, match=word):
        make_plan(**change)


def test_arms_need_the_same_wordings_and_wordings_are_paired(tmp_path: Path) -> None:
    arms = (Template("0", "a {id}"), Template("0", "b {id}", "w"), Template("1", "c {id}"))
    with pytest.raises(DesignError, match="same wordings"):
        Plan((Question("q"),), arms)
    plan = Plan((Question("q"),), (*arms, Template("1", "d {id}", "w")), (Replayed("1", "0"),))
    collect_now(plan, MODEL, log=tmp_path / "a.jsonl")
    rows = [r for r in read_log(tmp_path / "a.jsonl") if r.replayed]
    shown = {(r.wording, r.trace.split("@")[0]) for r in rows}
    assert shown == {("0", "q/0/0"), ("w", "q/0/w/0")}
    assert len({r.template for r in rows}) == 2


@pytest.mark.parametrize(
    ("answer", "gold", "same"),
    [("7", "7.0", True), ("-7", "7", False), ("1,000", "1000", True), ("Paris.", "paris", True),
     ("(C)", "C", True), ("", "0", False), ("seven", "7", False)],
)  # fmt: skip
def test_answers_are_compared(answer: str, gold: str, same: bool) -> None:
    assert is_right(answer, gold) is same


@pytest.fixture
def heard() -> Iterator[None]:
    """Ctrl-C is heard even where whoever started the tests had it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
def test_ctrl_c_stops_a_model_that_never_waits(tmp_path: Path) -> None:
    class Local(SimulatedReasoner):
        async def complete(self, request: Request) -> Completion:
            asked.append(request.draw)
            if len(asked) == 7:
                os.kill(os.getpid(), signal.SIGINT)
            return await super().complete(request)

    asked: list[int] = []
    plan = Plan(
        tuple(Question(f"q{i}", answer="1") for i in range(40)),
        (Template("0", "{id}"), Template("1", "{id}!")),
        four_cells("0", "1"),
    )
    log = tmp_path / "log.jsonl"
    with pytest.raises(KeyboardInterrupt):
        collect_now(plan, Local(), log=log, limits=Limits(concurrency=3))
    held = read_log(log)
    assert len(held) == len(asked) < 16
    assert str(outlook(plan, Local(), log=log)) == f"240 calls, {len(held)} in the log, " + (
        f"{240 - len(held)} to go"
    )
    assert collect_now(plan, SimulatedReasoner(), log=log).complete
    assert len({r.key for r in read_log(log)}) == len(read_log(log)) == 240

"""A server that misbehaves on purpose: every planned call ends up in the log exactly once.

The package has no provider client of its own (inspect_ai is the one), so these tests bring the
least client there is; with inspect_ai installed they run through it as well.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from crossworld.reasoning.collect import collect, collect_now
from crossworld.reasoning.limits import Collected, Limits
from crossworld.reasoning.log import read_log
from crossworld.reasoning.models.protocol import LanguageModel
from crossworld.reasoning.plan import Plan, Question, Template, four_cells
from crossworld.reasoning.rows import identity_key
from tests.reasoning.loopback import FAULTS, Behaviour, PlainModel, serving

ROOT = Path(__file__).parents[2]
QUICK = Limits(concurrency=6, retries=8, timeout=5.0, backoff=(0.01, 0.05), grace=5.0)
HAS_INSPECT = importlib.util.find_spec("inspect_ai") is not None

# what other people's libraries warn of among themselves
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

clients = pytest.mark.parametrize(
    "client",
    [
        "plain",
        pytest.param(
            "inspect", marks=pytest.mark.skipif(not HAS_INSPECT, reason="inspect_ai is not here")
        ),
    ],
)


def make_plan(questions: int = 6, **more: object) -> Plan:
    asked = tuple(Question(f"q{i}", f"number {i}?", str(i)) for i in range(questions))
    arms = (Template("direct", "{question}"), Template("cot", "{question} Think first."))
    return Plan(asked, arms, four_cells("direct", "cot"), **more)


def make_model(client: str, address: str) -> LanguageModel:
    if client == "plain":
        return PlainModel(address)
    os.environ.setdefault("LOOPBACK_API_KEY", "none")
    from crossworld.reasoning.models.inspect import InspectModel

    model = "openai-api-completions/loopback/m"
    # the draw is not part of a raw prompt, and the server tells prompts apart by their text
    return InspectModel(
        model, "continuation", base_url=address, options={"client_timeout": 0.5}, seeded=True
    )


def planned(plan: Plan, model: LanguageModel) -> list[str]:
    mode = getattr(model, "mode", "continuation")
    return [identity_key(plan.identity(c, model.name, mode=mode)) for c in plan.calls()]


def check_once(plan: Plan, model: LanguageModel, file: Path) -> None:
    """Every planned call is in the log exactly once, in whole lines."""
    lines = file.read_bytes().split(b"\n")
    assert lines[-1] == b""
    keys = [json.loads(line)["key"] for line in lines[:-1]]
    assert Counter(keys) == Counter(planned(plan, model))


@clients
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_survived(fault: str, client: str, tmp_path: Path) -> None:
    plan = make_plan(2)
    behaviour = Behaviour(faults=(fault,), slow=0.8)
    with serving(behaviour) as address:
        model = make_model(client, address)
        done = collect_now(plan, model, log=tmp_path / "a.jsonl", limits=QUICK)
    assert done.complete and not done.failed and done.made == plan.size == 12
    assert behaviour.met[fault] >= 8  # eight prompts differ, each met it at least once
    assert sum(row.retries for row in read_log(tmp_path / "a.jsonl")) >= 8
    check_once(plan, model, tmp_path / "a.jsonl")


@clients
def test_all_faults_at_once_and_nothing_paid_is_lost(client: str, tmp_path: Path) -> None:
    plan = make_plan(5, traces=2)
    behaviour = Behaviour(faults=FAULTS, per_call=3, slow=0.7, retry_after=0.05)
    with serving(behaviour) as address:
        model = make_model(client, address)
        done = collect_now(plan, model, log=tmp_path / "a.jsonl", limits=QUICK)
    assert done.complete and done.made == plan.size == 60
    assert set(behaviour.met) == set(FAULTS) and behaviour.met.total() == 3 * len(behaviour.seen)
    check_once(plan, model, tmp_path / "a.jsonl")
    # as many answers were given as are in the log: none was asked for twice, none was dropped
    assert sum(behaviour.answered.values()) == plan.size


@clients
def test_retry_after_is_waited_out_by_everybody(client: str, tmp_path: Path) -> None:
    behaviour = Behaviour(faults=("busy-after",), retry_after=0.4)
    plan = make_plan(1)
    one = Limits(concurrency=1, retries=3, backoff=(0.001, 0.002))
    with serving(behaviour) as address:
        start = time.monotonic()
        model = make_model(client, address)
        done = collect_now(plan, model, log=tmp_path / "a.jsonl", limits=one)
        seconds = time.monotonic() - start
    assert done.complete
    assert behaviour.early == 0
    assert seconds >= 0.4 * behaviour.met["busy-after"]


def test_without_retry_after_the_waits_grow(tmp_path: Path) -> None:
    behaviour = Behaviour(faults=("busy",), per_call=4)
    plan = Plan((Question("q"),), (Template("a", "x"),))
    with serving(behaviour) as address:
        start = time.monotonic()
        limits = Limits(retries=4, backoff=(0.1, 10.0))
        done = collect_now(plan, PlainModel(address), log=tmp_path / "a.jsonl", limits=limits)
        seconds = time.monotonic() - start
    assert done.complete
    # 0.1 + 0.2 + 0.4 + 0.8, each between half and all of it
    assert 0.75 <= seconds <= 2.5


@clients
def test_a_failed_call_is_listed_and_made_later(client: str, tmp_path: Path) -> None:
    plan = make_plan(3)
    file = tmp_path / "a.jsonl"
    behaviour = Behaviour(faults=("error",), per_call=2)
    with serving(behaviour) as address:
        model = make_model(client, address)
        limits = Limits(retries=0, concurrency=2, backoff=(0.01, 0.02))
        first = collect_now(plan, model, log=file, limits=limits)
        assert first.made == 0 and len(first.failed) == 18 and not first.complete
        assert "500" in first.failed[0][1]
        assert any(why == "its trace is missing" for _, why in first.failed)
        second = collect_now(plan, model, log=file, limits=QUICK)
        assert second.complete and second.made == 18
        third = collect_now(plan, model, log=file, limits=QUICK)
    assert third.made == 0 and third.held == 18
    check_once(plan, model, file)


@clients
def test_a_broken_server_is_given_up_on(client: str, tmp_path: Path) -> None:
    behaviour = Behaviour(faults=("error",), per_call=10**6)
    with serving(behaviour) as address:
        model = make_model(client, address)
        limits = Limits(retries=1, concurrency=2, backoff=(0.001, 0.002))
        done = collect_now(make_plan(200), model, log=tmp_path / "a.jsonl", limits=limits)
    assert done.stopped is not None and "in a row failed" in done.stopped
    assert behaviour.met["error"] <= 30


@clients
def test_an_empty_answer_is_an_answer(client: str, tmp_path: Path) -> None:
    behaviour = Behaviour(silent=True)
    plan = make_plan(2)
    with serving(behaviour) as address:
        model = make_model(client, address)
        done = collect_now(plan, model, log=tmp_path / "a.jsonl", limits=QUICK)
    rows = read_log(tmp_path / "a.jsonl")
    assert done.complete and sum(behaviour.answered.values()) == plan.size
    assert {(row.text, row.answer, row.correct) for row in rows} == {("", None, 0)}
    assert {row.shown for row in rows} == {""}


@clients
def test_a_hundred_thousand_characters_are_sent_whole(client: str, tmp_path: Path) -> None:
    long = "x" * 99_999 + "!"
    question = Question("q", long, "1")
    plan = Plan((question,), (Template("a", "{question}"),))
    behaviour = Behaviour()
    with serving(behaviour) as address:
        model = make_model(client, address)
        assert collect_now(plan, model, log=tmp_path / "a.jsonl", limits=QUICK).complete
    assert behaviour.longest >= 100_000
    assert any(long in text for text in behaviour.answered)


@clients
def test_what_does_not_fit_is_refused_with_the_limit(client: str, tmp_path: Path) -> None:
    plan = Plan((Question("q", "x" * 1000, "1"),), (Template("a", "{question}"),))
    behaviour = Behaviour(most_characters=500)
    with serving(behaviour) as address:
        model = make_model(client, address)
        done = collect_now(plan, model, log=tmp_path / "a.jsonl", limits=QUICK)
    assert sum(behaviour.seen.values()) == 1  # asked once, never again, never cut
    ((_, why),) = done.failed
    assert "50 tokens" in why


CHILD = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may ignore it
from crossworld.reasoning.collect import collect_now
from crossworld.reasoning.limits import Limits
from tests.reasoning.loopback import PlainModel
from tests.reasoning.test_faults import make_plan
limits = Limits(concurrency=4, backoff=(0.01, 0.05))
collect_now(make_plan(30), PlainModel(sys.argv[1], timeout=5), log=sys.argv[2], limits=limits)
"""


def start_child(address: str, file: Path) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    env = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, address, str(file)], env=env, stderr=subprocess.PIPE
    )


def wait_for_lines(file: Path, lines: int, child: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 20
    while not file.exists() or file.read_bytes().count(b"\n") < lines:
        assert child.poll() is None, child.stderr.read().decode() if child.stderr else ""
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is not there")
@pytest.mark.parametrize("tear", [False, True])
def test_kill_minus_nine(tear: bool, tmp_path: Path) -> None:
    plan, file = make_plan(30), tmp_path / "a.jsonl"
    behaviour = Behaviour(delay=0.02)
    with serving(behaviour) as address:
        child = start_child(address, file)
        wait_for_lines(file, 25, child)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        time.sleep(0.1)
        whole = file.read_bytes()
        assert whole.endswith(b"\n")
        if tear:
            file.write_bytes(whole[: len(whole) - 200])
        before = read_log(file)
        assert len(before) == whole.count(b"\n") - tear
        asked = sum(behaviour.answered.values())
        model = PlainModel(address, timeout=5)
        done = collect_now(plan, model, log=file, limits=QUICK)
        again = sum(behaviour.answered.values()) - asked
    assert done.complete and done.made == again == plan.size - len(before)
    assert read_log(file)[: len(before)] == before
    assert Path(f"{file}.torn").exists() == tear
    check_once(plan, model, file)


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
def test_control_c_keeps_the_answers_in_flight(tmp_path: Path) -> None:
    plan, file = make_plan(30), tmp_path / "a.jsonl"
    behaviour = Behaviour(delay=0.06)
    with serving(behaviour) as address:
        child = start_child(address, file)
        wait_for_lines(file, 8, child)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=20)
        assert child.returncode != 0 and b"KeyboardInterrupt" in errors
        held = len(read_log(file))
        assert sum(behaviour.answered.values()) == held < plan.size
        model = PlainModel(address, timeout=5)
        done = collect_now(plan, model, log=file, limits=QUICK)
    assert done.complete and sum(behaviour.answered.values()) == plan.size
    check_once(plan, model, file)


def test_cancelling_keeps_the_answers_in_flight(tmp_path: Path) -> None:
    plan, file = make_plan(20), tmp_path / "a.jsonl"
    behaviour = Behaviour(delay=0.15)

    async def some(address: str) -> Collected:
        work = collect(plan, PlainModel(address, timeout=5), log=file, limits=QUICK)
        task = asyncio.create_task(work)
        await asyncio.sleep(0.4)
        task.cancel()
        return await task

    with serving(behaviour) as address:
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(some(address))
        held = len(read_log(file))
        assert 6 <= held < plan.size
        assert sum(behaviour.answered.values()) == held
        model = PlainModel(address)
        assert collect_now(plan, model, log=file, limits=QUICK).made == plan.size - held
    check_once(plan, model, file)
    # a server counts an answer as in flight until its thread ends, a moment after it was read
    assert QUICK.concurrency <= behaviour.most_in_flight <= QUICK.concurrency + 1

"""Measure what collecting costs beside a bare asynchronous client, in one run.

    python benchmarks/reasoning.py [--calls 1000] [--concurrency 50] [--repeat 3] [--json FILE]

A small asynchronous server on this machine, in a process of its own, answers chat requests at
once. Contestants: the bare client (``openai.AsyncOpenAI`` behind a semaphore), inspect_ai's
``generate`` behind the same semaphore, and `collect` with `InspectModel`, which also writes the
log. They take turns; printed are medians of wall and CPU seconds and ratios to the bare client.
Beside them, without a server, `collect` with `SimulatedReasoner`: what planning, order and log
cost by themselves. Needs inspect_ai and openai; without them only the last is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from crossworld.reasoning.collect import collect
from crossworld.reasoning.limits import Limits
from crossworld.reasoning.models.simulated import SimulatedReasoner
from crossworld.reasoning.plan import Plan, Question, Template

PROMPT = "What is {question}? Think first."
ANSWER = json.dumps(
    {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "loopback-1",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "2 + 3 = 5.\nAnswer: 5"},
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18},
    }
).encode()
Contestant = Callable[[str, int, int], Awaitable[None]]


async def serve() -> None:
    """Answer every request on a connection with the same completion; print the port."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        try:
            while True:
                told = (await reader.readuntil(b"\r\n\r\n")).lower()
                size = int(told.split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(size)
                writer.write(head % len(ANSWER) + ANSWER)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


async def bare(address: str, calls: int, concurrency: int) -> None:
    """The provider's own client behind a semaphore; answers are kept in a list."""
    import openai

    gate, answers = asyncio.Semaphore(concurrency), []
    async with openai.AsyncOpenAI(base_url=address, api_key="none", max_retries=0) as client:

        async def one(i: int) -> None:
            async with gate:
                told = await client.chat.completions.create(
                    model="m",
                    messages=[{"role": "user", "content": PROMPT.replace("{question}", str(i))}],
                    temperature=1.0,
                    max_tokens=512,
                )
                answers.append(told.choices[0].message.content)

        await asyncio.gather(*(one(i) for i in range(calls)))
    assert len(answers) == calls


async def inspect_alone(address: str, calls: int, concurrency: int) -> None:
    """inspect_ai's generate behind a semaphore, without a log."""
    from crossworld.reasoning.models.inspect import InspectModel
    from crossworld.reasoning.models.protocol import Request

    model, gate = (
        InspectModel("openai-api/loopback/m", base_url=address),
        asyncio.Semaphore(concurrency),
    )

    async def one(i: int) -> None:
        async with gate:
            await model.complete(Request(str(i), "a", PROMPT.replace("{question}", str(i))))

    await asyncio.gather(*(one(i) for i in range(calls)))
    await model.aclose()


def natural(calls: int) -> Plan:
    """A plan of so many calls."""
    asked = tuple(Question(f"q{i}", str(i), "5") for i in range(calls))
    return Plan(asked, (Template("0", PROMPT),))


async def ours(address: str, calls: int, concurrency: int) -> None:
    """`collect` with the log."""
    from crossworld.reasoning.models.inspect import InspectModel

    model = InspectModel("openai-api/loopback/m", base_url=address)
    with tempfile.TemporaryDirectory() as folder:
        done = await collect(
            natural(calls),
            model,
            log=Path(folder) / "log.jsonl",
            limits=Limits(concurrency=concurrency),
        )
    assert done.made == calls
    assert done.complete


async def simulated(_: str, calls: int, concurrency: int) -> None:
    """`collect` with a reasoner that takes next to no time."""
    with tempfile.TemporaryDirectory() as folder:
        done = await collect(
            natural(calls),
            SimulatedReasoner(),
            log=Path(folder) / "log.jsonl",
            limits=Limits(concurrency=concurrency),
        )
    assert done.made == calls


CONTESTANTS: dict[str, Contestant] = {
    "bare AsyncOpenAI": bare,
    "InspectModel alone": inspect_alone,
    "collect + InspectModel": ours,
    "collect + SimulatedReasoner": simulated,
}


def timed(run: Contestant, address: str, calls: int, concurrency: int) -> tuple[float, float]:
    """Wall and CPU seconds of one contestant."""
    wall, cpu = time.perf_counter(), time.process_time()
    asyncio.run(run(address, calls, concurrency))  # type: ignore[arg-type]
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Let the contestants take turns and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        asyncio.run(serve())
        return
    os.environ.setdefault("LOOPBACK_API_KEY", "none")
    here = dict(CONTESTANTS)
    for library in ("inspect_ai", "openai"):
        if importlib.util.find_spec(library) is None:
            print(f"{library} is not installed: only the simulated reasoner is measured")
            here = {name: run for name, run in CONTESTANTS.items() if run is simulated}
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        address = f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
        for run in here.values():  # imports and first connections are not measured
            timed(run, address, 20, asked.concurrency)
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in here}
        for _ in range(asked.repeat):
            for name, run in here.items():
                runs[name].append(timed(run, address, asked.calls, asked.concurrency))
    finally:
        server.terminate()
        server.wait()
    report(runs, asked)


def report(runs: dict[str, list[tuple[float, float]]], asked: Any) -> None:
    """Print medians and ratios."""
    print(f"{asked.calls} calls, {asked.concurrency} at once, {platform.python_version()}")
    base = statistics.median(w for w, _ in runs.get("bare AsyncOpenAI", [(float("nan"), 0.0)]))
    rows = {}
    for name, each in runs.items():
        wall, cpu = (statistics.median(t[k] for t in each) for k in (0, 1))
        rows[name] = {"wall": wall, "cpu": cpu, "ratio": wall / base}
        print(f"{name:28s} wall {wall:6.2f} s   cpu {cpu:6.2f} s   x {wall / base:.2f}")
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

"""The real server on the loopback address: started by the command, killed, started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.serve.client import SPEC, Caller, csv, httpx, refused

psutil = pytest.importorskip("psutil", reason="psutil is not installed")
SRC = Path(__file__).parents[2] / "src"
SLOW = {**SPEC, "inference": {"name": "Bootstrap", "draws": 60_000}}


@contextmanager
def server(data: Path, key: str, *words: str) -> Iterator[tuple[Caller, Any]]:
    """A server process, ready to answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = os.pathsep.join([str(SRC), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "crossworld.cli.main", "serve", "--data", str(data),
         "--port", str(port), *words],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60.0) as http:
            until = time.monotonic() + 60.0
            while True:
                try:
                    assert http.get("/healthz").json()["status"] == "ok"
                    break
                except httpx.TransportError:
                    assert process.poll() is None, "the server ended"
                    assert time.monotonic() < until, "the server does not answer"
                    time.sleep(0.1)
            yield Caller(http, key, data, None), process
    finally:
        process.kill()
        process.wait()


def made_key(data: Path) -> str:
    """A key made by the command."""
    path = os.pathsep.join([str(SRC), os.environ.get("PYTHONPATH", "")])
    words = [sys.executable, "-m", "crossworld.cli.main", "serve"]
    run = subprocess.run(
        [*words, "--data", str(data), "--new-key", "ann"],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    return run.stdout.strip()


def running(caller: Caller, place: str) -> None:
    """Wait until a job runs."""
    until = time.monotonic() + 60.0
    while caller.get(place).json()["status"] != "running":
        assert time.monotonic() < until
        time.sleep(0.02)


def worker(process: Any) -> Any:
    """The process that runs a job: the child of the child of the server."""
    until = time.monotonic() + 30.0
    while True:
        found = [p for c in psutil.Process(process.pid).children() for p in c.children()]
        if found:
            return found[0]
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_killed_worker_or_server_loses_no_job(tmp_path: Path) -> None:
    data = tmp_path / "data"
    key = made_key(data)
    with server(data, key) as (one, process):
        place = one.send(csv(), SLOW).headers["location"]
        more = one.send(csv()).headers["location"]
        running(one, place)
        worker(process).send_signal(signal.SIGKILL)
        state = one.ended(place)
        assert (state["status"], state["attempts"]) == ("done", 2)
        assert one.ended(more)["status"] == "done"

        place = one.send(csv(), SLOW).headers["location"]
        running(one, place)
        psutil.Process(process.pid).children()[0].send_signal(signal.SIGKILL)  # their parent
        assert one.ended(place)["status"] == "done"

        place = one.send(csv(), SLOW).headers["location"]
        waiting = one.send(csv()).headers["location"]
        running(one, place)
        orphan = worker(process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        psutil.wait_procs([orphan], 10.0)
        assert not orphan.is_running(), "a worker outlives its server"
    with server(data, key) as (again, process):
        state = again.ended(place)
        assert (state["status"], state["attempts"]) == ("done", 2)
        assert state["result"]["effects"][0]["term"] == "te"
        assert again.ended(waiting)["status"] == "done"

        place = again.send(csv(), SLOW).headers["location"]
        running(again, place)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30.0) in (0, -signal.SIGTERM)
    with server(data, key) as (last, process):
        state = last.ended(place)
        assert (state["status"], state["attempts"]) == ("done", 1), "a stop counts as no attempt"


def test_a_worker_that_always_dies_is_given_up(tmp_path: Path) -> None:
    data = tmp_path / "data"
    key = made_key(data)
    forever = {**SPEC, "inference": {"name": "Bootstrap", "draws": 10_000_000}}
    with server(data, key, "--limit", "attempts=2") as (one, process):
        place = one.send(csv(), forever).headers["location"]
        for _ in range(2):
            running(one, place)
            worker(process).send_signal(signal.SIGKILL)
            time.sleep(0.2)
        state = one.ended(place)
        assert (state["status"], state["error"]["kind"]) == ("failed", "WorkerDied")
        assert state["attempts"] == 2
        assert one.ended(one.send(csv()).headers["location"])["status"] == "done"


def test_chunked_bodies_and_two_servers_on_one_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    key = made_key(data)
    with server(data, key, "--limit", "inline=100000") as (one, process):
        before = psutil.Process(process.pid).memory_info().rss
        sent = 0

        def endless() -> Iterator[bytes]:
            nonlocal sent
            for _ in range(20_000):
                sent += 65_536
                yield b"[" * 65_536

        headers = {**one.headers, "Content-Type": "application/json"}
        try:
            answer = one.http.post("/v1/analyses", headers=headers, content=endless())
            refused(answer, 413, "100,000")
        except httpx.TransportError:
            pass  # the server closed the connection while we were still sending
        assert sent < 200 * 65_536, "the server read on"
        assert psutil.Process(process.pid).memory_info().rss - before < 32 * 2**20

        words = [sys.executable, "-m", "crossworld.cli.main", "serve", "--data", str(data)]
        path = os.pathsep.join([str(SRC), os.environ.get("PYTHONPATH", "")])
        second = subprocess.run(
            [*words, "--port", "0"], capture_output=True, text=True, check=False, timeout=60,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        assert second.returncode == 2
        assert "in use by another server" in second.stderr
        assert "Traceback" not in second.stderr

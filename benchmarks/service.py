"""How fast the service tells effects, beside how much memory it keeps.

    python benchmarks/service.py                 # offline embedder: one client, then 50
    python benchmarks/service.py --encoder       # an encoder of the size of MiniLM, random weights
    python benchmarks/service.py --requests 2000 # a shorter run

One request asks for one prompt of 300 tokens, each time another one. Server and clients share the
machine and speak over 127.0.0.1 only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
TOKENS, WORDS, MOST = 300, 3_000, 50_000
CLIENTS, STEPS = 50, 5


def words(seed: int) -> list[str]:
    """Made-up words."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    return sorted({"".join(rng.choice(letters, rng.integers(3, 9))) for _ in range(WORDS)})


def text(rng: np.random.Generator, known: list[str], tokens: int) -> str:
    """Words drawn as in a language: the n-th most frequent 1 / n as often as the first."""
    share = 1.0 / np.arange(1, len(known) + 1)
    return " ".join(rng.choice(known, tokens, p=share / share.sum()))


def table(questions: int = 400) -> pd.DataFrame:
    """Questions of 300 tokens, each answered under two treatments."""
    rng, known = np.random.default_rng(1), words(0)
    rows = []
    for q in range(questions):
        prompt = text(rng, known, TOKENS)
        for arm in ("hasty", "careful"):
            reasoning = text(rng, known[:: 1 + (arm == "hasty")], 60)
            odds = reasoning.count(known[0]) - 4.0 + 0.5 * (arm == "careful")
            right = int(rng.random() < 1.0 / (1.0 + np.exp(-odds)))
            rows.append((f"q{q}", prompt, arm, reasoning, right))
    columns = ["question", "prompt", "treatment", "reasoning", "outcome"]
    return pd.DataFrame(rows, columns=columns)


def command(*told: object) -> list[str]:
    """The command line of crossworld."""
    return [sys.executable, "-m", "crossworld.cli.main", *map(str, told)]


@contextmanager
def server(folder: Path, port: int) -> Iterator[tuple[psutil.Process, str]]:
    """Start the service; its process, and a key."""
    data = folder / "data"
    key = subprocess.check_output(
        command("serve", "--data", data, "--new-key", "load"), text=True
    ).strip()
    process = subprocess.Popen(
        command("serve", folder / "model", "--data", data, "--port", port,
                "--limit", "rate=100000000"),
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield psutil.Process(process.pid), key
    finally:
        process.terminate()
        process.wait()


def requests(count: int, key: str) -> list[bytes]:
    """Whole HTTP requests, all different."""
    rng, known = np.random.default_rng(2), words(0)
    made = []
    for _ in range(count):
        body = json.dumps({"prompts": [{"prompt": text(rng, known, TOKENS)}]}).encode()
        head = (
            "POST /v1/effects HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


async def answered(reader: asyncio.StreamReader) -> int:
    """Read one answer and return its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    length = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length"))
    body = await reader.readexactly(length)
    status = int(lines[0].split()[1])
    if status == 200 and b'"te"' not in body:
        return 0
    return status


async def client(
    port: int, made: list[bytes], share: Iterator[int], pause: float, start: float
) -> list[float]:
    """Ask until there is nothing left to ask; seconds of each answer, NaN for an error."""
    took = []
    await asyncio.sleep(start)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for i in share:
        clock = time.perf_counter()
        writer.write(made[i % len(made)])
        status = await answered(reader)
        took.append(time.perf_counter() - clock if status == 200 else float("nan"))
        if pause:
            await asyncio.sleep(max(0.0, pause - (time.perf_counter() - clock)))
    writer.close()
    return took


async def load(
    port: int, made: list[bytes], count: int, *, clients: int, pause: float = 0.0
) -> tuple[np.ndarray, float]:
    """Ask ``count`` times with so many clients; seconds of each answer and of all."""
    share, clock = iter(range(count)), time.perf_counter()
    starts = [pause * i / clients for i in range(clients)]  # spread, or all would ask at once
    took = await asyncio.gather(*(client(port, made, share, pause, s) for s in starts))
    return np.concatenate([np.array(t) for t in took]), time.perf_counter() - clock


def spent(process: psutil.Process) -> float:
    """CPU seconds of the server so far."""
    held = process.cpu_times()
    return held.user + held.system


def line(name: str, took: np.ndarray, seconds: float, cpu: float) -> dict[str, object]:
    """Sum up one load and print it."""
    ms = 1000 * took[~np.isnan(took)]
    told = {
        "load": name,
        "requests": len(took),
        "errors": int(np.isnan(took).sum()),
        "p50_ms": round(float(np.percentile(ms, 50)), 2),
        "p99_ms": round(float(np.percentile(ms, 99)), 2),
        "per_second": round(len(took) / seconds, 1),
        "cpu_ms": round(1000 * cpu / len(took), 2),
    }
    print("  ".join(f"{k} {v}" for k, v in told.items()), flush=True)
    return told


async def ready(port: int) -> None:
    """Wait until the service answers."""
    for _ in range(600):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
    raise SystemExit("the server does not start")


async def measure(
    port: int, process: psutil.Process, made: list[bytes], count: int, encoder: bool
) -> list[dict[str, object]]:
    """One client, many clients with pauses, many clients without; memory through the last."""
    await ready(port)
    few = 200 if encoder else 2_000
    rate = 4 if encoder else 100  # pauses are shorter than the server keeps connections

    async def loaded(name: str, requests: int, clients: int, pause: float = 0.0) -> np.ndarray:
        cpu = spent(process)
        took, seconds = await load(port, made, requests, clients=clients, pause=pause)
        rows.append(line(name, took, seconds, spent(process) - cpu))
        return took

    rows: list[dict[str, object]] = []
    await load(port, made, few // 10, clients=1)
    await loaded("one client", min(few, count), 1)
    await loaded(f"{CLIENTS} clients, {rate}/s", min(few, count), CLIENTS, CLIENTS / rate)
    memory = []
    for part in range(STEPS):
        await loaded(f"{CLIENTS} clients, no pause, {part + 1} of {STEPS}", count // STEPS, CLIENTS)
        memory.append(round(process.memory_info().rss / 2**20, 1))
    print(f"resident memory of the server, MiB, after each: {memory}", flush=True)
    return [*rows, {"rss_mib": memory}]


def main() -> None:
    """Export a model, serve it, load it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=None)
    parser.add_argument("--encoder", action="store_true")
    parser.add_argument("--float32", action="store_true", help="no int8")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    count = min(asked.requests or (500 if asked.encoder else MOST), MOST)
    with tempfile.TemporaryDirectory() as name:
        folder, held = Path(name), table(150 if asked.encoder else 400)
        held.to_csv(folder / "t.csv", index=False)
        told = ["export", folder / "t.csv", "--out", folder / "model", "--question", "question",
                "--levels", "hasty,careful"]  # fmt: skip
        if asked.encoder:
            from encoder import write_encoder

            write_encoder(folder / "encoder", held["prompt"].tolist())
            told += ["--encoder", folder / "encoder"]
        told += ["--float32"] if asked.float32 else []
        print(subprocess.check_output(command(*told), text=True), flush=True)
        with server(folder, asked.port) as (process, key):
            made = requests(500 if asked.encoder else 5_000, key)
            rows = asyncio.run(measure(asked.port, process, made, count, asked.encoder))
    if asked.json:
        asked.json.write_text(json.dumps({"cpus": os.cpu_count(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()

"""The service in this process, with a key, and a table to send."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
pytest.importorskip("prometheus_client", reason="the extra 'serve' is not installed")
pytest.importorskip("python_multipart", reason="the extra 'serve' is not installed")
httpx = pytest.importorskip("httpx", reason="the client of the tests is not installed")

from starlette.testclient import TestClient  # noqa: E402

from crossworld.serve.app import build  # noqa: E402
from crossworld.serve.keys import make_key, read_keys  # noqa: E402
from crossworld.serve.settings import Limits, Settings  # noqa: E402

N = 240
PATIENCE = 60.0
SPEC: dict[str, Any] = {
    "study": {"path": "a -> m -> y", "adjust": ["x"]},
    "ask": {"effects": ["te", "nde", "nie"]},
}
LIMITS = Limits(rate=100_000, seconds=60)


@dataclass(frozen=True)
class Caller:
    """A client with a key."""

    http: Any
    key: str
    data: Path
    app: Any

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def get(self, path: str, **options: Any) -> Any:
        return self.http.get(
            path, headers={**self.headers, **options.pop("headers", {})}, **options
        )

    def delete(self, path: str) -> Any:
        return self.http.delete(path, headers=self.headers)

    def send(self, table: bytes, spec: Any = SPEC, name: str = "jobs.csv") -> Any:
        """Post a form."""
        text = spec if isinstance(spec, str) else json.dumps(spec)
        return self.http.post(
            "/v1/analyses",
            headers=self.headers,
            data={"spec": text},
            files={"table": (name, table)},
        )

    def post(self, body: bytes | str, kind: str = "application/json") -> Any:
        return self.http.post(
            "/v1/analyses", headers={**self.headers, "Content-Type": kind}, content=body
        )

    def ended(self, path: str) -> dict[str, Any]:
        """Wait for an analysis to end."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            state: dict[str, Any] = self.get(path).json()
            if state["status"] not in ("queued", "running"):
                return state
            time.sleep(0.05)
        raise AssertionError(f"{path} did not end: {state}")

    def named(self, name: str) -> Caller:
        """Another caller of the same service."""
        return replace(self, key=make_key(self.data, name))


@contextmanager
def service(data: Path, limits: Limits = LIMITS, **options: Any) -> Iterator[Caller]:
    """A running service; its folder may have been used before."""
    data.mkdir(exist_ok=True)
    app = build(Settings(data, limits=limits, **options))
    name = f"caller{len(read_keys(data))}"
    with TestClient(app, raise_server_exceptions=False) as http:
        yield Caller(http, make_key(data, name), data, app)


def frame(n: int = N, seed: int = 0) -> pd.DataFrame:
    """A linear world: nde 0.3, nie 0.35."""
    rng = np.random.default_rng(seed)
    a, x = np.arange(n) % 2, rng.normal(size=n)
    m = 0.5 * a + 0.3 * x + rng.normal(size=n)
    y = 0.3 * a + 0.7 * m + 0.2 * x + rng.normal(size=n)
    return pd.DataFrame({"a": a, "x": x, "m": m, "y": y})


def csv(table: pd.DataFrame | None = None) -> bytes:
    return (frame() if table is None else table).to_csv(index=False).encode()


def parquet(table: pd.DataFrame) -> bytes:
    out = io.BytesIO()
    table.to_parquet(out)
    return out.getvalue()


def refused(answer: Any, status: int, *fragments: str) -> str:
    """Check that a request was refused with one clear message."""
    assert answer.status_code == status, answer.text[:500]
    held = answer.json()
    assert set(held) == {"error"}
    assert set(held["error"]) == {"kind", "message"}
    message: str = held["error"]["message"]
    for fragment in fragments:
        assert fragment in message, message
    assert "Traceback" not in message
    assert len(message) < 1200
    return message

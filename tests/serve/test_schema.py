"""The OpenAPI document is true: schemathesis finds nothing, and routes and document agree."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from crossworld.serve.model.export import Export, export
from tests.serve.client import Caller
from tests.serve.test_process import made_key, server
from tests.serve.texts import written

pytest.importorskip("onnxruntime", reason="the extra 'serve' is not installed")
pytest.importorskip("schemathesis", reason="schemathesis is not installed")
CONFIG = Path(__file__).with_name("schemathesis.toml")
COMMAND = Path(sys.executable).with_name("schemathesis")


def test_routes_and_document_agree(caller: Caller) -> None:
    document = caller.http.get("/openapi.json").json()
    told = {
        (path.replace("{id}", "x"), method.upper())
        for path, item in document["paths"].items()
        for method in item
        if method != "parameters"
    }
    for path in {path for path, _ in told}:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            status = caller.http.request(method, path).status_code
            assert (status != 405) == ((path, method) in told), (path, method)
    operations = [o for item in document["paths"].values() for m, o in item.items()
                  if m != "parameters"]  # fmt: skip
    assert all(o["summary"] and o["operationId"] and o["responses"] for o in operations)


def examples(folder: Path, count: int) -> None:
    key = made_key(folder / "data")
    generous = [w for name in ("rate", "kept", "pending") for w in ("--limit", f"{name}=1000000")]
    columns = {r: r for r in ("prompt", "treatment", "reasoning", "outcome", "question")}
    table = written(folder / "t.csv", questions=80)
    export(Export(table, columns, ("hasty", "careful"), draws=20, components=3), folder / "model")
    with server(folder / "data", key, str(folder / "model"), *generous) as (caller, _):
        run = subprocess.run(
            [str(COMMAND), "--config-file", str(CONFIG), "run", f"{caller.http.base_url}/openapi.json",  # noqa: E501
             "-H", f"Authorization: Bearer {key}", "--max-examples", str(count), "--seed", "1",
             "--generation-database", "none"],
            capture_output=True, text=True, check=False, cwd=folder,
        )  # fmt: skip
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-1000:]
    assert "Tested: 7" in run.stdout


@pytest.mark.skipif(not COMMAND.exists(), reason="the command schemathesis is not installed")
def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    examples(tmp_path, 3)


@pytest.mark.slow
@pytest.mark.skipif(not COMMAND.exists(), reason="the command schemathesis is not installed")
def test_schemathesis_finds_nothing_in_many_examples(tmp_path: Path) -> None:
    examples(tmp_path, 100)
    shutil.rmtree(tmp_path / "data")

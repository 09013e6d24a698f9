"""The notebooks of examples/ run from top to bottom, and ship with what they print."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "examples").glob("*.ipynb"))
LARGEST = 500_000
every_notebook = pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda f: f.stem)


def cells(file: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["cells"]
    return found


def test_there_are_notebooks() -> None:
    expected = {"mediation_of_reasoning", "mediation_of_a_table", "mediation_inside_a_network"}
    assert expected <= {f.stem for f in NOTEBOOKS}


@every_notebook
def test_it_ships_clean_and_as_it_ran(file: Path) -> None:
    assert file.stat().st_size < LARGEST
    run = [c for c in cells(file) if c["cell_type"] == "code"]
    assert [c["execution_count"] for c in run] == list(range(1, len(run) + 1))
    outputs = [o for c in run for o in c["outputs"]]
    assert outputs
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    text = file.read_text(encoding="utf-8")
    assert not [word for word in ("/root/", "/home/", "/work/", "/tmp/") if word in text]


@every_notebook
def test_it_can_be_opened_in_colab(file: Path) -> None:
    first = next("".join(c["source"]) for c in cells(file) if c["cell_type"] == "code")
    assert '"google.colab" in sys.modules' in first
    assert "%pip install -q crossworld" in first


@every_notebook
def test_it_runs(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On 200 prompts, in a kernel of its own; a warning in a cell would show as an output."""
    pytest.importorskip("ipykernel", reason="the notebook extra is not installed")
    nbclient = pytest.importorskip("nbclient", reason="the notebook extra is not installed")
    nbformat = pytest.importorskip("nbformat", reason="the notebook extra is not installed")
    if "import torch" in file.read_text(encoding="utf-8"):
        pytest.importorskip("torch", reason="this notebook needs the extra 'local'")
        pytest.importorskip("transformers", reason="this notebook needs the extra 'local'")
    monkeypatch.setenv("CROSSWORLD_PROMPTS", "200")
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
    book = nbformat.read(file, as_version=4)
    client = nbclient.NotebookClient(
        _emptied(book),
        timeout=240,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the kernel's own machinery
        asyncio.run(client.async_execute())
    ran = client.nb.cells
    told = [o for c in ran if c.cell_type == "code" for o in c.outputs]
    assert not [o for o in told if o.output_type == "stream" and o.name == "stderr"]
    printed = "".join(o.text for o in told if o.output_type == "stream")
    assert "attempts to break it" in printed
    assert "nie" in printed


def _emptied(book: Any) -> Any:
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return book

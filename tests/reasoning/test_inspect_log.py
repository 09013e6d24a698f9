"""Inspect logs, written here as Inspect 0.3 writes them, deflated and with Zstandard."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from crossworld.core.analysis import estimate
from crossworld.core.effects import NDE, NIE
from crossworld.errors import DesignError
from crossworld.reasoning.importers.inspect_log import ZSTANDARD, read_eval
from crossworld.reasoning.replay import Replay
from crossworld.reasoning.study import ReasoningStudy

HEADER = {"version": 2, "status": "success", "eval": {"task": "sums", "model": "vllm/qwen"}}


def sample(question: int, arm: int, shown: int, epoch: int) -> dict[str, Any]:
    """One sample: correct when the question's number is below 3 + 2 arm + 4 shown."""
    right = question < 3 + 2 * arm + 4 * shown
    lost = question == 11 and arm == shown == 1
    content: Any = f"Answer: {question if right else 99}"
    if question == 0:
        content = [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": content}]
    score: dict[str, Any] = {"value": "C" if right else "I", "answer": "99"}
    if lost:
        content = "no idea"
        score = {"value": "I", "reason": "invalid_response_format", "explanation": "no match"}
    return {
        "id": f"q{question}-{arm}{shown}",
        "epoch": epoch,
        "input": "How much?",
        "target": [str(question)],
        "output": {
            "model": "qwen",
            "choices": [{"message": {"role": "assistant", "content": content}}],
        },
        "scores": {"answer": score, "length": {"value": 0.5}},
        "metadata": {
            "question": f"q{question}",
            "prompt": arm,
            "reasoning": shown,
            "replayed": 1,
            "nested": {"not": "plain"},
        },
        "model_usage": {"vllm/qwen": {"input_tokens": 30, "output_tokens": 4}},
        "error": None,
    }


def members() -> dict[str, Any]:
    samples = [
        sample(q, a, b, e) for q in range(12) for a in (0, 1) for b in (0, 1) for e in (1, 2)
    ]
    held = {f"samples/{s['id']}_epoch_{s['epoch']}.json": s for s in samples}
    return {"_journal/start.json": HEADER, **held, "summaries.json": [], "header.json": HEADER}


def write(file: Path, parts: dict[str, Any], *, zstd: bool = False) -> Path:
    """A zip archive; with Zstandard written byte by byte, as zipfile cannot before Python 3.14."""
    if not zstd:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
            for name, part in parts.items():
                out.writestr(name, json.dumps(part))
        return file
    import pyarrow as pa

    body, directory = b"", b""
    for name, part in parts.items():
        plain = json.dumps(part).encode()
        packed = pa.Codec("zstd").compress(plain, asbytes=True)
        sizes = (zlib.crc32(plain), len(packed), len(plain), len(name), 0)
        common = struct.pack("<HHHHH", 63, 0, ZSTANDARD, 0, 33)
        place = len(body)
        body += b"PK\x03\x04" + common + struct.pack("<IIIHH", *sizes) + name.encode() + packed
        directory += b"PK\x01\x02" + struct.pack("<H", 63) + common
        directory += struct.pack("<IIIHHHHHII", *sizes, 0, 0, 0, 0, place) + name.encode()
    count = len(parts)
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(body), 0)
    file.write_bytes(body + directory + b"PK\x05\x06" + end)
    return file


@pytest.mark.parametrize("form", ["deflate", "zstd", "json"])
def test_a_log_is_a_cell_table(tmp_path: Path, form: str) -> None:
    if form == "json":
        file = tmp_path / "a.json"
        samples = [part for name, part in members().items() if name.startswith("samples/")]
        file.write_text(json.dumps({**HEADER, "samples": samples}))
    else:
        file = write(tmp_path / "a.eval", members(), zstd=form == "zstd")
    columns = read_eval(file)
    assert {len(column) for column in columns.values()} == {96}
    assert set(columns["model"]) == {"vllm/qwen"}
    assert columns["reasoning_text"][0] == "hm"
    assert columns["readout"][0] == "Answer: 0"
    assert columns["tokens_in"][0] == 30
    assert columns["target"][:1] == ["0"]
    assert set(columns["score_length"]) == {0.5}
    assert "nested" not in columns
    study = ReasoningStudy.from_cells(
        columns,
        question="question",
        prompt="prompt",
        reasoning="reasoning",
        outcome="correct",
        draw="draw",
        replayed="replayed",
    )
    found = estimate(study, Replay(), [NDE, NIE])
    assert found["nde"].estimate == pytest.approx(2 / 12)
    assert found["nie"].estimate == pytest.approx(4 / 12)
    assert found.diagnostics["missing_answers"]["cells"]["Y(1)"] == 2


def test_an_unfinished_log_and_one_with_errors(tmp_path: Path) -> None:
    parts = members()
    parts.pop("header.json")
    name = next(n for n in parts if n.startswith("samples/"))
    parts[name] = {**parts[name], "error": {"message": "429"}}
    columns = read_eval([write(tmp_path / "a.eval", parts)])
    assert columns["error"][0] == "429"
    assert columns["correct"][0] is None
    assert columns["correct"][1] == 1.0
    assert set(read_eval(tmp_path / "a.eval", scorer="length")["correct"][1:]) == {0.5}


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.eval").write_text("no zip")
    with pytest.raises(DesignError, match="not a readable Inspect log"):
        read_eval(tmp_path / "a.eval")
    with pytest.raises(DesignError, match="not an Inspect log with samples: it holds x.json"):
        read_eval(write(tmp_path / "b.eval", {"x.json": 1}))
    with pytest.raises(DesignError, match="no score 'lenght'; it has answer, length"):
        read_eval(write(tmp_path / "c.eval", members()), scorer="lenght")


def test_a_damaged_member_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "d.eval", members(), zstd=True)
    with zipfile.ZipFile(file) as held:
        info = held.infolist()[5]
    place = info.header_offset + 30 + len(info.filename) + info.compress_size // 2
    data = bytearray(file.read_bytes())
    data[place] ^= 0xFF
    file.write_bytes(bytes(data))
    with pytest.raises(DesignError, match="not a readable Inspect log|is not JSON"):
        read_eval(file)

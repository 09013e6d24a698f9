"""Logs of Inspect (``.eval`` or ``.json``) as columns of a cell table.

An ``.eval`` file is a zip archive: ``header.json`` (or ``_journal/start.json`` while a run is not
finished) names the model, and ``samples/<id>_epoch_<n>.json`` holds one sample each. Members are
deflated or, in recent logs, compressed with Zstandard, which `zipfile` reads from Python 3.14 on.
A ``.json`` log is one document with the same ``eval`` and ``samples``.
"""

from __future__ import annotations

import json
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from crossworld.errors import DesignError

ZSTANDARD = 93  # method of a zip member
_WORDS = {"c": 1.0, "i": 0.0, "p": 0.5, "yes": 1.0, "no": 0.0, "true": 1.0, "false": 0.0}
_NOTHING = ("", "n")  # Inspect's mark for a sample that gave no answer
_PLAIN = (bool, int, float, str)


def read_eval(
    files: str | Path | Sequence[str | Path], *, scorer: str | None = None
) -> dict[str, list[Any]]:
    """Read Inspect logs into columns, one row per sample and epoch.

    Parameters
    ----------
    files
        One log or several; their rows are stacked.
    scorer
        The score that becomes ``correct`` and ``answer``; the only or first one by default.

    Returns
    -------
    dict of columns
        ``question`` (sample id), ``draw`` (epoch), ``model``, ``task``, ``target``, ``readout``
        (the completion), ``reasoning_text`` (of a reasoning channel), ``answer``, ``correct`` (C, I
        and P as 1, 0 and 0.5; None where there was no answer, no score or an error), ``error``,
        ``tokens_in``, ``tokens_out``, ``score_<scorer>`` for every scorer, and one column for every
        metadata key with a plain value. Metadata named like a column replaces it: ``prompt`` and
        ``reasoning`` are written there by whoever ran the samples.

    Raises
    ------
    DesignError
        If a file is no Inspect log, holds no sample, or lacks the scorer.

    Examples
    --------
    >>> columns = read_eval("logs/replay.eval")  # doctest: +SKIP
    >>> study = xw.ReasoningStudy.from_cells(  # doctest: +SKIP
    ...     columns, question="question", prompt="prompt", reasoning="reasoning",
    ...     outcome="correct", draw="draw", replayed="replayed",
    ... )
    """
    listed = [files] if isinstance(files, str | Path) else list(files)
    rows = [row for file in listed for row in _rows(Path(file), scorer)]
    if not rows:
        raise DesignError("no Inspect log was given")
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _rows(file: Path, scorer: str | None) -> Iterator[dict[str, Any]]:
    if file.suffix == ".json":
        yield from _of_document(file, scorer)
        return
    try:
        with zipfile.ZipFile(file) as held:
            names = list(dict.fromkeys(held.namelist()))
            head = next((n for n in ("header.json", "_journal/start.json") if n in names), None)
            samples = [n for n in names if n.startswith("samples/") and n.endswith(".json")]
            if head is None or not samples:
                raise DesignError(
                    f"{str(file)!r} is not an Inspect log with samples: it holds "
                    f"{', '.join(names[:5]) or 'nothing'}"
                )
            about = _json(held, head, file).get("eval") or {}
            for name in samples:
                yield _row(_json(held, name, file), about, scorer=scorer, name=f"{file}:{name}")
    except (OSError, zipfile.BadZipFile) as error:
        raise DesignError(f"{str(file)!r} is not a readable Inspect log: {error}") from None


def _of_document(file: Path, scorer: str | None) -> Iterator[dict[str, Any]]:
    """Rows of a log that is one JSON document."""
    try:
        log = json.loads(file.read_text(encoding="utf-8"))
        about, samples = log["eval"], log["samples"] or ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DesignError(f"{str(file)!r} is not a readable Inspect log: {error!r}") from None
    if not samples:
        raise DesignError(f"{str(file)!r} holds no sample")
    for k, sample in enumerate(samples):
        yield _row(sample, about, scorer=scorer, name=f"{file}: sample {k}")


def _member(held: zipfile.ZipFile, name: str, file: Path) -> bytes:
    """Bytes of one member, whichever way it is compressed."""
    info = held.getinfo(name)
    if info.compress_type != ZSTANDARD or sys.version_info >= (3, 14):
        return held.read(name)
    import pyarrow as pa

    with file.open("rb") as raw:
        raw.seek(info.header_offset + 26)
        skipped = sum(struct.unpack("<HH", raw.read(4)))
        raw.seek(info.header_offset + 30 + skipped)
        packed = raw.read(info.compress_size)
    with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as opened:
        plain: bytes = opened.read()
    if zlib.crc32(plain) != info.CRC:
        raise zipfile.BadZipFile(f"bad CRC-32 for {name}")
    return plain


def _json(held: zipfile.ZipFile, name: str, file: Path) -> dict[str, Any]:
    try:
        found = json.loads(_member(held, name, file))
    except ValueError as error:
        raise DesignError(f"{name} in {str(file)!r} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise DesignError(f"{name} in {str(file)!r} is no object")
    return found


def _row(
    sample: Mapping[str, Any], about: Mapping[str, Any], *, scorer: str | None, name: str
) -> dict[str, Any]:
    output = sample.get("output") or {}
    choices = output.get("choices") or [{}]
    readout, thought = _texts((choices[0].get("message") or {}).get("content"))
    error = (sample.get("error") or {}).get("message")
    target = sample.get("target")
    usage = [u for u in (sample.get("model_usage") or {}).values() if isinstance(u, Mapping)]
    row: dict[str, Any] = {
        "question": sample.get("id"),
        "draw": sample.get("epoch", 1),
        "model": about.get("model"),
        "task": about.get("task"),
        "target": target if isinstance(target, str) or not target else target[0],
        "readout": readout,
        "reasoning_text": thought,
        "answer": None,
        "correct": None,
        "error": error,
        "tokens_in": sum(u.get("input_tokens") or 0 for u in usage),
        "tokens_out": sum(u.get("output_tokens") or 0 for u in usage),
    }
    scores = sample.get("scores") or {}
    if scorer is not None and scores and scorer not in scores:
        raise DesignError(f"{name} has no score {scorer!r}; it has {', '.join(scores)}")
    chosen = scorer if scorer is not None else next(iter(scores), None)
    for key, score in scores.items():
        unparsed = score.get("reason") == "invalid_response_format"
        row[f"score_{key}"] = None if unparsed else number(score.get("value"))
    if chosen in scores and error is None:
        row["correct"] = row[f"score_{chosen}"]
        row["answer"] = scores[chosen].get("answer")
    told = {k: v for k, v in (sample.get("metadata") or {}).items() if _is_plain(v)}
    return {**row, **told}


def number(value: Any) -> float | None:
    """Return a score's value as a number; None where the sample gave no answer.

    Examples
    --------
    >>> [number(v) for v in ("C", "I", "N", True, 0.25, {"a": 1})]
    [1.0, 0.0, None, 1.0, 0.25, None]
    """
    if isinstance(value, bool | int | float):
        return float(value)
    if not isinstance(value, str) or value.strip().lower() in _NOTHING:
        return None
    text = value.strip().lower()
    if text in _WORDS:
        return _WORDS[text]
    try:
        return float(text)
    except ValueError:
        return None


def _texts(content: Any) -> tuple[str | None, str | None]:
    """Text of a message, and of its reasoning channel; redacted reasoning is none."""
    if content is None or isinstance(content, str):
        return content, None
    parts = [p for p in content if isinstance(p, Mapping)]
    text = "".join(str(p.get("text") or "") for p in parts if p.get("type") == "text")
    thoughts = [
        str(p.get("reasoning") or "")
        for p in parts
        if p.get("type") == "reasoning" and not p.get("redacted")
    ]
    return text, "".join(thoughts) if thoughts else None


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, _PLAIN)

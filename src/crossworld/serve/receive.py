"""Requests, read a little at a time and never beyond what is allowed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossworld.errors import SpecError
from crossworld.serve.documents import file_name, read_json, read_spec
from crossworld.serve.refusal import RefusedError
from crossworld.serve.settings import Limits
from crossworld.serve.tables import stored_name, write_columns

COPIED = 2**20


@dataclass(frozen=True, slots=True)
class Sent:
    """What came with a request: the spec as it was sent, the table in a file.

    Parameters
    ----------
    spec
        The document.
    name
        The sender's name of the table.
    stored
        The name of its file in the draft's folder.
    """

    spec: Any
    name: str
    stored: str


async def chunks(request: Any, most: int) -> AsyncIterator[bytes]:
    """Yield the body of a request; refuse it as soon as it is too long.

    Raises
    ------
    RefusedError
        413.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > most:
        raise RefusedError(413, f"the request has {int(declared):,} bytes; {most:,} are allowed")
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise RefusedError(413, f"the request has more than {most:,} bytes")
        yield chunk


async def whole(request: Any, most: int, seconds: float) -> bytes:
    """Read a body that fits into memory.

    Raises
    ------
    RefusedError
        413 when it is too long, 408 when it comes too slowly.
    """
    held = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in chunks(request, most):
                held += chunk
    except TimeoutError:
        raise RefusedError(408, f"the request did not arrive within {seconds:g} s") from None
    return bytes(held)


def kind(request: Any) -> str:
    """Return the media type of a request's body.

    Raises
    ------
    RefusedError
        415 when it is neither JSON nor a form.
    """
    found = str(request.headers.get("content-type", "")).partition(";")[0].strip().lower()
    if found not in ("application/json", "multipart/form-data"):
        raise RefusedError(
            415,
            f"the body is {found[:80]!r}; send application/json, or multipart/form-data with the "
            "parts spec and table",
        )
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RefusedError(415, "the body is encoded; send it plain, or the table as csv.gz")
    return found


async def analysis(request: Any, folder: Path, limits: Limits) -> Sent:
    """Read a spec and its table; the table is put into ``folder``.

    Raises
    ------
    RefusedError
        408, 413, 415.
    SpecError
        If the request is malformed.
    """
    if kind(request) == "application/json":
        return await asyncio.to_thread(
            _inline, await whole(request, limits.inline, limits.upload), folder, limits
        )
    try:
        async with asyncio.timeout(limits.upload):
            form = await _form(request, limits)
    except TimeoutError:
        raise RefusedError(408, f"the request did not arrive within {limits.upload} s") from None
    try:
        return await _parts(form, folder, limits)
    finally:
        await form.close()


def _inline(body: bytes, folder: Path, limits: Limits) -> Sent:
    held = read_json(body, limits.depth)
    if not isinstance(held, dict) or set(held) != {"spec", "table"}:
        raise SpecError("the request is an object with two keys, spec and table")
    table = held["table"]
    if isinstance(table, str):
        (folder / "table.csv").write_text(table, encoding="utf-8", errors="replace")
        return Sent(held["spec"], "table", "table.csv")
    if not isinstance(table, dict):
        raise SpecError(
            'table is csv text, or an object of columns such as {"a": [0, 1], "y": [0.5, 1.5]}'
        )
    write_columns(table, folder / "table.parquet", limits)
    return Sent(held["spec"], "table", "table.parquet")


async def _form(request: Any, limits: Limits) -> Any:
    from starlette.formparsers import MultiPartException, MultiPartParser

    try:
        parser = MultiPartParser(
            request.headers,
            chunks(request, limits.body),
            max_files=2,
            max_fields=2,
            max_part_size=limits.document,
        )
        return await parser.parse()
    except MultiPartException as error:
        if "exceeded maximum size" in error.message:
            raise RefusedError(413, f"spec has more than {limits.document:,} bytes") from None
        raise SpecError(f"the form cannot be read: {error.message}") from None
    except (KeyError, ValueError, UnicodeDecodeError) as error:
        raise SpecError(f"the form cannot be read: {str(error)[:100]}") from None


async def _parts(form: Any, folder: Path, limits: Limits) -> Sent:
    names = [name for name, _ in form.multi_items()]
    if sorted(names) != ["spec", "table"]:
        raise SpecError(
            f"the form has the parts {', '.join(map(repr, names))[:200] or 'none'}; it needs spec "
            "and table, once each"
        )
    spec, table = form["spec"], form["table"]
    if isinstance(table, str):
        raise SpecError("table is text; send it as a file: -F table=@jobs.csv")
    if not isinstance(spec, str):
        content = await spec.read(limits.document + 1)
        if len(content) > limits.document:
            raise RefusedError(413, f"spec has more than {limits.document:,} bytes")
    else:
        content = spec.encode("utf-8", "surrogatepass")
    stored = await asyncio.to_thread(_keep, table.file, folder)
    document = await asyncio.to_thread(read_spec, content, limits.depth)
    return Sent(document, file_name(table.filename), stored)


def _keep(source: Any, folder: Path) -> str:
    source.seek(0)
    head = source.read(COPIED)
    if not head.strip():
        raise SpecError("the table is empty")
    name = stored_name(head)
    with (folder / name).open("wb") as out:
        out.write(head)
        while chunk := source.read(COPIED):
            out.write(chunk)
    return name

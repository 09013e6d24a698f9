"""``crossworld serve``: the HTTP service, and the keys of its callers."""

from __future__ import annotations

import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from crossworld.cli.output import say
from crossworld.cli.reading import assignments
from crossworld.errors import DesignError, SpecError
from crossworld.serve.keys import make_key, read_keys, remove_key
from crossworld.serve.need import need
from crossworld.serve.settings import Limits, Settings

FIRST = "first"
CONNECTIONS = 1_000

Data = Annotated[
    Path, typer.Option("--data", metavar="DIR", help="Folder of keys and jobs, made if new.")
]
Limit = Annotated[
    list[str] | None,
    typer.Option("--limit", metavar="NAME=NUMBER", help="Change a limit: rows=50000; repeatable."),
]


def serve(
    model: Annotated[
        Path | None,
        typer.Argument(metavar="[MODEL]", help="Folder written by 'crossworld export'."),
    ] = None,
    data: Data = Path("crossworld-data"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(help="Analyses at the same time.", min=1, max=64)] = 1,
    limit: Limit = None,
    new_key: Annotated[
        str, typer.Option("--new-key", metavar="NAME", help="Make a key, print it once, stop.")
    ] = "",
    remove: Annotated[
        str, typer.Option("--remove-key", metavar="NAME", help="Forget a key, and stop.")
    ] = "",
    keys: Annotated[bool, typer.Option("--keys", help="List the names of the keys.")] = False,
) -> None:
    """Serve analyses, and effects of new prompts, over HTTP."""
    if new_key or remove or keys:
        _manage(data, new_key, remove)
        return
    need("the service")
    settings = Settings(data, model, _limits(limit or []), workers)
    _folder(data)
    _listen(settings, host, port)


def _manage(data: Path, new: str, remove: str) -> None:
    _folder(data)
    if new:
        say(make_key(data, new))
    elif remove:
        remove_key(data, remove)
        say(f"removed {remove}")
    else:
        for key in read_keys(data):
            say(f"{key.name}  made {key.created}")


def _folder(data: Path) -> None:
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise DesignError(f"--data {str(data)[:100]!r} is no folder: {error.strerror}") from None


def _limits(given: list[str]) -> Limits:
    told: dict[str, Any] = assignments(given)
    known = [f.name for f in fields(Limits)]
    for name in told:
        if name not in known:
            raise SpecError.unknown("limit", name, known)
    return Limits(**told)


def _listen(settings: Settings, host: str, port: int) -> None:
    import uvicorn

    from crossworld.serve.app import build

    app = build(settings)
    uploads = settings.data / "uploads"
    uploads.mkdir(exist_ok=True, mode=0o700)
    tempfile.tempdir = str(uploads.resolve())  # forms that are larger than a MiB wait there
    if not read_keys(settings.data):
        say(f"made a first key, shown only now: {make_key(settings.data, FIRST)}")
    say(f"crossworld serves http://{host}:{port} (stop it with Ctrl-C)")
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=15,
    )

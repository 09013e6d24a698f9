"""What the service allows, as values."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from crossworld.errors import SpecError

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one caller may ask of the service.

    Parameters
    ----------
    body
        Bytes of one request with a table.
    document
        Bytes of a spec, and of a request for effects.
    inline
        Bytes of a JSON request that holds its table.
    plain
        Bytes of a table once it is decompressed.
    rows, columns
        Size of a table.
    depth
        How deeply a document may be nested.
    seconds
        Wall-clock and CPU seconds of one job.
    checking
        Seconds of the check of a table before its job is accepted.
    checks
        Tables that are checked at the same time.
    memory
        Bytes of address space of a worker.
    output
        Bytes of the largest file a worker may write.
    attempts
        How often a job is started when its worker dies.
    pending, kept
        Unfinished and stored jobs of one key.
    rate
        Requests per minute and key; as many may come at once.
    upload
        Seconds in which a request has to arrive.
    prompts
        Prompts of one request for effects.
    characters
        Characters of one prompt, and of one reasoning.
    threads
        Largest ``workers`` of an inference or estimator.
    """

    body: int = 64 * MIB
    document: int = MIB
    inline: int = 8 * MIB
    plain: int = 128 * MIB
    rows: int = 1_000_000
    columns: int = 2_000
    depth: int = 32
    seconds: int = 600
    checking: int = 30
    checks: int = 2
    memory: int = 3 * 1024 * MIB
    output: int = 256 * MIB
    attempts: int = 3
    pending: int = 20
    kept: int = 1_000
    rate: int = 600
    upload: int = 60
    prompts: int = 64
    characters: int = 20_000
    threads: int = 4

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise SpecError(f"limit {f.name} is a positive whole number, got {value!r}")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the service keeps its files, and what it allows.

    Parameters
    ----------
    data
        Folder of keys and jobs; the service writes nowhere else.
    model
        Folder of an exported model, or None when only analyses are served.
    limits
        How much one caller may ask.
    workers
        Jobs that run at the same time.
    """

    data: Path
    model: Path | None = None
    limits: Limits = field(default_factory=Limits)
    workers: int = 1

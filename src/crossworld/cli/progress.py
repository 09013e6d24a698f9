"""A progress bar on a terminal, silence in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from crossworld.core.protocols import Progress


@contextmanager
def shown(what: str) -> Iterator[Progress | None]:
    """Yield a callback that draws a bar, or None when nobody is watching."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance


@contextmanager
def stages(names: Sequence[str]) -> Iterator[Callable[[str], None]]:
    """Yield a callback that says which of several stages has begun; silent in a pipe."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.progress import Progress as Bar

    told = TextColumn("{task.description}")
    columns = (SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), told)
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task, begun = bar.add_task("", total=len(names)), list[str]()

        def begin(name: str) -> None:
            bar.update(task, completed=len(begun), description=name)
            begun.append(name)

        yield begin

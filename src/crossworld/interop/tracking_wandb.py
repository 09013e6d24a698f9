"""Weights & Biases as a tracker."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import Any

from crossworld.interop.tracking import COLUMNS, Record

PROJECT = "crossworld"


@dataclass(frozen=True, slots=True)
class Wandb:
    """Keep records as runs of a project (``WANDB_PROJECT``, else ``crossworld``).

    Parameters
    ----------
    project
        Name of the project, or None for the environment's.
    """

    project: str | None = None

    def keep(self, record: Record) -> str:
        import wandb

        project = self.project or os.environ.get("WANDB_PROJECT") or PROJECT
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the library, about itself
            run = wandb.init(
                project=project,
                name=record.name,
                config=dict(record.parameters),
                reinit="create_new",
                settings=wandb.Settings(silent=True, console="off"),
            )
            try:
                _fill(run, record)
            except BaseException:
                run.finish(exit_code=1)
                raise
            where = _place(run)
            run.finish()
        return where


def _place(run: Any) -> str:
    """Address of a run, or the folder of one that is offline."""
    if run.offline:
        return f"{run.dir.removesuffix('files')} (send it with wandb sync)"
    return str(run.url or run.dir)


def _fill(run: Any, record: Record) -> None:
    """Log numbers, the table of refutations, pictures, the report, and all files as an artifact."""
    import wandb

    logged: dict[str, Any] = dict(record.metrics)
    if record.refutations:
        rows = [["" if v is None else str(v) for v in row] for row in record.refutations]
        logged["refutations"] = wandb.Table(columns=list(COLUMNS), data=rows)
    for picture in record.pictures:
        logged[picture.stem] = wandb.Image(str(picture))
    for page in (f for f in record.files if f.suffix == ".html"):
        logged[page.stem] = wandb.Html(page.read_text(encoding="utf-8"), inject=False)
    run.log(logged)
    artifact = wandb.Artifact(f"analysis-{run.id}", type="analysis")
    for file in (*record.files, *record.pictures):
        artifact.add_file(str(file), name=file.name)
    run.log_artifact(artifact)

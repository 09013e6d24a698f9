"""MLflow as a tracker."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from time import time
from typing import Any

from crossworld.interop.tracking import COLUMNS, Record

EXPERIMENT = "crossworld"
BATCH = 100  # parameters that one call may log
_ODD = re.compile(r"[^\w\-. /]+")


@dataclass(frozen=True, slots=True)
class Mlflow:
    """Keep records as runs of an experiment (``MLFLOW_EXPERIMENT_NAME``, else ``crossworld``).

    Parameters
    ----------
    experiment
        Name of the experiment, or None for the environment's.
    """

    experiment: str | None = None

    def keep(self, record: Record) -> str:
        import mlflow

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the library, about itself
            client = mlflow.MlflowClient()
            run = client.create_run(self._experiment(client), run_name=record.name)
            key = run.info.run_id
            try:
                _fill(client, key, record)
            except BaseException:
                client.set_terminated(key, status="FAILED")
                raise
            client.set_terminated(key)
        return f"run {key} in {mlflow.get_tracking_uri()}"

    def _experiment(self, client: Any) -> str:
        told = os.environ.get("MLFLOW_EXPERIMENT_ID")
        if self.experiment is None and told:
            return told
        name = self.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        found = client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        return str(client.create_experiment(name))


def allowed(metrics: Mapping[str, float]) -> dict[str, float]:
    """Rename metrics so that MLflow takes them: it knows letters, digits and ``_ - . /`` only.

    Examples
    --------
    >>> allowed({"nie/estimate": 1.0, "Y(1) - Y(0, M(1))/estimate": 2.0})
    {'nie/estimate': 1.0, 'Y_1_ - Y_0_ M_1_/estimate': 2.0}
    """
    found: dict[str, float] = {}
    for name, value in metrics.items():
        plain, count = _ODD.sub("_", name), 2
        while plain in found:
            plain, count = f"{_ODD.sub('_', name)}_{count}", count + 1
        found[plain] = value
    return found


def _fill(client: Any, key: str, record: Record) -> None:
    """Log parameters and numbers, the table of refutations, and all files."""
    from mlflow.entities import Metric, Param

    told = [Param(k, str(v)) for k, v in record.parameters.items()]
    now = int(time() * 1000)
    measured = [Metric(k, v, now, 0) for k, v in allowed(record.metrics).items()]
    for start in range(0, max(len(told), 1), BATCH):
        client.log_batch(key, params=told[start : start + BATCH])
    for start in range(0, len(measured), BATCH):
        client.log_batch(key, metrics=measured[start : start + BATCH])
    if record.refutations:
        columns = zip(*record.refutations, strict=True)
        table = {c: list(v) for c, v in zip(COLUMNS, columns, strict=True)}
        client.log_table(key, table, "refutations.json")
    for file in (*record.files, *record.pictures):
        client.log_artifact(key, str(file))

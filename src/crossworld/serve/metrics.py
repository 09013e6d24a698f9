"""What the service counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
JOB_BUCKETS = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)


class Metrics:
    """Counters, gauges and histograms of one server.

    Parameters
    ----------
    jobs
        Counts the stored jobs by status, when somebody looks.
    """

    def __init__(self, jobs: Callable[[], Mapping[str, int]]) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        from prometheus_client.process_collector import ProcessCollector

        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._jobs = jobs
        own: dict[str, Any] = {"registry": self.registry}
        self._requests = Counter(
            "crossworld_requests", "Requests answered.", ["route", "method", "status"], **own
        )
        self._seconds = Histogram(
            "crossworld_request_seconds", "Time to answer.", ["route"], buckets=BUCKETS, **own
        )
        self._held = Gauge("crossworld_jobs", "Jobs stored, by status.", ["status"], **own)
        self._ended = Counter("crossworld_jobs_ended", "Jobs ended.", ["status"], **own)
        self._took = Histogram(
            "crossworld_job_seconds", "Time of the last attempt.", buckets=JOB_BUCKETS, **own
        )
        self.prompts = Counter("crossworld_prompts", "Prompts whose effects were told.", **own)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Note a request."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def ended(self, status: str, seconds: float) -> None:
        """Note a job that ended."""
        self._ended.labels(status).inc()
        self._took.observe(seconds)

    def text(self) -> bytes:
        """Return everything in the text format of Prometheus."""
        from prometheus_client import generate_latest

        for status, count in self._jobs().items():
            self._held.labels(status).set(count)
        told: bytes = generate_latest(self.registry)
        return told

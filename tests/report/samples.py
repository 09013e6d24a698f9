"""Results made by hand, with numbers that can be recognised in a page."""

from __future__ import annotations

from typing import Any

from crossworld.core.table import Effect, EffectTable

HOSTILE = "<script>alert(1)</script>"
FORMULA = r"E[Y(a, M(b))] = \int \int E[Y \mid a, m, x]\, dP(m \mid b, x)\, dP(x)"
WARNING = "pm: the interval of its denominator, [-0.1327, 0.0207], covers 0"


def effect(
    term: str,
    estimate: float | None,
    low: float | None = None,
    high: float | None = None,
    *,
    method: str = "wald",
) -> Effect:
    """Build a row whose standard error and p value cannot be taken for its other numbers."""
    return Effect(term, estimate, 0.0123, low, high, 0.0456, method)


def jobs(rows: tuple[Effect, ...] | None = None, **parts: Any) -> EffectTable:
    """A result shaped as those of the JOBS II study."""
    chosen = rows or (
        effect("te", -0.0560, -0.1327, 0.0207),
        effect("nde", -0.0403, -0.1161, 0.0356),
        effect("nie", -0.0157, -0.0306, -0.0009),
        effect("pm", 0.2805, method="fieller"),
    )
    held: dict[str, Any] = {
        "heading": ("treat -> job_seek -> depress2, adjusting for econ_hard, sex, age",),
        "spec": spec("treat -> job_seek -> depress2"),
        "identification": identification(),
        "diagnostics": {
            "warnings": [WARNING],
            "n_units": 899,
            "n_clusters": 31,
            "overlap": {"smallest": 0.0432},
            "failed_replicates": 7,
            "level": 0.95,
            "models": {"job_seek": "gaussian: job_seek ~ treat + age"},
            "largest_weight": 17.5,
        },
        "refutations": (
            {
                "name": "placebo",
                "term": "nie",
                "passed": True,
                "original": -0.0157,
                "refuted": 0.0003,
                "detail": "treatment shuffled",
            },
            {
                "name": "subset",
                "term": "te",
                "passed": False,
                "original": -0.056,
                "refuted": None,
                "detail": "halves disagree",
            },
        ),
        "provenance": {
            "version": "9.8.7",
            "data_sha256": "ab" * 32,
            "seed": 11,
            "seconds": 0.25,
            "python": "3.11.7",
            "packages": {"numpy": "2.4.6"},
        },
    }
    level = parts.pop("level", 0.95)
    return EffectTable(chosen, level, **{**held, **parts})


def spec(path: str, **study: Any) -> dict[str, Any]:
    return {
        "study": {
            "kind": "table",
            "data": "jobs.csv",
            "path": path,
            "adjust": ["econ_hard", "sex", "age"],
            "levels": [0, 1],
            **study,
        },
        "estimator": {"name": "Regression", "interaction": True},
        "inference": {"name": "Wald"},
        "ask": {"effects": ["te", "nde", "nie", "pm"], "level": 0.95},
    }


def identification() -> dict[str, Any]:
    return {
        "identified": True,
        "by": "adjustment",
        "adjust": ["econ_hard", "sex", "age"],
        "assumptions": [
            {"name": "consistency", "statement": "units do not interact", "testable": False},
            {"name": "positivity", "statement": "every level occurs", "testable": True},
        ],
        "formula": FORMULA,
        "reason": None,
        "offending": [],
        "instead": [],
    }


def clear(share: Effect | None = None) -> tuple[Effect, ...]:
    """Rows with a settled total and parts of the same sign."""
    rows = (
        effect("te", 1.0, 0.8, 1.2),
        effect("nde", 0.74, 0.55, 0.95),
        effect("nie", 0.26, 0.05, 0.45),
    )
    return rows if share is None else (*rows, share)

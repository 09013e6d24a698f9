"""Results made by hand, with numbers that can be recognised in a page."""

from __future__ import annotations

from typing import Any

from crossworld import exhibits as ex
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


def everything(name: str = "m") -> list[ex.Exhibit]:
    """One exhibit of every kind, with a name wherever a producer may put one."""
    arms = (
        ex.Arm(f"{name} = 0", 20, (0.6, 0.4), 0.5, 1.0),
        ex.Arm(f"{name} = 1", 30, (0.3, 0.7), 1.5, 1.1),
    )
    test = ex.TwoSample(f"Two-sample energy test of {name}", 0.013, 0.3, 99, 7, 50, name)
    grid = ((0.1, None, 0.3), (0.4, -0.5, 0.6))
    low, high = ((0.0, None, 0.2), (0.3, -0.6, 0.5)), ((0.2, None, 0.4), (0.5, -0.4, 0.7))
    return [
        ex.Story(f"Does {name} help?", (f"{name} was asked.",), f"About {name}", name),
        ex.Comparison(
            (
                ex.Compared(f"replay {name}", "te", 0.4321, 0.1, 0.6),
                ex.Compared("OLS", "te", 0.9876),
                ex.Compared("OLS", name, None),
            ),
            f"replay {name}", {"OLS": name}, title=f"Methods {name}", note=name,
        ),
        ex.Distributions(
            (
                ex.Variable(name, arms, edges=(0.0, 1.0, 2.0), note=f"half of {name}"),
                ex.Variable("colour", arms, categories=(name, "blue")),
            ),
            (test,), note=name,
        ),
        ex.CausalGraph("a -> m -> y; a -> y", title=f"Graph {name}", note=name),
        ex.Contour(
            f"across {name}", (0.0, 0.5, 1.0), f"up {name}", (0.0, 1.0), grid, 0.2,
            (ex.Mark(name, 0.4, 0.5),), title=f"Contour {name}", note=name,
        ),
        ex.Curve(
            (ex.Series(name, (0.0, 1.0), (0.2, 0.5), (0.1, 0.4), (0.3, None)),), name, name, 0.0,
            title=f"Curve {name}", note=name,
        ),
        ex.Steps(
            (
                ex.Step(f"3 + 6 = 9 {name}", 0.31, 0.12, 0.5, significant=True),
                ex.Step("Let me check.", -0.07, -0.2, 0.06, significant=False),
                ex.Step("So 9."),
            ),
            question=name, answer=name, note=name,
        ),
        ex.Heatmap(
            (f"0 {name}", "1"), ("the", name, "sat"), grid, low, high,
            ((False, False, False), (True, True, True)),
            row_name="layer", column_name="position", value_name=name, title=f"Map {name}",
        ),
        ex.Circuit(
            (ex.Node("in", 0), ex.Node(name, 1, label=name, value=0.4), ex.Node("out", 2)),
            (ex.Link("in", name, 0.4, 0.3, 0.5), ex.Link(name, "out", -0.2, kept=False)),
            ("embedding", name, "logits"), title=f"Circuit {name}", note=name,
        ),
        ex.Table(("effect", name), ((name, 0.2), ("te", None)), title=f"Table {name}"),
    ]  # fmt: skip

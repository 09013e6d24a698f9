"""Answers of several methods side by side, in words and as what a report shows."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill
from typing import Any

import numpy as np

from crossworld.core.exhibits import Compared, Comparison, Contour, Mark, Story

NAMES = ("te", "nde", "nie")
REPLAY, KNOWING = "replay", "multiply robust, sums checked"
NAIVE = "naive difference in differences"
FAR = 2.0  # standard errors
WIDTH = 100  # of printed lines
ABOUT = {
    "statsmodels OLS, mediation formula": "one linear model for each component of the text, one "
    "for the outcome with prompt x component products",
    "shallow neural network": "the components by one hidden layer; bootstrapped",
    "multiply robust (boosting)": "cross-fitted gradient boosting, no model of the text",
    "multiply robust (linear)": "cross-fitted linear and logistic models, none of the text",
    "DoWhy": "its own regression for te; crossworld's estimator inside its estimate_effect for nde "
    "and nie",
    NAIVE: "active minus reference on hard questions, minus the same on easy ones",
    KNOWING: "cross-fitted gradient boosting, on four numbers that check the sums in the text",
    REPLAY: "the experiment: each text shown under each prompt",
}


def tidy(method: str, result: Any) -> list[dict[str, Any]]:
    """Rows of a result."""
    return [entry(method, name, result[name]) for name in NAMES]


def entry(method: str, term: str, row: Any) -> dict[str, Any]:
    """One row of the comparison."""
    told = {key: getattr(row, key) for key in ("estimate", "std_error", "conf_low", "conf_high")}
    return {"method": method, "term": term, **told}


def beside(rows: list[dict[str, Any]]) -> str:
    """The answers side by side, estimate and 95 % interval."""
    held = {(row["method"], row["term"]): row for row in rows}
    methods = list(dict.fromkeys(row["method"] for row in rows))
    width = max(map(len, methods))
    lines = [f"{'95 % intervals':<{width}}  " + "  ".join(f"{name:^23}" for name in NAMES)]
    for method in methods:
        shown = [held.get((method, name)) for name in NAMES]
        lines.append(f"{method:<{width}}  " + "  ".join(map(interval, shown)))
    return "\n".join(line.rstrip() for line in lines)


def interval(row: dict[str, Any] | None) -> str:
    """Estimate and interval in 23 characters."""
    if row is None:
        return " " * 23
    return f"{row['estimate']:+.3f} [{row['conf_low']:+.3f}, {row['conf_high']:+.3f}]".ljust(23)


def verdict(rows: list[dict[str, Any]]) -> str:
    """Say how far the observational answers are from the experiment, and why, in short lines."""
    distances, paragraphs = findings(rows)
    return "\n".join([*distances, *(fill(text, WIDTH) for text in paragraphs)])


def findings(rows: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Distances of each method from the experiment, one a line, and what follows from them."""
    nie = {row["method"]: row for row in rows if row["term"] == "nie"}
    if REPLAY not in nie:
        return [], [
            "Nobody replayed these texts, so nothing here is an experimental truth: what the "
            "numbers miss of the text is counted as direct."
        ]
    truth = nie.pop(REPLAY)
    gaps = {method: gap(row, truth) for method, row in nie.items()}
    lines = [f"How far from replay (nie {truth['estimate']:+.3f}):"]
    lines += [f"  {m}: {size:+.3f} ({abs(z):.1f} standard errors)" for m, (size, z) in gaps.items()]
    models = [row for method, row in nie.items() if method not in (KNOWING, NAIVE)]
    off = [m for m, (_, z) in gaps.items() if abs(z) > FAR and m not in (KNOWING, NAIVE)]
    agree = all(abs(gap(one, two)[1]) < FAR for one in models for two in models)
    told = []
    if off and agree:
        told.append(
            "The models agree with one another and miss the experiment together: their numbers "
            "lack something that the answer depends on, and what is missed is counted as direct. "
            "No interval and no refuter can see that."
        )
    elif off:
        told.append(f"Off by more than chance: {', '.join(off)}.")
    else:
        told.append("No model is further from the experiment than chance allows.")
    if off and KNOWING in gaps and abs(gaps[KNOWING][1]) < FAR:
        told.append(
            "With the sums checked the models find what the experiment finds: which words a "
            "text holds says little about whether its sums are right."
        )
    if NAIVE in gaps and abs(gaps[NAIVE][1]) > FAR:
        told.append(
            "The naive difference would be right if easy questions needed no reasoning; what they "
            "owe to it is taken away."
        )
    return lines, told


def gap(one: dict[str, Any], two: dict[str, Any]) -> tuple[float, float]:
    """Difference of two estimates, and in standard errors as if they were independent."""
    size = float(one["estimate"] - two["estimate"])
    return size, size / float(np.hypot(one["std_error"], two["std_error"]))


def side_by_side(rows: list[dict[str, Any]]) -> Comparison:
    """The comparison as a report shows it."""
    told = tuple(
        Compared(
            r["method"], r["term"], r["estimate"], r["conf_low"], r["conf_high"], r["std_error"]
        )
        for r in rows
    )
    methods = {row["method"] for row in rows}
    about = {method: line for method, line in ABOUT.items() if method in methods}
    truth = REPLAY if REPLAY in methods else ""
    return Comparison(
        told,
        truth,
        about,
        title="Several methods, and the experiment"
        if truth
        else "Several methods, the same questions",
    )


def story(question: str, numbers: str, rows: list[dict[str, Any]]) -> Story:
    """The question and what follows from the comparison, for the head of the page."""
    told = f"The text of the reasoning is the mediator; to the models it is numbers: {numbers}."
    distances, paragraphs = findings(rows)
    far = [distances[0] + " " + "; ".join(map(str.strip, distances[1:])) + "."] if distances else []
    return Story(question, (told, *far, *paragraphs), title="Does the reasoning do anything?")


def contours(found: Any) -> Iterator[Contour]:
    """What unmeasured common causes of each strength could do to each effect."""
    for effect in found.effects:
        held = effect.contours()
        yield Contour(
            held.x_name,
            held.x.tolist(),
            held.y_name,
            held.y.tolist(),
            held.values.tolist(),
            held.threshold,
            tuple(Mark(label, x, y) for label, x, y in held.marks),
            title=f"{effect.term}: how strong an unmeasured {effect.confounder} confounder must be",
        )

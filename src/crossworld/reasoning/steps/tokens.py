"""Collecting what single tokens or steps of a reasoning do to the answer, on a local model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np

from crossworld.errors import DesignError
from crossworld.reasoning.models.forward import attention_of, gradient_of
from crossworld.reasoning.models.protocol import Request
from crossworld.reasoning.models.transformers import TransformersModel
from crossworld.reasoning.steps.token_changes import TokenPlan, Traced, changes, traced

NAIVE = ("attention", "gradient", "grad_input")
COLUMNS = (
    "question", "trace", "prompt", "position", "from_end", "text", "edit", "draw", "written",
    "p_target", "log_probability", *NAIVE,
)  # fmt: skip
WHOLE, EMPTY = "whole", "empty"


def token_readouts(
    model: TransformersModel,
    requests: Sequence[Request],
    *,
    targets: Mapping[str, str],
    plan: TokenPlan | None = None,
) -> dict[str, list[Any]]:
    r"""Measure the probability of an answer with every token of the reasoning changed.

    For reasoning :math:`m = (t_1, \dots, t_n)` shown under a prompt, the rows hold
    :math:`P(y \mid m)`, :math:`P(y \mid \varnothing)` and, for every position i and draw,
    :math:`P(y \mid m')` of a changed reasoning :math:`m'`; probabilities are exact, so that only
    the drawn replacement is random. Beside them stand three naive scores of each position: the
    mean attention that the last token before the answer pays to it, the norm of the gradient of
    :math:`\log P(y)` in its embedding, and gradient times embedding. Estimate with
    `crossworld.reasoning.steps.token_effects`; no model is called there.

    Parameters
    ----------
    model
        Local weights.
    requests
        Prompt, reasoning shown, cue, choices; several of one question are several traces of it.
        The temperature is that of the draws and of the readout (0: the next best token).
    targets
        Question id to the answer that is followed; one of the choices where there are any.
    plan
        How tokens are changed.

    Returns
    -------
    dict
        Columns ``question trace prompt position from_end text edit draw written p_target
        log_probability attention gradient grad_input``. ``edit`` is ``whole`` in rows of the
        reasoning as it is, where the naive scores stand, and ``empty`` without reasoning; position
        -1 is no position but all of it. ``trace`` is the position in ``requests``.
        ``log_probability`` is how likely the model was to write what stands there instead.

    Raises
    ------
    DesignError
        If a question has no target, or shows no reasoning; if two requests are equal.
    SpecError
        If all tokens are asked for and the vocabulary is large.

    Examples
    --------
    >>> TokenPlan(edits=("replace", "remove"), draws=8).edits
    ('replace', 'remove')
    """
    asked = TokenPlan() if plan is None else plan
    if len(set(requests)) < len(requests):
        raise DesignError("two requests are equal; tell draws of one question apart with draw=")
    table: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for number, request in enumerate(requests):
        for row in _rows(traced(model, request, targets, asked), number):
            for name in COLUMNS:
                table[name].append(row.get(name))
    return table


def _rows(trace: Traced, number: int) -> Iterator[dict[str, Any]]:
    request, layout = trace.request, trace.layout
    same = {"question": request.question, "trace": number, "prompt": request.arm}
    bare = trace.model.layout(replace(request, shown="")).ids
    whole, empty = trace.p([layout.ids])[0], trace.p([bare])[0]
    for edit, value in ((WHOLE, whole), (EMPTY, empty)):
        yield (
            same
            | {"position": -1, "from_end": -1, "edit": edit, "draw": 0}
            | {"p_target": float(value)}
        )
    if not trace.units:
        return
    scores = _naive(trace)
    place = [
        {"position": k, "from_end": len(trace.units) - 1 - k, "text": trace.words(unit)}
        for k, unit in enumerate(trace.units)
    ]
    for k, at in enumerate(place):
        told = {name: float(scores[name][k]) for name in NAIVE}
        yield same | at | told | {"edit": WHOLE, "draw": 0, "p_target": float(whole)}
    made = [*changes(trace)]
    values = trace.p([c.ids for c in made]) if made else np.empty(0)
    for (unit, edit, draw), group in groupby(
        zip(made, values.tolist(), strict=True), lambda pair: pair[0].key
    ):
        held = list(group)
        alone = held[0][0] if len(held) == 1 else None
        yield (
            same
            | place[unit]
            | {
                "edit": edit,
                "draw": draw,
                "written": None if alone is None else alone.written,
                "log_probability": None if alone is None else alone.log_probability,
                "p_target": sum(c.weight * p for c, p in held),
            }
        )


def _naive(trace: Traced) -> dict[str, list[float]]:
    """Sums over the tokens of every unit."""
    loaded, _ = trace.model.parts()
    norm, product = gradient_of(
        loaded,
        trace.layout.ids,
        trace.ends,
        target=trace.target,
        heat=trace.heat,
    )
    columns = (attention_of(loaded, trace.layout.ids), norm, product)
    inside = list(trace.layout.inside)
    return {
        name: [float(values[inside[a:b]].sum()) for a, b in trace.units]
        for name, values in zip(NAIVE, columns, strict=True)
    }

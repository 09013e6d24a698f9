"""Steering along a direction: dose and response, with the side effects of every dose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.table import Effect, EffectTable
from crossworld.errors import DesignError
from crossworld.internals.backend import torch
from crossworld.internals.curves import drawn
from crossworld.internals.metrics import Measure, Rows, measure
from crossworld.internals.pairs import Pairs
from crossworld.internals.rates import codes, mean, mean_effect, tabled
from crossworld.internals.side_effects import Aside, side_effects
from crossworld.internals.site import Site
from crossworld.internals.subject import TorchSubject

Array = NDArray[np.float64]


def add(direction: Any, dose: float) -> Callable[[Any], Any]:
    """Return the write that adds a direction (d,) times a dose to an activation."""

    def write(hidden: Any) -> Any:
        given = torch().as_tensor(np.asarray(direction), dtype=hidden.dtype, device=hidden.device)
        if given.shape != hidden.shape[-1:]:
            raise DesignError(
                f"the direction has shape {tuple(given.shape)}, the activation "
                f"{hidden.shape[-1]} features"
            )
        return hidden + dose * given

    return write


def steer(
    subject: TorchSubject,
    pairs: Any,
    *,
    along: tuple[str | Site, Any],
    doses: Sequence[float],
    metric: Any,
    aside: Aside | None = None,
) -> EffectTable:
    r"""Add doses of a direction to an activation: response of a metric, and side effects.

    .. math:: h \leftarrow h + \alpha\, v

    Parameters
    ----------
    subject
        The network.
    pairs
        Inputs, as `Pairs` or anything that `Pairs.of` reads; only the clean ones are run.
    along
        Site and direction v (d,), taken as it is: the dose counts in its length.
    doses
        Values of :math:`\alpha`; 0 is always run and need not be named.
    metric
        As of a `PatchStudy`.
    aside
        Held-out texts and off-target prompts. None leaves side effects out, and the result says so.

    Returns
    -------
    EffectTable
        ``metric[dose]`` and ``change[dose]`` from dose 0 for every dose, ``slope`` (least squares
        of the response on the dose, pair by pair), and of every dose ``perplexity[dose]``,
        ``perplexity ratio[dose]`` and ``kl[dose]``. t intervals over pairs (clusters), on the log
        scale for perplexities; all hold at once (Sidak).

    References
    ----------
    Turner et al. (2023). Steering language models with activation engineering. arXiv 2308.10248.
    """
    site = Site.parse(along[0]) if isinstance(along[0], str) else along[0]
    held = Pairs.of(pairs, subject.tokenizer)
    found = measure(metric)
    missing = [name for name in found.needs if getattr(held, name) is None]
    if missing:
        raise DesignError(f"the metric {found.name} needs {' and '.join(missing)} of each pair")
    asked = sorted({float(d) for d in doses} - {0.0})
    if not asked or not np.isfinite(asked).all():
        raise DesignError(f"doses are numbers other than 0, got {list(doses)!r}")
    response = {d: _response(subject, held, (site, add(along[1], d)), found)
                for d in (0.0, *asked)}  # fmt: skip
    extra = (
        0 if aside is None else (2 if len(aside.texts) else 0) + (1 if len(aside.prompts) else 0)
    )
    family = 2 + len(asked) * (2 + extra)
    cluster = codes(held.cluster)

    def row(term: str, values: Array, null: float | None = 0.0) -> Effect:
        return mean_effect(term, mean(values, cluster), family=family, null=null)

    rows = [row("metric[0]", response[0.0], None)]
    for dose in asked:
        rows.append(row(f"metric[{dose:g}]", response[dose], None))
        rows.append(row(f"change[{dose:g}]", response[dose] - response[0.0]))
    at = np.array([0.0, *asked])
    weight = (at - at.mean()) / ((at - at.mean()) ** 2).sum()
    each = np.stack([response[d] for d in at.tolist()])
    rows.append(row("slope", weight @ each))
    warnings = ["no side effects were measured; give texts and prompts with aside=Aside(...)"]
    if aside is not None:
        warnings = []
        for dose in asked:
            rows += _beside(subject, site, (along[1], dose), aside, family)
    heading = f"{found.name} steered at {site}"
    table = tabled(rows, heading, units=(len(held), cluster), family=family, warnings=warnings)
    lines = {found.name: [(dose, f"metric[{dose:g}]") for dose in (0.0, *asked)]}
    table = drawn(table, lines, names=("dose", found.name), title="response to the dose")
    for name, null in (("perplexity ratio", 1.0), ("kl", 0.0)):
        line = [
            (d, f"{name}[{d:g}]") for d in asked if any(r.term == f"{name}[{d:g}]" for r in rows)
        ]
        table = drawn(table, {name: line}, names=("dose", name), title="side effects", null=null)
    return table


def _response(
    subject: TorchSubject, held: Pairs, write: tuple[Site, Any], metric: Measure
) -> Array:
    found = np.zeros(len(held))
    for rows in held.groups(np.arange(len(held)), 64):
        units = rows.tolist()
        batch = held.batch(units, 0)
        output = metric.final(subject.run(batch, write=dict([write])).output, batch)
        reference = metric.final(subject.run(batch).output, batch)
        known = Rows(
            None if held.answer is None else held.answer[rows],
            None if held.wrong is None else held.wrong[rows],
            reference,
            rows,
        )
        found[rows] = metric(output, known).detach().double().cpu().numpy()
    return found


def _beside(
    subject: TorchSubject, site: Site, along: tuple[Any, float], aside: Aside, family: int
) -> list[Effect]:
    direction, dose = along
    table = side_effects(subject, {site: add(direction, dose)}, aside=aside, family=family)
    names = {
        "perplexity[after]": f"perplexity[{dose:g}]",
        "perplexity[ratio]": f"perplexity ratio[{dose:g}]",
        "kl": f"kl[{dose:g}]",
    }
    return [
        Effect(names[r.term], r.estimate, r.std_error, r.conf_low, r.conf_high, r.p_value,
               r.conf_method)
        for r in table if r.term in names
    ]  # fmt: skip

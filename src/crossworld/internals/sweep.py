"""The same question at every site: one row each, bands that hold for all of them at once."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence

from crossworld.core.analysis import Analysis
from crossworld.core.effects import NIE
from crossworld.core.estimand import Estimand
from crossworld.core.exhibits import Exhibit, Heatmap
from crossworld.core.protocols import Inference, Progress
from crossworld.core.table import Effect, EffectTable
from crossworld.errors import DesignError, FitWarning, SpecError
from crossworld.infer.multiplier import Multiplier
from crossworld.internals.patch import Patch
from crossworld.internals.site import Site
from crossworld.internals.study import PatchStudy

_TERM = re.compile(r"^([a-z_]+)\[(.+)\](\..+)?$")


def sweep(
    study: PatchStudy,
    effects: Sequence[Estimand] | Estimand = NIE,
    *,
    estimator: Patch | None = None,
    inference: Inference | None = None,
    level: float = 0.95,
    progress: Progress | None = None,
) -> EffectTable:
    """Ask the same questions at every site of a study, one site at a time.

    Parameters
    ----------
    study
        A patching study whose sites are swept.
    effects
        Questions that involve the mediator, such as ``xw.NIE`` or ``xw.PNIE``; those that do not
        (``xw.TE``) give one row.
    estimator
        `Patch` by default.
    inference
        `Multiplier` by default, so that the intervals of all rows hold at once and p values are
        adjusted for all of them; ``xw.Wald()`` for one row at a time.
    level
        Confidence level.
    progress
        Called with (done, total).

    Returns
    -------
    EffectTable
        Terms ``nie[layers.3.mlp @ -1]``. A site that changes nothing in any pair has estimate 0,
        no standard error and no p value. Layers by positions and heads become heat maps.

    Examples
    --------
    >>> import pytest; torch = pytest.importorskip("torch")
    >>> import numpy as np, crossworld as xw
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 1))
    >>> for layer, weight in zip(net, ([[1.0, 0.0], [0.0, 1.0]], [[3.0, 5.0]])):
    ...     _ = layer.weight.data.copy_(torch.tensor(weight))
    >>> rng = np.random.default_rng(0)
    >>> pairs = (np.zeros((12, 2), np.float32), rng.normal(1, 1, (12, 2)).astype(np.float32))
    >>> study = xw.PatchStudy(xw.TorchSubject(net), pairs, lambda y: y[:, 0],
    ...                       sites=["0.neurons.*"])
    >>> [row.term for row in xw.sweep(study)]
    ['nie[0.neurons.0]', 'nie[0.neurons.1]']
    """
    asked = (effects,) if isinstance(effects, Estimand) else tuple(effects)
    if not asked or not all(isinstance(e, Estimand) for e in asked):
        raise SpecError(f"a sweep asks for estimands such as xw.NIE, got {effects!r}")
    if not study.sites:
        raise DesignError("a sweep needs sites; give the study sites=['layers.*.mlp @ -1']")
    spread: list[Estimand] = []
    for effect in asked:
        through = [effect.at(str(site)) for site in study.sites]
        constant = all(t.expr == effect.expr for t in through)
        spread += [effect] if constant else through
    method = estimator or Patch(progress=progress)
    chosen = inference or Multiplier()
    analysis = Analysis(study, method, tuple(spread), chosen, level)
    with warnings.catch_warnings():  # that some sites change nothing is a finding
        warnings.filterwarnings("ignore", ".*is fixed by the models", FitWarning)
        return analysis.run()


def heatmaps(table: EffectTable, labels: Mapping[str, str] | None = None) -> tuple[Exhibit, ...]:
    """Heat maps of a sweep: layers by positions for each part, layers by heads.

    Parameters
    ----------
    table
        A result with terms such as ``nie[layers.3.mlp @ -1]``.
    labels
        What to write for a position, such as its token: ``{"0": "The"}``.
    """
    groups: dict[tuple[str, str, str], dict[tuple[str, str], Effect]] = {}
    for row in table:
        found = _TERM.match(row.term)
        if found is None:
            continue
        place = _place(Site.parse(found[2]))
        if place is None:
            continue
        part, by, at = place
        key = (f"{found[1]}{found[3] or ''}", part, by)
        groups.setdefault(key, {})[at] = row
    adjusted = "simultaneous" in table.diagnostics
    maps = (_map(key, held, table.level, adjusted, labels or {}) for key, held in groups.items())
    return tuple(m for m in maps if m is not None)


def _place(site: Site) -> tuple[str, str, tuple[str, str]] | None:
    """Part, what the columns are, and row and column of a site."""
    if site.layer is None:
        return None
    inner = site.where.split(".", 2)[2] if site.where.count(".") > 1 else "resid"
    basis = f"[{site.basis}]" if site.basis else ""
    if site.head is not None:
        stream = "" if site.stream == "z" else f".{site.stream}"
        at = f" @ {site.position}" if site.position else ""
        return f"heads{stream}{basis}{at}", "head", (str(site.layer), str(site.head))
    if site.unit is not None:
        return None
    return f"{inner}{basis}", "position", (str(site.layer), site.position or "all")


def _map(
    key: tuple[str, str, str],
    held: Mapping[tuple[str, str], Effect],
    level: float,
    adjusted: bool,
    labels: Mapping[str, str],
) -> Heatmap | None:
    effect, part, by = key
    rows = sorted({r for r, _ in held}, key=int)
    columns = sorted({c for _, c in held}, key=_order)
    if len(held) < 2:
        return None

    def grid(field: str) -> tuple[tuple[float | None, ...], ...]:
        return tuple(
            tuple(getattr(held[r, c], field) if (r, c) in held else None for c in columns)
            for r in rows
        )

    p_values = grid("p_value")
    alpha = 1.0 - level
    family = "for all sites at once" if adjusted else "for one site at a time"
    return Heatmap(
        rows=tuple(rows),
        columns=tuple(labels.get(c, c) for c in columns),
        values=grid("estimate"),
        low=grid("conf_low"),
        high=grid("conf_high"),
        significant=tuple(tuple(p is not None and p <= alpha for p in row) for row in p_values),
        row_name="layer",
        column_name=by,
        value_name=effect,
        title=f"{effect} of {part}, layer by {by}",
        note=f"Marked: differs from 0 at level {100 * level:g} %, {family}.",
    )


def _order(text: str) -> tuple[int, int, str]:
    """Positions from the start, then from the end, then spans."""
    try:
        number = int(text)
    except ValueError:
        return (2, 0, text)
    return (0 if number >= 0 else 1, number, "")

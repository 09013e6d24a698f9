"""Effects within subgroups, their differences, and a test that they are equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from crossworld.core.effects import NATURAL
from crossworld.core.estimand import Estimand
from crossworld.core.estimate import Estimate
from crossworld.core.scores import Scores
from crossworld.core.table import EffectTable
from crossworld.errors import DesignError, SmallSampleWarning, SpecError
from crossworld.forwhom.columns import Groups, group
from crossworld.forwhom.result import Method, Question, ask, given, rows, table
from crossworld.forwhom.target import Joint, Target, jointly_zero, targets
from crossworld.infer.wald import FEW_CLUSTERS

FEW_ROWS = 30


def effects_by(
    study: Any,
    source: Any,
    estimands: Sequence[Estimand] = NATURAL,
    *,
    by: str | Sequence[str],
    inference: Method = None,
    level: float = 0.95,
) -> EffectTable:
    r"""Estimate effects in every subgroup from one set of scores.

    With scores :math:`\phi_i` of a contrast of cells, the effect in group :math:`g` is

    .. math:: \hat\theta_g = \sum_i w_i 1\{G_i = g\} \phi_i \Big/ \sum_i w_i 1\{G_i = g\},

    with influence :math:`1\{G_i = g\}/P(g)\,(\phi_i - \theta_g)`; no model is fitted again.

    Parameters
    ----------
    study
        A `TableStudy`.
    source
        An influence-function estimator such as ``MultiplyRobust()``; or a result or `Scores` of
        this very study.
    estimands
        Differences of cells.
    by
        A pre-treatment column, or several whose groups are crossed; ``"age:4"`` cuts a number at
        its quartiles.
    inference
        `Wald` (default), or `Multiplier` for one band over all rows.
    level
        Confidence level.

    Returns
    -------
    EffectTable
        For every effect a row per group, ``nie[sex=1]``, and a row per difference from the first
        group, ``nie[sex=1 - sex=0]``. ``diagnostics["equality"]`` holds the joint test that all
        groups share one effect (chi-square; Hotelling's F with declared clusters), and
        ``diagnostics["groups"]`` their sizes.

    Raises
    ------
    DesignError
        If a column is unknown, was affected by the treatment, or has too many values; if the
        scores are not one number per unit.
    SpecError
        If an effect is not a sum of cells.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.interaction(n=400, seed=1).study()
    >>> method = xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=2)
    >>> found = xw.effects_by(study, method, [xw.NIE], by="x:2")
    >>> len(found), found.rows[-1].term.startswith("nie[x>")
    (3, True)
    """
    if isinstance(estimands, Estimand):
        estimands = (estimands,)
    question = ask(study, source, estimands)
    return compared(question, group(study, by, question.told), inference, level)


def by_group(
    source: Scores | EffectTable,
    estimands: Sequence[Estimand],
    *,
    groups: Sequence[Any],
    inference: Method = None,
    level: float = 0.95,
) -> EffectTable:
    """Estimate effects in groups given as one label per unit; see `effects_by`.

    Parameters
    ----------
    source
        Scores, or a result that holds them.
    estimands
        Differences of cells.
    groups
        Label of every unit's group, shape (n,).
    inference, level
        As in `effects_by`.

    Examples
    --------
    >>> import numpy as np
    >>> from crossworld import TE, Scores, Y
    >>> values = np.random.default_rng(0).normal(size=(80, 2)) + [1.0, 0.0]
    >>> values[:40, 0] += 2.0
    >>> found = by_group(Scores(values, (Y(1), Y(0))), [TE], groups=["a"] * 40 + ["b"] * 40)
    >>> [row.term for row in found]
    ['te[a]', 'te[b]', 'te[b - a]']
    >>> found.diagnostics["equality"]["te"]["p_value"] < 0.001
    True
    """
    question = given(source, estimands)
    labels = np.asarray(groups)
    if labels.shape != (len(question.scores),):
        raise DesignError(
            f"groups has shape {labels.shape}, expected one label for each of the "
            f"{len(question.scores)} units"
        )
    kept, codes = np.unique(labels, return_inverse=True)
    held = Groups("group", codes.astype(np.int64), tuple(str(v) for v in kept))
    return compared(question, held, inference, level)


def compared(question: Question, groups: Groups, inference: Method, level: float) -> EffectTable:
    """Rows of every effect in every group, differences from the first, and the tests."""
    if len(groups.labels) < 2:
        raise DesignError(f"there is one group only, {groups.labels[0]!r}; nothing to compare")
    held = targets(question.scores, question.estimands)
    sizes = _sizes(question, groups, held[0])
    named: list[tuple[str, Estimate]] = []
    tests: dict[str, Joint] = {}
    for target in held:
        inside = [target.mean(groups.codes == g) for g in range(len(groups.labels))]
        against = [e - inside[0] for e in inside[1:]]
        first, *rest = groups.labels
        named += [
            (f"{target.name}[{label}]", e) for label, e in zip(groups.labels, inside, strict=True)
        ]
        named += [
            (f"{target.name}[{label} - {first}]", e) for label, e in zip(rest, against, strict=True)
        ]
        tests[target.name] = jointly_zero(against)
    found, extra = rows(named, inference, level=level, told=question.told)
    extra |= {"groups": sizes, "equality": {name: t.to_dict() for name, t in tests.items()}}
    lines = [f"  {name} is equal over {groups.by}: {test}" for name, test in tests.items()]
    return table(question, found, level, heading=lines, extra=extra)


def _sizes(question: Question, groups: Groups, target: Target) -> dict[str, dict[str, Any]]:
    """Size of every group; warn of those too small for a normal interval."""
    found: dict[str, dict[str, Any]] = {}
    for g, label in enumerate(groups.labels):
        inside = groups.codes == g
        clusters = int(np.unique(target.units[inside]).size)
        mass = float(target.share[inside].sum() / target.share.sum())
        if mass == 0.0 or clusters < 2:
            what = "weight" if mass == 0.0 else "second unit"
            raise DesignError(
                f"the group {label!r} ({int(inside.sum())} rows) has no {what}, so its effect has "
                "no error; join it to another group"
            )
        found[label] = {"n_units": int(inside.sum()), "n_clusters": clusters, "share": mass}
    few = [
        f"{label} has {s['n_units']} rows" for label, s in found.items() if s["n_units"] < FEW_ROWS
    ]
    if target.cluster is not None:
        few = [
            f"{label} has {s['n_clusters']} clusters"
            for label, s in found.items()
            if s["n_clusters"] < FEW_CLUSTERS
        ]
    if few:
        text = f"{', '.join(few)}: their intervals and the test of equality are rough"
        question.told.append((SmallSampleWarning, text))
    return found


def one(effect: Any) -> tuple[Estimand]:
    """Return the one effect asked for."""
    if not isinstance(effect, Estimand):
        raise SpecError(f"effect is one estimand such as xw.NIE, got {effect!r}")
    return (effect,)

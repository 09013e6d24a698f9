"""Short rules for whom an effect stands out: found on one half of the data, tested on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.effects import NIE
from crossworld.core.estimand import Estimand
from crossworld.core.estimate import Estimate
from crossworld.core.options import check_whole
from crossworld.core.table import Effect, EffectTable
from crossworld.errors import DesignError, FitWarning, SpecError
from crossworld.forwhom.columns import names_of, read
from crossworld.forwhom.groups import one
from crossworld.forwhom.result import Question, ask, rows, table
from crossworld.forwhom.search import Rule, Search, conditions, search
from crossworld.forwhom.target import Target, targets
from crossworld.infer.multiplier import Multiplier


@dataclass(frozen=True, slots=True)
class RuleSearch:
    """How rules are searched and tested.

    Parameters
    ----------
    depth
        Most conditions in a rule, 1 to 3.
    most
        Most rules that go to the test.
    smallest
        Least share of the units inside a rule, and outside it.
    draws
        Draws of the simultaneous test.
    seed
        Seed of the split and of the draws.

    Examples
    --------
    >>> RuleSearch(depth=5)
    Traceback (most recent call last):
    crossworld.errors.SpecError: depth is a whole number from 1 to 3, got 5
    """

    depth: int = 2
    most: int = 3
    smallest: float = 0.1
    draws: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        for name, number, high in (("depth", self.depth, 3), ("most", self.most, 20)):
            if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= high:
                raise SpecError(f"{name} is a whole number from 1 to {high}, got {number!r}")
        if not 0.0 < self.smallest < 0.5:
            raise SpecError(f"smallest is a share under one half, got {self.smallest!r}; try 0.1")
        Multiplier(self.draws)
        check_whole("seed", self.seed, 0)


def rules(
    study: Any,
    source: Any,
    *,
    on: str | Sequence[str],
    effect: Estimand = NIE,
    method: RuleSearch | None = None,
    level: float = 0.95,
) -> EffectTable:
    r"""Find short rules for the subgroups whose effect stands out, and test them honestly.

    The units (declared clusters whole) are split in two halves at random. On one, every rule of at
    most ``depth`` conditions such as ``age >= 40 and sex = 1`` is scored by the studentised
    difference of mean scores inside and outside it. The best few that do not say the same are
    tested on the other half:

    .. math:: \hat\delta_R = \hat\theta_{i \in R} - \hat\theta_{i \notin R},

    with p values and intervals that hold for all tested rules at once (`Multiplier`, max-t). So
    where the effect does not vary, any rule is called significant with probability at most
    ``1 - level``.

    Parameters
    ----------
    study
        A `TableStudy`.
    source
        An influence-function estimator, or a result or `Scores` of this study.
    on
        Pre-treatment columns to form conditions from.
    effect
        A difference of cells.
    method
        Depth, number and size of rules, seed.
    level
        Confidence level.

    Returns
    -------
    EffectTable
        Two rows per rule, from the half that did not choose it: ``nie[rule]``, the effect inside
        (pointwise), and ``nie[(rule) - rest]``, its difference from the rest (simultaneous).
        ``diagnostics["rules"]`` lists them with size and verdict.

    Notes
    -----
    Nuisances were fitted on all units, so the halves share them; with cross-fitted orthogonal
    scores this is of second order. One split decides: another ``seed`` may find other rules.

    References
    ----------
    Athey and Imbens (2016). Recursive partitioning for heterogeneous causal effects. PNAS 113.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.interaction(n=400, seed=1).study()
    >>> scored = xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=2)
    >>> found = xw.rules(study, scored, on="x", method=xw.RuleSearch(depth=1, most=1))
    >>> [row.conf_method for row in found]
    ['wald', 'simultaneous']
    """
    question = ask(study, source, one(effect))
    chosen = RuleSearch() if method is None else method
    covariates = [read(study, name, "on", question.told) for name in names_of(on, "on")]
    (target,) = targets(question.scores, question.estimands)
    first, second = _halves(target, chosen.seed)
    masks = conditions(covariates, first)
    options = Search(chosen.depth, chosen.most, chosen.smallest)
    found = search(target.take(first), [(c, m[first]) for c, m in masks], options)
    holds = {c: m[second] for c, m in masks}
    tested = target.take(second)
    kept = [(rule, _inside(rule, holds)) for rule in found]
    kept = [(rule, mask) for rule, mask in kept if _testable(tested, mask, rule, question)]
    if not kept:
        raise DesignError(
            f"no rule over {', '.join(names_of(on, 'on'))} holds for at least "
            f"{chosen.smallest:.0%} of the units in both halves; use more units, or a smaller "
            "smallest"
        )
    shown, extra = _test(question, tested, kept, chosen, level)
    line = f"  rules found on {first.size:,} rows, tested on the other {second.size:,}"
    return table(question, shown, level, heading=[line], extra=extra)


def _test(
    question: Question,
    tested: Target,
    kept: Sequence[tuple[Rule, NDArray[np.bool_]]],
    chosen: RuleSearch,
    level: float,
) -> tuple[list[Effect], dict[str, Any]]:
    """Rows of the rules on the half that did not choose them."""
    inside: list[tuple[str, Estimate]] = []
    against: list[tuple[str, Estimate]] = []
    for rule, mask in kept:
        effect = tested.mean(mask)
        inside.append((f"{tested.name}[{rule}]", effect))
        against.append((f"{tested.name}[({rule}) - rest]", effect - tested.mean(~mask)))
    within, _ = rows(inside, None, level=level, told=question.told)
    band = Multiplier(chosen.draws, seed=chosen.seed)
    apart, extra = rows(against, band, level=level, told=question.told)
    extra["rules"] = [
        {
            "rule": str(rule),
            "n_units": int(mask.sum()),
            "share": float(np.average(mask, weights=tested.share)),
            "search_statistic": rule.statistic,
            "difference": asdict(row),
            "significant": row.p_value is not None and row.p_value <= 1.0 - level + 1e-12,
        }
        for (rule, mask), row in zip(kept, apart, strict=True)
    ]
    pairs = zip(within, apart, strict=True)
    return [row for pair in pairs for row in pair], extra


def _halves(target: Target, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the half that searches and of the half that tests, clusters whole."""
    units = target.units
    groups = int(units.max()) + 1
    if groups < 4:
        raise DesignError(f"rules need at least 4 units to split in two halves, got {groups}")
    place = np.random.default_rng(seed).permutation(groups)
    searching = (place < groups // 2)[units]
    return np.flatnonzero(searching), np.flatnonzero(~searching)


def _inside(rule: Rule, holds: dict[Any, NDArray[np.bool_]]) -> NDArray[np.bool_]:
    held: NDArray[np.bool_] = np.all([holds[c] for c in rule.conditions], axis=0)
    return held


def _testable(target: Target, mask: NDArray[np.bool_], rule: Rule, question: Question) -> bool:
    """Whether two units with weight lie on either side; tell when not."""
    for side in (mask, ~mask):
        held = side & (target.share > 0.0)
        if np.unique(target.units[held]).size < 2:
            text = f"the rule {rule} splits off fewer than 2 units of the other half: not tested"
            question.told.append((FitWarning, text))
            return False
    return True

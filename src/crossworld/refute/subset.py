"""Estimate on random subsets: effects may move by sampling error alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from crossworld.core.analysis import Analysis
from crossworld.core.estimand import Estimand
from crossworld.core.options import check_whole
from crossworld.core.refutation import Refutation
from crossworld.core.table import Effect, EffectTable, number
from crossworld.errors import SpecError
from crossworld.refute.judge import FEWEST, MARGIN
from crossworld.refute.rerun import (
    Attempts,
    attempt,
    bound,
    effects,
    generators,
    unused,
)

Array = NDArray[np.float64]
ALPHA = 0.005  # chance of a false alarm of each of the two tests
SPLITS = 10  # other seeds of the estimator, where it has one that matters
WIDE = 1.4  # times what its standard error says that an estimate may vary without it mattering
SHOWS = (
    "passing shows that the estimate does not hang on a few units and varies as its standard error "
    "says; it says nothing of errors that all units share, such as confounding"
)


@dataclass(frozen=True, slots=True)
class DataSubset:
    r"""Estimate on random subsets of the units (whole clusters), drawn without replacement.

    An estimate from a share :math:`f` of the units differs from that of all by about
    :math:`\sqrt{(1 - f) / f}` standard errors. In these units the differences have mean 0 and
    variance 1. Where an estimate depends on a seed (of folds, of learners), it is also run with
    other seeds, and that variance is allowed for. An effect passes unless the mean square of the
    differences exceeds the upper 0.5 % point of a mean of squares (and :math:`1.4^2`), or their
    mean is off by more than its two-sided 0.5 % point (and a quarter): about 1 % false alarms.

    Parameters
    ----------
    fraction
        Share of the units kept, in (0, 1).
    draws
        Subsets, at least 10.
    seed
        Seed of the subsets.

    Notes
    -----
    A standard error that is too small and an estimator that is unstable or biased in small samples
    are found. In each subset some models may fail, a level may be missing; this is counted.

    References
    ----------
    Politis, Romano and Wolf (1999), Subsampling.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.linear(n=300, seed=1).study()
    >>> question = xw.Analysis(study, xw.Imputation())
    >>> [r.passed for r in DataSubset().refute(question, question.run())]
    [True, True, True]
    """

    fraction: float = 0.8
    draws: int = 50
    seed: int = 0
    key: ClassVar[str] = "subset"

    def __post_init__(self) -> None:
        check_whole("draws", self.draws, FEWEST)
        check_whole("seed", self.seed, 0)
        if not 0.0 < self.fraction < 1.0:
            raise SpecError(f"fraction is a share between 0 and 1, got {self.fraction!r}")

    def refute(
        self, analysis: Analysis[Any], result: EffectTable, *, workers: int = 1
    ) -> tuple[Refutation, ...]:
        """Draw subsets and estimate again, one refutation for each effect."""
        study, asked = analysis.study, bound(analysis)
        cluster = _clusters(study, result)
        groups = len(study) if cluster is None else int(cluster.max()) + 1
        kept = round(self.fraction * groups)
        if not 2 <= kept < groups:
            text = f"{self.fraction:g} of {groups} independent units is no subset to estimate on"
            return tuple(_undecided(e.name, result, text) for e in asked)

        def once(rng: np.random.Generator) -> dict[str, Effect]:
            chosen = np.zeros(groups, dtype=bool)
            chosen[rng.permutation(groups)[:kept]] = True
            rows = np.flatnonzero(chosen if cluster is None else chosen[cluster])
            return effects(replace(analysis, study=study.take(rows), refuters=()), asked)

        tasks = [lambda rng=rng: once(rng) for rng in generators(self.seed, self.draws)]
        found = attempt(tasks, workers=workers)
        own = _reseeded(analysis, asked, result, workers=workers)
        return tuple(self._judged(e.name, found, result, own) for e in asked)

    def _judged(
        self,
        term: str,
        found: Attempts[dict[str, Effect]],
        result: EffectTable,
        own: Sequence[dict[str, Effect]],
    ) -> Refutation:
        row = result[term]
        values = np.array([r[term].estimate for r in found.done], dtype=np.float64)
        values = values[np.isfinite(values)]
        if row.estimate is None or not row.std_error or values.size < FEWEST:
            text = f"{term} has a value in {values.size} of {found.total} subsets, or no error"
            return _undecided(term, result, text + found.told())
        whole = np.array([row.estimate, *(r[term].estimate for r in own)], dtype=np.float64)
        noise = float(whole.var(ddof=1)) if own else 0.0
        left = (1.0 - self.fraction) / self.fraction
        variance = left * row.std_error**2 + noise * (1.0 / self.fraction + 1.0 / whole.size)
        z = (values - whole.mean()) / math.sqrt(variance)
        ratio, shift = float(np.sqrt((z**2).mean())), float(z.mean())
        passed = not (_too_wide(ratio, z.size) or _shifted(shift, z.size))
        low, high = (float(v) for v in np.quantile(values, (0.025, 0.975)))
        same = float((np.sign(values) == np.sign(row.estimate)).mean())
        text = (
            f"On {z.size} random subsets of {self.fraction:.0%} of the units {term} averaged "
            f"{number(float(values.mean()))} (95 % of them {number(low)} to {number(high)}); it "
            f"varied {ratio:.2f} times as much as its standard error implies, with its mean "
            f"{shift:+.2f} such units off."
        )
        if noise > 0.0:
            size = math.sqrt(noise) / row.std_error
            text += f" Another seed alone moves it by {size:.2f} standard errors, allowed for here."
        text += found.told()
        data = {
            "draws": int(z.size),
            "failed": found.total - int(z.size),
            "fraction": self.fraction,
            "low": low,
            "high": high,
            "spread_ratio": ratio,
            "shift": shift,
            "same_sign": same,
            "seed_noise": math.sqrt(noise),
        }
        return Refutation(
            self.key, term, passed, row.estimate, float(values.mean()), text, SHOWS, data
        )


def _reseeded(
    analysis: Analysis[Any], asked: Sequence[Estimand], result: EffectTable, *, workers: int
) -> tuple[dict[str, Effect], ...]:
    """All units with other seeds of the estimator; none where it has none or nothing moves."""
    estimator = analysis.estimator
    if not is_dataclass(estimator) or "seed" not in {f.name for f in fields(estimator)}:
        return ()
    first: int = estimator.seed
    changed: list[Analysis[Any]] = [
        replace(analysis, estimator=replace(estimator, seed=first + k), refuters=())
        for k in range(1, SPLITS + 1)
    ]
    tasks = [lambda a=a: effects(a, asked) for a in changed]
    tried = attempt(tasks[:2], workers=workers)
    if unused(tried.done, result):
        return ()
    return (*tried.done, *attempt(tasks[2:], workers=workers).done)


def _clusters(study: Any, result: EffectTable) -> NDArray[np.int64] | None:
    """Codes of the independent units that the study's rows belong to."""
    codes = getattr(study, "cluster", None)
    if codes is None and result.scores is not None and len(result.scores) == len(study):
        codes = result.scores.cluster
    return None if codes is None else np.unique(codes, return_inverse=True)[1].astype(np.int64)


def _too_wide(ratio: float, draws: int) -> bool:
    from scipy.stats import chi2

    return ratio > max(WIDE, math.sqrt(float(chi2.ppf(1.0 - ALPHA, draws)) / draws))


def _shifted(shift: float, draws: int) -> bool:
    from scipy.stats import norm

    return abs(shift) > max(MARGIN, float(norm.ppf(1.0 - ALPHA / 2.0)) / math.sqrt(draws))


def _undecided(term: str, result: EffectTable, text: str) -> Refutation:
    return Refutation(DataSubset.key, term, None, result[term].estimate, None, text, SHOWS)

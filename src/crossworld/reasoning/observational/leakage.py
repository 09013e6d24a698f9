"""How well a text alone tells which treatment it stands beside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crossworld.core.student import critical
from crossworld.errors import DesignError, SpecError
from crossworld.reasoning.observational.embedding import vectorizer
from crossworld.reasoning.observational.table import natural_traces
from crossworld.reasoning.study import ReasoningStudy

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
Transform = Callable[[Any], Any]


class Method(Protocol):
    """A way of taking the treatment out of texts or embeddings."""

    def fit(self, data: Any, arm: Mask) -> Transform:
        """Learn from some rows what to take out, and return how."""


@dataclass(frozen=True, slots=True)
class Leakage:
    """Cross-validated area under the curve of the treatment predicted from the text.

    Parameters
    ----------
    auc
        0.5: the text says nothing about the treatment; 1: it determines it.
    std_error, conf_low, conf_high
        Of the area, over clusters; the interval is held within 0 and 1.
    rows, clusters
        Counts.
    """

    auc: float
    std_error: float
    conf_low: float
    conf_high: float
    rows: int
    clusters: int

    def __str__(self) -> str:
        return (
            f"the text tells the treatment with AUC {self.auc:.3f} "
            f"[{self.conf_low:.3f}, {self.conf_high:.3f}] ({self.rows:,} texts, "
            f"{self.clusters:,} clusters)"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Texts or embeddings with a two-valued treatment and clusters 0..G-1."""

    data: Any
    arm: Mask
    cluster: Index

    def rows(self, mask: Mask) -> Any:
        """Some of the texts or embeddings."""
        return take(self.data, mask)


def take(data: Any, mask: Mask) -> Any:
    """Rows of a list of texts or of a matrix."""
    if isinstance(data, list):
        return [text for text, kept in zip(data, mask, strict=True) if kept]
    return data[np.flatnonzero(mask)]


def leakage(
    source: Any,
    treatment: Sequence[Any] | None = None,
    *,
    cluster: Sequence[Any] | None = None,
    folds: int = 5,
    level: float = 0.95,
    seed: int = 0,
) -> Leakage:
    r"""How well the text alone predicts the treatment.

    A penalised logistic regression (on TF-IDF of texts, or standardised embeddings) is fitted
    without each fold in turn; with :math:`F_{0}, F_{1}` the laws of its scores in the two arms of
    the held-out fold, the area is :math:`E_1[F_0(s)]` averaged over folds, and its influence

    .. math::
        \frac{A}{p} \{F_0(s) - \theta\} + \frac{1 - A}{1 - p} \{1 - F_1(s) - \theta\}

    is summed within clusters for the standard error, with t on one degree of freedom less than
    clusters.

    Parameters
    ----------
    source
        n texts, an array (n, d) of embeddings, or a `ReasoningStudy` (its natural traces).
    treatment
        Two-valued, length n; not for a study, which has its own.
    cluster
        Labels of independent units, length n (questions); a study has its own. None: every row.
    folds
        Number of folds; clusters are kept whole.
    level
        Level of the interval.
    seed
        Of the folds.

    Raises
    ------
    DesignError
        If the treatment is not two-valued, lengths differ, or a fold lacks an arm.
    SpecError
        If ``folds`` or ``level`` cannot be meant.

    References
    ----------
    LeDell, Petersen and van der Laan (2015), Electronic Journal of Statistics 9.

    Examples
    --------
    >>> texts = ["let me think", "step by step", "answer now", "quickly"] * 20
    >>> leakage(texts, [1, 1, 0, 0] * 20).auc
    1.0
    """
    return judged(sample(source, treatment, cluster), None, folds=folds, level=level, seed=seed)


def sample(source: Any, treatment: Sequence[Any] | None, cluster: Sequence[Any] | None) -> Sample:
    """Check and code what is given to `leakage`."""
    if isinstance(source, ReasoningStudy):
        if treatment is not None or cluster is not None:
            raise DesignError("a study has its own prompts and questions; give nothing else")
        traces = natural_traces(source)
        codes = np.unique(traces.question, return_inverse=True)[1].astype(np.int64)
        return Sample(traces.texts, traces.arm == 1, codes)
    if isinstance(source, str):
        raise DesignError("one text was given; leakage needs a list of texts, or a study")
    if treatment is None:
        raise DesignError("treatment is needed: one of two values for every text")
    data = source if hasattr(source, "shape") else [str(text) for text in source]
    n = data.shape[0] if hasattr(data, "shape") else len(data)
    held = np.asarray(treatment)
    values, codes = np.unique(held, return_inverse=True)
    if held.shape != (n,) or len(values) != 2:
        raise DesignError(
            f"treatment has shape {held.shape} and {len(values)} values for {n:,} texts; it needs "
            "one of two values for each"
        )
    units = np.arange(n) if cluster is None else np.asarray(cluster)
    if units.shape != (n,):
        raise DesignError(f"cluster has shape {units.shape} for {n:,} texts")
    group = np.unique(units, return_inverse=True)[1].astype(np.int64)
    return Sample(data, codes == 1, group)


def judged(held: Sample, method: Method | None, *, folds: int, level: float, seed: int) -> Leakage:
    """Area under the curve, with what a method takes out learned without the fold it is judged on.

    Learned on all rows and judged on the same, a removal looks better than it is: the area can
    fall under one half.
    """
    count = int(held.cluster.max()) + 1
    if isinstance(folds, bool) or not isinstance(folds, int) or not 2 <= folds <= count:
        raise SpecError(f"folds is a number from 2 to the {count} clusters, got {folds!r}")
    if not 0.0 < level < 1.0:
        raise SpecError(f"level lies between 0 and 1, got {level!r}")
    fold = group_folds(held.cluster, folds, seed)
    n, area = held.arm.size, 0.0
    influence = np.zeros(n)
    for k in range(folds):
        test = fold == k
        arm = held.arm[test]
        if arm.all() or not arm.any() or held.arm[~test].all() or not held.arm[~test].any():
            raise DesignError(f"fold {k + 1} lacks a treatment value; use fewer folds")
        score = _scores(held, method, test)
        part, moved = _area(score, arm)
        area += part * arm.size / n
        influence[test] = moved
    sums = np.bincount(held.cluster, weights=influence, minlength=count)
    error = float(np.sqrt(count / (count - 1) * (sums**2).sum()) / n)
    reach = error * critical(level, count - 1)
    return Leakage(area, error, max(area - reach, 0.0), min(area + reach, 1.0), n, count)


def group_folds(cluster: Index, folds: int, seed: int) -> Index:
    """Fold of every row, clusters kept whole."""
    count = int(cluster.max()) + 1
    place = np.random.default_rng(np.random.SeedSequence(seed)).permutation(count)
    return np.asarray((place % folds)[cluster], dtype=np.int64)


def _scores(held: Sample, method: Method | None, test: Mask) -> Array:
    train, tested = held.rows(~test), held.rows(test)
    if method is not None:
        change = method.fit(train, held.arm[~test])
        train, tested = change(train), change(tested)
    fit = classifier(train, held.arm[~test])
    return np.asarray(fit(tested), dtype=np.float64)


def classifier(data: Any, arm: Mask) -> Callable[[Any], Array]:
    """Fit a penalised logistic regression; the result maps rows to log odds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    final = LogisticRegression(C=1.0, max_iter=2000)
    if isinstance(data, list):
        if not any(text.strip() for text in data):
            return lambda rows: np.zeros(len(rows))
        model = make_pipeline(vectorizer(), final)
    else:
        model = make_pipeline(StandardScaler(with_mean=isinstance(data, np.ndarray)), final)
    model.fit(data, arm)
    return lambda rows: np.asarray(model.decision_function(rows))


def _area(score: Array, arm: Mask) -> tuple[float, Array]:
    """Area under the curve in one fold, ties counted half, and its influence."""
    one, zero = np.sort(score[arm]), np.sort(score[~arm])
    below = _ranks(zero, score)  # law of the scores in arm 0
    above = 1.0 - _ranks(one, score)
    area = float(below[arm].mean())
    p = float(arm.mean())
    moved = np.where(arm, (below - area) / p, (above - area) / (1.0 - p))
    return area, moved


def _ranks(ordered: Array, at: Array) -> Array:
    left = np.searchsorted(ordered, at, side="left")
    right = np.searchsorted(ordered, at, side="right")
    return np.asarray((left + right) / (2.0 * ordered.size))

"""Taking the treatment out of a text that is to be adjusted for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.options import check_whole
from crossworld.errors import DesignError, SpecError
from crossworld.reasoning.observational.embedding import TOKEN, vectorizer
from crossworld.reasoning.observational.leakage import (
    Leakage,
    Method,
    Transform,
    classifier,
    group_folds,
    judged,
    sample,
    take,
)
from crossworld.reasoning.segment import join, segment

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SimilarPassages:
    """Remove sentences that are like given passages, such as the wording of the treatment.

    Parameters
    ----------
    like
        Passages that speak of the treatment.
    threshold
        Cosine similarity of TF-IDF (single words) from which a sentence is removed.

    Examples
    --------
    >>> change = SimilarPassages(("I think step by step.",)).fit([], None)
    >>> change(["I think step by step. It is 7."])
    ['It is 7.']
    """

    like: tuple[str, ...]
    threshold: float = 0.5

    def __post_init__(self) -> None:
        _between(self.threshold, "threshold")
        if isinstance(self.like, str) or not any(p.strip() for p in self.like):
            raise SpecError(f"like is a tuple of passages, got {self.like!r}")

    def fit(self, data: Any, arm: Mask | None) -> Transform:
        """Nothing is learned of the treatment; the words of the passages are all that counts."""
        words = vectorizer(ngrams=1)
        words.set_params(use_idf=False, sublinear_tf=False)

        def near(sentences: list[str]) -> Mask:
            held = words.fit_transform([*self.like, *sentences])
            count = len(self.like)
            likeness = (held[count:] @ held[:count].T).toarray()
            return np.asarray(likeness.max(axis=1) >= self.threshold)

        return lambda texts: _without(_texts(texts, type(self).__name__), near)


@dataclass(frozen=True, slots=True)
class DistantSupervision:
    """Remove sentences from which a classifier, taught the treatment of their texts, tells it.

    Sentences inherit the treatment of their text (distant supervision, Mintz et al. 2009).

    Parameters
    ----------
    threshold
        Probability of either arm (arms weighted equally) from which a sentence is removed.
    """

    threshold: float = 0.7

    def __post_init__(self) -> None:
        _between(self.threshold, "threshold", low=0.5)

    def fit(self, data: Any, arm: Mask) -> Transform:
        """Learn from labelled texts which sentences tell their treatment."""
        texts = _texts(data, type(self).__name__)
        cut = [[s.body for s in segment(t) if not s.is_blank] for t in texts]
        labels = np.repeat(arm, [len(bodies) for bodies in cut])
        sentences = [body for bodies in cut for body in bodies]
        if not sentences or labels.all() or not labels.any():
            raise DesignError("sentences of both treatments are needed to learn what tells them")
        log_odds = classifier(sentences, labels)
        base = float(np.log(labels.mean() / (1.0 - labels.mean())))
        bound = float(np.log(self.threshold / (1.0 - self.threshold)))

        def tells(found: list[str]) -> Mask:
            return np.asarray(np.abs(log_odds(found) - base) >= bound)

        return lambda rows: _without(_texts(rows, type(self).__name__), tells)


@dataclass(frozen=True, slots=True)
class SalientFeatures:
    """Remove the words with the largest weights in a linear classifier of the treatment.

    Parameters
    ----------
    features
        How many words, numbers and marks to remove.
    """

    features: int = 50

    def __post_init__(self) -> None:
        check_whole("features", self.features, 1)

    def fit(self, data: Any, arm: Mask) -> Transform:
        """Learn from labelled texts which words tell their treatment."""
        from sklearn.linear_model import LogisticRegression

        words = vectorizer(ngrams=1)
        held = words.fit_transform(_texts(data, type(self).__name__))
        weights = LogisticRegression(C=1.0, max_iter=2000).fit(held, arm).coef_[0]
        top = np.argsort(-np.abs(weights), kind="stable")[: self.features]
        gone = set(words.get_feature_names_out()[top])
        token = re.compile(TOKEN)

        def change(texts: Any) -> list[str]:
            return [
                token.sub(lambda m: "" if m.group().lower() in gone else m.group(), text)
                for text in _texts(texts, type(self).__name__)
            ]

        return change


@dataclass(frozen=True, slots=True)
class NullspaceProjection:
    r"""Project embeddings on the null space of linear classifiers, one after another (INLP).

    In each round a logistic regression is fitted to what is left and its direction w removed:
    :math:`X \leftarrow X (I - w w^T / \|w\|^2)`.

    Parameters
    ----------
    rounds
        How many directions to remove; at least one direction is left.

    References
    ----------
    Ravfogel, Elazar, Gonen, Twiton and Goldberg (2020), ACL.
    """

    rounds: int = 4

    def __post_init__(self) -> None:
        check_whole("rounds", self.rounds, 1)

    def fit(self, data: Any, arm: Mask) -> Transform:
        """Learn from labelled embeddings the directions that tell their treatment."""
        from sklearn.linear_model import LogisticRegression

        if isinstance(data, list):
            raise DesignError("NullspaceProjection needs embeddings; embed the texts first")
        x = np.asarray(data, dtype=np.float64)
        centre = x.mean(axis=0)
        left, basis = x - centre, np.empty((x.shape[1], 0))
        scale = float(left.std()) or 1.0
        for _ in range(min(self.rounds, x.shape[1] - 1)):
            weights = LogisticRegression(C=1.0, max_iter=2000).fit(left / scale, arm).coef_[0]
            w = weights - basis @ (basis.T @ weights)
            length = float(np.linalg.norm(w))
            if length < 1e-10:
                break
            basis = np.column_stack([basis, w / length])
            left = left - (left @ basis[:, -1:]) @ basis[:, -1:].T

        def change(rows: Any) -> Array:
            held = np.asarray(rows, dtype=np.float64) - centre
            return np.asarray(held - (held @ basis) @ basis.T + centre)

        return change


@dataclass(frozen=True, slots=True, eq=False)
class Distilled:
    """What is left of texts or embeddings, and how well it still tells the treatment.

    Parameters
    ----------
    data
        Texts, or embeddings (n, d), as they were given.
    before, after
        Leakage; ``after`` is judged on folds that the removal was learned without.
    removed
        Share of characters that was removed, or of variance.
    """

    data: Any
    before: Leakage
    after: Leakage
    removed: float

    def __str__(self) -> str:
        return f"AUC {self.before.auc:.3f} -> {self.after.auc:.3f}, {self.removed:.0%} removed"


def distill(
    source: Any,
    treatment: Sequence[Any] | None = None,
    *,
    method: Method,
    cluster: Sequence[Any] | None = None,
    folds: int = 5,
    seed: int = 0,
) -> Distilled:
    """Take the treatment out of texts or embeddings that are to be adjusted for.

    Parameters
    ----------
    source, treatment, cluster, folds, seed
        As in `leakage`.
    method
        `SimilarPassages`, `DistantSupervision` or `SalientFeatures` of texts,
        `NullspaceProjection` of embeddings.

    Returns
    -------
    Distilled
        ``data`` made by the removal learned on all rows; with a method that is taught the
        treatment, texts are cleaned fold by fold, each by what the other folds taught.

    Raises
    ------
    DesignError, SpecError
        As in `leakage`, or if the method does not go with texts or embeddings.

    Notes
    -----
    Removal trades bias for variance: a text that tells the treatment leaves no overlap to adjust
    with (variance), and what tells the treatment may be what confounds it (bias). It is for text
    as a covariate. Never distil a mediator: the part that the treatment shapes is the effect.

    References
    ----------
    Daoud, Jerzak and Johansson (2022), NAACL.

    Examples
    --------
    >>> texts = ["slowly then. It is 7.", "quickly then. It is 7.", "slowly then. It is 8."]
    >>> texts = [*texts, "quickly then. It is 8."] * 10
    >>> found = distill(texts, [1, 0] * 20, method=SalientFeatures(2))
    >>> found.before.auc, sorted(set(found.data))
    (1.0, [' then. It is 7.', ' then. It is 8.'])
    """
    held = sample(source, treatment, cluster)
    told = [judged(held, m, folds=folds, level=0.95, seed=seed) for m in (None, method)]
    if isinstance(held.data, list):
        fold = group_folds(held.cluster, folds, seed)
        data: Any = [""] * len(held.data)
        for k in range(folds):
            rest = fold != k
            change = method.fit(held.rows(rest), held.arm[rest])
            for i, text in zip(np.flatnonzero(~rest), change(take(held.data, ~rest)), strict=True):
                data[i] = text
        whole = sum(map(len, held.data))
        removed = 1.0 - sum(map(len, data)) / max(whole, 1)
    else:
        data = method.fit(held.data, held.arm)(held.data)
        spread = float(np.asarray(held.data).var(axis=0).sum())
        removed = 1.0 - float(data.var(axis=0).sum()) / max(spread, 1e-300)
    return Distilled(data, told[0], told[1], removed)


def _without(texts: list[str], judge: Any) -> list[str]:
    """Texts less the sentences that a judge of all of them at once marks."""
    cut = [segment(text) for text in texts]
    bodies = list(dict.fromkeys(s.body for steps in cut for s in steps if not s.is_blank))
    if not bodies:
        return list(texts)
    gone = {body for body, bad in zip(bodies, judge(bodies), strict=True) if bad}
    return [join(s for s in steps if s.body not in gone) for steps in cut]


def _texts(data: Any, name: str) -> list[str]:
    if not isinstance(data, list):
        raise DesignError(f"{name} works on texts, not on embeddings; use NullspaceProjection")
    return data


def _between(value: float, name: str, *, low: float = 0.0) -> None:
    if not low < value < 1.0:
        raise SpecError(f"{name} lies between {low:g} and 1, got {value!r}")

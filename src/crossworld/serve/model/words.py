"""The offline embedder: words and marks counted, weighted, and put on a few directions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError

TOKEN = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")  # words, numbers, single marks
NGRAMS = 2
SEED = 0  # of the randomised SVD, which sees neither treatment nor outcome
FLAT = 1e-10  # share of the largest spread below which a direction is none
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """What turns features into columns: ``((f * idf) / |f * idf| @ project - centre) / scale``.

    ``idf`` (v,) is None where the features are those of an encoder, which are used as they are;
    ``project`` is (v, k), ``centre`` and ``scale`` (k,).
    """

    idf: Array | None
    project: Array
    centre: Array
    scale: Array

    def __call__(self, features: NDArray[Any]) -> Array:
        """Columns (n, k) of features (n, v), in float64: what the exported graph has to equal."""
        held: Array = features.astype(np.float64)
        if self.idf is not None:
            held = held * self.idf
            size = np.sqrt((held**2).sum(axis=1, keepdims=True))
            held = held / np.where(size > 0.0, size, 1.0)
        return np.asarray((held @ self.project - self.centre) / self.scale)


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """Terms that are counted: words, numbers and marks, and pairs of them.

    Parameters
    ----------
    terms
        In the order of the features.
    """

    terms: tuple[str, ...]
    at: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", {term: j for j, term in enumerate(self.terms)})

    def counts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Count terms: 1 + log(count) where a term occurs, (n, v).

        Examples
        --------
        >>> Vocabulary(("add", "add two")).counts(["Add two, add two", ""]).round(3).tolist()
        [[1.6929999589920044, 1.6929999589920044], [0.0, 0.0]]
        """
        found = np.zeros((len(texts), len(self.terms)), dtype=np.float32)
        for row, text in enumerate(texts):
            counted = Counter(j for t in terms_of(text) if (j := self.at.get(t)) is not None)
            found[row, list(counted)] = 1.0 + np.log(list(counted.values()))
        return found

    def known(self, text: str) -> float:
        """Share of a text's single words and marks that the vocabulary has; 1 for an empty one."""
        tokens = TOKEN.findall(text.lower())
        return sum(t in self.at for t in tokens) / len(tokens) if tokens else 1.0


def terms_of(text: str) -> list[str]:
    """Words, numbers and marks in lower case, then pairs of neighbours.

    Examples
    --------
    >>> terms_of("Add 17+25")
    ['add', '17', '+', '25', 'add 17', '17 +', '+ 25']
    """
    tokens = TOKEN.findall(text.lower())
    return tokens + [f"{a} {b}" for a, b in pairwise(tokens)]


def learn_words(texts: Sequence[str], *, size: int, components: int) -> tuple[Vocabulary, Weights]:
    """Learn a vocabulary and its directions from texts alone (TF-IDF, then a truncated SVD).

    Parameters
    ----------
    texts
        The texts of a study.
    size
        Terms of the vocabulary, at most.
    components
        Columns, at most.

    Returns
    -------
    tuple
        The vocabulary, and the weights, whose columns have mean 0 and variance 1 on the texts.

    Raises
    ------
    DesignError
        If the texts have no words or are all the same.

    References
    ----------
    Deerwester, Dumais, Furnas, Landauer and Harshman (1990), JASIS 41.

    Examples
    --------
    >>> words, weights = learn_words(["add two", "add three", "guess"], size=50, components=2)
    >>> weights(words.counts(["add two", "guess"])).shape
    (2, 2)
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(TOKEN.search(text) for text in texts):
        raise DesignError("no text has a word in it, so there is nothing to learn from")
    vectorizer: Any = TfidfVectorizer(
        token_pattern=TOKEN.pattern,
        ngram_range=(1, NGRAMS),
        sublinear_tf=True,
        max_features=size,
    )
    features = vectorizer.fit_transform(texts)
    project = _directions(features, components)
    words = Vocabulary(tuple(str(t) for t in vectorizer.get_feature_names_out()))
    return words, standardised(np.asarray(vectorizer.idf_), project, features @ project)


def learn_features(features: Array, *, components: int) -> Weights:
    """Learn directions of an encoder's features, (n, v): their principal components."""
    centre = features.mean(axis=0)
    project = _directions(features - centre, components)
    return standardised(None, project, features @ project)


def _directions(features: Any, components: int) -> Array:
    from sklearn.decomposition import TruncatedSVD

    width = min(components, features.shape[1] - 1, features.shape[0] - 1)
    if width < 1:
        return np.eye(features.shape[1])
    fitted = TruncatedSVD(width, random_state=SEED).fit(features)
    return np.asarray(fitted.components_.T)


def standardised(idf: Array | None, project: Array, columns: Array) -> Weights:
    """Scale columns to mean 0 and variance 1, and leave out the flat ones.

    Raises
    ------
    DesignError
        If all are flat.
    """
    centre, scale = columns.mean(axis=0), columns.std(axis=0)
    kept = scale > FLAT * max(float(scale.max(initial=0.0)), 1e-300)
    if not kept.any():
        raise DesignError("all texts look the same, so they tell nothing apart")
    return Weights(idf, project[:, kept], centre[kept], scale[kept])

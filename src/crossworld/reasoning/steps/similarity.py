"""Whether two texts say the same: offline by shared words, or by anyone's embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from crossworld.core.protocols import Array
from crossworld.errors import EstimationError


class Similarity(Protocol):
    """Similarity of texts, pair by pair."""

    def __call__(self, left: Sequence[str], right: Sequence[str], /) -> Array:
        """Return one number per pair; 1 for the same text."""
        ...


@dataclass(frozen=True, slots=True)
class TfIdf:
    """Cosine of TF-IDF weights over words and pairs of words; needs no model.

    Parameters
    ----------
    words
        Longest run of words that counts as one term.

    Notes
    -----
    It sees shared words, not shared meaning: paraphrases look less similar than to a sentence
    embedding, so its values are lower and its threshold is better set at the median than at 0.8.
    Signs and digits are words, as they carry the content of arithmetic.

    Examples
    --------
    >>> TfIdf()(["2 + 3 = 5", "2 + 3 = 5"], ["2 + 3 = 5", "a cat"]).round(2).tolist()
    [1.0, 0.0]
    """

    words: int = 2

    def __call__(self, left: Sequence[str], right: Sequence[str], /) -> Array:
        from sklearn.feature_extraction.text import TfidfVectorizer

        texts = sorted({*left, *right})
        place = {text: i for i, text in enumerate(texts)}
        vectorizer = TfidfVectorizer(
            ngram_range=(1, self.words), token_pattern=r"(?u)\w+|[^\w\s]", sublinear_tf=True
        )
        if not any(t.strip() for t in texts):
            return np.ones(len(left))
        weights = vectorizer.fit_transform(texts)
        one = weights[[place[t] for t in left]]
        two = weights[[place[t] for t in right]]
        cosine: Array = np.asarray(one.multiply(two).sum(axis=1)).ravel()
        same = np.array([a == b for a, b in zip(left, right, strict=True)])
        return np.where(same, 1.0, np.clip(cosine, 0.0, 1.0))


@dataclass(frozen=True, slots=True)
class Embedded:
    """Cosine of embeddings that a function makes.

    Parameters
    ----------
    encode
        Texts to an array of shape (texts, dimensions), such as ``SentenceTransformer(...).encode``.

    Examples
    --------
    >>> lengths = Embedded(lambda texts: np.array([[len(t), 1.0] for t in texts]))
    >>> lengths(["ab"], ["cd"]).round(6).tolist()
    [1.0]
    """

    encode: Callable[[list[str]], Any]

    def __call__(self, left: Sequence[str], right: Sequence[str], /) -> Array:
        texts = sorted({*left, *right})
        place = {text: i for i, text in enumerate(texts)}
        vectors = np.asarray(self.encode(texts), dtype=np.float64)
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise EstimationError(
                f"the embedding of {len(texts)} texts has shape {vectors.shape}; one finite row "
                "per text is needed"
            )
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = vectors / np.where(norms > 0.0, norms, 1.0)
        one, two = vectors[[place[t] for t in left]], vectors[[place[t] for t in right]]
        return np.asarray((one * two).sum(axis=1))

"""Texts as numbers, without a look at treatment or outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crossworld.core.options import check_whole
from crossworld.errors import DesignError
from crossworld.reasoning.segment import segment

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Embedder = Callable[[list[str]], Any]
TOKEN = r"[^\W\d_]+|\d+|[^\w\s]"  # words, numbers, single marks
LARGEST = 20_000  # features of a vocabulary
FLAT = 1e-10  # share of the largest singular value below which a direction is none
SEED = 0  # of the randomised SVD and of k-means; neither sees treatment or outcome


def vectorizer(*, ngrams: int = 2, norm: Literal["l2"] | None = "l2") -> Any:
    """Return an unfitted TF-IDF of words, numbers and marks (sublinear, runs up to ``ngrams``).

    With ``norm="l2"`` every text has length 1, so that how much it holds is not told.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        token_pattern=TOKEN,
        ngram_range=(1, ngrams),
        sublinear_tf=True,
        max_features=LARGEST,
        norm=norm,
    )


def embed(texts: Sequence[str], *, embedder: Embedder | None = None, components: int = 16) -> Array:
    r"""Turn texts into at most ``components`` uncorrelated columns of variance 1.

    With X the matrix of features (TF-IDF, or what ``embedder`` returns) and its singular value
    decomposition :math:`X = U S V^T`, the columns are the first of U, centred and scaled. The
    features of TF-IDF are not centred first (latent semantic analysis); those of an embedder are.

    Parameters
    ----------
    texts
        n texts; empty ones are allowed.
    embedder
        Maps a list of texts to an array (n, d), such as ``SentenceTransformer(name).encode``.
        None: TF-IDF of words, numbers and marks, and pairs of them.
    components
        Number of columns wanted; fewer come back where the texts have less rank.

    Returns
    -------
    ndarray of shape (n, k)
        k <= components.

    Raises
    ------
    DesignError
        If no text has a word, all texts are the same, or the embedder returns no finite (n, d).
    SpecError
        If ``components`` is no whole number of at least 1.

    References
    ----------
    Deerwester, Dumais, Furnas, Landauer and Harshman (1990), JASIS 41.

    Examples
    --------
    >>> columns = embed(["add two", "add three", "guess", ""], components=2)
    >>> columns.shape
    (4, 2)
    """
    check_components(components)
    texts = list(texts)
    if embedder is None:
        columns = _semantic(texts, components)
    else:
        columns = _principal(called(embedder, texts), components)
    columns = columns - columns.mean(axis=0)
    spread = columns.std(axis=0)
    kept = spread > FLAT * max(float(spread.max(initial=0.0)), 1e-300)
    if not kept.any():
        raise DesignError("all texts look the same to the embedder, so they cannot mediate")
    return np.asarray(columns[:, kept] / spread[kept], dtype=np.float64)


def check_components(components: int) -> None:
    """Refuse a number of components that is no whole number of at least 1."""
    check_whole("components", components, 1)


def _semantic(texts: list[str], components: int) -> Array:
    from sklearn.decomposition import TruncatedSVD

    features = features_of(texts)
    width = min(components, features.shape[1] - 1, features.shape[0] - 1)
    if width < 1:
        return np.asarray(features.toarray(), dtype=np.float64)
    return np.asarray(TruncatedSVD(width, random_state=SEED).fit_transform(features))


def features_of(texts: Sequence[str]) -> Any:
    """Sparse TF-IDF of texts.

    Raises
    ------
    DesignError
        If no text has a word.
    """
    if not any(text.strip() for text in texts):
        raise DesignError("every text is empty, so there is no reasoning to look at")
    return vectorizer().fit_transform(texts)


def called(embedder: Embedder, texts: list[str]) -> Array:
    """Return what an embedder makes of texts, (n, d).

    Raises
    ------
    DesignError
        If it is no finite array with a row for each text.
    """
    found = np.asarray(embedder(texts), dtype=np.float64)
    if found.ndim != 2 or found.shape[0] != len(texts) or found.shape[1] < 1:
        raise DesignError(
            f"the embedder returned shape {found.shape} for {len(texts)} texts; it has to return "
            "one row of numbers for each"
        )
    if not np.isfinite(found).all():
        raise DesignError("the embedder returned numbers that are not finite")
    return found


def _principal(features: Array, components: int) -> Array:
    """Principal components, or the columns themselves where they are no more than wanted."""
    if features.shape[1] <= components:
        return features
    u, s, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    kept = s > FLAT * s[0]
    return np.asarray((u * s)[:, kept][:, :components])


def groups(columns: Array, number: int) -> Index:
    """Cluster rows by k-means; shape (n,), groups 0..k-1 with k <= number."""
    from sklearn.cluster import KMeans

    distinct = len(np.unique(np.round(columns, 9), axis=0))
    fit = KMeans(min(number, distinct), n_init=5, random_state=SEED).fit(columns)
    return np.unique(fit.labels_, return_inverse=True)[1].astype(np.int64)


def sentence_clusters(
    texts: Sequence[str], *, embedder: Embedder | None = None, clusters: int = 16
) -> Array:
    """Say of every text which clusters of sentences it has a member of.

    Sentences of all texts (`crossworld.reasoning.segment.segment`) are embedded and clustered by
    k-means.

    Returns
    -------
    ndarray of shape (n, k)
        0 and 1; clusters that are in every text or in none are left out, an empty text has none.

    Raises
    ------
    DesignError
        If no cluster tells texts apart.

    Examples
    --------
    >>> sentence_clusters(["Add. Check.", "Add.", ""], clusters=2).sum(axis=1)
    array([2., 1., 0.])
    """
    cut = [[step.body for step in segment(text) if not step.is_blank] for text in texts]
    sentences = list(dict.fromkeys(body for bodies in cut for body in bodies))
    if len(sentences) < 2:
        raise DesignError("the texts hold fewer than two different sentences; nothing to cluster")
    wide = embed(sentences, embedder=embedder, components=max(2 * clusters, 8))
    group = dict(zip(sentences, groups(wide, clusters), strict=True))
    found = np.zeros((len(cut), max(group.values()) + 1))
    for row, bodies in enumerate(cut):
        found[row, [group[body] for body in bodies]] = 1.0
    varies = found.min(axis=0) < found.max(axis=0)
    if not varies.any():
        raise DesignError("every text has sentences of every cluster; ask for more clusters")
    return np.asarray(found[:, varies])

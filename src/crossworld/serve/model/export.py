"""Learn models of texts from a table, and write them as a folder that the service reads."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.provenance import installed
from crossworld.errors import DesignError, EstimationError, SpecError
from crossworld.serve.model.folder import GRAPHS, check_self_contained, write_model
from crossworld.serve.model.graphs import columns_graph, effects_graph
from crossworld.serve.model.int8 import Checked, Run, choose
from crossworld.serve.model.running import Asked, Encoder, Remembering, Served
from crossworld.serve.model.words import Vocabulary, Weights, learn_features, learn_words
from crossworld.serve.need import EXPORT, need
from crossworld.spec import from_document, inference

FEWEST = 100  # replicates of the effects in the table
CHECKED = 200  # rows on which int8 is compared with float32
EQUAL = 1e-5  # largest difference between graphs in float32 and models in float64
ROLES = ("prompt", "reasoning")
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Export:
    """What to learn from, and how.

    Parameters
    ----------
    data
        A csv or parquet file: one row per answer.
    columns
        The columns of ``prompt`` (its text without the treatment), ``treatment``, ``reasoning`` and
        ``outcome``, and of ``question``, the cluster (default: rows with the same prompt).
    levels, event
        As in a study.
    covariates, components
        Columns made of a prompt and of a reasoning.
    vocabulary
        Terms of each, at most.
    mediator
        ``linear`` or ``neural``.
    draws, seed
        Bootstrap replicates behind the intervals, and the seed of all.
    encoder
        Folder of ``model.onnx`` and ``tokenizer.json``; None: the offline embedder.
    tokens
        Tokens that an encoder reads of a text.
    int8
        Whether graphs may be kept in eight bits.
    """

    data: Path
    columns: Mapping[str, str]
    levels: tuple[Any, Any] | None = None
    event: Any = None
    covariates: int = 4
    components: int = 8
    vocabulary: int = 5_000
    mediator: str = "linear"
    draws: int = 200
    seed: int = 0
    encoder: Path | None = None
    tokens: int = 512
    int8: bool = True

    def __post_init__(self) -> None:
        for name in ("covariates", "components", "vocabulary", "tokens"):
            if getattr(self, name) < 1:
                raise SpecError(f"{name} is at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """The rows of a table as texts, with the study they come from."""

    prompt: list[str]
    reasoning: list[str]
    arm: NDArray[np.int64]
    study: Any


@dataclass(frozen=True, slots=True, eq=False)
class Exported:
    """What was written.

    ``checks`` of int8, the ``effects`` in the table, the manifest's ``digest``, the ``rows`` that
    were learned from, and how far the float32 graphs are ``apart`` from the models.
    """

    checks: tuple[Checked, ...]
    effects: tuple[Mapping[str, Any], ...]
    digest: str
    rows: int
    apart: float


def export(asked: Export, folder: Path) -> Exported:
    """Learn, write the graphs, check them against the models, write the folder.

    Raises
    ------
    MissingExtraError
        If a package of the extra ``serve`` is not installed.
    DesignError, EstimationError
        If the table does not fit, or the models cannot be learned from it.
    """
    need("exporting a model", EXPORT if asked.encoder is None else (*EXPORT, "tokenizers"))
    texts = read_texts(asked)
    embedded = _embedded(asked, texts)
    analysis = _analysis(asked, texts, embedded)
    models = analysis.estimator.learn(analysis.study, draws=asked.draws)
    parts = {name: columns_graph(embedded.weights[name]) for name in ROLES}
    parts |= {"effects": effects_graph(models, given=False)}
    parts |= {"given": effects_graph(models, given=True)}
    graphs = {name: graph.SerializeToString() for name, graph in parts.items()}
    if embedded.graph is not None:
        graphs = {"encoder": embedded.graph, **graphs}
    trial, checks = _trial(asked, texts, embedded), list[Checked]()
    apart = _apart(trial(graphs), _wanted(models, texts, embedded))
    if asked.int8:
        graphs, checks = choose(graphs, trial)
    files = {f"{name}.onnx": graph for name, graph in graphs.items()}
    for role, words in embedded.words.items():
        files[f"{role}.words.json"] = json.dumps(words.terms, ensure_ascii=False).encode()
    if embedded.tokenizer is not None:
        files["tokenizer.json"] = embedded.tokenizer.encode()
    result = _population(asked, analysis).to_dict()
    told = _manifest(asked, texts, models, result)
    told["float32"] = {"apart": apart}
    told["int8"] = [{"part": c.part, "moved": c.moved, "kept": c.kept} for c in checks]
    digest = write_model(folder, files, told)
    return Exported(tuple(checks), tuple(result["effects"]), digest, len(texts.arm), apart)


def read_texts(asked: Export) -> Texts:
    """Read prompts, reasoning, treatment and outcome.

    Raises
    ------
    DesignError
        If a column is missing, or is no text, or a question has several prompts.
    """
    named = asked.columns
    study = _study(asked)
    held = {role: _text(study.table[named[role]], named[role]) for role in ROLES}
    low, high = study.levels
    value = study.treatment.values
    kept = np.isin(value, (low, high))
    if not kept.all():
        study = study.take(np.flatnonzero(kept))
        held = {k: [t for t, keep in zip(v, kept, strict=True) if keep] for k, v in held.items()}
    _one_prompt(held["prompt"], study.cluster)
    arm = (study.treatment.values == high).astype(np.int64)
    return Texts(held["prompt"], held["reasoning"], arm, study)


def _study(asked: Export) -> Any:
    named = asked.columns
    path = f"{named['treatment']} -> {named['reasoning']} -> {named['outcome']}"
    study: dict[str, Any] = {"data": str(asked.data), "path": path, "adjust": [named["prompt"]]}
    study["cluster"] = named.get("question") or named["prompt"]
    if asked.levels is not None:
        study["levels"] = list(asked.levels)
    if asked.event is not None:
        study["event"] = asked.event
    return from_document({"study": study}, Path()).study


def _text(column: Any, name: str) -> list[str]:
    if column.labels is None:
        raise DesignError(f"column {name!r} holds numbers; the prompt and the reasoning are texts")
    return [column.labels[int(code)] for code in column.values]


def _one_prompt(prompts: Sequence[str], cluster: Any) -> None:
    """Refuse prompts that differ within a question: they would tell the treatment."""
    first: dict[int, str] = {}
    for text, code in zip(prompts, cluster, strict=True):
        if first.setdefault(int(code), text) != text:
            raise DesignError(
                f"a question has two prompts, {first[int(code)][:60]!r} and {text[:60]!r}; the "
                "prompt column holds the question alone, the treatment has its own column"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """How texts become columns, and the columns of the table's texts."""

    weights: Mapping[str, Weights]
    columns: Mapping[str, Array]
    words: Mapping[str, Vocabulary]
    graph: bytes | None = None
    tokenizer: str | None = None
    encoder: Remembering | None = None


def _embedded(asked: Export, texts: Texts) -> Embedded:
    held = {"prompt": texts.prompt, "reasoning": texts.reasoning}
    size = {"prompt": asked.covariates, "reasoning": asked.components}
    weights, columns, words = dict[str, Weights](), dict[str, Array](), dict[str, Vocabulary]()
    if asked.encoder is None:
        for role, given in held.items():
            words[role], weights[role] = learn_words(
                given, size=asked.vocabulary, components=size[role]
            )
            columns[role] = _in_parts(words[role], weights[role], given)
        return Embedded(weights, columns, words)
    graph, tokenizer = _encoder_files(asked.encoder)
    encoder = Remembering(Encoder(graph, tokenizer, asked.tokens))
    for role, given in held.items():
        features = encoder.features(given).astype(np.float64)
        weights[role] = learn_features(features, components=size[role])
        columns[role] = weights[role](features)
    return Embedded(weights, columns, words, graph, tokenizer, encoder)


def _in_parts(words: Vocabulary, weights: Weights, texts: Sequence[str]) -> Array:
    """Columns of many texts, a few at a time: their counts are wide."""
    step = 256
    parts = [weights(words.counts(texts[j : j + step])) for j in range(0, len(texts), step)]
    return np.concatenate(parts)


def _encoder_files(folder: Path) -> tuple[bytes, str]:
    try:
        graph = (folder / "model.onnx").read_bytes()
        tokenizer = (folder / "tokenizer.json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise DesignError(
            f"an encoder is a folder with model.onnx and tokenizer.json; {str(folder)!r} is none"
        ) from None
    check_self_contained(graph, str(folder / "model.onnx"))
    return graph, tokenizer


def _analysis(asked: Export, texts: Texts, embedded: Embedded) -> Any:
    """The analysis of the columns that were made of the texts."""
    import pandas as pd

    study = texts.study
    x, m = embedded.columns["prompt"], embedded.columns["reasoning"]
    names = ([f"x{j}" for j in range(x.shape[1])], [f"m{j}" for j in range(m.shape[1])])
    table = {"arm": texts.arm, "y": study.outcome, "question": study.cluster}
    table |= dict(zip(names[0], x.T, strict=True)) | dict(zip(names[1], m.T, strict=True))
    document = {
        "study": {
            "data": "columns.parquet",
            "path": f"arm -> {' + '.join(names[1])} -> y",
            "adjust": names[0],
            "levels": [0, 1],
            "cluster": "question",
        },
        "estimator": {"name": "LearnedMediator", "mediator": asked.mediator, "seed": asked.seed},
    }
    with tempfile.TemporaryDirectory() as folder:
        pd.DataFrame(table).to_parquet(Path(folder) / "columns.parquet")
        return from_document(document, Path(folder))


def _population(asked: Export, analysis: Any) -> Any:
    """Mean effects in the table: Wald where the scores have it, else the bootstrap."""
    if asked.mediator == "linear":
        return analysis.run()
    return replace(analysis, inference=_bootstrap(asked)).run()


def _bootstrap(asked: Export) -> Any:
    told = {"name": "Bootstrap", "draws": max(asked.draws, FEWEST), "seed": asked.seed}
    return inference(told)


def _sample(texts: Texts) -> NDArray[np.int64]:
    """Rows on which graphs are checked, spread over the table."""
    size = min(CHECKED, len(texts.arm))
    return np.linspace(0, len(texts.arm) - 1, size).astype(np.int64)


def _trial(asked: Export, texts: Texts, embedded: Embedded) -> Run:
    """Return what tells the effects of the sample with any graphs: without, then with reasoning."""
    sample = _sample(texts)
    rows = [Asked(texts.prompt[i]) for i in sample]
    rows += [Asked(texts.prompt[i], texts.reasoning[i], int(texts.arm[i])) for i in sample]

    reads = {embedded.graph: embedded.encoder}  # each encoder reads the sample once

    def run(graphs: Mapping[str, bytes]) -> tuple[Array, Array]:
        graph = graphs.get("encoder")
        if graph not in reads:
            reads[graph] = Remembering(
                Encoder(graph or b"", embedded.tokenizer or "", asked.tokens)
            )
        told = Served({n: graphs[n] for n in GRAPHS}, embedded.words, reads[graph]).effects(rows)
        return told.estimate, told.std_error

    return run


def _wanted(models: Any, texts: Texts, embedded: Embedded) -> tuple[Array, Array]:
    """What the Python models tell of the sample, in float64."""
    sample = _sample(texts)
    x, m = embedded.columns["prompt"][sample], embedded.columns["reasoning"][sample]
    plain = models.effects(x)
    given = models.effects(x, mediators=m, arm=texts.arm[sample])
    return (
        np.concatenate([plain.estimate, given.estimate]),
        np.concatenate([plain.std_error, given.std_error]),
    )


def _apart(found: tuple[Array, Array], wanted: tuple[Array, Array]) -> float:
    """Return the largest difference between graphs and models.

    Raises
    ------
    EstimationError
        If it is larger than float32 explains.
    """
    size = max(1.0, float(np.abs(wanted[0]).max()))
    apart = max(float(np.abs(f - w).max()) for f, w in zip(found, wanted, strict=True)) / size
    if not apart <= EQUAL:
        raise EstimationError(
            f"the exported graphs differ from the models by {apart:.2g}, more than {EQUAL:g}; the "
            "models are too ill-conditioned for float32: ask for fewer components"
        )
    return apart


def _manifest(
    asked: Export, texts: Texts, models: Any, result: Mapping[str, Any]
) -> dict[str, Any]:
    study = texts.study
    shown = study.treatment.labels
    levels = [v if shown is None else shown[int(v)] for v in study.levels]
    embedder: dict[str, Any] = {"kind": "words", "vocabulary": asked.vocabulary}
    if asked.encoder is not None:
        embedder = {"kind": "encoder", "tokens": asked.tokens}
    plain = [int(v) if isinstance(v, float) and v.is_integer() else v for v in levels]
    return {
        "levels": plain,
        "columns": dict(asked.columns),
        "outcome": "probability" if models.logit else "mean",
        "embedder": embedder,
        "models": {"mediator": asked.mediator, "replicates": len(models.nodes) - 1},
        "effects": result["effects"],
        "provenance": {
            "version": installed("crossworld"),
            "data_sha256": study.sha256(),
            "rows": len(texts.arm),
            "questions": int(study.cluster.max()) + 1,
            "seed": asked.seed,
            "draws": asked.draws,
            "failed": models.failed,
            "packages": {p: installed(p) for p in ("onnx", "onnxruntime", "scikit-learn")},
        },
    }

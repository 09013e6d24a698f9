"""An encoder in the place of counted words: tokens, an ONNX graph, the mean of its last layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossworld.errors import DesignError
from crossworld.serve.model.export import Export, export
from crossworld.serve.model.folder import read_model
from crossworld.serve.model.running import Asked, Encoder
from tests.serve.texts import answers

onnx = pytest.importorskip("onnx", reason="the extra 'serve' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'serve' is not installed")
tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
WIDTH = 12
COLUMNS = {r: r for r in ("prompt", "treatment", "reasoning", "outcome", "question")}


def write_encoder(folder: Path, texts: list[str]) -> np.ndarray[Any, Any]:
    """Every word is a vector: the smallest encoder there is. Returns the vectors."""
    from onnx import TensorProto, helper, numpy_helper
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    terms = sorted({w for t in texts for w, _ in Whitespace().pre_tokenize_str(t)})
    held = tokenizers.Tokenizer(WordLevel({t: j for j, t in enumerate(["[UNK]", *terms])}, "[UNK]"))
    held.pre_tokenizer = Whitespace()
    vectors = np.random.default_rng(0).normal(size=(len(terms) + 1, WIDTH)).astype(np.float32)
    shape = ["n", "t"]
    graph = helper.make_graph(
        [helper.make_node("Gather", ["v", "input_ids"], ["last"])],
        "encoder",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, shape)],
        [helper.make_tensor_value_info("last", TensorProto.FLOAT, [*shape, WIDTH])],
        [numpy_helper.from_array(vectors, "v")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    folder.mkdir()
    onnx.save_model(model, folder / "model.onnx")
    held.save(str(folder / "tokenizer.json"))
    return vectors


def test_features_are_means_of_length_1_whatever_the_padding(tmp_path: Path) -> None:
    texts = ["add two apples", "add", "take two apples and add two"]
    vectors = write_encoder(tmp_path / "e", texts)
    graph = (tmp_path / "e" / "model.onnx").read_bytes()
    tokenizer = (tmp_path / "e" / "tokenizer.json").read_text()
    encoder = Encoder(graph, tokenizer, 4)
    terms = sorted({w for t in texts for w in t.split()})
    found = encoder.features(texts)
    for row, text in zip(found, texts, strict=True):
        mean = vectors[[1 + terms.index(w) for w in text.split()[:4]]].mean(axis=0)
        assert row == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
    assert np.abs(encoder.features([texts[1]])[0] - found[1]).max() < 1e-6
    assert np.isfinite(encoder.features(["", "zebra"])).all()


def test_an_exported_encoder_answers_as_the_models_do(tmp_path: Path) -> None:
    table = answers(100)
    table.to_csv(tmp_path / "t.csv", index=False)
    write_encoder(tmp_path / "e", [*table["prompt"], *table["reasoning"]])
    asked = Export(
        tmp_path / "t.csv", COLUMNS, ("hasty", "careful"), draws=30, encoder=tmp_path / "e",
        components=4, covariates=2,
    )  # fmt: skip
    told = export(asked, tmp_path / "m")
    assert told.apart < 1e-5
    held = {f.name for f in (tmp_path / "m").iterdir()}
    assert {"encoder.onnx", "tokenizer.json"} <= held
    assert not any(name.endswith(".words.json") for name in held)
    served = read_model(tmp_path / "m").served
    first = table.iloc[0]
    rows = served.effects([Asked(first["prompt"]), Asked(first["prompt"], first["reasoning"], 0)])
    assert rows.known == (None, None)
    assert np.abs(rows.estimate[0] - rows.estimate[1]).max() > 1e-4
    assert np.isfinite(rows.estimate).all()


def test_broken_encoders_are_refused(tmp_path: Path) -> None:
    write_encoder(tmp_path / "e", ["add two"])
    graph = (tmp_path / "e" / "model.onnx").read_bytes()
    with pytest.raises(DesignError, match=r"tokenizer\.json cannot be read"):
        Encoder(graph, "{}", 8)
    with pytest.raises(DesignError, match="ONNX Runtime cannot open"):
        Encoder(b"nothing", (tmp_path / "e" / "tokenizer.json").read_text(), 8)

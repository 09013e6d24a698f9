"""A model's folder: json and onnx, with a manifest that is verified when it is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossworld.errors import CrossworldError, DesignError
from crossworld.io import whole_file, write_text
from crossworld.serve.documents import read_json
from crossworld.serve.model.running import Encoder, Served
from crossworld.serve.model.words import Vocabulary

SCHEMA = "crossworld-model/1"
MANIFEST = "model.json"
DEPTH = 16
LARGEST = 2**30  # bytes of a file
GRAPHS = ("prompt", "reasoning", "effects", "given")
ALLOWED = frozenset(
    (*(f"{g}.onnx" for g in GRAPHS), "encoder.onnx", "tokenizer.json",
     "prompt.words.json", "reasoning.words.json")
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """An exported model, ready to answer.

    Parameters
    ----------
    served
        What answers.
    manifest
        What the folder says about itself.
    digest
        SHA-256 of the manifest, which holds those of all files.
    """

    served: Served
    manifest: Mapping[str, Any]
    digest: str

    @property
    def levels(self) -> tuple[str, str]:
        """Reference and active level, as text."""
        low, high = self.manifest["levels"]
        return str(low), str(high)


def write_model(folder: Path, files: Mapping[str, bytes], told: Mapping[str, Any]) -> str:
    """Write a model's files and its manifest, last; return the manifest's digest.

    Raises
    ------
    DesignError
        If the folder cannot be written or holds something else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        strange = sorted({f.name for f in folder.iterdir()} - {*ALLOWED, MANIFEST})
    except OSError as error:
        raise DesignError(f"{str(folder)[:100]!r} is no folder: {error.strerror}") from None
    if strange:
        raise DesignError(
            f"the folder {str(folder)!r} holds {strange[0]!r}, which is no part of a model; name "
            "a new folder"
        )
    for old in folder.iterdir():
        old.unlink()
    for name, content in files.items():
        with whole_file(folder / name, "wb") as out:
            out.write(content)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    text = json.dumps({"schema": SCHEMA, **told, "files": sums}, indent=1, ensure_ascii=False)
    write_text(folder / MANIFEST, text + "\n")
    return hashlib.sha256(f"{text}\n".encode()).hexdigest()


def read_model(folder: Path) -> Model:
    """Read a model's folder, every file of it checked against the manifest.

    Raises
    ------
    DesignError
        If a file is missing, changed, or no part of a model.
    """
    if not (folder / MANIFEST).is_file():
        raise DesignError(
            f"{str(folder)!r} is no model: it has no {MANIFEST}; make one with 'crossworld export'"
        )
    text = (folder / MANIFEST).read_bytes()
    try:
        manifest = read_json(text, DEPTH)
        if manifest["schema"] != SCHEMA:
            raise DesignError(
                f"the model in {str(folder)!r} has schema {manifest['schema']!r}; this version "
                f"reads {SCHEMA!r}"
            )
        files = {name: _file(folder, name, told) for name, told in manifest["files"].items()}
        served = _served(files, manifest)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, DesignError):
            raise
        why = str(error) if isinstance(error, CrossworldError) else repr(error)
        raise DesignError(f"the model in {str(folder)!r} is damaged: {why[:200]}") from None
    return Model(served, manifest, hashlib.sha256(text).hexdigest())


def _file(folder: Path, name: str, told: str) -> bytes:
    if name not in ALLOWED:
        raise DesignError(f"the model in {str(folder)!r} names {name[:80]!r}, no file of a model")
    file = folder / name
    if file.is_symlink() or not file.is_file():
        raise DesignError(f"the model in {str(folder)!r} has no file {name!r}")
    if file.stat().st_size > LARGEST:
        raise DesignError(f"{str(file)!r} has more than {LARGEST:,} bytes")
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != told:
        raise DesignError(
            f"{str(file)!r} is not the file that was exported: its SHA-256 differs from the "
            "manifest's; export the model again"
        )
    if name.endswith(".onnx"):
        check_self_contained(content, str(file))
    return content


def check_self_contained(graph: bytes, source: str) -> None:
    """Refuse a graph that points to files of weights outside itself.

    Raises
    ------
    DesignError
        If it does, or is no ONNX graph.
    """
    import onnx

    try:
        model = onnx.load_model_from_string(graph)
    except Exception as error:
        raise DesignError(f"{source!r} is no ONNX graph: {str(error)[:100]}") from None
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer):
        raise DesignError(
            f"{source!r} keeps its weights in another file; save it as one file "
            "(onnx.save_model(..., save_as_external_data=False))"
        )


def _served(files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> Served:
    low, high = manifest["levels"]
    if str(low) == str(high):
        raise DesignError(f"its two levels are both {low!r}")
    graphs = {name: files[f"{name}.onnx"] for name in GRAPHS}
    if "encoder.onnx" in files:
        tokens = int(manifest["embedder"]["tokens"])
        tokenizer = files["tokenizer.json"].decode()
        return Served(graphs, {}, Encoder(files["encoder.onnx"], tokenizer, tokens))
    words = {
        role: Vocabulary(tuple(map(str, read_json(files[f"{role}.words.json"], 2))))
        for role in ("prompt", "reasoning")
    }
    return Served(graphs, words)

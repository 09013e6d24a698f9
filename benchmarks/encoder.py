"""A text encoder of the size of all-MiniLM-L6-v2 with random weights: for timing, not for meaning.

Six layers, 384 wide, 12 heads, 1,536 inside, 30,522 terms: 22.6 million numbers.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LAYERS, WIDTH, HEADS, INNER, TERMS, LONGEST = 6, 384, 12, 1536, 30_522, 512
OPSET = 20


class Network:
    """Nodes and weights, one after the other."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._rng = np.random.default_rng(seed)

    def weight(self, *shape: int, scale: float = 0.05) -> str:
        return self.fixed(self._rng.normal(scale=scale, size=shape).astype(np.float32))

    def fixed(self, values: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: object) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name, **attributes))
        return name

    def dense(self, x: str, rows: int, columns: int) -> str:
        product = self.node("MatMul", x, self.weight(rows, columns))
        return self.node("Add", product, self.weight(columns))

    def norm(self, x: str) -> str:
        ones = self.fixed(np.ones(WIDTH, np.float32))
        return self.node("LayerNormalization", x, ones, self.weight(WIDTH), axis=-1)

    def heads(self, x: str, order: list[int]) -> str:
        shape = self.fixed(np.array([0, 0, HEADS, WIDTH // HEADS], np.int64))
        return self.node("Transpose", self.node("Reshape", x, shape), perm=order)

    def attention(self, x: str, mask: str) -> str:
        q, k, v = (self.dense(x, WIDTH, WIDTH) for _ in range(3))
        scores = self.node("MatMul", self.heads(q, [0, 2, 1, 3]), self.heads(k, [0, 2, 3, 1]))
        root = self.fixed(np.float32((WIDTH // HEADS) ** 0.5))
        scores = self.node("Add", self.node("Div", scores, root), mask)
        held = self.node("MatMul", self.node("Softmax", scores, axis=-1),
                         self.heads(v, [0, 2, 1, 3]))  # fmt: skip
        flat = self.fixed(np.array([0, 0, WIDTH], np.int64))
        joined = self.node("Reshape", self.node("Transpose", held, perm=[0, 2, 1, 3]), flat)
        return self.dense(joined, WIDTH, WIDTH)

    def layer(self, x: str, mask: str) -> str:
        x = self.norm(self.node("Add", x, self.attention(x, mask)))
        inner = self.node("Gelu", self.dense(x, WIDTH, INNER))
        return self.norm(self.node("Add", x, self.dense(inner, INNER, WIDTH)))


def graph(seed: int = 0) -> onnx.ModelProto:
    """The encoder: input_ids and attention_mask (n, t) in, last_hidden_state (n, t, 384) out."""
    g = Network(seed)
    words = g.node("Gather", g.weight(TERMS, WIDTH), "input_ids")
    length = g.node("Squeeze", g.node("Shape", "input_ids", start=1, end=2),
                    g.fixed(np.array([0], np.int64)))  # fmt: skip
    places = g.node("Range", g.fixed(np.int64(0)), length, g.fixed(np.int64(1)))
    x = g.norm(g.node("Add", words, g.node("Gather", g.weight(LONGEST, WIDTH), places)))
    mask = g.node("Cast", "attention_mask", to=TensorProto.FLOAT)
    mask = g.node("Mul", g.node("Sub", mask, g.fixed(np.float32(1))), g.fixed(np.float32(1e4)))
    mask = g.node("Unsqueeze", mask, g.fixed(np.array([1, 2], np.int64)))
    for _ in range(LAYERS):
        x = g.layer(x, mask)
    g.nodes.append(helper.make_node("Identity", [x], ["last_hidden_state"]))
    tokens = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"])
        for name in ("input_ids", "attention_mask")
    ]
    out = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["n", "t", WIDTH])
    held = helper.make_graph(g.nodes, "encoder", tokens, [out], g.weights)
    model = helper.make_model(held, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 10
    onnx.checker.check_model(model, full_check=True)
    return model


def write_encoder(folder: Path, texts: list[str]) -> None:
    """Write ``model.onnx`` and a ``tokenizer.json`` of the words of some texts."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    folder.mkdir(parents=True, exist_ok=True)
    onnx.save_model(graph(), folder / "model.onnx")
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=TERMS, special_tokens=["[PAD]", "[UNK]"], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    assert tokenizer.get_vocab_size() <= TERMS
    (folder / "tokenizer.json").write_text(json.dumps(json.loads(tokenizer.to_str())))

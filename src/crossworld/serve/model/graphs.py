"""Learned models as ONNX graphs, node by node.

skl2onnx is not used: it writes sublinear term frequencies as log(1 + count), where scikit-learn
takes 1 + log(count), and it knows nothing of replicates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.serve.model.words import Weights

OPSET = 18
IR = 9  # of ONNX 1.14 and later
TERMS = ("te", "nde", "nie")
Array = NDArray[np.float64]


class Builder:
    """A graph that grows by one node at a time."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []

    def input(self, name: str, width: int) -> str:
        """Add an input of shape (n, width)."""
        from onnx import TensorProto, helper

        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width]))
        return name

    def constant(self, values: Any, integer: bool = False) -> str:
        """Add a constant: float32, or int64 for shapes and axes."""
        from onnx import numpy_helper

        name = f"c{len(self._constants)}"
        held = np.ascontiguousarray(np.asarray(values, dtype=np.int64 if integer else np.float32))
        self._constants.append(numpy_helper.from_array(held, name))
        return name

    def node(
        self,
        operator: str,
        *inputs: str,
        name: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> str:
        """Add a node and return the name of its output."""
        from onnx import helper

        output = name or f"n{len(self._nodes)}"
        self._nodes.append(
            helper.make_node(operator, list(inputs), [output], output, **(attributes or {}))
        )
        return output

    def sum(self, value: str, axis: int, *, keep: bool = False, name: str | None = None) -> str:
        """Add up over one axis."""
        axes = self.constant([axis], integer=True)
        return self.node("ReduceSum", value, axes, name=name, attributes={"keepdims": int(keep)})

    def model(self, outputs: dict[str, int]) -> Any:
        """Close the graph: named outputs with their widths.

        Raises
        ------
        onnx.checker.ValidationError
            If the graph is not valid ONNX.
        """
        from onnx import TensorProto, checker, helper

        told = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
            for name, width in outputs.items()
        ]
        graph = helper.make_graph(self._nodes, "crossworld", self._inputs, told, self._constants)
        imports = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=imports, producer_name="crossworld")
        model.ir_version = IR
        checker.check_model(model, full_check=True)
        return model


def columns_graph(weights: Weights) -> Any:
    """Return the graph of `Weights`: features (n, v) in, columns (n, k) out."""
    g = Builder()
    held = g.input("features", len(weights.project))
    if weights.idf is not None:
        held = g.node("Mul", held, g.constant(weights.idf))
        size = g.node("Sqrt", g.sum(g.node("Mul", held, held), 1, keep=True))
        held = g.node("Div", held, g.node("Max", size, g.constant(1e-30)))
    moved = g.node("MatMul", held, g.constant(weights.project))
    shift = g.node("Sub", moved, g.constant(weights.centre))
    g.node("Div", shift, g.constant(weights.scale), name="columns")
    return g.model({"columns": weights.project.shape[1]})


def effects_graph(models: Any, *, given: bool) -> Any:
    """Return the graph that tells effects of new rows: (n, 3) estimates and standard errors.

    Parameters
    ----------
    models
        `LearnedModels`: its docstring has the arithmetic that is written down here.
    given
        Whether the mediators were observed: inputs ``mediators`` (n, columns) and ``arm`` (n, 1),
        0 or 1, beside ``x`` (n, p).
    """
    held = models.arrays()
    g = Builder()
    slopes = held["mediator"].shape[1] - 1 - models.coefficients.arms
    x = g.input("x", slopes)
    means = [_means(g, x, models, arm) for arm in models.indicators]
    own = None
    if given:
        projection = held.get("projection")
        width = held["mediator"].shape[2] if projection is None else len(projection)
        raw, arm = g.input("mediators", width), g.input("arm", 1)
        m = raw if projection is None else g.node("MatMul", raw, g.constant(projection))
        gap = g.node("Mul", g.node("Sub", means[1], means[0]), arm)
        own = g.node("Sub", m, g.node("Add", means[0], gap))
    cells = {(a, b): _cell(g, x, (means[b], own), models, a) for a, b in PAIRS}
    te = g.node("Sub", cells[1, 1], cells[0, 0])
    nde = g.node("Sub", cells[1, 0], cells[0, 0])
    nie = g.node("Sub", cells[1, 1], cells[1, 0])
    last = g.constant([2], integer=True)
    terms = g.node(
        "Concat", *(g.node("Unsqueeze", t, last) for t in (te, nde, nie)), attributes={"axis": 2}
    )
    _told(g, terms, len(held["nodes"]))
    return g.model({"estimate": len(TERMS), "std_error": len(TERMS)})


PAIRS = ((0, 0), (1, 0), (1, 1))  # levels of the outcome and of the mediators


def _means(g: Builder, x: str, models: Any, arm: Array) -> str:
    """Mediator means under one level, (1 + R, n, d)."""
    c, k = models.coefficients, models.coefficients.arms
    start = c.mediator[:, :1, :] + (arm @ c.mediator[:, 1 : 1 + k, :])[:, None, :]
    linear = g.node("Add", _wide(g, x, c.mediator[:, 1 + k :, :]), g.constant(start))
    if c.hidden is None:
        return linear
    bias = c.hidden.bias[:, None, :] + (arm @ c.hidden.enter[:, :k, :])[:, None, :]
    inner = g.node("Add", _wide(g, x, c.hidden.enter[:, k:, :]), g.constant(bias))
    outer = g.node("MatMul", g.node("Tanh", inner), g.constant(c.hidden.leave))
    shifted = g.node("Add", outer, g.constant(c.hidden.shift[:, None, :]))
    return g.node("Add", linear, shifted)


def _wide(g: Builder, x: str, coefficients: Array) -> str:
    """Multiply (n, p) rows with the coefficients (r, p, d) of all replicates: (r, n, d).

    One flat product, so that int8 gives every column of every replicate a scale of its own.
    """
    r, p, d = coefficients.shape
    flat = coefficients.transpose(1, 0, 2).reshape(p, r * d)
    wide = g.node("MatMul", x, g.constant(flat))
    shaped = g.node("Reshape", wide, g.constant([-1, r, d], integer=True))
    return g.node("Transpose", shaped, attributes={"perm": [1, 0, 2]})


def _cell(g: Builder, x: str, m: tuple[str, str | None], models: Any, a: int) -> str:
    """Mean outcome of every row and replicate, (1 + R, n), at outcome level ``a``."""
    c, arm = models.coefficients, models.indicators[a]
    one, own, _, _, slopes = c.pieces()
    mean, residual = m
    held = mean if residual is None else g.node("Add", mean, residual)
    inner = g.sum(g.node("Mul", held, g.constant(c.pull(arm)[:, None, :])), 2)
    outer = g.sum(_wide(g, x, slopes[:, :, None]), 2)
    start = g.constant((one + own @ arm)[:, None])
    eta = g.node("Add", g.node("Add", inner, outer), start)
    nodes, mass = models.nodes[:, a], models.mass[:, a]
    if not models.logit:
        mean_residual = (nodes * mass).sum(axis=1)[:, None]
        return eta if residual is not None else g.node("Add", eta, g.constant(mean_residual))
    if residual is not None:
        return g.node("Sigmoid", eta)
    spread = g.node("Unsqueeze", eta, g.constant([2], integer=True))
    curve = g.node("Sigmoid", g.node("Add", spread, g.constant(nodes[:, None, :])))
    return g.sum(g.node("Mul", curve, g.constant(mass[:, None, :])), 2)


def _told(g: Builder, terms: str, size: int) -> None:
    """Estimates are those of the fit, errors the spread of its replicates."""
    axis = g.constant([0], integer=True)
    cut = [g.constant([v], integer=True) for v in (0, 1, size)]
    first = g.node("Slice", terms, cut[0], cut[1], axis)
    g.node("Squeeze", first, axis, name="estimate")
    replicates = g.node("Slice", terms, cut[1], cut[2], axis)
    gap = g.node("Sub", replicates, g.node("ReduceMean", replicates, axis))
    total = g.sum(g.node("Mul", gap, gap), 0)
    g.node("Sqrt", g.node("Div", total, g.constant(float(size - 2))), name="std_error")

"""Whether a graph may be kept in eight bits: only where no estimate notices."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError
from crossworld.serve.model.running import EIGHT_BITS

TENTH = 0.1  # of its standard error that an estimate may move
Array = NDArray[np.float64]
Run = Callable[[Mapping[str, bytes]], tuple[Array, Array]]


@dataclass(frozen=True, slots=True)
class Checked:
    """What eight bits do to one graph.

    Parameters
    ----------
    part
        The graph.
    moved
        The largest move of an estimate, in its standard errors, over the rows and terms checked.
    error_moved
        The largest move of a standard error, as a share of it.
    before, after
        Bytes as float32 and as int8.
    kept
        Whether the int8 graph is kept.
    """

    part: str
    moved: float
    error_moved: float
    before: int
    after: int
    kept: bool

    def line(self) -> str:
        """Write it for people.

        Examples
        --------
        >>> Checked("effects", 0.02, 0.01, 4000, 1000, True).line()
        'effects     4,000 -> 1,000 bytes  moves 0.0200 of a standard error (0.1 allowed)...int8'
        """
        verdict = "int8" if self.kept else "float32 stays"
        return (
            f"{self.part:<10}  {self.before:,} -> {self.after:,} bytes  "
            f"moves {self.moved:.4f} of a standard error ({TENTH:g} allowed), "
            f"errors by {self.error_moved:.1%} ({TENTH:.0%} allowed): {verdict}"
        )


def quantized(graph: bytes) -> bytes | None:
    """Return a graph whose matrix products use int8, or None when it has none that can.

    Weights get a scale for each column; inputs of a product are scaled when it is run.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        before.write_bytes(graph)
        logging.getLogger().addFilter(_no_advice)
        try:
            quantize_dynamic(
                before,
                after,
                op_types_to_quantize=["MatMul"],
                nodes_to_exclude=_stacked(graph),
                per_channel=True,
                weight_type=QuantType.QInt8,
            )
        finally:
            logging.getLogger().removeFilter(_no_advice)
        found = after.read_bytes()
    return found if EIGHT_BITS in found else None


def _stacked(graph: bytes) -> list[str]:
    """Name the products with stacked matrices, whose columns cannot have their own scales."""
    import onnx

    held = onnx.load_model_from_string(graph).graph
    stacked = {t.name for t in held.initializer if len(t.dims) != 2}
    return [n.name for n in held.node if n.op_type == "MatMul" and stacked & set(n.input)]


def _no_advice(record: logging.LogRecord) -> bool:
    """Drop the advice to pre-process graphs: ours have their shapes."""
    return "pre-process" not in record.getMessage()


def choose(parts: Mapping[str, bytes], run: Run) -> tuple[dict[str, bytes], list[Checked]]:
    """Put one graph after the other into int8 and keep those that leave the estimates alone.

    Parameters
    ----------
    parts
        Graphs in float32, by name.
    run
        Returns estimates and standard errors, (n, 3) each, of the same rows with any graphs.

    Returns
    -------
    tuple
        The graphs to keep, and what was found about each. A later graph is judged together with
        those kept before it, against float32 throughout: the printed moves are of all of it.
    """
    held, found = dict(parts), list[Checked]()
    estimate, error = run(parts)
    floor = np.maximum(error, 1e-12)
    for name, graph in parts.items():
        small = quantized(graph)
        if small is None or len(small) >= len(graph):
            continue
        try:
            other, spread = run({**held, name: small})
        except DesignError:
            continue  # this version of ONNX Runtime has no such product in int8
        moved = float((np.abs(other - estimate) / floor).max())
        error_moved = float((np.abs(spread - error) / floor).max())
        kept = moved <= TENTH and error_moved <= TENTH
        found.append(Checked(name, moved, error_moved, len(graph), len(small), kept))
        if kept:
            held[name] = small
    return held, found

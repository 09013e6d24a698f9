"""Exact residual sweep with nnsight: a trace per cell, and one trace with an invoke per position.

Tested with nnsight 0.8.1. See ``patching_common`` for how it is asked.
"""

from __future__ import annotations

from importlib.metadata import version

from patching_common import Sweep, Task, serve


def build(task: Task) -> dict[str, Sweep]:
    """Trace the network; the bodies of ``with`` are what nnsight runs inside it."""
    import torch
    from nnsight import TransformersModel

    model = TransformersModel(
        task.model(), tokenizer=task.tokenizer(), task="text-generation", dispatch=True
    )
    blocks = model.transformer.h
    layers = len(blocks)

    def clean() -> list[object]:
        with torch.no_grad(), model.trace(task.clean):
            held = [].save()
            for layer in range(layers):
                held.append(blocks[layer].input)
        return list(held)

    def trace_per_cell() -> object:
        held, grid = clean(), torch.zeros(layers, task.length)
        for layer in range(layers):
            for position in range(task.length):
                with torch.no_grad(), model.trace(task.corrupt):
                    blocks[layer].input[:, position] = held[layer][:, position]
                    logits = model.lm_head.output.save()
                grid[layer, position] = task.metric(logits)[0]
        return grid

    def invoke_per_position() -> object:
        held, grid = clean(), torch.zeros(layers, task.length)
        for layer in range(layers):
            with torch.no_grad(), model.trace() as tracer:
                found = [].save()
                for position in range(task.length):
                    with tracer.invoke(task.corrupt):
                        blocks[layer].input[:, position] = held[layer][:, position]
                        found.append(model.lm_head.output)
            grid[layer] = torch.stack([task.metric(logits)[0] for logits in found])
        return grid

    return {"trace per cell": trace_per_cell, "invoke per position": invoke_per_position}


if __name__ == "__main__":
    serve(build, f"nnsight {version('nnsight')}")

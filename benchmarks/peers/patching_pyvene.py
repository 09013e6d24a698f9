"""Exact residual sweep with pyvene, as its causal tracing tutorial does.

Tested with pyvene 0.1.8. See ``patching_common`` for how it is asked.
"""

from __future__ import annotations

from importlib.metadata import version

from patching_common import Sweep, Task, serve


def build(task: Task) -> dict[str, Sweep]:
    """One intervenable model per layer, as in its causal tracing tutorial."""
    import pyvene as pv
    import torch

    torch.set_grad_enabled(False)
    model = task.model()
    layers = model.config.n_layer
    held = [
        pv.IntervenableModel(
            pv.IntervenableConfig(
                [pv.RepresentationConfig(layer, "block_input", "pos", 1)], pv.VanillaIntervention
            ),
            model=model,
        )
        for layer in range(layers)
    ]
    for one in held:
        one.set_device("cpu", set_model=False)
    base, source = {"input_ids": task.corrupt}, {"input_ids": task.clean}

    def tutorial() -> object:
        grid = torch.zeros(layers, task.length)
        for layer in range(layers):
            for position in range(task.length):
                where = {"sources->base": position}
                _, out = held[layer](base, [source], where)
                grid[layer, position] = task.metric(out.logits)[0]
        return grid

    return {"tutorial": tutorial}


if __name__ == "__main__":
    serve(build, f"pyvene {version('pyvene')}")

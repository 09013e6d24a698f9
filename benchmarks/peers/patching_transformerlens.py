"""Exact residual sweep with TransformerLens: its helper, one forward pass per cell.

Tested with transformer-lens 4.3.0. See ``patching_common`` for how it is asked.
"""

from __future__ import annotations

from importlib.metadata import version

from patching_common import Sweep, Task, serve


def build(task: Task) -> dict[str, Sweep]:
    """Wrap the network in a bridge and use `get_act_patch_resid_pre`, as its demo does."""
    import torch
    from transformer_lens import patching
    from transformer_lens.model_bridge import TransformerBridge

    torch.set_grad_enabled(False)
    bridge = TransformerBridge.boot_transformers(
        str(task.folder), hf_model=task.model(), tokenizer=task.tokenizer(), device="cpu"
    )

    def helper() -> object:
        _, cache = bridge.run_with_cache(task.clean)
        return patching.get_act_patch_resid_pre(
            bridge, task.corrupt, cache, lambda logits: task.metric(logits)[0]
        )

    return {"helper": helper}


if __name__ == "__main__":
    serve(build, f"transformer-lens {version('transformer-lens')}")

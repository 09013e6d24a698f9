"""Edge scores of hannamw/EAP-IG on a small GPT-2, written as reference figures.

    python benchmarks/peers/eap_ig.py --source FOLDER > tests/reference/eap_ig.json

FOLDER holds the package ``eap`` (commit 795f560 of 2025-07-24, its folder ``src``). It imports
``HookedTransformer``, which TransformerLens 4 removed, so this needs an environment of its own:
``torch==2.13.0 transformer-lens==3.9.0``. Its tensors are made on ``cuda`` wherever the model is;
here they are made on the CPU, and token ids stand in for texts. Nothing else of it is changed.

The network is a `GPT2LMHeadModel` of two layers, three heads and width 24, in double precision,
with weights drawn by numpy in the order of their names (`weights`), layer-norm gains and biases
included. Scores are of corrupt minus clean, summed over positions, averaged over pairs; the metric
is the logit difference at the last position. ``exact`` is path patching of every edge alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

LAYERS, HEADS, WIDTH, KINDS, LENGTH, PAIRS, STEPS, SEED = 2, 3, 24, 31, 9, 4, 5, 11


def weights(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """Draw weights by name: gains near 1, the rest normal with standard deviation 0.3."""
    rng = np.random.default_rng(seed)
    drawn = {}
    for name in sorted(shapes):
        values = 0.3 * rng.standard_normal(shapes[name])
        drawn[name] = 1.0 + values if ".ln_" in name and name.endswith("weight") else values
    return drawn


def task(seed: int) -> dict[str, Any]:
    """Pairs of prompts that differ in two tokens, right and wrong answers."""
    rng = np.random.default_rng(seed + 1)
    clean = rng.integers(KINDS, size=(PAIRS, LENGTH))
    corrupt = clean.copy()
    for row in corrupt:
        at = rng.choice(LENGTH - 1, size=2, replace=False)
        row[at] = (row[at] + rng.integers(1, KINDS, size=2)) % KINDS
    answer = rng.integers(KINDS, size=PAIRS)
    wrong = (answer + rng.integers(1, KINDS, size=PAIRS)) % KINDS
    named = {"clean": clean, "corrupt": corrupt, "answer": answer, "wrong": wrong}
    return {name: values.tolist() for name, values in named.items()}


def network() -> Any:
    """Build the GPT-2."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=KINDS, n_positions=LENGTH, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
        tie_word_embeddings=False,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).double().eval()
    held = {name: tuple(p.shape) for name, p in model.named_parameters()}
    with torch.no_grad():
        for name, values in weights(held, SEED).items():
            model.get_parameter(name).copy_(torch.from_numpy(values))
    return model


def hooked(model: Any) -> Any:
    """Take the network over into a HookedTransformer, without folding anything."""
    import torch
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights

    config = HookedTransformerConfig(
        n_layers=LAYERS, d_model=WIDTH, n_ctx=LENGTH, d_head=WIDTH // HEADS, n_heads=HEADS,
        d_mlp=4 * WIDTH, d_vocab=KINDS, act_fn="gelu_new", normalization_type="LN",
        eps=1e-5, device="cpu", dtype=torch.float64, use_attn_result=True,
        use_split_qkv_input=True, use_hook_mlp_in=True,
    )  # fmt: skip
    made = HookedTransformer(config)
    made.load_state_dict(convert_gpt2_weights(model, config), strict=False)
    return made.eval()


def scores(made: Any, asked: dict[str, Any], method: str) -> dict[str, float]:
    """Scores of all edges by one method of the package."""
    import torch
    from eap import attribute
    from eap.graph import Graph

    answer, wrong = torch.tensor(asked["answer"]), torch.tensor(asked["wrong"])
    rows = torch.arange(PAIRS)

    def metric(logits: Any, clean: Any, lengths: Any, label: Any) -> Any:
        last = logits[:, -1]
        found = last[rows, answer] - last[rows, wrong]
        return found if method == "exact" else found.sum()

    graph = Graph.from_model(made)
    batch = [(asked["clean"], asked["corrupt"], None)]
    steps = STEPS if "IG" in method else None
    attribute.attribute(made, graph, batch, metric, method, ig_steps=steps, quiet=True)
    return {name: float(edge.score) for name, edge in graph.edges.items()}


def on_the_cpu() -> None:
    """Make tensors on the CPU, and read token ids where the package expects texts."""
    import torch
    from eap import attribute, evaluate

    zeros = torch.zeros

    def here(*size: Any, **named: Any) -> Any:
        return zeros(*size, **{**named, "device": "cpu"})

    def tokens(model: Any, inputs: Any, max_length: Any = None) -> Any:
        ids = torch.tensor(inputs)
        mask = torch.ones_like(ids)
        return ids, mask, mask.sum(1), ids.shape[1]

    torch.zeros = here
    attribute.tokenize_plus = evaluate.tokenize_plus = tokens


def main() -> None:
    """Score every edge by every method and print the figures."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, required=True)
    options = parser.parse_args()
    sys.path.insert(0, str(options.source.resolve()))
    on_the_cpu()
    model, asked = network(), task(SEED)
    made = hooked(model)
    with torch.no_grad():
        ids = torch.tensor(asked["clean"])
        gap = float((model(ids).logits - made(ids)).abs().max())
    if gap > 1e-10:
        raise SystemExit(f"the two networks differ by {gap:.1e}")
    methods = ("EAP", "EAP-IG-inputs", "EAP-IG-activations", "clean-corrupted", "exact")
    told = {
        "network": {"layers": LAYERS, "heads": HEADS, "width": WIDTH, "kinds": KINDS,
                    "length": LENGTH, "seed": SEED, "steps": STEPS},
        "task": asked,
        "made with": {"eap": "795f560", **{p: version(p) for p in ("torch", "transformer-lens")}},
        "scores": {method: scores(made, asked, method) for method in methods},
    }  # fmt: skip
    sys.stdout.write(json.dumps(told, indent=0) + "\n")


if __name__ == "__main__":
    main()

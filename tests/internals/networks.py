"""Small random transformers of every architecture whose edges are attributed."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the internals of networks need torch")
tf = pytest.importorskip("transformers", reason="architectures come from transformers")

SIZES: dict[str, Any] = {
    "vocab_size": 61, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 32,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
PLAIN = {k: v for k, v in SIZES.items() if k != "num_key_value_heads"}
GPT2 = {
    "n_layer": 2, "n_embd": 32, "n_head": 4, "vocab_size": 61, "n_positions": 32,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
BUILD: dict[str, Any] = {
    "gpt2": lambda: tf.GPT2LMHeadModel(tf.GPT2Config(**GPT2)),
    "llama": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**SIZES)),
    "mistral": lambda: tf.MistralForCausalLM(tf.MistralConfig(**SIZES)),
    "qwen2": lambda: tf.Qwen2ForCausalLM(tf.Qwen2Config(**SIZES)),
    "qwen3": lambda: tf.Qwen3ForCausalLM(tf.Qwen3Config(**SIZES, head_dim=8)),
    "gemma": lambda: tf.GemmaForCausalLM(tf.GemmaConfig(**SIZES, head_dim=8)),
    "gemma2": lambda: tf.Gemma2ForCausalLM(tf.Gemma2Config(**SIZES, head_dim=8)),
    "gemma3": lambda: tf.Gemma3ForCausalLM(tf.Gemma3TextConfig(**SIZES, head_dim=8)),
    "olmo": lambda: tf.OlmoForCausalLM(tf.OlmoConfig(**SIZES)),
    "olmo2": lambda: tf.Olmo2ForCausalLM(tf.Olmo2Config(**SIZES)),
    "phi": lambda: tf.PhiForCausalLM(tf.PhiConfig(**PLAIN)),
    "phi3": lambda: tf.Phi3ForCausalLM(tf.Phi3Config(**SIZES)),
    "neox": lambda: tf.GPTNeoXForCausalLM(tf.GPTNeoXConfig(**PLAIN)),
    "neox-serial": lambda: tf.GPTNeoXForCausalLM(
        tf.GPTNeoXConfig(**PLAIN, use_parallel_residual=False)
    ),
    "mamba": lambda: tf.MambaForCausalLM(
        tf.MambaConfig(vocab_size=61, hidden_size=32, num_hidden_layers=2, state_size=4,
                       bos_token_id=1, eos_token_id=2)  # fmt: skip
    ),
    "bert": lambda: tf.BertForMaskedLM(tf.BertConfig(**PLAIN)),
}
EDGED = tuple(name for name in BUILD if name != "bert")


def network(name: str, *, seed: int = 0, scale: float = 6.0, dtype: Any = None) -> Any:
    """A random network with weights large enough for visible effects, norms and biases too."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.manual_seed(seed)
    model = BUILD[name]().eval()
    with torch.no_grad():
        for where, p in model.named_parameters():
            if p.ndim == 2 and "embed" not in where and "wte" not in where:
                p.mul_(scale)
            elif p.ndim == 1:
                p.add_(0.2 * torch.randn_like(p))
    return model.to(torch.float64 if dtype is None else dtype)


def tokens(n: int = 3, length: int = 7, *, seed: int = 0) -> tuple[Any, Any]:
    """Clean and corrupt token ids that differ at three positions, the last among them."""
    rng = np.random.default_rng(seed)
    clean = rng.integers(3, 61, (n, length))
    corrupt = clean.copy()
    corrupt[:, 1] = (clean[:, 1] + 7) % 58 + 3
    corrupt[:, 3] = (clean[:, 3] + 11) % 58 + 3
    corrupt[:, -1] = (clean[:, -1] + 5) % 58 + 3
    return clean, corrupt


def study(
    model: Any, *, n: int = 3, length: int = 7, sites: Any = (), metric: Any = "logit_difference",
    source: str = "other",
) -> Any:  # fmt: skip
    """A patching study of token pairs."""
    from crossworld.internals.study import PatchStudy
    from crossworld.internals.subject import TorchSubject

    clean, corrupt = tokens(n, length)
    with torch.no_grad():  # what the network says itself, so that the total effect is not near 0
        said = [model(torch.as_tensor(x)).logits[:, -1].argmax(-1).numpy() for x in (clean, corrupt)]
    rows = [
        {"clean": a, "corrupt": b, "answer": int(p), "wrong": int(q if q != p else (p + 1) % 61)}
        for a, b, p, q in zip(clean, corrupt, *said, strict=True)
    ]
    return PatchStudy(TorchSubject(model), rows, metric, sites=sites, source=source)

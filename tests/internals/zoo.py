"""Small random models of every architecture, and pairs of inputs for them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the internals of networks need the extra 'local'")
tf = pytest.importorskip("transformers", reason="the models need the extra 'local'")
logging.getLogger("transformers").setLevel(logging.ERROR)
torch.set_num_threads(1)

VOCAB, TOKENS = 97, 7
COMMON = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_NO_GROUPS = {k: v for k, v in COMMON.items() if k not in ("num_key_value_heads", "pad_token_id")}


def _bert() -> Any:
    keep = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
            "num_attention_heads", "max_position_embeddings")  # fmt: skip
    return tf.BertForMaskedLM(tf.BertConfig(**{k: COMMON[k] for k in keep}))


def _mamba() -> Any:
    keep = ("vocab_size", "hidden_size", "num_hidden_layers", "bos_token_id", "eos_token_id")
    config = {k: COMMON[k] for k in keep}
    return tf.MambaForCausalLM(tf.MambaConfig(**config, state_size=8))


def _gpt2() -> Any:
    config = tf.GPT2Config(n_layer=2, n_embd=32, n_head=4, vocab_size=VOCAB, n_positions=64,
                           bos_token_id=1, eos_token_id=2)  # fmt: skip
    return tf.GPT2LMHeadModel(config)


MODELS: dict[str, Callable[[], Any]] = {
    "gpt2": _gpt2,
    "llama": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**COMMON)),
    "mistral": lambda: tf.MistralForCausalLM(tf.MistralConfig(**COMMON)),
    "qwen2": lambda: tf.Qwen2ForCausalLM(tf.Qwen2Config(**COMMON)),
    "qwen3": lambda: tf.Qwen3ForCausalLM(tf.Qwen3Config(**COMMON, head_dim=8)),
    "gemma": lambda: tf.GemmaForCausalLM(tf.GemmaConfig(**COMMON, head_dim=8)),
    "gemma2": lambda: tf.Gemma2ForCausalLM(tf.Gemma2Config(**COMMON, head_dim=8)),
    "gemma3": lambda: tf.Gemma3ForCausalLM(tf.Gemma3TextConfig(**COMMON, head_dim=8)),
    "olmo": lambda: tf.OlmoForCausalLM(tf.OlmoConfig(**COMMON)),
    "olmo2": lambda: tf.Olmo2ForCausalLM(tf.Olmo2Config(**COMMON)),
    "phi": lambda: tf.PhiForCausalLM(tf.PhiConfig(**COMMON)),
    "phi3": lambda: tf.Phi3ForCausalLM(tf.Phi3Config(**COMMON)),
    "pythia": lambda: tf.GPTNeoXForCausalLM(tf.GPTNeoXConfig(**_NO_GROUPS)),
    "bert": _bert,
    "mamba": _mamba,
}
every_model = pytest.mark.parametrize("name", MODELS)


def model(name: str, seed: int = 1) -> Any:
    torch.manual_seed(seed)
    return MODELS[name]().eval()


def tokens(n: int, seed: int = 0, length: int = TOKENS) -> np.ndarray:
    return np.random.default_rng(seed).integers(3, VOCAB, (n, length))


def rows(n: int, *, seed: int = 0, **more: Any) -> list[dict[str, Any]]:
    clean, corrupt = tokens(n, seed), tokens(n, seed + 100)
    return [
        {"clean": a, "corrupt": b, "answer": 3, "wrong": 5, **more}
        for a, b in zip(clean, corrupt, strict=True)
    ]

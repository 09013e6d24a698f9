"""Random networks of every architecture with visible effects, and studies of token pairs."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.internals.zoo import _NO_GROUPS, MODELS, VOCAB, tf, torch

BUILD: dict[str, Any] = {
    **MODELS,
    "pythia-serial": lambda: tf.GPTNeoXForCausalLM(
        tf.GPTNeoXConfig(**_NO_GROUPS, use_parallel_residual=False)
    ),
}
EDGED = tuple(name for name in BUILD if name != "bert")


def network(name: str, *, seed: int = 0, scale: float = 6.0, dtype: Any = None) -> Any:
    """A random network with weights large enough for visible effects, norms and biases too."""
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
    clean = rng.integers(3, VOCAB, (n, length))
    corrupt = clean.copy()
    corrupt[:, 1] = (clean[:, 1] + 7) % (VOCAB - 3) + 3
    corrupt[:, 3] = (clean[:, 3] + 11) % (VOCAB - 3) + 3
    corrupt[:, -1] = (clean[:, -1] + 5) % (VOCAB - 3) + 3
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
        said = [
            model(torch.as_tensor(x)).logits[:, -1].argmax(-1).numpy() for x in (clean, corrupt)
        ]
    rows = [
        {"clean": a, "corrupt": b, "answer": int(p), "wrong": int(q if q != p else (p + 1) % VOCAB)}
        for a, b, p, q in zip(clean, corrupt, *said, strict=True)
    ]
    return PatchStudy(TorchSubject(model), rows, metric, sites=sites, source=source)

"""Small networks that are trained in seconds, with pairs of inputs they have not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossworld.datasets.networks.build import seeded, torch_or_error
from crossworld.datasets.networks.known import Codes, rows
from crossworld.datasets.networks.programs import Program
from crossworld.errors import DesignError


@dataclass(frozen=True, slots=True, eq=False)
class TrainedNetwork:
    """A trained torch module and held-out pairs for it.

    Parameters
    ----------
    module
        In evaluation mode, single precision; gradients of weights are off.
    clean, corrupt
        Tensors of inputs, the pairs along the first axis.
    metric
        The name of a metric, or a function of the module's output and of the rows (which have
        ``answer`` and ``wrong``) that gives one number per input.
    accuracy
        Share of held-out clean inputs that it gets right.
    cluster
        Code of the template (or kind) of every pair, shape (pairs,).
    answer, wrong
        Right answer of the clean and of the corrupt input of every pair, shape (pairs,).
    words
        What each token, or each output, stands for.
    programs
        High-level causal programs for what it does; those with ``right`` False are rivals.
    """

    module: Any
    clean: Any
    corrupt: Any
    metric: Callable[..., Any] | str
    accuracy: float
    cluster: Codes
    answer: Codes
    wrong: Codes
    words: tuple[str, ...]
    programs: tuple[Program, ...] = ()

    def __len__(self) -> int:
        return int(self.clean.shape[0])

    @property
    def pairs(self) -> list[dict[str, Any]]:
        """One row per pair, as a `PatchStudy` takes them."""
        labels = {"answer": self.answer, "wrong": self.wrong, "cluster": self.cluster}
        return rows(self.clean, self.corrupt, labels=labels)


def small_gpt2(*, vocabulary: int, length: int, layers: int = 2, heads: int = 2) -> Any:
    """Return an untrained `GPT2LMHeadModel` of 16 dimensions a head and no dropout."""
    transformers = torch_or_error("transformers")
    config = transformers.GPT2Config(
        vocab_size=vocabulary,
        n_positions=length,
        n_embd=16 * heads,
        n_layer=layers,
        n_head=heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        initializer_range=0.1,
        bos_token_id=0,
        eos_token_id=0,
    )
    return transformers.GPT2LMHeadModel(config)


def train(
    make: Callable[[], Any], loss: Callable[[Any, Any], Any], *, steps: int, rate: float, seed: int
) -> Any:
    r"""Train a module with AdamW under a linearly warmed up, cosine-decayed rate.

    Parameters
    ----------
    make
        Builds the module.
    loss
        Maps the module and a ``torch.Generator`` to the loss of a fresh batch.
    steps, rate
        Steps, and the highest learning rate.
    seed
        Seed of weights and batches. With one seed the result is the same to the last bit on one
        machine; the global generator and the number of threads are left as they were.

    Returns
    -------
    torch.nn.Module
        In evaluation mode.
    """
    if steps < 1:
        raise DesignError(f"steps must be at least 1, got {steps!r}")
    torch = torch_or_error()
    warm = max(1, steps // 20)
    with seeded(seed) as generator:
        module = make()
        module.train()
        chosen = torch.optim.AdamW(module.parameters(), lr=rate, weight_decay=0.01)

        def factor(step: int) -> float:
            rise = min(1.0, (step + 1) / warm)
            return rise * 0.5 * (1.0 + float(np.cos(np.pi * step / steps)))

        schedule = torch.optim.lr_scheduler.LambdaLR(chosen, factor)
        for _ in range(steps):
            chosen.zero_grad(set_to_none=True)
            loss(module, generator).backward()
            chosen.step()
            schedule.step()
    return module.eval().requires_grad_(False)

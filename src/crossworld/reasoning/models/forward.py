"""Forward passes of a local model over token sequences: laws, answers, attention, gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.decoders import read_on
from crossworld.errors import DesignError

Array = NDArray[np.float64]
Ids = Sequence[int]
TOKENS = 8192  # of one batch


def load(folder: str | Path) -> Any:
    """Load a causal model from safetensors in a folder, for reading; without a progress bar."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, use_safetensors=True
        )
    finally:
        if shown:
            logging.enable_progress_bar()
    return model.eval()


def batches(texts: Sequence[Ids]) -> Iterator[list[int]]:
    """Yield positions of texts of one length, so that no text is padded."""
    groups: dict[int, list[int]] = {}
    for k, ids in enumerate(texts):
        groups.setdefault(len(ids), []).append(k)
    for length, group in groups.items():
        size = max(1, TOKENS // max(length, 1))
        for start in range(0, len(group), size):
            yield group[start : start + size]


def next_laws(model: Any, texts: Sequence[Ids]) -> Array:
    """Return ``log P(token | text)`` of every text, shape (texts, vocabulary)."""
    import torch

    found: list[Any] = [None] * len(texts)
    with torch.inference_mode():
        for group in batches(texts):
            logits = model(input_ids=torch.tensor([list(texts[k]) for k in group])).logits[:, -1]
            for k, law in zip(group, torch.log_softmax(logits.double(), -1).numpy(), strict=True):
                found[k] = law
    return np.array(found)


def laws_along(model: Any, ids: Ids) -> Array:
    """Return ``log P(token | ids[:i])`` for i = 1, 2, ..., shape (len(ids), vocabulary)."""
    import torch

    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([list(ids)])).logits[0]
        law: Array = torch.log_softmax(logits.double(), -1).numpy()
    return law


def end_scores(model: Any, texts: Sequence[Ids], ends: Sequence[Ids]) -> Array:
    """Return ``log P(end | text)`` of token sequences that follow each text, (texts, ends)."""
    import torch

    if all(len(end) == 1 for end in ends):
        return next_laws(model, texts)[:, [end[0] for end in ends]]
    found = np.empty((len(texts), len(ends)))
    with torch.inference_mode():
        for group in batches(texts):
            for j, end in enumerate(ends):
                fed = [[*texts[k], *end[:-1]] for k in group]
                logits = model(input_ids=torch.tensor(fed)).logits[:, -len(end) :]
                law = torch.log_softmax(logits.double(), -1)
                found[group, j] = law[:, range(len(end)), list(end)].sum(1).numpy()
    return found


def write_on(
    model: Any,
    texts: Sequence[Ids],
    *,
    draw: Callable[[int, int, Array], int],
    done: Callable[[int, list[int]], bool],
    room: Sequence[int],
) -> list[list[int]]:
    """Let the model go on from many texts.

    Parameters
    ----------
    model
        A causal language model.
    texts
        Token ids of every text.
    draw
        Called with (text, position, logits); the next token, negative to end the text.
    done
        Called with (text, tokens written); whether it ends here.
    room
        Most tokens of each.
    """
    import torch

    written: list[list[int]] = [[] for _ in texts]
    with torch.inference_mode():
        for group in batches(texts):
            feed, cache = torch.tensor([list(texts[k]) for k in group]), None
            going = {k for k in group if room[k] > 0}
            while going:
                seen, cache = read_on(model, feed, cache)
                last = []
                for k, logits in zip(group, seen[:, -1].double().numpy(), strict=True):
                    token = draw(k, len(written[k]), logits) if k in going else -1
                    if token < 0:
                        going.discard(k)
                    else:
                        written[k].append(token)
                        if len(written[k]) >= room[k] or done(k, written[k]):
                            going.discard(k)
                    last.append([max(token, 0)])
                feed = torch.tensor(last)
    return written


@contextmanager
def eager(model: Any) -> Iterator[None]:
    """Compute attention weights openly: fused kernels do not return them."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def attention_of(model: Any, ids: Ids) -> Array:
    """Return the attention that the last token pays to every token, shape (tokens,).

    The mean over layers and heads; it sums to 1.

    Raises
    ------
    DesignError
        If the model gives no attention weights.
    """
    import torch

    with torch.inference_mode(), eager(model):
        out = model(input_ids=torch.tensor([list(ids)]), output_attentions=True)
    layers = [a for a in out.attentions or () if a is not None]
    if not layers:
        raise DesignError("this model gives no attention weights, so there is nothing to compare")
    held: Array = torch.stack([a[0, :, -1].double().mean(0) for a in layers]).mean(0).numpy()
    return held


def gradient_of(
    model: Any, ids: Ids, ends: Sequence[Ids], *, target: int, heat: float
) -> tuple[Array, Array]:
    r"""Return gradient norm and gradient times input of the log-probability of an answer.

    .. math:: \lVert g_i \rVert_2, \quad g_i^\top e_i, \qquad
              g_i = \partial \log p_y / \partial e_i, \quad
              p_y = e^{s_y / T} \Big/ \sum_c e^{s_c / T}

    with :math:`e_i` the embedding of token i and :math:`s_c` the log-probability of answer c; with
    a single answer, of :math:`s_y` itself.

    Parameters
    ----------
    model
        A causal language model.
    ids
        The text up to the answer.
    ends
        Token ids of every answer.
    target
        Which of them.
    heat
        Temperature T of the readout.
    """
    import torch

    table = model.get_input_embeddings()
    inputs = table(torch.tensor([list(ids)])).detach().requires_grad_(True)
    alone = all(len(end) == 1 for end in ends)
    scores = []
    with torch.enable_grad():
        law = torch.log_softmax(model(inputs_embeds=inputs).logits[0, -1].double(), -1)
        for end in ends:
            if alone:
                scores.append(law[end[0]])
                continue
            rest = table(torch.tensor([list(end[:-1])], dtype=torch.long)).detach()
            logits = model(inputs_embeds=torch.cat([inputs, rest], 1)).logits[0, -len(end) :]
            held = torch.log_softmax(logits.double(), -1)
            scores.append(held[range(len(end)), list(end)].sum())
        told = torch.stack(scores)
        if len(scores) > 1:
            told = torch.log_softmax(told / heat, 0)
        (gradient,) = torch.autograd.grad(told[target], inputs)
    g, e = gradient[0].double(), inputs[0].detach().double()
    return g.norm(dim=1).numpy(), (g * e).sum(1).numpy()

"""What an intervention does besides what it is for: perplexity of texts, drift off target."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimate import Estimate
from crossworld.core.student import critical, two_sided
from crossworld.core.table import Effect, EffectTable
from crossworld.errors import DesignError
from crossworld.internals.metrics import Metric
from crossworld.internals.pairs import Pairs
from crossworld.internals.ports import Value
from crossworld.internals.rates import family_level, mean, mean_effect, tabled
from crossworld.internals.site import Site
from crossworld.internals.subject import TorchSubject

Array = NDArray[np.float64]
Writes = Mapping[Site, Value]


@dataclass(frozen=True, slots=True, eq=False)
class Aside:
    """Inputs on which side effects are measured.

    Parameters
    ----------
    texts
        Held-out texts (token ids or text): their perplexity.
    prompts
        Prompts that the intervention is not about: how far their next-token law drifts.
    """

    texts: Sequence[Any] = ()
    prompts: Sequence[Any] = ()

    def __post_init__(self) -> None:
        if not len(self.texts) and not len(self.prompts):
            raise DesignError("side effects are measured on held-out texts, prompts, or both")


def side_effects(
    subject: TorchSubject,
    write: Mapping[Any, Value],
    *,
    aside: Aside,
    level: float = 0.95,
    family: int | None = None,
) -> EffectTable:
    r"""Perplexity of held-out texts and drift of off-target prompts under an intervention.

    .. math:: \mathrm{PPL} = \exp\Big(-\frac{\sum_i \sum_t \log p(x_{it} \mid x_{i,<t})}
              {\sum_i T_i}\Big),\qquad
              \mathrm{KL} = \frac1m \sum_j \sum_v p_j(v) \log\frac{p_j(v)}{p_j'(v)}

    with p without and p' with the intervention, in nats, at the last position.

    Parameters
    ----------
    subject
        A language model: logits (B, T, V).
    write
        Site -> value or function. On texts ``@ -1`` stands for every position: a text that is
        written has every token last once.
    aside
        The texts and prompts.
    level, family
        Probability with which all intervals of the table (or of ``family``) hold.

    Returns
    -------
    EffectTable
        ``perplexity[before]``, ``perplexity[after]`` and their ratio with intervals on the log
        scale (ratio estimate over texts, paired, Student's t), ``kl`` with a t interval.
    """
    writes = {Site.parse(s) if isinstance(s, str) else s: v for s, v in write.items()}
    count = (3 if len(aside.texts) else 0) + (1 if len(aside.prompts) else 0)
    size = count if family is None else family
    rows: list[Effect] = []
    if len(aside.texts):
        everywhere = {s.at(None) if s.position == "-1" else s: v for s, v in writes.items()}
        before, after = (text_loss(subject, aside.texts, w) for w in ({}, everywhere))
        rows += [
            _exponent("perplexity[before]", before, level, size, test=False),
            _exponent("perplexity[after]", after, level, size, test=False),
            _exponent("perplexity[ratio]", after - before, level, size, test=True),
        ]
    if len(aside.prompts):
        drift = off_target(subject, aside.prompts, writes)
        rows.append(mean_effect("kl", mean(drift), level=level, family=size, null=None))
    heading = f"side effects on {len(aside.texts)} texts and {len(aside.prompts)} prompts"
    return tabled(rows, heading, units=(max(len(aside.texts), len(aside.prompts)), None),
                  level=level, family=count)  # fmt: skip


def text_loss(subject: TorchSubject, texts: Sequence[Any], write: Writes) -> Estimate:
    """Mean loss of a token in nats, with the influence of each text."""
    held = Pairs.of([(one, one) for one in texts], subject.tokenizer)
    total, tokens = np.zeros(len(held)), np.zeros(len(held))
    for rows in held.groups(np.arange(len(held)), 16):
        batch = held.batch(rows.tolist(), 0)
        ids = batch.inputs["input_ids"] if isinstance(batch.inputs, Mapping) else batch.inputs
        if ids.ndim != 2 or ids.shape[1] < 2:
            raise DesignError("a text for perplexity has two or more tokens")
        output = subject.run(batch, write=write).output
        if output.ndim != 3:
            raise DesignError(
                f"perplexity needs logits (B, T, V), this network gives {tuple(output.shape)}"
            )
        law = output[:, :-1].double().log_softmax(-1).cpu()
        loss = -law.gather(2, ids[:, 1:, None].cpu()).squeeze(2).numpy()
        real = _real(batch, ids.shape[1])[:, :-1]
        total[rows], tokens[rows] = (loss * real).sum(axis=1), real.sum(axis=1)
    return mean(total) / mean(tokens)


def _real(batch: Any, length: int) -> Array:
    """1 at positions whose next token is a real one, (B, T)."""
    at = np.arange(length)[None]
    first, count = batch.first[:, None], batch.count[:, None]
    return np.asarray((at >= first) & (at < first + count - 1), dtype=np.float64)


def off_target(subject: TorchSubject, prompts: Sequence[Any], write: Writes) -> Array:
    """KL in nats of the next-token law of each prompt, without from with intervention, (n,)."""
    held = Pairs.of([(one, one) for one in prompts], subject.tokenizer)
    found = np.zeros(len(held))
    for rows in held.groups(np.arange(len(held)), 32):
        batch = held.batch(rows.tolist(), 0)
        laws = []
        for held_write in ({}, dict(write)):
            output = subject.run(batch, write=held_write).output
            laws.append(Metric("kl").final(output, batch).double().log_softmax(-1))
        found[rows] = (laws[0].exp() * (laws[0] - laws[1])).sum(-1).clamp(min=0.0).cpu().numpy()
    return found


def _exponent(term: str, log: Estimate, level: float, family: int, *, test: bool) -> Effect:
    """Row of the exponential of a mean, with its interval on the log scale."""
    n = log.influence.size
    value = math.exp(log.value)
    if n < 2 or log.std_error <= 1e-12:
        return Effect(term, value, None, None, None, None, "none: no variation")
    held = replace(log, influence=log.influence * math.sqrt(n / (n - 1)))
    half = critical(family_level(level, family), n - 1.0) * held.std_error
    p_value = min(1.0, family * two_sided(log.value / held.std_error, n - 1.0)) if test else None
    return Effect(term, value, value * held.std_error, math.exp(log.value - half),
                  math.exp(log.value + half), p_value, "log-t")  # fmt: skip

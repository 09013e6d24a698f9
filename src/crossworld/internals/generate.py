"""Texts a model writes under an intervention, and what it would have written instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.options import check_whole_fields
from crossworld.core.table import EffectTable
from crossworld.decoders import cache_argument
from crossworld.errors import DesignError, SpecError
from crossworld.internals.causality import is_causal
from crossworld.internals.gumbel import choose, hindsight
from crossworld.internals.inputs import Batch, Span, batch
from crossworld.internals.ports import Value
from crossworld.internals.rates import codes, mean, mean_effect, rate, tabled
from crossworld.internals.site import Site
from crossworld.internals.subject import TorchSubject
from crossworld.internals.words import Words

Ints = NDArray[np.int64]
Vector = NDArray[np.float64]
NOTHING = -1  # what stands after the end of a text


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """A prompt and the interventions that stay on while the answer is written.

    Parameters
    ----------
    prompt
        Token ids, or text where the subject has a tokenizer.
    write
        Site -> value, or a function of the present activation. Positions are those of the prompt
        (``@ -1`` is its last token, for good); a site without a position is set at every token of
        prompt and answer, so its value is a function or fits any number of positions.
    spans
        Named spans of the prompt.
    """

    prompt: Any
    write: Mapping[Any, Value] = field(default_factory=dict)
    spans: Mapping[str, Span] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How texts are drawn.

    Parameters
    ----------
    length
        Most new tokens.
    temperature
        Logits are divided by it; above 0.
    stop
        Token that ends a text and is kept, None for none.
    batch
        Texts that are written at once.
    cache
        Keep keys and values of earlier tokens. By default every step runs the whole text, which is
        right for any network and any intervention; with the cache a write without position sees one
        new token at a time, so its function must treat each token by itself.
    seed
        Seed; each text has noise of its own, whatever the batch.
    """

    length: int = 20
    temperature: float = 1.0
    stop: int | None = None
    batch: int = 64
    cache: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole_fields(self, {"length": 1, "batch": 1})
        if not self.temperature > 0.0:
            raise SpecError(f"temperature is above 0, got {self.temperature!r}")


def generate(
    subject: TorchSubject, world: World, *, count: int = 1, options: Sampling | None = None
) -> Ints:
    """Draw texts by Gumbel-max, with interventions that stay on.

    Parameters
    ----------
    subject
        A causal language model: logits (B, T, V).
    world
        Prompt and interventions.
    count
        Number of texts.
    options
        How to draw.

    Returns
    -------
    numpy.ndarray
        New tokens (count, length); -1 after the end of a text.
    """
    chosen = Sampling() if options is None else options
    found = np.full((count, chosen.length), NOTHING, dtype=np.int64)
    rngs = _generators(chosen.seed, count, 0)
    for rows in _groups(count, chosen.batch):
        writer = _Writer(subject, world, len(rows), chosen)
        for step in range(chosen.length):
            logits = writer.logits()
            noise = [rngs[r].gumbel(size=logits.shape[1]) for r in rows]
            tokens = np.array([choose(v, g) for v, g in zip(logits, noise, strict=True)])
            found[rows, step] = writer.take(tokens)
            if writer.done:
                break
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Counterfactuals:
    """Texts that were written, and what the same noise writes in another world.

    Parameters
    ----------
    factual, tokens
        New tokens (n, length), -1 after the end.
    cluster
        Cluster codes of the texts.
    """

    factual: Ints
    tokens: Ints
    cluster: NDArray[np.int64] | None = None

    @property
    def same(self) -> NDArray[np.bool_]:
        """Whether a text stayed as it was, (n,)."""
        width = max(self.factual.shape[1], self.tokens.shape[1])
        return np.asarray((_padded(self.factual, width) == _padded(self.tokens, width)).all(axis=1))

    def effects(
        self, outcome: Callable[[Ints], float] | None = None, *, level: float = 0.95
    ) -> EffectTable:
        """Share of texts that changed (exact), and the mean change of an outcome (paired t).

        Parameters
        ----------
        outcome
            Turns the new tokens of one text (without -1) into a number.
        level
            Confidence level.
        """
        changed = (~self.same).astype(np.float64)
        rows = [rate("changed", changed, cluster=self.cluster, level=level)]
        if outcome is not None:
            before, after = (
                np.array([float(outcome(one[one != NOTHING])) for one in texts])
                for texts in (self.factual, self.tokens)
            )
            rows += [
                mean_effect(term, mean(values, self.cluster), level=level)
                for term, values in (("factual", before), ("counterfactual", after),
                                     ("difference", after - before))
            ]  # fmt: skip
        units = (len(changed), self.cluster)
        return tabled(rows, "shared-noise counterfactual texts", units=units, level=level)


def counterfactual(
    subject: TorchSubject,
    world: World,
    *,
    tokens: Any,
    instead: World,
    options: Sampling | None = None,
    cluster: Sequence[Any] | None = None,
) -> Counterfactuals:
    r"""Write texts again in another world, with the noise they were written with.

    A text is :math:`x_t = \arg\max_j\, l_j(x_{<t}) + g_{tj}` with Gumbel noise. Given the text,
    the noise is drawn from its law in hindsight; then the other world chooses with its own logits
    and the same noise. With no difference between the worlds the text comes out as it was.

    Parameters
    ----------
    subject
        A causal language model.
    world
        Prompt and interventions under which the texts were written.
    tokens
        The texts: new tokens (n, length), -1 after the end, or a list of token lists.
    instead
        Prompt and interventions of the other world.
    options
        ``temperature`` and ``stop`` as the texts were drawn. At most ``length`` tokens are written;
        without ``stop``, as many as each text has.
    cluster
        Labels of texts that are not independent.

    Raises
    ------
    DesignError
        If a text holds a token that has probability 0 in its world.

    Notes
    -----
    Over texts drawn in ``world``, the new ones have exactly the law of texts drawn in ``instead``:
    the coupling changes how the two go together, not what each is. Which coupling is right cannot
    be learned from data; the Gumbel-max one is counterfactually stable. Where the other world goes
    on after a text has stopped, the noise of later tokens is drawn afresh.

    References
    ----------
    Oberst & Sontag (2019). Counterfactual off-policy evaluation with Gumbel-max structural causal
    models. ICML.
    """
    chosen = Sampling() if options is None else options
    given = _texts(tokens)
    if chosen.stop is None:
        chosen = replace(chosen, length=given.shape[1])
    found = np.full((len(given), chosen.length), NOTHING, dtype=np.int64)
    rngs = _generators(chosen.seed, len(given), 1)
    for rows in _groups(len(given), chosen.batch):
        old = _Writer(subject, world, len(rows), chosen)
        new = _Writer(subject, instead, len(rows), chosen)
        for step in range(chosen.length):
            before, after = old.logits(), new.logits()
            past = given[rows, step] if step < given.shape[1] else np.full(len(rows), NOTHING)
            noise = [
                rngs[r].gumbel(size=before.shape[1])
                if k == NOTHING
                else hindsight(logits, int(k), rngs[r])
                for r, k, logits in zip(rows, past, before, strict=True)
            ]
            written = np.array([choose(v, g) for v, g in zip(after, noise, strict=True)])
            found[rows, step] = new.take(written)
            old.take(np.where(past == NOTHING, 0, past))
            if new.done:
                break
    if chosen.stop is None:
        found[given == NOTHING] = NOTHING
    return Counterfactuals(given, found, None if cluster is None else codes(list(cluster)))


class _Writer:
    """Rows of one prompt that grow a token at a time, in one world."""

    def __init__(self, subject: TorchSubject, world: World, rows: int, options: Sampling) -> None:
        self.subject, self.options, self.spans = subject, options, world.spans
        prompt = Words(subject.tokenizer).encode(world.prompt, "prompt")
        if isinstance(prompt, Mapping) or np.ndim(prompt) != 1 or np.size(prompt) == 0:
            raise DesignError("a prompt is text or one list of token ids")
        ids = np.asarray(prompt, dtype=np.int64)
        self.tokens = np.repeat(ids[None], rows, axis=0)
        self.ended = np.zeros(rows, dtype=bool)
        self.fixed, self.always = pinned(world, ids)
        self.cache = _cache(subject, self.always, ids) if options.cache else None
        self.seen = 0

    @property
    def done(self) -> bool:
        """Whether every text has ended."""
        return bool(self.ended.all())

    def logits(self) -> Vector:
        """Logits of the next token over the temperature, (rows, V)."""
        options: dict[str, Any] = {}
        if self.cache is not None:
            name = cache_argument(self.subject.model)
            assert name is not None  # or there is no cache
            options = {name: self.cache, "use_cache": True}
        held = self._batch(self.tokens[:, self.seen :])
        write = {**self.fixed, **self.always} if self.seen == 0 else self.always
        output = self.subject.run(held, write=write, last=True, options=options).output
        if output.ndim != 3:
            raise DesignError(
                f"a model that writes gives logits (B, T, V), this one {tuple(output.shape)}"
            )
        if self.cache is not None:
            self.seen = self.tokens.shape[1]
        found = output[:, -1].detach().double().cpu().numpy() / self.options.temperature
        if np.isnan(found).any():
            raise DesignError("the model gives logits that are no numbers")
        return np.asarray(found)

    def take(self, tokens: Ints) -> Ints:
        """Append tokens; return them with -1 for texts that had ended."""
        shown = np.where(self.ended, NOTHING, tokens)
        self.tokens = np.concatenate([self.tokens, tokens[:, None]], axis=1)
        if self.options.stop is not None:
            self.ended |= tokens == self.options.stop
        return shown

    def _batch(self, tokens: Ints) -> Batch:
        spans = [dict(self.spans)] * len(tokens) if self.spans and self.seen == 0 else None
        return batch(list(tokens), spans)


def pinned(world: World, prompt: Ints) -> tuple[dict[Site, Value], dict[Site, Value]]:
    """Writes at places of the prompt, and those at every token.

    Positions are turned into numbers from the start of the prompt, so that they stay where they
    are while the text grows.
    """
    fixed: dict[Site, Value] = {}
    always: dict[Site, Value] = {}
    held = batch([prompt], [dict(world.spans)] if world.spans else None)
    for given, value in world.write.items():
        site = Site.parse(given) if isinstance(given, str) else given
        if site.position is None:
            if site.keys is not None:
                raise DesignError(f"{site} has keys, so it needs a position too")
            always[site] = value
            continue
        at = held.positions(site.position)
        assert at is not None
        keys = site.keys
        if keys is not None:
            where = held.positions(keys)
            assert where is not None
            keys = _range(where[0])
        fixed[replace(site, position=_range(at[0]), keys=keys)] = value
    return fixed, always


def _range(positions: Ints) -> str:
    first, last = int(positions[0]), int(positions[-1])
    return str(first) if first == last else f"{first}:{last + 1}"


def _cache(subject: TorchSubject, always: Mapping[Site, Value], prompt: Ints) -> Any:
    """Return an empty cache, refused where a cached step would not be what the whole text is."""
    config = getattr(subject.model, "config", None)
    held = batch([prompt])
    causal = is_causal(subject, held) if prompt.size > 1 else subject.layout.causal is True
    if not causal or cache_argument(subject.model) is None or config is None:
        raise DesignError(
            f"{type(subject.model).__name__} keeps no keys and values; leave out cache=True"
        )
    bad = [s for s in always if s.stream == "pattern" or not callable(always[s])]
    if bad:
        raise DesignError(
            f"{bad[0]} cannot be written one token at a time unless it is a function of one "
            "activation; leave out cache=True"
        )
    from transformers import DynamicCache

    return DynamicCache(config=config)


def _generators(seed: int, count: int, stream: int) -> list[np.random.Generator]:
    return [np.random.default_rng(np.random.SeedSequence((seed, stream, r))) for r in range(count)]


def _groups(count: int, size: int) -> Iterator[Ints]:
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


def _texts(tokens: Any) -> Ints:
    """Texts as one array, -1 after the end."""
    if hasattr(tokens, "ndim") and tokens.ndim == 2:
        return np.asarray(tokens, dtype=np.int64)
    held = [np.asarray(one, dtype=np.int64) for one in tokens]
    if not held or any(one.ndim != 1 for one in held):
        raise DesignError("texts are lists of token ids, one list for each text")
    width = max(*(len(one) for one in held), 1)
    return np.stack([_padded(one[None], width)[0] for one in held])


def _padded(texts: Ints, width: int) -> Ints:
    extra = np.full((len(texts), width - texts.shape[1]), NOTHING, dtype=np.int64)
    return np.concatenate([texts, extra], axis=1)

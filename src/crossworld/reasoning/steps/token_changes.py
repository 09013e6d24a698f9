"""One trace with its tokens changed: replaced, drawn anew, taken out, covered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np

from crossworld.core.protocols import Array
from crossworld.errors import DesignError, SpecError
from crossworld.reasoning.models.forward import end_scores, laws_along, write_on
from crossworld.reasoning.models.parse import split_answer
from crossworld.reasoning.models.protocol import Request
from crossworld.reasoning.models.sums import digest
from crossworld.reasoning.models.transformers import Layout, TransformersModel, gumbel_argmax
from crossworld.reasoning.segment import segment

Change = Literal["replace", "resample", "remove", "occlude"]
LARGEST, TRIES = 1024, 20


@dataclass(frozen=True, slots=True)
class TokenPlan:
    r"""How tokens are changed.

    Parameters
    ----------
    edits
        ``"replace"``: another token in its place, drawn from the model's own law there given that
        it differs, later tokens held. ``"resample"``: the same, and the model writes on from
        there (on-policy). ``"remove"``: the token is taken out. ``"occlude"``: ``filler`` stands
        in its place. The last two are declared edits, which the model would not have written.
    unit
        ``"token"``, or ``"step"`` (as `segment` cuts; one that was written again word for word is
        drawn anew). Steps are resampled, removed or occluded.
    draws
        Draws of every replacement; None takes every other token with its probability, exactly
        (``replace`` on small vocabularies).
    filler
        What ``occlude`` writes for every token.
    seed
        Seed of the draws.

    Raises
    ------
    SpecError
        If an edit or unit is unknown, or they do not go together.
    """

    edits: tuple[Change, ...] = ("replace",)
    unit: Literal["token", "step"] = "token"
    draws: int | None = 4
    filler: str = "."
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "edits", tuple(self.edits))
        for edit in self.edits:
            if edit not in get_args(Change):
                raise SpecError.unknown("edit of tokens", str(edit), get_args(Change))
        if self.unit not in ("token", "step"):
            raise SpecError.unknown("unit of a TokenPlan", str(self.unit), ("token", "step"))
        if self.unit == "step" and "replace" in self.edits:
            raise SpecError("steps are resampled, removed or occluded; 'replace' is for one token")
        if self.draws is None and "resample" in self.edits:
            raise SpecError("what follows a resampled token is drawn: give draws=, not None")
        if self.draws is not None and self.draws < 1:
            raise SpecError(f"draws is at least 1, or None for all tokens, got {self.draws!r}")


@dataclass(frozen=True, slots=True)
class Changed:
    """One changed text: which unit, how, what was written there, and how likely it was."""

    unit: int
    edit: str
    draw: int
    ids: tuple[int, ...]
    written: str = ""
    log_probability: float | None = None
    weight: float = 1.0

    @property
    def key(self) -> tuple[int, str, int]:
        """What is one readout: alternatives that share it are weighted."""
        return self.unit, self.edit, self.draw


@dataclass(frozen=True, slots=True)
class Traced:
    """One trace under work: its tokens, its units, the answers and their target."""

    model: TransformersModel
    request: Request
    plan: TokenPlan
    layout: Layout
    units: tuple[tuple[int, int], ...]
    ends: tuple[tuple[int, ...], ...]
    target: int
    laws: Array = field(repr=False)

    def p(self, texts: Sequence[Sequence[int]]) -> Array:
        """Exact probability of the target after every text, shape (texts,)."""
        scores = end_scores(self.model.parts()[0], texts, self.ends)
        if len(self.ends) == 1:
            return np.asarray(np.exp(scores[:, 0]))
        law = np.exp((scores - scores.max(axis=1, keepdims=True)) / self.heat)
        return np.asarray(law[:, self.target] / law.sum(axis=1))

    @property
    def heat(self) -> float:
        """Temperature of the readout; a greedy readout is followed at 1."""
        return self.request.temperature or 1.0

    def words(self, unit: tuple[int, int]) -> str:
        """Text of a unit."""
        return str(self.model.parts()[1].decode(list(self.layout.ids[slice(*self.at(unit))])))

    def at(self, unit: tuple[int, int]) -> tuple[int, int]:
        """Where a unit starts and ends among all tokens."""
        return self.layout.inside[unit[0]], self.layout.inside[unit[1] - 1] + 1

    def noise(self, *parts: object) -> np.random.Generator:
        """Noise that belongs to question, trace and parts; prompts share it."""
        key = digest(self.plan.seed, self.request.question, self.request.draw, *parts)
        return np.random.default_rng(key)


def traced(
    model: TransformersModel, request: Request, targets: Mapping[str, str], plan: TokenPlan
) -> Traced:
    """Lay a trace out.

    Raises
    ------
    DesignError
        If there is no answer to follow or no reasoning.
    SpecError
        If all tokens are asked for and there are many.
    """
    if request.question not in targets:
        raise DesignError(f"targets= has no answer to follow for question {request.question!r}")
    target = targets[request.question]
    answers = request.choices or (target,)
    if target not in answers:
        raise DesignError(
            f"target {target!r} of question {request.question!r} is none of its choices "
            f"{', '.join(map(repr, answers))}"
        )
    layout = model.layout(request)
    loaded, _ = model.parts()
    if plan.draws is None and loaded.config.vocab_size > LARGEST:
        raise SpecError(
            f"{loaded.config.vocab_size} tokens are too many to try all of; give draws=, such as 8"
        )
    ends = tuple(tuple(end) for end in model.ends(answers))
    laws = laws_along(loaded, layout.ids)
    units = _units(layout, request.shown or "", plan.unit)
    return Traced(model, request, plan, layout, units, ends, answers.index(target), laws)


def _units(layout: Layout, shown: str, unit: str) -> tuple[tuple[int, int], ...]:
    """First and last-but-one token of every unit, by position in ``layout.inside``."""
    size = len(layout.inside)
    if unit == "token":
        return tuple((i, i + 1) for i in range(size))
    starts = np.array([a for a, _ in layout.spans])
    found = []
    for step in segment(shown):
        at = np.flatnonzero((starts >= step.start) & (starts < step.end))
        if at.size:
            found.append((int(at[0]), int(at[-1]) + 1))
    return tuple(found)


def changes(trace: Traced) -> Iterator[Changed]:
    """Yield every changed text, those of one readout together."""
    for edit in trace.plan.edits:
        if edit == "resample":
            yield from _resampled(trace)
            continue
        for k, unit in enumerate(trace.units):
            start, end = trace.at(unit)
            ids = trace.layout.ids
            if edit == "replace":
                yield from _replaced(trace, k, start)
            elif edit == "remove":
                yield Changed(k, edit, 0, ids[:start] + ids[end:])
            else:
                tokenizer = trace.model.parts()[1]
                filler = tokenizer(trace.plan.filler, add_special_tokens=False)["input_ids"]
                cover = tuple(filler) * (end - start)
                if cover != ids[start:end]:
                    yield Changed(k, edit, 0, ids[:start] + cover + ids[end:], trace.plan.filler)


def others(trace: Traced, start: int) -> Array:
    """Log-probabilities of what else the model could have written at a token, -inf at it."""
    tokenizer = trace.model.parts()[1]
    law: Array = trace.laws[start - 1].copy()
    law[[*tokenizer.all_special_ids, trace.layout.ids[start]]] = -np.inf
    return law


def _replaced(trace: Traced, unit: int, start: int) -> Iterator[Changed]:
    if start == 0:
        return
    ids, tokenizer = trace.layout.ids, trace.model.parts()[1]
    law = others(trace, start)

    def put(token: int, draw: int, weight: float = 1.0) -> Changed:
        made = (*ids[:start], token, *ids[start + 1 :])
        written, chance = str(tokenizer.decode([token])), float(law[token])
        return Changed(unit, "replace", draw, made, written, chance, weight)

    if trace.plan.draws is not None:
        for draw in range(trace.plan.draws):
            yield put(_other(trace, law, (unit, draw)), draw)
        return
    weights = np.exp((law - law.max()) / trace.heat)
    weights /= weights.sum()
    for token in np.flatnonzero(weights > 0.0):
        yield put(int(token), 0, float(weights[token]))


def _other(trace: Traced, law: Array, key: tuple[int, int]) -> int:
    return gumbel_argmax(law, trace.request.temperature, trace.noise("other", *key))


def _resampled(trace: Traced) -> Iterator[Changed]:
    """Draw the unit anew and write on; a step that comes out the same is drawn again."""
    left = [
        (k, draw)
        for k, unit in enumerate(trace.units)
        if trace.at(unit)[0] > 0
        for draw in range(trace.plan.draws or 0)
    ]
    for attempt in range(TRIES):
        again = []
        for key, change in zip(left, _written(trace, left, attempt), strict=True):
            if change is None:
                again.append(key)
            else:
                yield change
        left = again
        if not left:
            return


def _written(trace: Traced, keys: Sequence[tuple[int, int]], attempt: int) -> list[Changed | None]:
    """Write on from before every unit; None where a step is what it was."""
    loaded, tokenizer = trace.model.parts()
    begun, firsts = [], []
    for k, draw in keys:
        start = trace.at(trace.units[k])[0]
        first: tuple[int, ...] = ()
        if trace.plan.unit == "token":
            first = (_other(trace, others(trace, start), (k, draw)),)
        firsts.append(first)
        begun.append((*trace.layout.ids[:start], *first))
    cue = trace.request.cue.strip()
    ended = loaded.generation_config.eos_token_id
    eos = set(ended if isinstance(ended, list) else [ended])

    def draw_next(j: int, position: int, logits: Array) -> int:
        noise = trace.noise("on", *keys[j], attempt, position)
        token = gumbel_argmax(logits, trace.request.temperature, noise)
        return -1 if token in eos else token

    def done(j: int, written: list[int]) -> bool:
        return bool(cue) and cue in tokenizer.decode([*firsts[j], *written])

    most = getattr(loaded.config, "max_position_embeddings", None) or 10**9
    room = [min(trace.request.max_tokens, most - len(b) - len(cue) - 2) for b in begun]
    found = write_on(loaded, begun, draw=draw_next, done=done, room=room)
    return [
        _finished(trace, key, tokenizer.decode([*first, *rest]), first)
        for key, first, rest in zip(keys, firsts, found, strict=True)
    ]


def _finished(
    trace: Traced, key: tuple[int, int], said: str, first: tuple[int, ...]
) -> Changed | None:
    """Lay a rewritten trace out as text, as it would be shown again."""
    k, draw = key
    unit = trace.units[k]
    kept = (trace.request.shown or "")[: trace.layout.spans[unit[0]][0]]
    new = split_answer(said, trace.request.cue)[0]
    written = str(trace.model.parts()[1].decode(list(first)))
    chance = None
    if trace.plan.unit == "token":
        chance = float(trace.laws[trace.at(unit)[0] - 1][first[0]])
    else:
        steps = segment(new)
        written = steps[0].text if steps else ""
        if written.strip() == trace.words(unit).strip():
            return None
    ids = trace.model.layout(replace(trace.request, shown=f"{kept}{new}")).ids
    return Changed(k, "resample", draw, ids, written, chance)

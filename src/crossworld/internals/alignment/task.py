"""How a program looks to a network, and the interchanges that are made in both."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError
from crossworld.internals.alignment.program import CausalProgram, Setting, key
from crossworld.internals.backend import torch
from crossworld.internals.inputs import Batch, Span, batch
from crossworld.internals.site import Site

Ints = NDArray[np.int64]
Places = Mapping[str, tuple[Site, ...]]
_TRIES = 400


@dataclass(frozen=True, slots=True, eq=False)
class AlignmentTask:
    """A program, and how its inputs and answers look to the network.

    Parameters
    ----------
    program
        The high-level model.
    encode
        Turns one setting of the program's inputs into one input of the network: token ids, an
        array, or a mapping of arrays.
    answers
        Values of the program's output, in the order of the network's classes.
    columns
        Which logits are the answers, such as token ids; by default the first ones in order.
    readout
        Turns the network's output into logits (B, number of answers) itself. By default logits
        (B, T, V) are read at the last position; one logit alone, with two answers, is the log odds
        of the second.
    spans
        Turns a setting into the named spans of its input, for sites such as ``@ subject``.

    Examples
    --------
    >>> program = CausalProgram({"a": (0, 1)}, {"out": lambda a: 1 - a}, "out")
    >>> AlignmentTask(program, lambda x: [x["a"]], (0, 1)).target({"a": 0})
    1
    """

    program: CausalProgram
    encode: Callable[[Setting], Any]
    answers: Sequence[Any]
    columns: Sequence[int] | None = None
    readout: Callable[[Any], Any] | None = None
    spans: Callable[[Setting], Mapping[str, Span]] | None = None
    _index: dict[Any, int] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.answers) < 2:
            raise DesignError(f"a task has two or more answers, got {list(self.answers)!r}")
        if self.columns is not None and len(self.columns) != len(self.answers):
            raise DesignError(
                f"there are {len(self.answers)} answers and {len(self.columns)} columns of logits"
            )
        self._index.update({_value(v): i for i, v in enumerate(self.answers)})
        if len(self._index) < len(self.answers):
            raise DesignError(f"an answer is there twice in {list(self.answers)!r}")

    def index(self, answer: Any) -> int:
        """Class of an answer.

        Raises
        ------
        DesignError
            If the program gives an answer that the network has no class for.
        """
        found = self._index.get(_value(answer))
        if found is None:
            shown = ", ".join(map(repr, list(self.answers)[:12]))
            raise DesignError(f"the program answers {answer!r}, the task's answers are {shown}")
        return found

    def target(self, inputs: Setting, sources: Mapping[str, Setting] | None = None) -> int:
        """Class of the program's answer, after an interchange if there are sources."""
        held = self.program.interchange(inputs, sources or {})
        return self.index(held[self.program.output])

    def logits(self, output: Any) -> Any:
        """Logits of the answers, (B, number of answers)."""
        t = torch()
        if self.readout is not None:
            found = self.readout(output)
        else:
            found = output[:, -1] if output.ndim == 3 else output
            found = found[:, None] if found.ndim == 1 else found
            if self.columns is not None:
                found = found[:, list(self.columns)]
        if found.ndim == 2 and found.shape[1] == 1 and len(self.answers) == 2:
            found = t.cat([t.zeros_like(found), found], dim=1)
        if self.readout is None and self.columns is None and found.ndim == 2:
            found = found[:, : len(self.answers)]
        if found.ndim != 2 or found.shape[1] != len(self.answers):
            raise DesignError(
                f"the network gives logits {tuple(found.shape)}, the task has "
                f"{len(self.answers)} answers; say which logits they are with columns= or readout="
            )
        return found

    def batch(self, settings: Sequence[Setting]) -> Batch:
        """Inputs of the network for settings of one shape."""
        spans = None if self.spans is None else [self.spans(s) for s in settings]
        return batch([self.encoded(s) for s in settings], spans)

    def encoded(self, setting: Setting) -> Any:
        """One input of the network."""
        found = self.encode(setting)
        return np.asarray(found) if isinstance(found, list | tuple) else found


def _value(answer: Any) -> Any:
    return answer.item() if hasattr(answer, "item") else answer


@dataclass(frozen=True, slots=True, eq=False)
class Interchange:
    """Base inputs, and where some variables get their values from.

    Parameters
    ----------
    base
        The inputs that are run.
    sources
        Variable -> the inputs that give it its value.
    cluster
        Label of what pairs share, None for independent pairs.
    """

    base: Setting
    sources: Mapping[str, Setting]
    cluster: Hashable | None = None

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of what is interchanged."""
        return tuple(self.sources)

    @property
    def key(self) -> tuple[Any, ...]:
        """What equal pairs have in common."""
        return key(self.base), tuple((n, key(s)) for n, s in sorted(self.sources.items()))


def interchanges(
    program: CausalProgram,
    count: int,
    *,
    variables: Sequence[str | tuple[str, ...]] | None = None,
    changed: float | None = 0.5,
    without: Sequence[Interchange] = (),
    seed: int = 0,
) -> list[Interchange]:
    """Draw interchanges of a program's variables.

    Parameters
    ----------
    program
        The program.
    count
        How many, drawn independently.
    variables
        What is interchanged, each as likely; a tuple stands for a multi-source interchange, each
        of its variables with a source of its own. All variables before the output by default.
    changed
        Probability that a pair is drawn among those where the interchange changes the answer (else
        among those where it does not); None leaves it to the inputs.
    without
        Pairs that are not to be drawn, such as those that were trained on.
    seed
        Seed.

    Raises
    ------
    DesignError
        If no interchange of a variable changes the answer, or all do, or all pairs are excluded.

    Examples
    --------
    >>> program = CausalProgram(
    ...     {"a": (0, 1), "b": (0, 1)}, {"s": lambda a: a, "out": lambda s, b: s & b}, "out")
    >>> pairs = interchanges(program, 100, seed=1)
    >>> 30 < sum(program.interchange(p.base, p.sources)["out"] != program.answer(p.base)
    ...          for p in pairs) < 70
    True
    """
    chosen = list(program.mediators if variables is None else variables)
    if not chosen:
        raise DesignError("the program has no variable between its inputs and its output")
    sets = [(v,) if isinstance(v, str) else tuple(v) for v in chosen]
    for name in (n for names in sets for n in names):
        program.parents(name)
    if changed is not None and not 0.0 <= changed <= 1.0:
        raise DesignError(f"changed is a probability, got {changed!r}")
    rng, banned = np.random.default_rng(seed), {pair.key for pair in without}
    found: list[Interchange] = []
    for _ in range(count):
        names = sets[int(rng.integers(len(sets)))]
        wanted = None if changed is None else bool(rng.random() < changed)
        found.append(_draw(program, names, (wanted, banned), rng))
    return found


def _draw(
    program: CausalProgram,
    names: tuple[str, ...],
    asked: tuple[bool | None, set[Any]],
    rng: np.random.Generator,
) -> Interchange:
    wanted, banned = asked
    for _ in range(_TRIES):
        pair = Interchange(program.draw_one(rng), {n: program.draw_one(rng) for n in names})
        if banned and pair.key in banned:
            continue
        if wanted is None:
            return pair
        after = program.interchange(pair.base, pair.sources)[program.output]
        if bool(after != program.answer(pair.base)) is wanted:
            return pair
    which = {None: "is left", True: "changes the program's answer",
             False: "leaves the program's answer as it was"}[wanted]  # fmt: skip
    more = " and is not excluded" if banned and wanted is not None else ""
    raise DesignError(
        f"no interchange of {', '.join(names)} among {_TRIES} drawn {which}{more}; draw with "
        "changed=None, or exclude fewer pairs"
    )


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Interchanges that are run together.

    Parameters
    ----------
    rows
        Their positions among all pairs.
    base
        Inputs that are run.
    sources
        Inputs that each variable gets its value from.
    """

    rows: Ints
    base: Batch
    sources: Mapping[str, Batch]


def chunks(
    task: AlignmentTask, pairs: Sequence[Interchange], size: int, order: Ints | None = None
) -> Iterator[Chunk]:
    """Group pairs whose inputs have one shape and that interchange the same variables."""
    at = np.arange(len(pairs)) if order is None else order
    groups: dict[Any, list[int]] = {}
    for row in at.tolist():
        pair = pairs[row]
        held = (pair.base, *pair.sources.values())
        shape = tuple(_shape(task, one) for one in held)
        groups.setdefault((pair.variables, shape), []).append(row)
    for (names, _), rows in groups.items():
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            yield Chunk(
                np.array(some, dtype=np.int64),
                task.batch([pairs[r].base for r in some]),
                {n: task.batch([pairs[r].sources[n] for r in some]) for n in names},
            )


def _shape(task: AlignmentTask, setting: Setting) -> tuple[Any, ...]:
    one = task.encoded(setting)
    held = one if isinstance(one, Mapping) else {"": one}
    sizes = tuple((k, tuple(np.shape(v))) for k, v in held.items())
    spans = {} if task.spans is None else task.spans(setting)
    return (*sizes, *((k, v[1] - v[0]) for k, v in sorted(spans.items())))


def places(sites: Mapping[str, Any], task: AlignmentTask) -> Places:
    """Sites of each variable: a site, its text, or several."""
    if not isinstance(sites, Mapping) or not sites:
        raise DesignError(
            f"sites map variables to places, such as {{'carry': 'layers.1.resid @ -1'}}; got "
            f"{sites!r}"
        )
    found = {}
    for name, given in sites.items():
        task.program.parents(name)
        several = [given] if isinstance(given, str | Site) else list(given)
        found[name] = tuple(Site.parse(s) if isinstance(s, str) else s for s in several)
    return found


def check_pairs(pairs: Sequence[Interchange], where: Places) -> None:
    """Refuse pairs that interchange a variable that has no site."""
    if not pairs:
        raise DesignError("there are no interchanges; draw some with interchanges(program, 200)")
    for pair in pairs:
        for name in pair.variables:
            if name not in where:
                raise DesignError(
                    f"the pairs interchange {name!r}, which has no site; sites are given for "
                    f"{', '.join(where)}"
                )


def distinct(pairs: Sequence[Interchange]) -> Ints:
    """Code of each pair; equal pairs have the same."""
    order: dict[Any, int] = {}
    return np.array([order.setdefault(p.key, len(order)) for p in pairs], dtype=np.int64)

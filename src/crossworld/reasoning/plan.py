"""What is to be collected: questions x prompt arms x cells, as calls that depend on one another."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

from crossworld.errors import DesignError, SpecError
from crossworld.reasoning.edits.protocol import Edit, Edited
from crossworld.reasoning.models.protocol import Request
from crossworld.reasoning.rows import STRIDE, draw_index, fingerprint
from crossworld.reasoning.trace import Trace

Judge = Callable[[str, str], bool]  # an answer, and the right one
FIELD = re.compile(r"\{(\w+)\}")


def is_right(answer: str, gold: str) -> bool:
    """Compare as numbers where both are numbers, else as words without case and punctuation.

    Examples
    --------
    >>> is_right(" 1,200.0 ", "1200"), is_right("(B)", "b"), is_right("21", "2")
    (True, True, False)
    """
    a, b = (" ".join(text.strip().strip(".()").casefold().split()) for text in (answer, gold))
    try:
        return float(a.replace(",", "")) == float(b.replace(",", ""))
    except ValueError:
        return a == b


@dataclass(frozen=True, slots=True)
class Question:
    """One question: id, text, right answer, the answers to choose from, further template fields."""

    id: str
    text: str = ""
    answer: str | None = None
    choices: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Template:
    """The prompt of one arm in one wording; ``{question}`` and the question's fields are filled.

    Examples
    --------
    >>> Template("cot", "{question} Think first.").fill(Question("q1", "2 + 3?"))
    '2 + 3? Think first.'
    """

    arm: str
    text: str
    wording: str = "0"

    @property
    def sha256(self) -> str:
        """SHA-256 of the text before it is filled."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def fill(self, question: Question) -> str:
        """Return the prompt of a question; other braces stay as they are."""
        known = {**question.fields, "question": question.text, "id": question.id}
        return FIELD.sub(lambda m: known.get(m[1], m[0]), self.text)


@dataclass(frozen=True, slots=True)
class Replayed:
    """A cell to collect: answer under ``prompt``, shown reasoning of ``reasoning``, edited or not.

    ``reasoning`` is a prompt arm, whose own reasoning is sampled first, or a named source.
    """

    prompt: str
    reasoning: str
    edit: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One planned call; ``replay`` is None when the model reasons for itself."""

    question: Question
    template: Template
    trace: str
    k: int
    r: int = 0
    replay: Replayed | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that will be asked, before anything is asked.

    Parameters
    ----------
    questions, templates
        What is asked, and how in every arm; every arm has the same wordings.
    cells
        The replayed cells; empty samples natural reasoning only.
    traces, readouts
        Own traces per question, arm and wording (K), and readouts of every shown trace (R).
    readout
        ``forced`` asks for the answer after the cue in few tokens, ``choice`` for one of the
        question's choices with probabilities, ``free`` lets the model go on as it likes.
    cue
        Text that asks for the answer.
    temperature, max_tokens
        Of the model's own reasoning.
    readout_temperature, readout_tokens
        Of a replayed readout.
    edits, sources
        The edits that cells name and, by name, reasoning from elsewhere: question id to text.
    judge
        Says whether an answer is right.
    seed
        Of the order of the calls.

    Raises
    ------
    DesignError
        If questions repeat, an arm lacks a wording, or a source lacks a question.
    SpecError
        If a cell names an arm, a source or an edit that is not there.

    Examples
    --------
    >>> plan = Plan(
    ...     (Question("q1", "2 + 3?", "5"), Question("q2", "4 + 4?", "8")),
    ...     (Template("direct", "{question}"), Template("cot", "{question} Think first.")),
    ...     four_cells("direct", "cot"),
    ... )
    >>> plan.size
    12
    """

    questions: tuple[Question, ...]
    templates: tuple[Template, ...]
    cells: tuple[Replayed, ...] = ()
    traces: int = 1
    readouts: int = 1
    readout: Literal["free", "forced", "choice"] = "forced"
    cue: str = "\nAnswer:"
    temperature: float = 1.0
    max_tokens: int = 512
    readout_temperature: float = 1.0
    readout_tokens: int = 16
    edits: tuple[Edit, ...] = ()
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    judge: Judge = is_right
    seed: int = 0

    def __post_init__(self) -> None:
        _no_repeats("question", [q.id for q in self.questions])
        _no_repeats("prompt", [f"{t.arm} ({t.wording})" for t in self.templates])
        _no_repeats("cell", [f"{c.prompt} {c.reasoning} {c.edit}" for c in self.cells])
        if not self.questions or not self.templates:
            raise DesignError("a plan has at least one question and one prompt template")
        if not 1 <= self.traces < STRIDE or self.readouts < 1:
            raise DesignError(
                f"traces are 1 to {STRIDE - 1} and readouts at least 1, "
                f"got {self.traces} and {self.readouts}"
            )
        wordings = {arm: {t.wording for t in self.templates if t.arm == arm} for arm in self.arms}
        if len({frozenset(w) for w in wordings.values()}) > 1:
            raise DesignError(f"every arm needs the same wordings, got {wordings}")
        both = set(self.arms) & set(self.sources)
        if both:
            raise DesignError(f"{min(both)!r} names a prompt arm and a source; rename the source")
        for cell in self.cells:
            self._check(cell)
        if self.readout == "choice":
            bare = [q.id for q in self.questions if not q.choices]
            if bare:
                raise DesignError(f"readout 'choice' needs choices; question {bare[0]!r} has none")

    def _check(self, cell: Replayed) -> None:
        if cell.prompt not in self.arms:
            raise SpecError.unknown("prompt arm", cell.prompt, self.arms)
        names = [edit.name for edit in self.edits]
        if cell.edit is not None and cell.edit not in names:
            raise SpecError.unknown("edit", cell.edit, names)
        if cell.reasoning in self.arms:
            return
        if cell.reasoning not in self.sources:
            raise SpecError.unknown("reasoning", cell.reasoning, [*self.arms, *self.sources])
        lacking = [q.id for q in self.questions if q.id not in self.sources[cell.reasoning]]
        if lacking:
            raise DesignError(
                f"source {cell.reasoning!r} has no reasoning for {len(lacking)} questions, "
                f"the first is {lacking[0]!r}"
            )

    @property
    def arms(self) -> tuple[str, ...]:
        """The prompt arms, in the order of the templates."""
        return tuple(dict.fromkeys(t.arm for t in self.templates))

    @property
    def size(self) -> int:
        """Number of calls."""
        return sum(1 for _ in self.calls())

    def calls(self) -> Iterator[Call]:
        """Yield every call once: own reasoning, then replays."""
        own = {(q.id, t.arm, t.wording): self._stamp(q, t) for q, t in self._asked()}
        for q, t in self._asked():
            for k in range(self.traces):
                stamp = own[q.id, t.arm, t.wording]
                yield Call(q, t, trace_id(q.id, t.arm, t.wording, k, stamp=stamp), k)
        for cell in self.cells:
            sampled = cell.reasoning in self.arms
            for q, t in self._asked():
                if t.arm != cell.prompt:
                    continue
                wording = t.wording if sampled else "0"
                for k in range(self.traces if sampled else 1):
                    stamp = (
                        own[q.id, cell.reasoning, wording]
                        if sampled
                        else fingerprint(self.sources[cell.reasoning][q.id])[:8]
                    )
                    trace = trace_id(q.id, cell.reasoning, wording, k, stamp=stamp)
                    for r in range(self.readouts):
                        yield Call(q, t, trace, k, r, cell)

    def _asked(self) -> Iterator[tuple[Question, Template]]:
        return product(self.questions, self.templates)

    def _stamp(self, question: Question, template: Template) -> str:
        """What a trace was sampled with, so that another prompt or temperature is another trace."""
        prompt = template.fill(question)
        return fingerprint([prompt, self.temperature, self.max_tokens, self.cue])[:8]

    def given(self, call: Call) -> str | None:
        """Return the reasoning that comes from a named source, None when it is sampled."""
        if call.replay is None or call.replay.reasoning in self.arms:
            return None
        return self.sources[call.replay.reasoning][call.question.id]

    def show(self, call: Call, trace: Trace) -> Edited:
        """Return what a replay shows: the frozen trace, edited where the cell says so."""
        if call.replay is None or call.replay.edit is None:
            return trace
        by_name = {edit.name: edit for edit in self.edits}
        return by_name[call.replay.edit](trace)

    def request(self, call: Call, shown: str | None) -> Request:
        """Return what the model is asked."""
        replay = call.replay is not None
        return Request(
            question=call.question.id,
            arm=call.template.arm,
            prompt=call.template.fill(call.question),
            shown=shown,
            cue="" if replay and self.readout == "free" else self.cue,
            choices=call.question.choices if replay and self.readout == "choice" else (),
            draw=draw_index(call.k, call.r),
            temperature=self.readout_temperature if replay else self.temperature,
            max_tokens=self.readout_tokens if replay else self.max_tokens,
        )

    def identity(self, call: Call, model: str, *, mode: str) -> dict[str, Any]:
        """Return the values that make the call's row this readout and no other."""
        request = self.request(call, None)
        replay = call.replay
        return {
            "question": call.question.id,
            "wording": call.template.wording,
            "prompt": call.template.arm,
            "reasoning": replay.reasoning if replay else call.template.arm,
            "trace": call.trace,
            "edit": replay.edit if replay else None,
            "draw": request.draw,
            "replayed": int(replay is not None),
            "readout": self.readout if replay else "free",
            "mode": mode if replay else "",
            "model": model,
            "template": call.template.sha256,
            "asked": fingerprint(request.prompt),
            "cue": request.cue,
            "choices": list(request.choices),
            "temperature": request.temperature,
            "max_tokens": request.max_tokens,
        }


def trace_id(question: str, arm: str, wording: str, k: int, *, stamp: str) -> str:
    """Return the id of a trace: ``q1/cot/0@3fa9c01b``, with the wording unless it is the first."""
    parts = [question, arm, *([] if wording == "0" else [wording]), str(k)]
    return f"{'/'.join(parts)}@{stamp}"


def four_cells(reference: str, active: str) -> tuple[Replayed, ...]:
    """Return the four replayed cells of two arms: the two effects and the replay floor."""
    arms = (reference, active)
    return tuple(Replayed(a, b) for a in arms for b in arms)


def _no_repeats(what: str, names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DesignError(f"{what} {twice[0]!r} is in the plan twice ({len(twice)} such)")

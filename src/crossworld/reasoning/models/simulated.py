"""A reasoner whose cells are known exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from crossworld.errors import SpecError
from crossworld.reasoning.models.protocol import Completion, Request
from crossworld.reasoning.models.sums import Sum, digest, edited, kept
from crossworld.reasoning.rows import draw_index

Arm = Literal[0, 1]
ReplayCell = tuple[object, object, str | None]  # prompt arm, reasoning arm, edit
REPLAYS: tuple[ReplayCell, ...] = ((0, 0, None), (0, 1, None), (1, 0, None), (1, 1, None))


@dataclass(frozen=True, slots=True)
class SimulatedReasoner:
    r"""A reasoner that writes sums in steps, with every population cell in closed form.

    A question has a difficulty :math:`d`, uniform on ``levels`` points of [-1, 1]. Under arm
    :math:`b` each of :math:`S` written steps is sound with probability :math:`p_b - \sigma d`,
    independently; with probability :math:`l_b` the trace also states an answer. A reader under
    arm :math:`a` who sees the steps :math:`T` knows the answer with probability

    .. math:: h(d, a, T) = \beta + \delta a - \kappa d + (1 + \gamma a) \sum_s c_s T_s ;

    a stated answer was drawn from :math:`h(d, b, T)` and is copied with probability :math:`\rho`.
    A share ``noise`` of answers is a coin flip and a share ``unparsable`` no answer at all, which
    scores 0. Because :math:`h` is linear in :math:`T`, so is every cell.

    Parameters
    ----------
    arms
        Labels of the reference and the active prompt arm.
    base, direct
        :math:`\beta` and :math:`\delta`: what the prompt does without any reasoning.
    contributions
        :math:`c_s`, one for each step.
    sound
        :math:`p_0` and :math:`p_1`.
    interaction
        :math:`\gamma`.
    difficulty, slip
        :math:`\kappa` and :math:`\sigma`: what difficulty does to the answer and to a step.
    levels
        Number of difficulties.
    leak, copy
        :math:`l_0, l_1` and :math:`\rho`.
    noise, unparsable
        Shares of answers that are a coin flip, and that cannot be read.
    drift
        What replaying by itself adds to the probability that a reader who works it out is right.
    seed
        Everything is a function of (seed, question, arm, draw, text shown).

    Raises
    ------
    SpecError
        If a probability could leave [0, 1]; the message names it.

    Examples
    --------
    >>> model = SimulatedReasoner(contributions=(0.2, 0.2), sound=(0.25, 0.75))
    >>> [round(model.cell(a, b), 3) for a, b in ((0, 0), (1, 0), (1, 1))]
    [0.35, 0.45, 0.65]
    >>> round(model.cell(1, 1, edit="delete"), 3)
    0.35
    """

    arms: tuple[str, str] = ("0", "1")
    base: float = 0.25
    direct: float = 0.1
    contributions: tuple[float, ...] = (0.1, 0.15, 0.2)
    sound: tuple[float, float] = (0.3, 0.8)
    interaction: float = 0.0
    difficulty: float = 0.1
    slip: float = 0.0
    levels: int = 5
    leak: tuple[float, float] = (0.0, 0.0)
    copy: float = 1.0
    noise: float = 0.0
    unparsable: float = 0.0
    drift: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.arms) != 2 or self.arms[0] == self.arms[1]:
            raise SpecError(f"arms are two different labels, got {self.arms!r}")
        if self.levels < 1 or not self.contributions:
            raise SpecError("a reasoner has at least one level of difficulty and one step")
        shares = [*self.sound, *self.leak, self.copy, self.noise, self.unparsable]
        probabilities = [p + e * self.slip for p in self.sound for e in (-1, 1)]
        for a in (0, 1):
            flat = self.base + self.direct * a
            steps = [(1 + self.interaction * a) * c for c in self.contributions]
            low, high = sum(min(c, 0) for c in steps), sum(max(c, 0) for c in steps)
            probabilities += [flat + low - abs(self.difficulty) + min(self.drift, 0)]
            probabilities += [flat + high + abs(self.difficulty) + max(self.drift, 0)]
        for value in [*shares, *probabilities]:
            if not -1e-12 <= value <= 1 + 1e-12:
                raise SpecError(
                    f"a probability of the simulated reasoner would be {value:.4g}, outside [0, 1];"
                    " make base, direct, contributions, difficulty, slip or drift smaller"
                )

    @property
    def name(self) -> str:
        """Name with a short fingerprint of the parameters."""
        return _name(self)

    @property
    def modes(self) -> frozenset[str]:
        """It reads whatever text it is shown."""
        return frozenset({"continuation"})

    def question(self, question: str) -> Sum:
        """Return the sum that belongs to a question's id."""
        return Sum.of(question, len(self.contributions), self.levels)

    def hardness(self, level: Any) -> Any:
        """Return the difficulty in [-1, 1] of a level or an array of levels."""
        return 2.0 * level / (self.levels - 1) - 1.0 if self.levels > 1 else 0.0 * level

    def arm(self, label: object) -> Arm:
        """Return 0 for the reference arm and 1 for the active one, by label or by number."""
        if str(label) in self.arms:
            return 0 if str(label) == self.arms[0] else 1
        if label in (0, 1):
            return 1 if label == 1 else 0
        raise SpecError.unknown("arm", str(label), self.arms)

    def chance(self, d: Any, arm: Arm, soundness: Any) -> Any:
        """Return h(d, a, T): the last axis of ``soundness`` runs over steps."""
        worth = np.asarray(soundness, float) @ np.array(self.contributions)
        reach = (1 + self.interaction * arm) * worth
        return self.base + self.direct * arm - self.difficulty * d + reach

    def mixed(self, stated: Any, fresh: Any, *, copied: Any, replayed: bool = False) -> Any:
        """Chance of giving the right answer: a stated one is copied, else the reader works it out.

        Drift acts where the reader works it out.
        """
        own = fresh + (self.drift if replayed else 0.0)
        known = copied * stated + (1 - copied) * own
        return (1 - self.noise) * known + self.noise / 2

    def cell(
        self,
        prompt: object,
        reasoning: object,
        *,
        edit: str | None = None,
        questions: Sequence[str] | None = None,
        replayed: bool = False,
    ) -> float:
        """Return ``E[correct]`` answering under one arm with reasoning sampled under another.

        Parameters
        ----------
        prompt, reasoning
            Arms, by label or as 0 and 1.
        edit
            None, or one of the edits whose effect is known.
        questions
            Average over these questions; None averages over the law of questions.
        replayed
            Whether the reasoning is shown again (then the drift is part of the cell).

        Raises
        ------
        SpecError
            If an arm or the edit is unknown.
        """
        a, b = self.arm(prompt), self.arm(reasoning)
        if questions is None:
            levels = np.arange(self.levels)
        else:
            levels = np.array([self.question(q).level for q in questions])
        d = self.hardness(levels)
        worth, states = kept(edit, len(self.contributions))
        p = (self.sound[b] - self.slip * d)[:, None]
        fresh = self.chance(d, a, p * worth)
        stated = self.chance(d, b, p * np.ones_like(worth))
        copied = self.leak[b] * self.copy * states
        chance = self.mixed(stated, fresh, copied=copied, replayed=replayed)
        return float(np.mean((1 - self.unparsable) * chance))

    def contribution(self, step: int, arm: object = 1) -> float:
        """Return the effect on ``E[correct]`` of step ``step`` (from 1) being sound, not slipped.

        The trace shown states no answer.
        """
        reach = (1 + self.interaction * self.arm(arm)) * self.contributions[step - 1]
        return (1 - self.unparsable) * (1 - self.noise) * reach

    def carried_share(self, edit: str = "delete") -> float:
        """Return the planted ``(Y(1) - Y(1, M(1, edit))) / TE`` minus that of the paraphrase."""
        total = self.cell(1, 1) - self.cell(0, 0)
        return (self.cell(1, 1, edit="paraphrase") - self.cell(1, 1, edit=edit)) / total

    async def complete(self, request: Request) -> Completion:
        """Write reasoning and answer, or answer from the reasoning shown.

        With shown reasoning and no cue, the reasoning is continued from where it stops.
        """
        q = self.question(request.question)
        a = self.arm(request.arm)
        rng = np.random.default_rng(
            digest(self.seed, request.question, request.arm, request.draw, request.shown)
        )
        written = ""
        if request.shown is None or request.cue == "":
            written = self._write(q, a, request.shown or "", rng)
        shown = (request.shown or "") + written
        p = self.reads(request.question, a, text=shown, replayed=request.shown is not None)
        answer, probabilities = self._answer(q.gold, p, request.choices, rng)
        said = "I cannot say." if answer is None else answer
        text = f"{written}{request.cue or chr(10) + 'Answer:'} {said}" if written else f" {said}"
        return Completion(
            text=text,
            reasoning=written,
            answer=answer,
            probabilities=probabilities,
            tokens_in=len(f"{request.prompt}{request.shown or ''}{request.cue}".split()),
            tokens_out=len(text.split()),
            model=self.name,
        )

    def _write(self, q: Sum, arm: Arm, prefix: str, rng: np.random.Generator) -> str:
        p = self.sound[arm] - self.slip * self.hardness(q.level)
        sound = list(rng.random(len(q.terms)) < p)
        already, stated = q.read(prefix)
        first = prefix.count("Step ")
        if stated is not None:
            return ""
        conclusion = None
        if rng.random() < self.leak[arm]:
            chance = self.chance(self.hardness(q.level), arm, already[:first] + sound[first:])
            conclusion = q.gold + (0 if rng.random() < chance else 1)
        text = q.write(sound, first=first, conclusion=conclusion)
        return f"\n{text}" if prefix and text and not prefix.endswith("\n") else text

    def reads(self, question: str, arm: object, *, text: str, replayed: bool = True) -> float:
        """Return the exact probability of the right answer to one question after any text."""
        q = self.question(question)
        sound, stated = q.read(text)
        fresh = self.chance(self.hardness(q.level), self.arm(arm), sound)
        copied = self.copy if stated is not None else 0.0
        return float(self.mixed(stated == q.gold, fresh, copied=copied, replayed=replayed))

    def _answer(
        self, gold: int, p: float, choices: tuple[str, ...], rng: np.random.Generator
    ) -> tuple[str | None, dict[str, float] | None]:
        if not choices:
            if rng.random() < self.unparsable:
                return None, None
            return str(gold if rng.random() < p else gold + 1), None
        wrong = [c for c in choices if c != str(gold)]
        p = 1.0 if not wrong else p if len(wrong) < len(choices) else 0.0
        law = {c: p if c == str(gold) else (1 - p) / len(wrong) for c in choices}
        return str(rng.choice(choices, p=list(law.values()))), law

    def table(
        self,
        questions: int | Sequence[str],
        traces: int = 1,
        *,
        readouts: int = 1,
        seed: int = 0,
        cells: Sequence[ReplayCell] = REPLAYS,
    ) -> dict[str, np.ndarray]:
        """Draw a whole table of readouts at once, without text: the same law, fast.

        Parameters
        ----------
        questions
            A number of questions drawn from their law, or the ids of given ones.
        traces, readouts
            Traces under every arm (Q x K), and readouts of each of them (Q x K x R). A trace is
            shown in every cell that uses its arm, so cells are paired.
        seed
            Seed of this table.
        cells
            The replayed cells: prompt arm, reasoning arm, edit. One natural readout of every
            trace comes first, with ``replayed`` 0.

        Returns
        -------
        dict
            Columns ``question prompt reasoning trace draw edit replayed correct p_answer leaked``.

        Raises
        ------
        SpecError
            If an arm or an edit is unknown, or a count is below one.
        """
        rng = np.random.default_rng(digest("table", self.seed, seed))
        if isinstance(questions, int):
            names = np.array([f"q{i}" for i in range(questions)])
            levels = rng.integers(self.levels, size=questions)
        else:
            names = np.array(list(questions))
            levels = np.array([self.question(q).level for q in questions], dtype=int)
        if min(len(names), traces, readouts) < 1:
            raise SpecError("a table has at least one question, one trace and one readout")
        d = self.hardness(levels)
        drawn = [self._traces(d, b, traces, rng) for b in (0, 1)]
        natural = [(a, a, None) for a in self.arms]
        parts = [
            self._readouts(names, d, drawn, cell, (readouts if k else 1, bool(k), rng))
            for k, group in enumerate((natural, cells))
            for cell in group
        ]
        return {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}

    def _traces(
        self, d: np.ndarray, b: Any, traces: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Soundness (Q, K, S), whether an answer is stated (Q, K), whether it is right (Q, K)."""
        shape = (len(d), traces)
        p = (self.sound[b] - self.slip * d)[:, None, None]
        sound = rng.random((*shape, len(self.contributions))) < p
        states = rng.random(shape) < self.leak[b]
        return sound, states, rng.random(shape) < self.chance(d[:, None], b, sound)

    def _readouts(
        self,
        names: np.ndarray,
        d: np.ndarray,
        drawn: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
        cell: ReplayCell,
        how: tuple[int, bool, np.random.Generator],
    ) -> dict[str, np.ndarray]:
        readouts, replayed, rng = how
        a, b, edit = self.arm(cell[0]), self.arm(cell[1]), cell[2]
        sound, states, right = drawn[b]
        worth, keeps = kept(edit, sound.shape[2])
        copied = self.copy * (states & keeps)
        fresh = self.chance(d[:, None], a, sound * worth)
        p = self.mixed(right, fresh, copied=copied, replayed=replayed)
        p = np.repeat(p[:, :, None], readouts, axis=2)
        i, k, r = (axis.ravel() for axis in np.indices(p.shape))
        size = len(i)
        return {
            "question": names[i],
            "prompt": np.full(size, self.arms[a]),
            "reasoning": np.full(size, self.arms[b]),
            "trace": k,
            "draw": draw_index(k, r),
            "edit": np.full(size, edit, dtype=object),
            "replayed": np.full(size, int(replayed)),
            "correct": (rng.random(size) < (1 - self.unparsable) * p.ravel()).astype(int),
            "p_answer": p.ravel(),
            "leaked": (states & keeps)[i, k].astype(int),
        }

    def edit(self, text: str, name: str) -> str:
        """Apply an edit whose effect `cell` knows to a trace of this reasoner."""
        kept(name, len(self.contributions))
        return edited(text, name)


@lru_cache(maxsize=64)
def _name(model: SimulatedReasoner) -> str:
    values = [getattr(model, f.name) for f in fields(model)]
    return f"simulated-{digest(*values) % 16**8:08x}"

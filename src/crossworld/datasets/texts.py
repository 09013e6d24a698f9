"""Reasoning in words whose every cell is known: puzzles, two ways of asking, a noisy answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimand import Estimand
from crossworld.core.expression import Cell
from crossworld.core.options import check_whole
from crossworld.datasets.laws import Array, Bernoulli, Discrete, State, coin, rows
from crossworld.datasets.puzzles import draw_puzzle, spoil, write_reasoning
from crossworld.datasets.simulated import Model
from crossworld.errors import DesignError

if TYPE_CHECKING:
    from crossworld.tables.study import TableStudy

LEVELS = ("hasty", "careful")
COLUMNS = ("id", "prompt", "arm", "reasoning", "answer", "correct", "steps", "kind")
STEPS = (2.0, 3.0, 4.0)
ON = (0.78, 0.93)  # probability of going on to the next step, hasty and careful
CHECKS = (0.25, 0.60)
SLIPS = (0.12, 0.05)  # per step written
WORST, EACH, CHECK = 0.34, 0.13, 0.13  # what the answer owes to nothing, a step, a check


@dataclass(frozen=True, slots=True)
class Written:
    """Steps written, 0 to as many as there are, each reached from the one before by a coin."""

    name: str = "written"

    def draw(self, state: State, rng: np.random.Generator) -> Array:
        values, chances = self.support(state)
        edges = chances[:, :-1].cumsum(axis=1)
        at = (rng.random(len(edges))[:, None] > edges).sum(axis=1)
        return np.asarray(values[np.arange(len(at)), at], dtype=np.float64)

    def support(self, state: State) -> tuple[Array, Array]:
        on = _by_arm(state, ON)[:, None]
        steps = np.asarray(state["steps"])[:, None]
        values = np.broadcast_to(np.arange(max(STEPS) + 1), (len(on), int(max(STEPS)) + 1))
        stopped = on**values * (1.0 - on)
        chances = np.where(values < steps, stopped, np.where(values == steps, on**steps, 0.0))
        return np.asarray(values, dtype=np.float64), np.asarray(chances, dtype=np.float64)


def _by_arm(state: State, pair: tuple[float, float]) -> Array:
    return np.where(np.asarray(state["arm"]) == 1.0, pair[1], pair[0])


def _model(slips: bool) -> Model:
    """The structural model: what is written, whether it is right, whether it was checked."""

    def wrong(state: State) -> Array:
        each = _by_arm(state, SLIPS) if slips else np.zeros(rows(state))
        return np.asarray(1.0 - (1.0 - each) ** np.asarray(state["written"]))

    def right(state: State) -> Array:
        done, arm = np.asarray(state["written"]), np.asarray(state["arm"])
        helped = EACH * done * (1.0 - np.asarray(state["wrong"])) + CHECK * np.asarray(
            state["checked"]
        )
        hard = 0.07 * (np.asarray(state["steps"]) - 2.0) + 0.06 * np.asarray(state["words"])
        return np.asarray(WORST - hard + 0.05 * arm + (0.9 + 0.1 * arm) * helped)

    return Model(
        covariates=(coin("words", 0.5), Discrete("steps", STEPS, (0.4, 0.35, 0.25))),
        treatment=coin("arm", 0.5),
        chain=(
            Written(),
            Bernoulli("wrong", wrong),
            Bernoulli("checked", lambda s: _by_arm(s, CHECKS)),
        ),
        outcome=Bernoulli("correct", right),
        blocks=(("written", "wrong", "checked"),),
    )


@dataclass(frozen=True, slots=True, eq=False)
class ReasoningTexts:
    """Traces of reasoning, and the true value of every cell.

    Parameters
    ----------
    frame
        A pandas frame, two rows a prompt (one for each arm): ``id``, ``prompt`` (the question),
        ``arm`` (``hasty`` or ``careful``), ``reasoning`` (the text), ``answer`` (what was given),
        ``correct`` (0 or 1), ``steps`` (2 to 4), ``kind`` (``arithmetic`` or ``words``).
    hidden
        What the texts were written from, shape (2 n, 3): steps written, whether one is wrong,
        whether it was checked. An analyst does not see it; `read_reasoning` reads it off the text.
    model
        The structural model, in which the text is these three numbers.
    """

    frame: Any
    hidden: NDArray[np.float64]
    model: Model

    def __len__(self) -> int:
        return len(self.frame)

    def truth(self, cell: Cell) -> float:
        """Return the population mean of a cell: a finite sum, never simulation."""
        start, mass = self.model.population()
        held = cell.bind(self.model.blocks)
        return float(mass @ self.model.mean(held, (0.0, 1.0), start))

    def effect(self, estimand: Estimand) -> float:
        """Return the population value of an estimand."""
        return float(estimand.bind(self.model.blocks).expr.evaluate(self.truth))

    def study(self, numbers: Any) -> TableStudy:
        """Return the study in which these numbers stand for the text.

        Parameters
        ----------
        numbers
            Shape (2 n, k): an embedding of ``frame["reasoning"]``, or what an expert reads there.

        Raises
        ------
        DesignError
            If there is not a row of finite numbers for each trace.
        """
        from crossworld.tables.study import TableStudy

        block = np.asarray(numbers, dtype=np.float64)
        if block.ndim != 2 or len(block) != len(self) or not np.isfinite(block).all():
            raise DesignError(
                f"numbers have shape {block.shape}; they need one finite row for each of the "
                f"{len(self)} traces"
            )
        names = [f"text_{j + 1}" for j in range(block.shape[1])]
        kept = {name: self.frame[name].tolist() for name in ("id", "arm", "correct", "kind")}
        kept["steps"] = [f"{v} steps" for v in self.frame["steps"]]
        return TableStudy.from_frame(
            {**kept, **dict(zip(names, block.T, strict=True))},
            f"arm -> {' + '.join(names)} -> correct",
            adjust=["kind", "steps"],
            levels=LEVELS,
            cluster="id",
        )


def reasoning_texts(n: int = 1000, *, seed: int = 0, slips: bool = False) -> ReasoningTexts:
    r"""Draw puzzles, reasoning about them under two prompts, and noisy answers.

    Half are sums and differences, half are changes of a word. Asked carefully, a text goes on to
    each next step with probability 0.93 (hastily 0.78) and is checked with probability 0.6
    (0.25). The answer is right with probability

    .. math:: 0.34 - 0.07 (s - 2) - 0.06 w + 0.05 a + (0.9 + 0.1 a)
              \{0.13\, d\, (1 - f) + 0.13\, c\},

    s the steps needed, w 1 for words, a 1 for careful, d the steps written, f 1 where one of them
    is wrong, c 1 where it was checked. So the text matters through three numbers, and every cell is
    a finite sum.

    Parameters
    ----------
    n
        Prompts; each is asked under both arms.
    seed
        Seed of everything.
    slips
        Whether steps may be wrong (hastily 0.12 of them, carefully 0.05). A wrong step looks like a
        right one to whoever counts words: without slips the words tell all that matters, with
        them they do not.

    Raises
    ------
    SpecError
        If ``n`` is no whole number of at least 1.

    Examples
    --------
    >>> from crossworld.core.effects import NIE
    >>> data = reasoning_texts(3, seed=1)
    >>> print(data.frame["reasoning"][1])
    Step 1: 65 + 5 = 70.
    Step 2: 70 - 6 = 64.
    Step 3: 64 + 4 = 68.
    Step 4: 68 - 2 = 66.
    Check: it fits.
    >>> round(data.effect(NIE), 4)
    0.1364
    """
    import pandas as pd

    check_whole("n", n, 1)
    model, rng = _model(slips), np.random.default_rng(seed)
    state: dict[str, Array] = {"": np.empty(n)}
    for law in model.covariates:
        state[law.name] = law.draw(state, rng)
    state = {name: np.repeat(values, 2) for name, values in state.items()}
    state["arm"] = np.tile([0.0, 1.0], n)
    for law in (*model.chain, model.outcome):
        state[law.name] = law.draw(state, rng)
    return ReasoningTexts(
        pd.DataFrame(_written(state, rng)),
        np.column_stack([state[name] for name in model.blocks[0]]),
        model,
    )


def _written(state: State, rng: np.random.Generator) -> dict[str, list[Any]]:
    """Columns of the frame: puzzles and texts that say what the state says."""
    found = {name: list[Any]() for name in COLUMNS}
    for i in range(len(state["arm"])):
        kind, steps = bool(state["words"][i]), int(state["steps"][i])
        if i % 2 == 0:
            puzzle = draw_puzzle(kind, steps, rng)
        done, right = int(state["written"][i]), int(state["correct"][i])
        wrong = int(rng.integers(done)) if state["wrong"][i] else None
        checked = bool(state["checked"][i])
        row = {
            "id": f"p{i // 2:04d}",
            "prompt": puzzle.text,
            "arm": LEVELS[i % 2],
            "reasoning": write_reasoning(puzzle, done, wrong=wrong, checked=checked, rng=rng),
            "answer": puzzle.answer if right else spoil(puzzle.answer, rng),
            "correct": right,
            "steps": steps,
            "kind": "words" if kind else "arithmetic",
        }
        for name, value in row.items():
            found[name].append(value)
    return found

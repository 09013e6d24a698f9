"""High-level causal programs: named variables, each a function of earlier ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError, SpecError

Values = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Step:
    """One variable of a program: its name, what it is computed from, and how."""

    name: str
    parents: tuple[str, ...]
    compute: Callable[..., NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Program:
    """A hypothesis about how a network computes what it computes.

    Parameters
    ----------
    name
        What the hypothesis says.
    inputs
        Names of the inputs.
    steps
        Variables in the order in which they are computed; the last is the output.
    right
        Whether the network was built or trained to compute this way.

    Examples
    --------
    >>> import numpy as np
    >>> add = Program(
    ...     "w = x + y",
    ...     ("x", "y", "z"),
    ...     (
    ...         Step("w", ("x", "y"), lambda x, y: x + y),
    ...         Step("out", ("w", "z"), lambda w, z: w + z),
    ...     ),
    ... )
    >>> one = {"x": np.array([1]), "y": np.array([2]), "z": np.array([3])}
    >>> add.run(one)["out"], add.run(one, {"w": np.array([7])})["out"]
    (array([6]), array([10]))
    >>> other = {"x": np.array([5]), "y": np.array([5]), "z": np.array([0])}
    >>> add.interchange(one, {"w": other})
    array([13])
    """

    name: str
    inputs: tuple[str, ...]
    steps: tuple[Step, ...]
    right: bool = True

    def __post_init__(self) -> None:
        seen = set(self.inputs)
        for step in self.steps:
            missing = sorted(set(step.parents) - seen)
            if missing:
                raise DesignError(f"{step.name!r} needs {', '.join(missing)}, which comes later")
            seen.add(step.name)

    @property
    def variables(self) -> tuple[str, ...]:
        """The intermediate variables: everything computed but the output."""
        return tuple(step.name for step in self.steps[:-1])

    @property
    def output(self) -> str:
        """Name of the output."""
        return self.steps[-1].name

    def run(self, inputs: Mapping[str, Any], held: Mapping[str, Any] | None = None) -> Values:
        """Return the values of all variables, some held at given values; arrays go together.

        Raises
        ------
        SpecError
            If an input is missing, or something is held that is no variable.
        """
        for name in self.inputs:
            if name not in inputs:
                raise SpecError(f"program {self.name!r} needs the input {name!r}")
        for name in held or {}:
            if name not in self.variables:
                raise SpecError.unknown("variable", name, self.variables)
        values = {name: np.asarray(inputs[name]) for name in self.inputs}
        for step in self.steps:
            given = None if held is None else held.get(step.name)
            values[step.name] = (
                step.compute(*(values[p] for p in step.parents))
                if given is None
                else np.asarray(given)
            )
        return values

    def interchange(
        self, base: Mapping[str, Any], sources: Mapping[str, Mapping[str, Any]]
    ) -> NDArray[Any]:
        """Return the output for base inputs when variables have their values under other inputs.

        Parameters
        ----------
        base
            The inputs that are run.
        sources
            For each variable the inputs that give it its value; several make a multi-source
            interchange.
        """
        held = {name: self.run(inputs)[name] for name, inputs in sources.items()}
        return self.run(base, held)[self.output]


def agree(programs: Sequence[Program], inputs: Mapping[str, Any]) -> bool:
    """Whether all programs give the same outputs: rivals differ in how, not in what."""
    first, *others = (program.run(inputs)[program.output] for program in programs)
    return all(np.array_equal(first, other) for other in others)

"""High-level causal models: named variables, each a function of its parents."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from crossworld.errors import DesignError, SpecError, hint

Setting = Mapping[str, Any]
_KEYS = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class CausalProgram:
    r"""A hypothesis about how a network computes: a causal model without noise.

    Variable :math:`v` has the value :math:`f_v(\text{parents})`. Under ``do`` it has the value it
    is given, and everything after it follows.

    Parameters
    ----------
    inputs
        Name of each input -> the values it can have.
    variables
        Name of each variable -> the function that computes it, in the order of computation. The
        parameters of the function are its parents, by their names: inputs or earlier variables.
    output
        The variable that is the answer.

    Raises
    ------
    DesignError
        If a function names a parent that is not there yet, or the output is no variable.

    References
    ----------
    Geiger, Lu, Icard & Potts (2021). Causal abstractions of neural networks. NeurIPS.

    Examples
    --------
    >>> program = CausalProgram(
    ...     {"a": (0, 1), "b": (0, 1), "c": (0, 1)},
    ...     {"both": lambda a, b: a & b, "out": lambda both, c: both ^ c},
    ...     "out",
    ... )
    >>> base, source = {"a": 0, "b": 0, "c": 1}, {"a": 1, "b": 1, "c": 0}
    >>> program.answer(base), program.interchange(base, {"both": source})["out"]
    (1, 0)
    """

    inputs: Mapping[str, Sequence[Any]]
    variables: Mapping[str, Callable[..., Any]]
    output: str
    _parents: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.inputs, Mapping) or not self.inputs:
            raise DesignError(
                "inputs of a program map each name to its possible values, such as "
                f"{{'a': (0, 1)}}; got {self.inputs!r}"
            )
        empty = [name for name, values in self.inputs.items() if len(values) == 0]
        if empty:
            raise DesignError(f"the input {empty[0]!r} has no possible value")
        given, seen = dict(self._parents), list(self.inputs)
        for name, function in self.variables.items():
            if name in seen:
                raise DesignError(f"{name!r} is computed twice in a program")
            parents = given.get(name) or _parameters(name, function)
            for parent in parents:
                if parent not in seen:
                    raise DesignError(
                        f"{name!r} is computed from {parent!r}, which is neither an input nor an "
                        f"earlier variable. {hint(parent, seen)}"
                    )
            given[name] = tuple(parents)
            seen.append(name)
        if self.output not in self.variables:
            raise DesignError(
                f"the output {self.output!r} is no variable. {hint(self.output, self.variables)}"
            )
        object.__setattr__(self, "_parents", given)

    @classmethod
    def from_steps(cls, steps: Any, *, inputs: Mapping[str, Sequence[Any]]) -> Self:
        """Take over a program written as steps with ``name``, ``parents`` and ``compute``.

        Parameters
        ----------
        steps
            The steps, or an object that has them as ``steps``, such as the programs that come
            with the networks of `crossworld.datasets`; the last one is the output.
        inputs
            Possible values of its inputs.
        """
        held = list(getattr(steps, "steps", steps))
        functions = {step.name: _scalar(step.compute) for step in held}
        parents = {step.name: tuple(step.parents) for step in held}
        return cls(inputs, functions, held[-1].name, parents)

    def parents(self, name: str) -> tuple[str, ...]:
        """Names a variable is computed from."""
        self._known(name)
        return self._parents.get(name, ())

    @property
    def mediators(self) -> tuple[str, ...]:
        """The variables between inputs and output."""
        return tuple(name for name in self.variables if name != self.output)

    def run(self, inputs: Setting, do: Setting | None = None) -> dict[str, Any]:
        """Values of all inputs and variables.

        Parameters
        ----------
        inputs
            A value for every input.
        do
            Values that variables are set to.

        Raises
        ------
        DesignError
            If an input is missing or a name is not known.
        """
        held = dict(do or {})
        for name in (*inputs, *held):
            self._known(name)
        missing = [name for name in self.inputs if name not in inputs and name not in held]
        if missing:
            raise DesignError(f"no value is given for the input {missing[0]!r} of the program")
        values = {name: held.get(name, inputs.get(name)) for name in self.inputs}
        for name, function in self.variables.items():
            if name in held:
                values[name] = held[name]
            else:
                values[name] = function(*(values[p] for p in self._parents[name]))
        return values

    def answer(self, inputs: Setting, do: Setting | None = None) -> Any:
        """Value of the output."""
        return self.run(inputs, do)[self.output]

    def interchange(self, base: Setting, sources: Mapping[str, Setting]) -> dict[str, Any]:
        """Run base inputs with each of some variables at the value it has under a source.

        Parameters
        ----------
        base
            The inputs that are run.
        sources
            Variable -> the inputs that it gets its value from; several make it multi-source.
        """
        return self.run(base, {name: self.run(source)[name] for name, source in sources.items()})

    def draw(self, count: int, *, seed: int = 0) -> list[dict[str, Any]]:
        """Draw inputs, each independently and uniformly from its values."""
        rng = np.random.default_rng(seed)
        return [self.draw_one(rng) for _ in range(count)]

    def draw_one(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw one input from a generator."""
        return {n: values[int(rng.integers(len(values)))] for n, values in self.inputs.items()}

    def all(self) -> list[dict[str, Any]]:
        """Every input there is.

        Raises
        ------
        DesignError
            If there are more than a million.
        """
        count = int(np.prod([len(v) for v in self.inputs.values()], dtype=np.float64))
        if count > _KEYS:
            raise DesignError(f"the program has {count:,} inputs; draw some of them instead")
        names = list(self.inputs)
        return [dict(zip(names, one, strict=True)) for one in itertools.product(
            *self.inputs.values())]  # fmt: skip

    def _known(self, name: str) -> None:
        if name not in self.inputs and name not in self.variables:
            raise SpecError.unknown("variable of the program", str(name),
                                    [*self.inputs, *self.variables])  # fmt: skip


def key(setting: Setting) -> tuple[tuple[str, Hashable], ...]:
    """What makes two settings of inputs the same."""
    return tuple((name, _plain(setting[name])) for name in sorted(setting))


def _plain(value: Any) -> Hashable:
    """Make a value hashable, and equal to the same number of another type."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return tuple(_plain(v) for v in value) if isinstance(value, list | tuple) else value


def _parameters(name: str, function: Any) -> tuple[str, ...]:
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise DesignError(
            f"the parents of {name!r} cannot be read from {function!r}; write a function whose "
            f"parameters are its parents, such as lambda a, b: a + b"
        ) from None
    loose = [p for p in found if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if loose:
        raise DesignError(
            f"the function of {name!r} takes {loose[0]}; name each parent as a parameter"
        )
    return tuple(p.name for p in found if p.default is p.empty)


def _scalar(compute: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function of arrays compute one value."""

    def one(*values: Any) -> Any:
        found = np.asarray(compute(*(np.asarray(v) for v in values)))
        if found.ndim:
            raise DesignError(f"a step gives shape {found.shape} for one input; it gives one value")
        return found.item()

    return one

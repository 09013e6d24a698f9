"""What is measured at the output: one number per input."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError, SpecError
from crossworld.internals.backend import torch
from crossworld.internals.inputs import Batch
from crossworld.internals.site import Site

NAMES = ("logit_difference", "logit", "probability", "log_probability", "kl", "accuracy")


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What a metric may know of the inputs it is computed for.

    Parameters
    ----------
    answer, wrong
        Ids (B,), None where the pairs have none.
    reference
        Output under the clean input, (B, V), for divergences.
    units
        Positions of the pairs in the study.
    """

    answer: Any = None
    wrong: Any = None
    reference: Any = None
    units: NDArray[np.int64] | None = None


class Measure(Protocol):
    """A metric of outputs."""

    @property
    def name(self) -> str:
        """How it is called in results."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Which of answer and wrong the pairs must have."""

    def final(self, output: Any, batch: Batch) -> Any:
        """Part of the output it is computed from, first axis the inputs."""

    def __call__(self, final: Any, rows: Rows) -> Any:
        """One number per input, (B,)."""


@final
@dataclass(frozen=True, slots=True)
class Metric:
    r"""A metric of the logits at one position.

    With logits :math:`z`, answer :math:`c` and wrong answer :math:`w`: ``logit_difference``
    :math:`z_c - z_w`; ``logit`` :math:`z_c`; ``probability`` and ``log_probability`` of :math:`c`;
    ``kl`` :math:`\mathrm{KL}(p_\text{clean} \| p)` from the clean output, in nats; ``accuracy``
    :math:`1[\arg\max z = c]`.

    Parameters
    ----------
    name
        One of the names above.
    at
        The position whose logits count, in the grammar of sites; the last one by default.

    Examples
    --------
    >>> Metric("logit_difference").needs
    ('answer', 'wrong')
    """

    name: str
    at: str = "-1"

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise SpecError.unknown("metric", str(self.name), NAMES)
        if Site.parse(f"output @ {self.at}").keys is not None or "*" in self.at:
            raise SpecError(f"a metric is measured at one position, got {self.at!r}")

    @property
    def needs(self) -> tuple[str, ...]:
        """Which ids the pairs must have."""
        return {"kl": (), "logit_difference": ("answer", "wrong")}.get(self.name, ("answer",))

    def final(self, output: Any, batch: Batch) -> Any:
        """Logits (B, V) at the position."""
        if output.ndim == 2:
            return output
        if output.ndim != 3:
            raise DesignError(
                f"{self.name} is computed from logits (B, V) or (B, T, V), this network gives "
                f"{tuple(output.shape)}; pass a function of the output as the metric"
            )
        if output.shape[1] == 1:
            return output[:, 0]
        at = batch.positions(self.at)
        assert at is not None
        if at.shape[1] != 1:
            raise DesignError(f"{self.name} is measured at one position, {self.at!r} is several")
        rows = torch().arange(output.shape[0], device=output.device)
        return output[rows, torch().from_numpy(at[:, 0]).to(output.device)]

    def __call__(self, final: Any, rows: Rows) -> Any:
        """One number per input, (B,)."""
        index = torch().arange(final.shape[0], device=final.device)
        final = _wide(final)
        if self.name == "kl":
            before = _wide(rows.reference).log_softmax(-1)
            return (before.exp() * (before - final.log_softmax(-1))).sum(-1)
        answer = _ids(rows.answer, final)
        if self.name == "accuracy":
            return (final.argmax(-1) == answer).to(final.dtype)
        if self.name == "logit_difference":
            return final[index, answer] - final[index, _ids(rows.wrong, final)]
        if self.name == "logit":
            return final[index, answer]
        chosen = final.log_softmax(-1)[index, answer]
        return chosen if self.name == "log_probability" else chosen.exp()


def _wide(logits: Any) -> Any:
    """Logits of half precision in single: differences of their laws are lost in rounding else."""
    return logits.float() if logits.element_size() < 4 else logits


def reads_last(metric: Any, batch: Batch) -> bool:
    """Whether logits of the last position, which is no pad, are all that a metric needs."""
    return getattr(metric, "at", None) == "-1" and batch.ends_together


def _ids(ids: Any, final: Any) -> Any:
    found = torch().as_tensor(ids, device=final.device)
    if int(found.max()) >= final.shape[-1]:
        raise DesignError(f"there is no output {int(found.max())}, the network has "
                          f"{final.shape[-1]}")  # fmt: skip
    return found


@final
@dataclass(frozen=True, slots=True)
class Custom:
    """A metric of one's own: a function of the output, or of the output and `Rows`."""

    function: Callable[..., Any]

    def __post_init__(self) -> None:
        if not 1 <= self._takes() <= 2:
            raise SpecError(
                f"a metric takes the output, or the output and the rows; {self.name} takes "
                f"{self._takes()} arguments"
            )

    def _takes(self) -> int:
        """Number of arguments that are given: those without a default, and ``rows``."""
        try:
            parameters = inspect.signature(self.function).parameters.values()
        except ValueError:  # a function of C that does not tell
            return 1
        told = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        held = [p for p in parameters if p.kind in told]
        needed = [p for p in held if p.default is p.empty or p.name == "rows"]
        return len(needed) or min(1, len(parameters))

    @property
    def name(self) -> str:
        """Name of the function."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    @property
    def needs(self) -> tuple[str, ...]:
        """Nothing that is known beforehand."""
        return ()

    def final(self, output: Any, batch: Batch) -> Any:
        """Return the whole output."""
        return output

    def __call__(self, final: Any, rows: Rows) -> Any:
        """One number per input, (B,)."""
        found = self.function(final) if self._takes() == 1 else self.function(final, rows)
        found = torch().as_tensor(found)
        if found.shape != (final.shape[0],):
            raise DesignError(
                f"the metric {self.name} gives shape {tuple(found.shape)} for {final.shape[0]} "
                "inputs; it gives one number per input"
            )
        return found


def measure(given: Any) -> Measure:
    """Read a metric: a name, a `Metric`, or any function of the output."""
    if isinstance(given, str):
        return Metric(given)
    if isinstance(given, Metric | Custom):
        return given
    if callable(given):
        return Custom(given)
    raise SpecError(f"a metric is a name ({', '.join(NAMES)}) or a function, got {given!r}")

"""Pairs of inputs: clean (level 0) and corrupt (level 1), with answers and spans."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError, FitWarning, SpecError
from crossworld.internals.inputs import Batch, Input, Span, batch, numbers, positioned
from crossworld.internals.words import Words

Ints = NDArray[np.int64]
KEYS = ("clean", "corrupt", "answer", "wrong", "cluster", "spans")


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Inputs under both levels of the treatment.

    Parameters
    ----------
    clean, corrupt
        Inputs under level 0 and level 1; ``corrupt`` is None where only ablations are asked for.
    answer, wrong
        Token or class ids of the right and the wrong answer, (n,), None where there are none.
    cluster
        Labels of templates or prompts that pairs share, None when pairs are independent.
    spans
        Of each pair: named spans of the clean and of the corrupt input.
    file
        Where they were read.
    strange
        Number of inputs with text that the tokenizer does not know.
    uneven
        Spans that differ in length between the inputs of some pair: their last token is meant.

    Examples
    --------
    >>> import numpy as np
    >>> held = Pairs((np.array([1, 2]),), (np.array([1, 3]),))
    >>> len(held), held.shapes(0)
    (1, ((2,), (2,)))
    """

    clean: tuple[Input, ...]
    corrupt: tuple[Input, ...] | None = None
    answer: Ints | None = None
    wrong: Ints | None = None
    cluster: tuple[str, ...] | None = None
    spans: tuple[tuple[Mapping[str, Span], Mapping[str, Span]], ...] | None = None
    file: str | None = None
    strange: int = 0
    uneven: frozenset[str] = field(default=frozenset(), init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.clean:
            raise DesignError("there are no pairs of inputs")
        for name in ("corrupt", "answer", "wrong", "cluster", "spans"):
            held = getattr(self, name)
            if held is not None and len(held) != len(self.clean):
                raise DesignError(
                    f"there are {len(self.clean)} clean inputs and {len(held)} of {name!r}"
                )
        object.__setattr__(self, "uneven", _uneven(self.spans or ()))

    def __len__(self) -> int:
        return len(self.clean)

    @classmethod
    def of(cls, given: Any, tokenizer: Any = None) -> Self:
        """Read pairs in any of the forms they come in.

        Parameters
        ----------
        given
            A jsonl file; rows with ``clean``, ``corrupt``, ``answer``, ``wrong``, ``cluster`` and
            ``spans``; pairs ``(clean, corrupt)``; or two arrays, first axis the pairs.
        tokenizer
            What turns text into token ids.
        """
        if isinstance(given, cls):
            return given
        if isinstance(given, str | Path):
            return replace(cls._rows(read_rows(Path(given)), tokenizer), file=str(given))
        if isinstance(given, tuple) and len(given) == 2 and all(hasattr(g, "ndim") for g in given):
            return cls(tuple(given[0]), tuple(given[1]))
        if isinstance(given, str | bytes | Mapping) or not isinstance(given, Sequence):
            raise DesignError(
                f"pairs are rows with 'clean' and 'corrupt', or (clean, corrupt) couples, got a "
                f"{type(given).__name__}"
            )
        rows = [_row(one, i) for i, one in enumerate(given)]
        return cls._rows(rows, tokenizer)

    @classmethod
    def _rows(cls, rows: Sequence[Mapping[str, Any]], tokenizer: Any) -> Self:
        if not rows:
            raise DesignError("there are no pairs of inputs")
        words = Words(tokenizer)
        have = {k for row in rows for k in row if row[k] is not None}
        partial = [k for k in have & set(KEYS) if any(row.get(k) is None for row in rows)]
        if partial:
            at = next(i for i, row in enumerate(rows) if row.get(partial[0]) is None)
            raise DesignError(f"pair {at} has no {partial[0]!r}, the others have")
        if "clean" not in have:
            raise DesignError(f"pairs have a 'clean' input, these have {', '.join(sorted(have))}")
        clean = [words.encode(row["clean"], f"clean input {i}") for i, row in enumerate(rows)]
        corrupt = None
        if "corrupt" in have:
            named = enumerate(rows)
            corrupt = tuple(words.encode(r["corrupt"], f"corrupt input {i}") for i, r in named)
        strange = _tell_strange(words, rows, {"clean": clean, "corrupt": corrupt or ()})
        spans = None
        if "spans" in have:
            spans = tuple(words.spans(row, i) for i, row in enumerate(rows))
        answers = {
            key: np.array([words.token(row[key], f"{key} of pair {i}") for i, row in
                           enumerate(rows)], dtype=np.int64)
            for key in ("answer", "wrong") if key in have
        }  # fmt: skip
        cluster = tuple(str(row["cluster"]) for row in rows) if "cluster" in have else None
        return cls(tuple(clean), corrupt, answers.get("answer"), answers.get("wrong"), cluster,
                   spans, strange=strange)  # fmt: skip

    @property
    def levels(self) -> tuple[int, ...]:
        """Levels of the treatment that can be run."""
        return (0,) if self.corrupt is None else (0, 1)

    def inputs(self, level: int) -> tuple[Input, ...]:
        """Inputs under a level."""
        if level == 0:
            return self.clean
        if self.corrupt is None:
            raise DesignError(
                "these pairs have no corrupt input, so level 1 cannot be run; ask for ablations "
                "such as Y(0, M('zero')) - Y(0), or give each pair a 'corrupt' input"
            )
        return self.corrupt

    def shapes(self, unit: int) -> tuple[tuple[Any, ...], ...]:
        """Shapes of the inputs of one pair."""
        return tuple(_shape(self.inputs(level)[unit]) for level in self.levels)

    def batch(self, units: Sequence[int], level: int) -> Batch:
        """Stack the inputs of some pairs under a level."""
        held = self.inputs(level)
        spans = None if self.spans is None else [self.spans[u][level] for u in units]
        return batch([held[u] for u in units], spans, uneven=self.uneven)

    def groups(self, units: Ints, size: int) -> Iterator[Ints]:
        """Yield positions in ``units`` whose inputs have one shape, at most ``size`` at a time."""
        keys: dict[Any, list[int]] = {}
        for at, unit in enumerate(units):
            spans = () if self.spans is None else _widths(self.spans[int(unit)])
            keys.setdefault((self.shapes(int(unit)), spans), []).append(at)
        for held in keys.values():
            for start in range(0, len(held), size):
                yield np.array(held[start : start + size], dtype=np.int64)

    def length(self) -> int | None:
        """Common number of tokens of all inputs, None when they differ or have none."""
        found = {
            _tokens(one) for level in self.levels for one in self.inputs(level)
        }  # fmt: skip
        return found.pop() if len(found) == 1 else None


def _tell_strange(
    words: Words, rows: Sequence[Mapping[str, Any]], inputs: Mapping[str, Sequence[Input]]
) -> int:
    """Warn of texts with parts that the tokenizer does not know; return how many."""
    found = [
        f"the {key} input {i}, {str(rows[i][key])[:60]!r}" for key, held in inputs.items()
        for i, ids in enumerate(held) if words.strange(rows[i][key], ids)
    ]  # fmt: skip
    if found:
        warnings.warn(
            f"{len(found)} inputs hold what the tokenizer does not know and reads as "
            f"{words.tokenizer.unk_token!r}: {found[0]}",
            FitWarning, stacklevel=3,
        )  # fmt: skip
    return len(found)


def _uneven(spans: Sequence[tuple[Mapping[str, Span], Mapping[str, Span]]]) -> frozenset[str]:
    """Spans that differ in length between the inputs of some pair."""
    return frozenset(
        name for clean, corrupt in spans for name in {*clean} & {*corrupt}
        if clean[name][1] - clean[name][0] != corrupt[name][1] - corrupt[name][0]
    )  # fmt: skip


def _widths(spans: tuple[Mapping[str, Span], Mapping[str, Span]]) -> tuple[Any, ...]:
    return tuple(sorted((k, v[1] - v[0]) for side in spans for k, v in side.items()))


def _shape(one: Input) -> tuple[Any, ...]:
    if isinstance(one, Mapping):
        return tuple((key, tuple(np.shape(value))) for key, value in one.items())
    return tuple(np.shape(one))


def _tokens(one: Input) -> int | None:
    """Number of real tokens, None where an input has none."""
    if not isinstance(one, Mapping):
        is_float = "float" in str(getattr(one, "dtype", None))
        return None if is_float or len(_shape(one)) != 1 else int(_shape(one)[0])
    tokens, mask = positioned(one)
    if mask is not None:
        return int((numbers(mask) > 0).sum())
    return None if tokens is None else int(np.shape(tokens)[0])


def _row(one: Any, at: int) -> Mapping[str, Any]:
    if isinstance(one, Mapping):
        unknown = [k for k in one if k not in KEYS]
        if unknown:
            raise SpecError.unknown("key of a pair", str(unknown[0]), KEYS)
        return one
    if isinstance(one, list | tuple) and len(one) == 2:
        return {"clean": one[0], "corrupt": one[1]}
    raise DesignError(
        f"pair {at} is a {type(one).__name__}; a pair is a row with 'clean' and 'corrupt', or a "
        "(clean, corrupt) couple"
    )


def _once(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON whose keys are all different."""
    found = dict(items)
    if len(found) < len(items):
        keys = [key for key, _ in items]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DesignError(f"the key {twice!r} is given more than once")
    return found


def read_rows(file: Path) -> list[Mapping[str, Any]]:
    """Read a jsonl file of pairs.

    Raises
    ------
    DesignError
        If a line is no JSON object.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DesignError(f"{str(file)!r} cannot be read: {error}") from None
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_once)
        except DesignError as error:
            raise DesignError(f"line {number} of {str(file)!r}: {error}") from None
        except (ValueError, RecursionError):
            raise DesignError(
                f"line {number} of {str(file)!r} is not JSON: {line[:60]!r}"
            ) from None
        if not isinstance(row, dict):
            raise DesignError(f"line {number} of {str(file)!r} is no object: {line[:60]!r}")
        rows.append(_row(row, number))
    return rows

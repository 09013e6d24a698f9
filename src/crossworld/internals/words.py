"""From text to token ids and spans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossworld.errors import DesignError
from crossworld.internals.inputs import Input, Span


@dataclass(frozen=True, slots=True)
class Words:
    """Text of pairs, read with a tokenizer."""

    tokenizer: Any

    def encode(self, given: Any, what: str) -> Input:
        """Token ids of a text; ids and arrays stay what they are."""
        if isinstance(given, str):
            ids = np.asarray(self._needed(what)(given)["input_ids"], dtype=np.int64)
            if ids.size == 0:
                raise DesignError(f"the {what} has no tokens: {given!r}")
            return ids
        if isinstance(given, Mapping) or hasattr(given, "ndim"):
            return given
        try:
            found = np.asarray(given)
        except ValueError:
            found = np.asarray(None)
        if found.dtype.kind not in "iuf" or found.ndim == 0:
            raise DesignError(f"the {what} is neither text nor numbers: {str(given)[:60]!r}")
        return found

    def token(self, given: Any, what: str) -> int:
        """Id of a text that is one token."""
        if isinstance(given, int | np.integer) and not isinstance(given, bool):
            if given < 0:
                raise DesignError(f"the {what} is a token or its id, got the negative id {given}")
            return int(given)
        if not isinstance(given, str):
            raise DesignError(f"the {what} is a token or its id, got {given!r}")
        ids = self._needed(what)(given, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            raise DesignError(
                f"the {what}, {given!r}, is {len(ids)} tokens; a metric on logits needs one: its "
                "first token, or a text with or without the leading space"
            )
        if self._is_unknown(ids[0], given):
            raise DesignError(
                f"the {what}, {given!r}, is no token of this tokenizer, which reads it as "
                f"{self.tokenizer.unk_token!r}"
            )
        return int(ids[0])

    def _is_unknown(self, token: int, text: str) -> bool:
        unknown = getattr(self.tokenizer, "unk_token_id", None)
        is_end = unknown == getattr(self.tokenizer, "eos_token_id", None)  # GPT-2 has no other
        return bool(token == unknown and text != self.tokenizer.unk_token and not is_end)

    def strange(self, given: Any, ids: Input) -> bool:
        """Whether a text has a part that the tokenizer does not know."""
        if not isinstance(given, str) or self.tokenizer is None:
            return False
        return any(self._is_unknown(int(token), given) for token in set(ids.tolist())) and (
            self.tokenizer.unk_token not in given
        )

    def spans(self, row: Mapping[str, Any], at: int) -> tuple[dict[str, Span], dict[str, Span]]:
        """Named spans of both inputs of a pair."""
        given = row["spans"]
        if not isinstance(given, Mapping):
            raise DesignError(f"spans of pair {at} are named: {{'subject': 'Mary'}}, got {given!r}")
        clean: dict[str, Span] = {}
        corrupt: dict[str, Span] = {}
        for name, value in given.items():
            both = isinstance(value, list | tuple) and len(value) == 2 and (
                all(isinstance(v, str) for v in value)
                or all(isinstance(v, list | tuple) for v in value)
            )  # fmt: skip
            one, other = value if both else (value, value)
            clean[name] = self._span(row["clean"], one, f"span {name!r} of clean input {at}")
            if row.get("corrupt") is not None:
                where = f"span {name!r} of corrupt input {at}"
                corrupt[name] = self._span(row["corrupt"], other, where)
        return clean, corrupt

    def _span(self, text: Any, given: Any, what: str) -> Span:
        if isinstance(given, list | tuple):
            if (
                len(given) != 2
                or not all(isinstance(v, int) for v in given)
                or not 0 <= given[0] < given[1]
            ):
                raise DesignError(
                    f"the {what} is [start, stop] in tokens with 0 <= start < stop, got {given!r}"
                )
            return int(given[0]), int(given[1])
        if not isinstance(text, str) or not isinstance(given, str) or not given:
            raise DesignError(f"the {what} is text inside text, or [start, stop]; got {given!r}")
        found = text.count(given)
        if found != 1:
            raise DesignError(f"the {what}, {given!r}, stands {found} times in {text[:80]!r}")
        start = text.index(given)
        return self._tokens(text, start, start + len(given), what)

    def _tokens(self, text: str, start: int, stop: int, what: str) -> Span:
        tokenizer = self._needed(what)
        try:
            offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        except (NotImplementedError, TypeError, KeyError):
            return self._counted(text, start, stop)
        inside = [i for i, (low, high) in enumerate(offsets) if low < stop and high > start]
        if not inside:
            raise DesignError(f"the {what} has no token of its own in {text[:80]!r}")
        return inside[0], inside[-1] + 1

    def _counted(self, text: str, start: int, stop: int) -> Span:
        """Span by the number of tokens before it, after those that the tokenizer puts in front."""

        def ids(part: str) -> list[int]:
            return list(self.tokenizer(part, add_special_tokens=False)["input_ids"])

        whole, plain = list(self.tokenizer(text)["input_ids"]), ids(text)
        ahead = (i for i in range(len(whole)) if whole[i : i + len(plain)] == plain)
        extra = next(ahead, 0)
        return extra + len(ids(text[:start])), extra + len(ids(text[:stop]))

    def _needed(self, what: str) -> Any:
        if self.tokenizer is None:
            raise DesignError(
                f"the {what} is text, but the subject has no tokenizer; give "
                "TorchSubject(model, tokenizer) or token ids"
            )
        return self.tokenizer

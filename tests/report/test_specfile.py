"""A spec as a file that reads back as itself."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossworld.report.specfile import spec_text

from .samples import spec


def test_round_trip() -> None:
    held = spec("treat -> job_seek -> depress2")
    form, text = spec_text(held)
    assert form == "toml"
    assert tomllib.loads(text) == held
    assert text.startswith("[study]\n")


def test_keys_without_a_value_are_left_out() -> None:
    form, text = spec_text({"study": {"data": None, "path": "a -> m -> y"}})
    assert form == "toml" and tomllib.loads(text) == {"study": {"path": "a -> m -> y"}}


def test_what_toml_cannot_hold_is_json() -> None:
    held = {"study": {"levels": [0, None]}}
    form, text = spec_text(held)
    assert form == "json" and json.loads(text) == held


@pytest.mark.parametrize("name", ['"', "\\", "a\nb", "\x7f", "\x00", "'''", "a.b", "", "é ] ="])
def test_hostile_strings(name: str) -> None:
    held = {"study": {"path": name, "where": {name: name}, "list": [{"k": name}]}}
    assert tomllib.loads(spec_text(held)[1]) == held


_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
_PLAIN = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), _TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXT, inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(_TEXT, _PLAIN, max_size=4))
def test_any_plain_spec_reads_back(held: dict[str, Any]) -> None:
    form, text = spec_text(held)
    assert form == "toml"
    assert tomllib.loads(text) == held

"""The path grammar."""

from __future__ import annotations

import pytest

from crossworld.errors import DesignError
from crossworld.tables.path import Path, parse_path

COLUMNS = ("a", "m", "m1", "m2", "m3", "emb_0", "emb_1", "emb_10", "y", "a+b", "x -> z", "q[1]")


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("a -> m -> y", (("m",),)),
        ("a->m->y", (("m",),)),
        ("  a  ->  m\t->  y ", (("m",),)),
        ("a -> m1 + m2 -> y", (("m1", "m2"),)),
        ("a -> m2+m1 -> y", (("m2", "m1"),)),
        ("a -> m1 -> m2 -> y", (("m1",), ("m2",))),
        ("a -> m1 + m2 -> m3 -> y", (("m1", "m2"), ("m3",))),
        ("a -> emb_* -> y", (("emb_0", "emb_1", "emb_10"),)),
        ("a -> emb_? -> y", (("emb_0", "emb_1"),)),
        ("a -> emb_[01] + m -> y", (("emb_0", "emb_1", "m"),)),
        ("a -> m[12] -> m3 -> y", (("m1", "m2"), ("m3",))),
        ("a -> a+b -> y", (("a+b",),)),
        ("a -> q[1] -> y", (("q[1]",),)),
    ],
)
def test_reads(text: str, blocks) -> None:
    assert parse_path(text, COLUMNS) == Path("a", blocks, "y")


def test_a_pattern_leaves_out_treatment_and_outcome() -> None:
    assert parse_path("a -> * -> y", ("a", "m1", "y", "m2")).mediators == ("m1", "m2")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "treatment -> mediator -> outcome"),
        ("a -> y", "treatment -> mediator -> outcome"),
        ("a m y", "treatment -> mediator -> outcome"),
        ("a -> -> y", "treatment -> mediator -> outcome"),
        ("-> m -> y", "treatment -> mediator -> outcome"),
        ("a -> m ->", "treatment -> mediator -> outcome"),
        ("a -> m + -> y", "a mediator is missing"),
        ("a -> + -> y", "a mediator is missing"),
        ("aa -> m -> y", "treatment column 'aa' is not in the table"),
        ("a -> M1 -> y", "Did you mean 'm1'?"),
        ("a -> m -> Y", "outcome column 'Y' is not in the table. Did you mean 'y'?"),
        ("a -> k_* -> y", "no column matches the pattern 'k_*'"),
        ("a -> a -> y", "'a' occurs twice"),
        ("a -> y -> y", "'y' occurs twice"),
        ("a -> m -> a", "'a' occurs twice"),
        ("a -> m + m -> y", "'m' occurs twice"),
        ("a -> m1 -> m1 -> y", "'m1' occurs twice"),
        ("a -> emb_* + emb_1 -> y", "'emb_1' occurs twice"),
    ],
)
def test_refuses(text: str, told: str) -> None:
    with pytest.raises(DesignError) as caught:
        parse_path(text, COLUMNS)
    assert told in str(caught.value)


@pytest.mark.parametrize("value", [None, 3, ["a", "m", "y"], ("a -> m -> y",)])
def test_a_path_is_text(value: object) -> None:
    with pytest.raises(DesignError, match="treatment -> mediator -> outcome"):
        parse_path(value, COLUMNS)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["a -> m -> y", "a -> m1 + m2 -> m3 -> y"])
def test_prints_as_it_reads(text: str) -> None:
    assert str(parse_path(text, COLUMNS)) == text


def test_wide_blocks_print_short() -> None:
    columns = ("a", "y", *(f"emb_{k}" for k in range(300)))
    printed = str(parse_path("a -> emb_* -> y", columns))
    assert printed == "a -> emb_0 + ... + emb_299 (300 columns) -> y"

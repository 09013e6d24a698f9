"""Columns that do not fit their roles: one clear message, through every door."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import crossworld as xw

from .command import (
    ARM,
    PATH,
    Ask,
    N,
    at,
    columns,
    crossworld,
    done,
    numbers,
    refused,
    refuses,
    write,
)

X = columns()["x"]
YES = np.where(X > 0, "yes", "no")
THREE = np.array(["lo", "mid", "hi"])[np.arange(N) % 3]


@pytest.mark.parametrize(
    ("path", "study", "fragments"),
    [
        ("aa -> m -> y", {}, ["treatment column 'aa'", "Did you mean 'a'?"]),
        ("a -> mm -> y", {}, ["mediator column 'mm'", "Did you mean 'm'?"]),
        ("a -> m + xx -> y", {}, ["mediator column 'xx'", "Did you mean 'x'?"]),
        ("a -> m -> Y", {}, ["outcome column 'Y'", "Did you mean 'y'?"]),
        (PATH, {"adjust": ["x", "xx"]}, ["adjust", "'xx'", "Did you mean 'x'?"]),
        (PATH, {"intermediate": ["xx"]}, ["intermediate column 'xx'", "Did you mean 'x'?"]),
        (PATH, {"cluster": "gg"}, ["cluster column 'gg'", "Did you mean 'g'?"]),
        (PATH, {"weights": "ww"}, ["weights column 'ww'", "Did you mean 'w'?"]),
        ("dose -> m -> y", {}, ["treatment column 'dose'", "Known are: a, x, m, y, w, g."]),
    ],
)
def test_an_unknown_column_is_named_with_the_nearest(
    door: str, path: str, study: dict, fragments: list[str]
) -> None:
    refuses(door, Ask(path=path, study=study), *fragments, "not in the table")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("a", "'a'"),
        ("a -> y", "'a -> y'"),
        ("a -> -> y", "'a -> -> y'"),
        ("a -> m -> y ->", "a -> m -> y ->"),
        ("a \u2192 m \u2192 y", "a \u2192 m \u2192 y"),
        ("y <- m <- a", "y <- m <- a"),
        ("a -> m + -> y", "a mediator is missing"),
    ],
)
def test_what_is_no_path_is_told_how_a_path_reads(door: str, path: str, words: str) -> None:
    refuses(door, Ask(path=path), "'treatment -> mediator -> outcome'", words)


@pytest.mark.parametrize(
    ("path", "study", "fragments"),
    [
        ("a -> m -> m", {}, ["'m' occurs twice"]),
        ("a -> a -> y", {}, ["'a' occurs twice"]),
        (PATH, {"adjust": ["m"]}, ["adjust names 'm'", "mediator"]),
        (PATH, {"adjust": ["x", "x"]}, ["adjust names 'x' more than once"]),
        (PATH, {"adjust": ["a"]}, ["adjust names 'a'", "treatment"]),
        (PATH, {"intermediate": ["y"]}, ["intermediate names 'y'", "outcome"]),
        (PATH, {"adjust": ["x"], "intermediate": ["x"]}, ["intermediate", "'x'", "adjust"]),
        (PATH, {"weights": "y"}, ["weights 'y'", "outcome"]),
    ],
)
def test_a_column_plays_one_part(door: str, path: str, study: dict, fragments: list[str]) -> None:
    refuses(door, Ask(path=path, study=study), *fragments)


@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        ({"a": np.ones(N)}, ["treatment 'a' is constant (1)"]),
        ({"a": ["only"] * N}, ["treatment 'a' is constant ('only')"]),
        ({"m": np.ones(N)}, ["mediator 'm' is constant (1)"]),
        ({"m": ["only"] * N}, ["mediator 'm' is constant ('only')"]),
        ({"y": np.zeros(N)}, ["outcome 'y' is constant (0)"]),
    ],
)
def test_a_constant_column_teaches_nothing(door: str, change: dict, fragments: list[str]) -> None:
    refuses(door, Ask(columns(**change)), *fragments)


@pytest.mark.parametrize("constant", [np.full(N, 3.0), np.zeros(N)])
def test_a_constant_covariate_is_named(door: str, constant: Any) -> None:
    refuses(door, Ask(columns(x=constant), study={"adjust": ["x"]}), "'x'")


def test_a_constant_text_covariate_is_named_too(door: str) -> None:
    # defect: accepted without a word, where a constant number is refused.
    refuses(door, Ask(columns(x=["only"] * N), study={"adjust": ["x"]}), "'x'")


@pytest.mark.parametrize(
    ("path", "levels", "fragments"),
    [
        (PATH, (0, 2), ["no row has 'a' at level 2", "0, 1"]),
        (PATH, (1, 1), ["levels are the same", "1"]),
        (PATH, (0, 1, 2), ["levels is a pair (reference, active)", "(0, 1, 2)"]),
        (PATH, (1,), ["levels is a pair (reference, active)"]),
        (PATH, ("lo", "hi"), ["no row has 'a' at level 'lo'", "0, 1"]),
        ("x -> m -> y", None, ["treatment 'x' has 60 values", "levels"]),
        ("x -> m -> y", (0, 100), ["'x'", "100", "from -2.32503 to 1.96026"]),
        ("g -> m -> y", None, ["treatment 'g' has 12 values (0, 1, 2", "levels"]),
    ],
)
def test_levels_are_two_values_the_treatment_takes(
    door: str, path: str, levels: Any, fragments: list[str]
) -> None:
    study = {} if levels is None else {"levels": levels}
    refuses(door, Ask(path=path, study=study), *fragments)


@pytest.mark.parametrize(
    ("levels", "fragments"),
    [
        (None, ["treatment 'a' has 3 values ('hi', 'lo', 'mid')", "levels"]),
        (("lo", "HI"), ["no row has 'a' at level 'HI'", "'hi', 'lo', 'mid'"]),
        ((0, 1), ["no row has 'a' at level 0", "'hi', 'lo', 'mid'"]),
        (("mid", "mid"), ["levels are the same", "'mid'"]),
    ],
)
def test_levels_of_a_text_treatment(door: str, levels: Any, fragments: list[str]) -> None:
    study = {} if levels is None else {"levels": levels}
    refuses(door, Ask(columns(a=THREE), study=study), *fragments)


@pytest.mark.parametrize("levels", ["NaN,1", "Infinity,0", "[0],[1]", "null,1", '{"a": 1},1', ","])
def test_levels_that_are_no_values(levels: str) -> None:
    refused(crossworld("mediate", write(columns()), PATH, "--levels", levels), "level")


def test_levels_shown_can_be_typed_again(door: str) -> None:
    """The values a message offers are values that work."""
    # defect: values are shown with six digits, so the ones offered do not occur.
    treatment = np.where(ARM == 1, 0.123456789, 0.5)
    message = refuses(door, Ask(columns(a=treatment), study={"levels": (0, 1)}), "0.5")
    assert "0.123456789" in message


@pytest.mark.parametrize(
    ("change", "study", "fragments"),
    [
        ({"x": at(at(X, 0, np.nan), 5, np.nan)}, {"adjust": ["x"]}, ["'x' (2)", "2 of 60 rows"]),
        ({"a": at(ARM, 3, np.nan)}, {}, ["'a' (1)", "1 of 60 rows"]),
        ({"w": at(X**2, 3, np.nan)}, {"weights": "w"}, ["'w' (1)", "1 of 60 rows"]),
        ({"g": [None, *"uvw" * 19, "u", "v"]}, {"cluster": "g"}, ["'g' (1)", "1 of 60 rows"]),
        (
            {"m": at(X, 3, np.nan), "y": at(X, 4, np.nan)},
            {},
            ["'m' (1)", "'y' (1)", "2 of 60 rows"],
        ),
    ],
)
def test_missing_values_are_counted_by_column(
    door: str, change: dict, study: dict, fragments: list[str]
) -> None:
    refuses(door, Ask(columns(**change), study=study), "missing values", *fragments, "drop")


@pytest.mark.parametrize("kind", ["Int64", "Float64", "boolean", "string", "category"])
def test_missing_values_of_every_pandas_type(kind: str) -> None:
    # defect: TypeErrors: float() of pandas.NA, "boolean value of NA is ambiguous".
    frame = pd.DataFrame(columns())
    frame["a"] = frame["a"].astype(kind)
    frame.loc[[3, 4], "a"] = pd.NA
    with pytest.raises(xw.errors.DesignError, match=r"missing values in 'a' \(2\)"):
        xw.TableStudy.from_frame(frame, PATH)
    assert len(xw.TableStudy.from_frame(frame, PATH, missing="drop")) == N - 2


def test_dropped_rows_are_counted_where_the_result_is_read() -> None:
    holes = columns(x=at(at(X, 0, np.nan), 5, np.nan))
    told = done(crossworld("mediate", write(holes), PATH, "--adjust", "x", "--missing", "drop"))
    assert "2 incomplete rows dropped" in told
    assert "58 units" in told


def test_missing_takes_error_or_drop(door: str) -> None:
    refuses(door, Ask(study={"missing": "dorp"}), "missing", "'dorp'", "Did you mean 'drop'?")


@pytest.mark.parametrize("missing", ["error", "drop"])
@pytest.mark.parametrize("name", ["x", "m", "y"])
def test_infinite_values_are_counted(door: str, name: str, missing: str) -> None:
    table = columns(**{name: at(at(columns()[name], 0, np.inf), 5, -np.inf)})
    study = {"adjust": ["x"], "missing": missing}
    refuses(door, Ask(table, study=study), f"infinite values in '{name}' (2)")


@pytest.mark.parametrize(
    ("weights", "fragments"),
    [
        (at(np.ones(N), 3, -1.0), ["weights 'w' are negative in 1 rows"]),
        (["heavy"] * N, ["weights 'w' are text"]),
        (np.zeros(N), ["weights 'w' are all 0"]),
        (at(np.ones(N), 3, np.inf), ["infinite values in 'w' (1)"]),
        (ARM, ["level 0"]),
    ],
)
def test_weights_are_numbers_that_count(door: str, weights: Any, fragments: list[str]) -> None:
    refuses(door, Ask(columns(w=weights), study={"weights": "w"}), *fragments)


@pytest.mark.parametrize(
    "inference",
    [{"name": "Wald"}, {"name": "Bootstrap", "draws": 30}, {"name": "Simulation", "draws": 30}],
    ids=lambda i: i["name"],
)
def test_one_cluster_says_nothing_about_its_spread(door: str, inference: dict) -> None:
    # defect: Bootstrap answers with intervals of width 0, Simulation as if rows were independent.
    ask = Ask(columns(g=np.zeros(N)), study={"cluster": "g"}, inference=inference)
    refuses(door, ask, "cluster", "1")


def test_clusters_that_are_the_arms_give_no_standard_error() -> None:
    """Each arm is one cluster: nothing varies between clusters of an arm, so te has no error."""
    # defect: te gets a standard error of 1e-15, a limit to 16 digits on each side, and p < 0.0001.
    words = ["mediate", write(columns(g=ARM)), PATH, "--cluster", "g", "--json", "r.json"]
    run = crossworld(*words)
    if run.code:
        refused(run, "cluster")
    else:
        held = json.loads(Path("r.json").read_text())
        assert held["effects"][0]["std_error"] is None
        assert any("cluster" in text and "te" in text for text in held["diagnostics"]["warnings"])


@pytest.mark.parametrize("big", [2**53, 10**18])
def test_long_cluster_ids_stay_apart(big: int) -> None:
    """Identifiers beyond 2**53 are as good as small ones."""
    # defect: ids become floats, so that neighbours fall into one cluster without a word.
    small = np.repeat(np.arange(20), 3)
    one = xw.TableStudy.from_frame(columns(g=small), PATH, cluster="g")
    two = xw.TableStudy.from_frame(columns(g=small + big), PATH, cluster="g")
    assert two.cluster is not None
    np.testing.assert_array_equal(one.cluster, two.cluster)
    write(columns(g=small + big))
    assert "in 20 clusters" in done(crossworld("mediate", "t.csv", PATH, "--cluster", "g"))


@pytest.mark.parametrize(
    ("outcome", "study", "fragments"),
    [
        (YES, {}, ["'no' and 'yes'", "event"]),
        (THREE, {}, ["text with 3 values ('hi', 'lo', 'mid')", "event"]),
        (YES, {"event": "maybe"}, ["event 'maybe' does not occur", "'no', 'yes'"]),
        ((X > 0) + 1, {}, ["1 and 2", "event=2"]),
        ((X > 0) + 1, {"event": 3}, ["event 3 does not occur", "1, 2"]),
        (X, {"event": 3}, ["event 3 does not occur in the outcome 'y'"]),
    ],
)
def test_an_outcome_is_a_number_or_has_an_event(
    door: str, outcome: Any, study: dict, fragments: list[str]
) -> None:
    refuses(door, Ask(columns(y=outcome), study=study), *fragments)


@pytest.mark.parametrize("event", ["null", "[]", "{}"])
def test_an_event_that_is_no_value_is_not_passed_over(event: str) -> None:
    """``--event null`` was typed for a reason; it must not be read as "no event"."""
    # defect: --event null is silently ignored.
    write(columns(y=(X > 0).astype(int)))
    refused(crossworld("mediate", "t.csv", PATH, "--event", event), "event", "0, 1")


@pytest.mark.parametrize("event", ["True", "true", "1"])
def test_an_event_of_a_boolean_column_is_typed_as_it_stands_in_the_file(event: str) -> None:
    # defect: True, as the csv has it, "does not occur in the outcome 'y': 0, 1".
    words = ["mediate", write(columns(y=X > 0)), PATH]
    done(crossworld(*words, "--json", "plain.json"))
    done(crossworld(*words, "--json", "event.json", "--event", event))
    assert numbers("event.json") == numbers("plain.json")


def test_levels_of_a_boolean_column_are_typed_as_they_stand_in_the_file() -> None:
    # defect: "no row has 'a' at level 'False'; its values are 0, 1".
    write(columns(a=ARM == 1))
    done(crossworld("mediate", "t.csv", PATH, "--levels", "False,True"))


@pytest.mark.parametrize("label", ["true", "1.50", "1e3", "007", "[1]"])
def test_labels_that_look_like_json_are_labels(label: str) -> None:
    """What is typed is compared with what stands in the table, not with how JSON reads it."""
    # defect: true, 1.50 and 1e3 are read as JSON and then "do not occur".
    write(columns(y=np.where(X > 0, label, "other")))
    done(crossworld("mediate", "t.csv", PATH, "--event", label))
    write(columns(a=np.where(ARM == 1, label, "other")))
    done(crossworld("mediate", "t.csv", PATH, "--levels", f"other,{label}"))


@pytest.mark.parametrize(("name", "typo"), [("m", "3..2"), ("m", "?"), ("x", "1,003")])
def test_a_number_that_is_mistyped_does_not_turn_a_column_into_categories(
    door: str, name: str, typo: str
) -> None:
    """One field that is no number among 59 that are: the column is not a category of 60 values."""
    # defect: the mediator becomes multinomial (fits, or "separation"), the covariate 60 dummies.
    table = columns(**{name: at(np.arange(N) % 7 + ARM, 8, typo)})
    table[name] = [str(v) for v in table[name]]
    refuses(door, Ask(table, study={"adjust": ["x"]}), f"'{name}'", f"'{typo}'")


@pytest.mark.parametrize(
    ("effects", "code"),
    [
        (["te", "nde", "nie"], 3),
        (["nie"], 3),
        (["Y(1, M(0))"], 3),
        (["pm"], 3),
        (["te", "iie", "ide", "oe", "cde(m=0)"], 0),
    ],
)
def test_what_an_intermediate_confounder_takes_away(
    door: str, effects: list[str], code: int
) -> None:
    ask = Ask(study={"intermediate": ["x"]}, effects=effects)
    if code == 3:
        refuses(door, ask, "`x` is affected by the treatment", effects[-1], "iie", code=3)
    else:
        ask.python()
        done(crossworld(*ask.words()))


def test_a_pattern_takes_the_columns_that_have_no_other_role() -> None:
    """As `TableStudy.from_frame` says: every matching column *that has no other role*."""
    # defect: "adjust names 'x', which is a mediator of the path already".
    study = xw.TableStudy.from_frame(
        columns(), "a -> * -> y", adjust=["x"], cluster="g", weights="w"
    )
    assert study.path.mediators == ("m",)


def test_a_pattern_that_matches_nothing(door: str) -> None:
    refuses(door, Ask(path="a -> emb_* -> y"), "pattern 'emb_*'")

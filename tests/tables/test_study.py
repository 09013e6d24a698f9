"""A table with roles: every container reads alike, every bad input is told."""

from __future__ import annotations

import datetime as dt
import gzip
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from crossworld.core.expression import Y
from crossworld.core.regime import G, M, set_
from crossworld.errors import DesignError, SpecError
from crossworld.tables.study import TableStudy

N = 40
PATH = "a -> m -> y"


def columns(**changes: Any) -> dict[str, Any]:
    """A good table; ``None`` removes a column."""
    rng = np.random.default_rng(0)
    good = {
        "a": np.arange(N) % 2,
        "m": rng.normal(size=N),
        "y": rng.normal(size=N),
        "x": rng.normal(size=N),
        "site": np.array(["north", "south", "east", "west"], dtype=object)[np.arange(N) % 4],
        "w": rng.uniform(0.5, 2.0, size=N),
    }
    return {k: v for k, v in {**good, **changes}.items() if v is not None}


def study(table: Any = None, path: str = PATH, **roles: Any) -> TableStudy:
    return TableStudy.from_frame(columns() if table is None else table, path, **roles)


def told(table: Any = None, path: str = PATH, **roles: Any) -> str:
    with pytest.raises(DesignError) as caught:
        study(table, path, **roles)
    return str(caught.value)


def at(values: Any, row: int, value: Any) -> np.ndarray:
    """The values with one replaced."""
    changed = np.array(values, dtype=object if not isinstance(value, float) else None)
    changed = changed.astype(float) if isinstance(value, float) else changed
    changed[row] = value
    return changed


def equal(one: TableStudy, two: TableStudy) -> None:
    assert (one.path, one.levels, one.adjust) == (two.path, two.levels, two.adjust)
    assert list(one.table) == list(two.table)
    for name, column in one.table.items():
        np.testing.assert_array_equal(column.values, two.table[name].values)
        assert column.labels == two.table[name].labels
    np.testing.assert_array_equal(one.cluster, two.cluster)
    np.testing.assert_array_equal(one.weights, two.weights)


def container(kind: str, folder: Path) -> Any:
    frame = pd.DataFrame(columns())
    if kind == "pandas":
        return frame
    if kind == "pandas arrow":
        return frame.convert_dtypes(dtype_backend="pyarrow")
    if kind == "pandas nullable":
        return frame.convert_dtypes()
    if kind == "polars":
        return pl.DataFrame(columns(site=columns()["site"].tolist()))
    if kind == "polars lazy":
        return pl.DataFrame(columns(site=columns()["site"].tolist())).lazy()
    if kind == "pyarrow":
        return pa.Table.from_pandas(frame)
    if kind == "dict":
        return columns()
    if kind == "dict of lists":
        return {name: list(values) for name, values in columns().items()}
    file = folder / {"csv": "t.csv", "csv.gz": "t.csv.gz", "tsv": "t.tsv"}.get(kind, "t.parquet")
    if kind == "parquet":
        frame.to_parquet(file)
    else:
        frame.to_csv(file, index=False, sep="\t" if kind == "tsv" else ",")
    return str(file) if kind == "csv" else file


@pytest.mark.parametrize(
    "kind",
    [
        "pandas",
        "pandas arrow",
        "pandas nullable",
        "polars",
        "polars lazy",
        "pyarrow",
        "dict of lists",
        "csv",
        "csv.gz",
        "tsv",
        "parquet",
    ],
)
def test_every_container_reads_alike(kind: str, tmp_path: Path) -> None:
    roles: dict[str, Any] = {"adjust": ["x", "site"], "cluster": "site", "weights": "w"}
    equal(study(container(kind, tmp_path), **roles), study(**roles))


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow", "csv", "parquet"])
def test_missing_values_are_found_in_every_container(kind: str, tmp_path: Path) -> None:
    table = pd.DataFrame(columns(m=at(columns()["m"], 3, np.nan), site=at(["n"] * N, 5, None)))
    made: Any = table
    if kind == "polars":
        made = pl.DataFrame({k: [None if v != v else v for v in table[k]] for k in table})
    elif kind == "pyarrow":
        made = pa.Table.from_pandas(table)
    elif kind != "pandas":
        made = tmp_path / f"t.{kind}"
        getattr(table, f"to_{kind}")(made, index=False)
    message = told(made, adjust=["site"])
    assert "'m' (1)" in message
    assert "'site' (1)" in message
    assert "2 of 40 rows" in message
    assert "missing='drop'" in message


def test_pandas_index_is_ignored() -> None:
    frame = pd.DataFrame(columns(), index=np.arange(N)[::-1])
    equal(study(frame), study())


def test_the_table_given_is_left_alone() -> None:
    table = columns()
    made = study(table)
    made.table["m"].values[:] = 0.0
    assert table["m"].any()


def test_roles() -> None:
    made = study(adjust=["x", "site"], cluster="site", weights="w")
    assert len(made) == N
    assert made.blocks == (("m",),)
    assert made.levels == (0.0, 1.0)
    assert made.table["site"].labels == ("east", "north", "south", "west")
    assert made.cluster.max() == 3
    np.testing.assert_array_equal(made.outcome, columns()["y"])
    np.testing.assert_array_equal(made.weights, columns()["w"])
    assert made.describe() == "a -> m -> y, adjusting for x, site, levels 0 and 1"


@pytest.mark.parametrize(
    ("treatment", "given", "expected"),
    [
        (np.arange(N) % 2 + 1, None, (1.0, 2.0)),
        (np.arange(N) % 2 == 0, None, (0.0, 1.0)),
        (np.array(["treated", "control"] * (N // 2)), None, (0.0, 1.0)),
        (np.array(["treated", "control"] * (N // 2)), ("treated", "control"), (1.0, 0.0)),
        (np.arange(N) % 3, (2, 0), (2.0, 0.0)),
        (np.arange(N) % 2, (1, 0), (1.0, 0.0)),
        (np.arange(N) % 2 == 0, (True, False), (1.0, 0.0)),
        (np.array(["a", "b", "c", "d"] * (N // 4)), ("b", "d"), (1.0, 3.0)),
        (np.linspace(0, 1, N), (0.25, 0.75), (0.25, 0.75)),
        (pd.Categorical(["lo", "hi"] * (N // 2), ["lo", "hi"], ordered=True), None, (0.0, 1.0)),
    ],
)
def test_levels(treatment: Any, given: Any, expected: tuple) -> None:
    assert study(columns(a=treatment), levels=given).levels == expected


@pytest.mark.parametrize(
    ("treatment", "given", "message"),
    [
        (np.arange(N) % 3, None, "has 3 values (0, 1, 2); say which two"),
        (np.arange(N) % 2, (0, 2), "no row has 'a' at level 2; its values are 0, 1"),
        (np.arange(N) % 2, ("no", "yes"), "no row has 'a' at level 'no'"),
        (np.arange(N) % 2, (1, 1), "levels are the same"),
        (np.arange(N) % 2, (0,), "levels is a pair"),
        (np.arange(N) % 2, (0, 1, 1), "levels is a pair"),
        (np.arange(N) % 2, "01", "levels is a pair"),
        (np.arange(N) % 2, 1, "levels is a pair"),
        (np.arange(N) % 2, (0, None), "level"),
        (np.arange(N) % 2, (0, float("nan")), "level nan"),
        (np.array(["b", "c"] * (N // 2)), ("a", "b"), "no row has 'a' at level 'a'"),
        (np.linspace(0, 1, N), (0.5, 1.5), "no row has 'a' near level 1.5"),
        (np.linspace(0, 1, N), None, "has 40 values"),
    ],
)
def test_wrong_levels(treatment: Any, given: Any, message: str) -> None:
    assert message in told(columns(a=treatment), levels=given)


@pytest.mark.parametrize(
    ("path", "roles", "message"),
    [
        ("A -> m -> y", {}, "treatment column 'A' is not in the table. Did you mean 'a'?"),
        ("a -> mm -> y", {}, "mediator column 'mm'"),
        ("a -> m -> out", {}, "outcome column 'out'"),
        (
            PATH,
            {"adjust": ["sites"]},
            "column 'sites' is not in the table. Did you mean 'site'",
        ),
        (
            PATH,
            {"cluster": "sit"},
            "cluster column 'sit' is not in the table",
        ),
        (PATH, {"weights": "W"}, "weights column 'W' is not in the table. Did you mean 'w'?"),
        (PATH, {"intermediate": ["xx"]}, "intermediate column 'xx'"),
        (PATH, {"adjust": "x"}, "write ['x']"),
        (PATH, {"adjust": [3]}, "got 3"),
        (PATH, {"adjust": ["x", "x"]}, "more than once"),
        (PATH, {"adjust": ["a"]}, "'a', which is the treatment"),
        (PATH, {"adjust": ["m"]}, "'m', which is a mediator"),
        (PATH, {"adjust": ["y"]}, "'y', which is the outcome"),
        (PATH, {"intermediate": ["y"]}, "'y', which is the outcome"),
        (PATH, {"adjust": ["x"], "intermediate": ["x"]}, "'x', which is in adjust"),
        (PATH, {"weights": "site"}, "'site' are text"),
        (PATH, {"weights": "x"}, "'x' are negative in"),
        (PATH, {"weights": "y"}, "weights"),
        (PATH, {"weights": "a"}, "'a'"),
        ("a -> k_* -> y", {}, "no column matches the pattern 'k_*'"),
    ],
)
def test_wrong_roles(path: str, roles: dict, message: str) -> None:
    assert message in told(None, path, **roles)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a": np.ones(N)}, "treatment 'a' is constant (1)"),
        ({"m": np.zeros(N)}, "mediator 'm' is constant (0)"),
        ({"m": np.array(["same"] * N)}, "mediator 'm' is constant ('same')"),
        ({"y": np.full(N, 2.5)}, "outcome 'y' is constant (2.5)"),
        ({"m": at(columns()["m"], 3, np.inf)}, "infinite values in 'm' (1)"),
        ({"y": at(columns()["y"], 3, -np.inf)}, "infinite values in 'y' (1)"),
        ({"a": at(columns()["a"], 0, np.nan)}, "missing values in 'a' (1): 1 of 40"),
        ({"m": np.full(N, np.nan)}, "missing values in 'm' (40)"),
        ({"y": np.array(["yes", "no"] * (N // 2))}, "say which one is the event, e.g. event="),
        ({"y": np.array(["a", "b", "c", "d"] * (N // 4))}, "is text with 4 values"),
        ({"y": [dt.date(2024, 1, 1 + k % 9) for k in range(N)]}, "'y'"),
        ({"m": pd.date_range("2024-01-01", periods=N)}, "'m' has type Datetime"),
        ({"m": pd.to_timedelta(np.arange(N), "D")}, "'m' has type Duration"),
        ({"m": [[1, 2]] * N}, "'m'"),
        ({"m": [{"k": 1}] * N}, "'m'"),
        ({"m": at([*range(N)], 2, "two")}, "'m' mixes int, str"),
        ({"m": at([*range(N)], 2, "7")}, "'m' mixes int, str"),
        ({"m": np.exp(1j * np.arange(N))}, "'m'"),
        ({"m": np.zeros(N - 1)}, "do not form a table"),
    ],
)
def test_wrong_columns(changes: dict, message: str) -> None:
    assert message in told(columns(**changes))


@pytest.mark.parametrize("role", ["adjust", "cluster", "weights"])
def test_missing_values_are_refused_in_every_role(role: str) -> None:
    table = columns(x=at(columns()["x"], 7, np.nan))
    assert "'x' (1)" in told(table, **{role: ["x"] if role == "adjust" else "x"})


def test_missing_values_in_unused_columns_do_not_matter() -> None:
    equal(study(columns(x=np.full(N, np.nan))), study())


def test_drop_keeps_complete_rows_and_says_how_many_went() -> None:
    m, x = at(columns()["m"], 3, np.nan), at(columns()["x"], 3, np.nan)
    x[5] = np.nan
    made = study(columns(m=m, x=x), adjust=["x"], missing="drop")
    assert len(made) == N - 2
    assert made.origin.dropped == 2
    assert dict(made.origin.dropped_by) == {"m": 1, "x": 2}
    assert "2 incomplete rows dropped" in made.describe()
    keep = np.setdiff1d(np.arange(N), [3, 5])
    np.testing.assert_array_equal(made.outcome, columns()["y"][keep])


def test_drop_renumbers_clusters_and_keeps_labels() -> None:
    m = columns()["m"].copy()
    m[columns()["site"] == "east"] = np.nan
    made = study(columns(m=m), cluster="site", missing="drop")
    assert sorted(set(made.cluster)) == [0, 1, 2]


def test_drop_of_everything_is_refused() -> None:
    assert "all 40 rows are incomplete" in told(columns(m=np.full(N, np.nan)), missing="drop")


def test_drop_that_leaves_one_arm_is_refused() -> None:
    m = np.where(columns()["a"] == 1, np.nan, columns()["m"])
    assert "'a' is constant" in told(columns(m=m), missing="drop")


def test_infinite_values_are_refused_when_missing_ones_are_dropped() -> None:
    assert "infinite" in told(columns(m=at(columns()["m"], 3, np.inf)), missing="drop")


def test_missing_takes_two_values() -> None:
    with pytest.raises(SpecError, match="Did you mean 'drop'"):
        study(missing="drp")


@pytest.mark.parametrize(
    ("outcome", "event", "ones"),
    [
        (["yes", "no"] * (N // 2), "yes", N // 2),
        (["yes", "no"] * (N // 2), "no", N // 2),
        (["a", "b", "c", "d"] * (N // 4), "b", N // 4),
        ([1, 2] * (N // 2), 2, N // 2),
        ([1.0, 2.0, 3.0, 4.0] * (N // 4), 3, N // 4),
    ],
)
def test_event_is_what_counts_as_1(outcome: list, event: Any, ones: int) -> None:
    made = study(columns(y=np.array(outcome)), event=event)
    assert set(made.outcome) == {0.0, 1.0}
    assert made.outcome.sum() == ones
    np.testing.assert_array_equal(made.outcome == 1, np.array(outcome) == event)
    assert repr(event) in made.describe()


@pytest.mark.parametrize("event", ["maybe", 3, ""])
def test_an_event_that_does_not_occur(event: Any) -> None:
    assert f"event {event!r} does not occur" in told(
        columns(y=np.array(["yes", "no"] * (N // 2))), event=event
    )


def test_boolean_columns_are_numbers() -> None:
    made = study(columns(y=columns()["y"] > 0, m=columns()["m"] > 0))
    assert set(made.outcome) == {0.0, 1.0}
    assert made.table["m"].labels is None


def test_decimal_columns_are_numbers() -> None:
    exact = [Decimal(k) / 4 for k in range(N)]
    assert study(columns(m=exact)).table["m"].values[3] == 0.75


def test_categories_keep_their_declared_order() -> None:
    declared = pd.Categorical(["lo", "mid", "hi", "mid"] * (N // 4), ["lo", "mid", "hi", "never"])
    assert study(columns(m=declared)).table["m"].labels == ("lo", "mid", "hi")


def test_weights_may_be_zero_but_not_all() -> None:
    some = np.where(np.arange(N) < 4, 0.0, 1.0)
    assert study(columns(w=some), weights="w").weights.sum() == N - 4
    assert "are all 0" in told(columns(w=np.zeros(N)), weights="w")
    assert "negative in 1 rows" in told(columns(w=at(np.ones(N), 2, -1.0)), weights="w")


def test_weights_of_zero_do_not_hide_an_empty_arm() -> None:
    assert "level" in told(columns(w=(columns()["a"] == 0).astype(float)), weights="w")


@pytest.mark.parametrize(
    "table",
    [None, 3, "", [1, 2, 3], [{"a": 1}], np.zeros((3, 3)), object(), lambda: 0, pd.Series([1, 2])],
    ids=repr,
)
def test_what_is_no_table(table: Any) -> None:
    with pytest.raises(DesignError):
        TableStudy.from_frame(table, PATH)


@pytest.mark.parametrize(
    "table",
    [{}, {"a": [], "m": [], "y": []}, pd.DataFrame(), pl.DataFrame(), {"a": 1, "m": 2, "y": 3}],
    ids=["dict", "empty columns", "pandas", "polars", "scalars"],
)
def test_tables_without_rows(table: Any) -> None:
    with pytest.raises(DesignError, match=r"no rows|do not form a table"):
        TableStudy.from_frame(table, PATH)


def test_duplicate_columns_are_refused_in_frames() -> None:
    frame = pd.DataFrame(columns())
    frame = frame.rename(columns={"x": "m"})
    assert "more than one column named 'm'" in told(frame)
    arrow = pa.table([[1], [2]], names=["m", "m"])
    assert "more than one column named 'm'" in told(arrow)


CSV_ROWS = "\n".join(f"{k % 2},{k},{k * k % 7}" for k in range(20))
FILES: dict[str, tuple[str, bytes, str]] = {
    "empty": ("t.csv", b"", "is empty"),
    "blank": ("t.csv", b"  \n\n  \n", "is empty"),
    "header only": ("t.csv", b"a,m,y\n", "no rows"),
    "one column": ("t.csv", b"a\n1\n2\n", "is not a table"),
    "prose": ("t.txt", b"Dear all,\nthe data are attached\n", "'a' is not in the table"),
    "image": ("t.png", b"\x89PNG\r\n\x1a\n\x00\x00\xff\xfe", "not a text table"),
    "nulls": ("t.csv", b"a,m,y\n\x00\x00,1,2\n", "not a text table"),
    "latin": ("t.csv", "a,m,y\nü,1,2\n".encode("latin-1"), "UTF-8"),
    "not gzip": ("t.csv.gz", b"\x1f\x8bnot gzip at all", "not a text table"),
    "gzip cut": ("t.csv.gz", gzip.compress(b"a,m,y\n" * 999)[:40], "not a text table"),
    "not parquet": ("t.parquet", b"a,m,y\n1,2,3\n", "not a readable parquet"),
    "parquet cut": ("t.parquet", b"PAR1 and nothing else", "not a readable parquet"),
    "twice": ("t.csv", f"a,m,y,m\n{CSV_ROWS}".encode(), "more than one column named 'm'"),
    "twice spaced": ("t.csv", f"a, m,y,m\n{CSV_ROWS}".encode(), "more than one column named 'm'"),
    "twice quoted": ("t.csv", f'a,"m",y,m\n{CSV_ROWS}'.encode(), "more than one column named 'm'"),
    "ragged": ("t.csv", b"a,m,y\n1,2,3\n1,2,3,4,5\n", "not a table"),
    "open quote": ("t.csv", b'a,m,y\n1,"2,3\n4,5,6\n', "not a table"),
    "json": ("t.json", b'{"a": [1, 2], "m": [1, 2], "y": [1, 2]}', "t.json"),
    "excel": ("t.xlsx", b"PK\x03\x04\x14\x00\x06\x00\xff\xfe", "not a text table"),
}


@pytest.mark.parametrize("kind", FILES)
def test_hostile_files(kind: str, tmp_path: Path) -> None:
    name, content, message = FILES[kind]
    (tmp_path / name).write_bytes(content)
    assert message in told(tmp_path / name)


def test_absent_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "jobs.csv").write_text("a,m,y\n")
    message = told(tmp_path / "job.csv")
    assert "there is no file" in message
    assert "jobs.csv" in message
    assert "there is no file" in told(tmp_path)
    assert "there is no file" in told(str(tmp_path / "no" / "such" / "folder.csv"))


@pytest.mark.parametrize(
    "text",
    [
        "a,m,y\n" + CSV_ROWS,
        "a;m;y\n" + CSV_ROWS.replace(",", ";"),
        "a\tm\ty\n" + CSV_ROWS.replace(",", "\t"),
        "\ufeffa,m,y\n" + CSV_ROWS,
        "a, m, y\n" + CSV_ROWS,
        '"a","m","y"\n' + CSV_ROWS + "\n\n",
        "a,m,y\r\n" + CSV_ROWS.replace("\n", "\r\n") + "\r\n",
    ],
    ids=["comma", "semicolon", "tab", "bom", "spaces", "quotes", "crlf"],
)
def test_dialects_of_csv(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode())
    made = study(tmp_path / "t.csv")
    np.testing.assert_array_equal(made.table["m"].values, np.arange(20.0))


def test_words_of_a_csv_are_not_numbers(tmp_path: Path) -> None:
    """``NA`` is missing; ``none`` and ``null`` may be what a category is called."""
    rows = "\n".join(f"{k % 2},{('none', 'some', 'NA')[k % 3]},{k}" for k in range(30))
    (tmp_path / "t.csv").write_text(f"a,m,y\n{rows}")
    made = study(tmp_path / "t.csv", missing="drop")
    assert made.table["m"].labels == ("none", "some")
    assert made.origin.dropped == 10


def test_a_file_is_known_by_its_digest(tmp_path: Path) -> None:
    pd.DataFrame(columns()).to_csv(tmp_path / "t.csv", index=False)
    one, two = study(tmp_path / "t.csv"), study(str(tmp_path / "t.csv"), adjust=["x"])
    assert one.sha256() == two.sha256()
    assert len(one.sha256()) == 64
    assert one.origin.data == str(tmp_path / "t.csv")


def test_digest_of_a_frame_follows_its_values() -> None:
    assert study().sha256() == study(pd.DataFrame(columns())).sha256()
    assert study().sha256() != study(columns(m=columns()["m"] + 1e-12)).sha256()
    assert study().sha256() != study(weights="w").sha256()
    assert study().sha256() != study(adjust=["x"]).sha256()


class TestCells:
    treated = staticmethod(
        lambda: study(columns(a=np.array(["lo", "mid", "hi", "mid"] * 10)), levels=("lo", "hi"))
    )

    def test_0_and_1_stand_for_reference_and_active(self) -> None:
        made = self.treated()
        assert made.level(0) == made.level("lo") == 1.0
        assert made.level(1) == made.level("hi") == 0.0
        assert made.level("mid") == 2.0
        with pytest.raises(DesignError, match="'low' is not a level of the treatment 'a'"):
            made.level("low")

    def test_levels_of_a_swapped_treatment(self) -> None:
        assert study(levels=(1, 0)).level(0) == 1.0

    @pytest.mark.parametrize(
        "cell", [Y(1), Y("mid", M(0)), Y(1, G("mid")), Y(1, set_(2.5)), Y(0, set_(m=-1))], ids=str
    )
    def test_cells_it_holds(self, cell: Any) -> None:
        made = self.treated()
        made.check([cell.bind(made.blocks)])

    @pytest.mark.parametrize(
        ("cell", "message"),
        [
            (Y("none"), "'none' is not a level"),
            (Y(2), "2 is not a level"),
            (Y(1, M("none")), "'none' is not a level"),
            (Y(1, G(3)), "3 is not a level"),
            (Y(1, set_("high")), "fixes mediator 'm' at 'high'"),
            (Y(1, M(0, "shuffle")), "no edited mediators"),
            (Y(1, set_(float("nan"))), "fixes mediator 'm'"),
        ],
        ids=lambda v: str(v)[:20],
    )
    def test_cells_it_lacks(self, cell: Any, message: str) -> None:
        made = self.treated()
        with pytest.raises(DesignError, match=message.replace("(", r"\(")):
            made.check([cell.bind(made.blocks)])

    def test_a_text_mediator_is_fixed_at_a_category_it_has(self) -> None:
        made = study(None, "a -> site -> y")
        made.check([Y(1, set_("north")).bind(made.blocks)])
        with pytest.raises(DesignError, match="'east', 'north'"):
            made.check([Y(1, set_("up")).bind(made.blocks)])

    def test_a_joint_block_has_one_regime(self) -> None:
        made = study(None, "a -> m + x -> y")
        for cell in (Y(1, M(0)), Y(1, set_(m=1, x=2)), Y(1, m=0, x=0)):
            made.check([cell.bind(made.blocks)])
        for cell in (Y(1, m=0), Y(1, m=G(0)), Y(1, set_(m=1))):
            with pytest.raises(DesignError, match="joint block m \\+ x"):
                made.check([cell.bind(made.blocks)])
        ordered = study(None, "a -> m -> x -> y")
        ordered.check([Y(1, m=0).bind(ordered.blocks)])


class TestTake:
    def test_rows_repeat_and_stay_in_their_cluster(self) -> None:
        made = study(adjust=["x"], cluster="site", weights="w")
        rows = np.array([5, 5, 9, 0])
        part = made.take(rows)
        np.testing.assert_array_equal(part.outcome, made.outcome[rows])
        np.testing.assert_array_equal(part.weights, made.weights[rows])
        assert part.cluster[0] == part.cluster[1] == part.cluster[2] != part.cluster[3]
        assert len(made) == N

    def test_levels_survive_when_an_arm_is_absent(self) -> None:
        assert study().take(np.array([0, 2, 4])).levels == (0.0, 1.0)


class TestSpec:
    def test_minimal(self) -> None:
        assert study().spec() == {
            "kind": "table",
            "data": None,
            "path": PATH,
            "adjust": [],
            "levels": [0, 1],
        }

    def test_everything(self, tmp_path: Path) -> None:
        file = tmp_path / "t.csv"
        pd.DataFrame(columns(y=np.array(["yes", "no"] * (N // 2)))).to_csv(file, index=False)
        roles: dict[str, Any] = {
            "adjust": ["x"],
            "levels": (1, 0),
            "cluster": "site",
            "weights": "w",
            "missing": "drop",
            "event": "yes",
        }
        spec = study(file, **roles).spec()
        again = {k: v for k, v in spec.items() if k not in ("kind", "data", "path")}
        equal(study(spec["data"], spec["path"], **again), study(file, **roles))
        assert again == {**roles, "levels": [1, 0]}

    def test_text_levels(self) -> None:
        made = study(columns(a=np.array(["b", "a"] * (N // 2))), levels=("b", "a"))
        assert made.spec()["levels"] == ["b", "a"]


class TestIdentify:
    def test_natural_effects_are_identified_by_adjustment(self) -> None:
        from crossworld.core.effects import CDE, NIE, TE

        found = study(adjust=["x"]).identify([NIE])
        assert found.identified
        assert found.by == "adjustment"
        assert found.adjust == ("x",)
        crossing = [a.name for a in found.assumptions]
        assert "no effect of the treatment on a mediator-outcome confounder" in crossing
        for question in (TE, CDE(0)):
            plain = [a.name for a in study(adjust=["x"]).identify([question]).assumptions]
            assert "no effect of the treatment on a mediator-outcome confounder" not in plain

    def test_an_intermediate_confounder_stands_in_the_way_of_natural_effects(self) -> None:
        from crossworld.core.effects import IIE, NDE, TE

        made = study(intermediate=["x"])
        found = made.identify([TE, NDE])
        assert not found.identified
        assert found.offending == ("x",)
        assert "`x` is affected by the treatment" in found.reason
        assert "nde is not identified" in found.reason
        assert "te" in found.instead
        assert made.identify([TE, IIE]).identified


@pytest.mark.parametrize("digits", [1, 3, 10])
def test_arrow_decimals_of_any_width(digits: int) -> None:
    given = columns()
    arm = pa.array(given["a"].astype(int)).cast(pa.decimal128(digits + 19, 0))
    arm = arm.cast(pa.decimal128(digits, 0))
    found = study(pa.table({**{k: pa.array(v) for k, v in given.items()}, "a": arm}))
    assert found.table["a"].values.tolist() == given["a"].tolist()


def test_a_header_with_spaces_around_its_names(tmp_path: Path) -> None:
    file = tmp_path / "by hand.csv"
    rows = "".join(f" {k % 2} , {k % 5 + k % 2} , {k % 7} \n" for k in range(40))
    file.write_text(" a , m , y \n" + rows)
    found = TableStudy.from_frame(file, "a -> m -> y")
    assert found.outcome.tolist() == [k % 7 for k in range(40)]

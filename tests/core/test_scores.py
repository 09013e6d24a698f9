"""Scores: means, selection, and the files they are exchanged in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crossworld.core.expression import Cell, Y
from crossworld.core.regime import G, M, set_
from crossworld.core.scores import FORMAT, Scores
from crossworld.errors import CrossworldError, DesignError, EstimationError

CELLS = (Y(0), Y(1, M(0)), Y(1))
EVERY_KIND = (
    Y(1),
    Y(0, M(1)),
    Y(1, G(0)),
    Y(1, set_(3.5)),
    Y(1, set_(anxiety=3, mood="low")),
    Y("high", M("low")),
    Y("it's", M('say "hi"')),
    Y(1, anxiety=0, anger=G(0)),
    Y(1, M(0, "shuffle")),
    Y(2.5, m=M(-1, "cut")),
    Y(1).quantile(0.9),
    Y(1, M(0)).cdf(-2.5),
    Y(1).survival(1e-7),
    Y(1).rmst(365.25),
)
SUFFIXES = [".npz", ".parquet"]


def made(cells: tuple[Cell, ...] = CELLS, n: int = 12, **parts: object) -> Scores:
    values = np.random.default_rng(0).normal(size=(n, len(cells)))
    return Scores(values, cells, **parts)  # type: ignore[arg-type]


def same(one: Scores, two: Scores) -> bool:
    pairs = [
        (one.values, two.values),
        (one.cluster, two.cluster),
        (one.weights, two.weights),
        (one.classic, two.classic),
    ]
    return (
        one.cells == two.cells
        and one.influence == two.influence
        and all((a is None) == (b is None) for a, b in pairs)
        and all(np.array_equal(a, b) for a, b in pairs if a is not None and b is not None)
    )


def test_mean_is_the_weighted_mean_and_its_influence_sums_to_zero() -> None:
    weights = np.random.default_rng(1).uniform(0, 2, 12)
    held = made(weights=weights)
    for j, cell in enumerate(CELLS):
        estimate = held.mean(cell)
        assert estimate.value == pytest.approx(np.average(held.values[:, j], weights=weights))
        assert estimate.influence.sum() == pytest.approx(0.0, abs=1e-12)
    assert held.means() == pytest.approx([held.mean(c).value for c in CELLS])


def test_influence_is_the_derivative_in_each_units_weight() -> None:
    weights = np.random.default_rng(1).uniform(0.5, 2, 12)
    held, step = made(weights=weights), 1e-6
    influence = held.mean(Y(1)).influence
    for i in range(12):
        up, down = (np.where(np.arange(12) == i, weights + s, weights) for s in (step, -step))
        slope = (made(weights=up).means()[2] - made(weights=down).means()[2]) / (2 * step)
        assert influence[i] / 12 == pytest.approx(weights[i] * slope, rel=1e-5, abs=1e-8)


def test_unit_weights_change_nothing() -> None:
    plain, weighted = made(), made(weights=np.ones(12))
    for cell in CELLS:
        one, two = plain.mean(cell), weighted.mean(cell)
        assert one.value == pytest.approx(two.value, rel=1e-14)
        assert one.std_error == pytest.approx(two.std_error, rel=1e-12)


def test_classic_mean_has_the_classic_covariance() -> None:
    root = np.random.default_rng(2).normal(size=(5, 3))
    held = made(classic=root)
    covariance = root.T @ root
    for j, one in enumerate(CELLS):
        for k, two in enumerate(CELLS):
            found = held.classic_mean(one).covariance(held.classic_mean(two))
            assert found == pytest.approx(covariance[j, k])
    with pytest.raises(DesignError, match="vcov='sandwich'"):
        made().classic_mean(Y(1))


def test_select_keeps_the_columns_of_the_cells_asked() -> None:
    held = made(classic=np.arange(6.0).reshape(2, 3))
    part = held.select([Y(1), Y(0)])
    assert part.cells == (Y(1), Y(0))
    assert np.array_equal(part.values, held.values[:, [2, 0]])
    assert np.array_equal(part.classic, [[2.0, 0.0], [5.0, 3.0]])
    with pytest.raises(DesignError, match=r"Y\(0, M\(1\)\) was not scored"):
        held.select([Y(0, M(1))])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"values": np.zeros((3, 2))}, "do not fit 3 cells"),
        ({"values": np.zeros(3)}, "do not fit 3 cells"),
        ({"values": np.zeros((0, 3))}, "no units"),
        ({"values": np.full((4, 3), np.nan)}, "4 of 4 units have non-finite"),
        ({"values": np.array([[0, 0, np.inf], [0, 0, 0]])}, r"1 of 2 units.* in Y\(1\)"),
        ({"cluster": np.zeros(3, dtype=int)}, r"cluster has shape \(3,\)"),
        ({"weights": np.ones((12, 1))}, "weights has shape"),
    ],
)
def test_shapes_and_values_are_checked(change: dict, told: str) -> None:
    parts = {"values": np.zeros((12, 3)), "cells": CELLS, **change}
    with pytest.raises(EstimationError, match=told):
        Scores(**parts)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"cluster": np.repeat(np.arange(4), 3)},
        {"weights": np.linspace(0, 2, 12)},
        {"influence": False},
        {"classic": np.random.default_rng(3).normal(size=(4, 3))},
        {
            "cluster": np.arange(12) % 5,
            "weights": np.ones(12),
            "classic": np.eye(3),
        },
    ],
    ids=["plain", "cluster", "weights", "plug-in", "classic", "all"],
)
def test_files_hold_every_part(tmp_path: Path, suffix: str, parts: dict) -> None:
    held = made(**parts)
    held.save(tmp_path / f"scores{suffix}")
    assert same(Scores.load(tmp_path / f"scores{suffix}"), held)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("cell", EVERY_KIND, ids=str)
def test_files_hold_every_kind_of_cell(tmp_path: Path, suffix: str, cell: Cell) -> None:
    held = made((cell, Y(0)))
    held.save(str(tmp_path / f"scores{suffix}"))
    assert same(Scores.load(str(tmp_path / f"scores{suffix}")), held)


@pytest.mark.parametrize(
    "cell",
    [
        Y(1).quantile(0.123456789),
        Y(1).cdf(123456.789),
        Y(1, set_(0.1 + 0.2)),
        Y(1, **{"job.seek": 0}),
        Y(1, **{"job seek": M(0)}),
        Y(1, **{"class": 0}),
    ],
    ids=["quantile", "cdf", "level", "dot", "space", "keyword"],
)
def test_files_hold_awkward_names_and_numbers(tmp_path: Path, cell: Cell) -> None:
    """A column may have any name and an argument all its digits."""
    made((cell, Y(0))).save(tmp_path / "scores.npz")
    assert Scores.load(tmp_path / "scores.npz").cells == (cell, Y(0))


def test_npz_needs_no_pickle(tmp_path: Path) -> None:
    made(cluster=np.arange(12)).save(tmp_path / "scores.npz")
    with np.load(tmp_path / "scores.npz", allow_pickle=False) as held:
        assert str(held["format"]) == FORMAT
        assert all(held[name].dtype != object for name in held.files)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_appear_whole(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(DesignError, match="folder"):
        made().save(tmp_path / "absent" / f"scores{suffix}")
    made().save(tmp_path / f"scores{suffix}")
    made(n=5).save(tmp_path / f"scores{suffix}")
    assert len(Scores.load(tmp_path / f"scores{suffix}")) == 5
    assert [p.name for p in tmp_path.iterdir()] == [f"scores{suffix}"]


def broken(folder: Path, kind: str) -> Path:
    good = {"values": np.zeros((3, 1)), "cells": np.array(["Y(1)"]), "format": np.array(FORMAT)}
    changes: dict[str, dict] = {
        "no cells": {"cells": None},
        "no values": {"values": None},
        "another format": {"format": np.array("crossworld-scores/99")},
        "cells that are no cells": {"cells": np.array(["Y(1) - Y(0)"])},
        "cells that are code": {"cells": np.array(["__import__('os').getcwd()"])},
        "cells that do not parse": {"cells": np.array(["Y(1,"])},
        "an empty cell": {"cells": np.array([""])},
        "cells as one text": {"cells": np.array("Y(1)")},
        "text values": {"values": np.array([["a"], ["b"], ["c"]])},
        "complex values": {"values": np.array([[1j], [2j], [3j]])},
        "flat values": {"values": np.zeros(3)},
        "missing values": {"values": np.full((3, 1), np.nan)},
        "a short cluster": {"cluster": np.zeros(2)},
        "text weights": {"weights": np.array(["a", "b", "c"])},
        "negative weights": {"weights": np.array([1.0, -1.0, 1.0])},
        "zero weights": {"weights": np.zeros(3)},
        "a classic of another size": {"classic": np.eye(4)},
        "objects": {"values": np.array([[object()]] * 3)},
    }
    file = folder / "scores.npz"
    if kind in changes:
        parts = {k: v for k, v in {**good, **changes[kind]}.items() if v is not None}
        np.savez(file, **parts)
    elif kind == "text":
        file.write_text("values,cells\n1,2\n")
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "cut short":
        np.savez(file, **good)
        file.write_bytes(file.read_bytes()[:200])
    elif kind == "one array":
        file = folder / "scores.npy"
        np.save(file, np.zeros(3))
    elif kind == "a folder":
        file.mkdir()
    return file


@pytest.mark.parametrize(
    "kind",
    [
        "absent",
        "a folder",
        "empty",
        "text",
        "cut short",
        "one array",
        "objects",
        "no cells",
        "no values",
        "another format",
        "cells that are no cells",
        "cells that are code",
        "cells that do not parse",
        "an empty cell",
        "cells as one text",
        "text values",
        "complex values",
        "flat values",
        "missing values",
        "a short cluster",
        "text weights",
        "negative weights",
        "zero weights",
        "a classic of another size",
    ],
)
def test_hostile_npz_is_refused_with_a_message(tmp_path: Path, kind: str) -> None:
    with pytest.raises(CrossworldError):
        Scores.load(broken(tmp_path, kind))


@pytest.mark.parametrize("kind", ["absent", "empty", "text", "no cells", "text column", "json"])
def test_hostile_parquet_is_refused_with_a_message(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "scores.parquet"
    if kind == "empty":
        file.write_bytes(b"")
    elif kind == "text":
        file.write_text("Y(1)\n1\n")
    elif kind == "no cells":
        pq.write_table(pa.table({"revenue": [1.0, 2.0]}), file)
    elif kind == "text column":
        pq.write_table(pa.table({"Y(1)": ["a", "b"]}), file)
    elif kind == "json":
        table = pa.table({"Y(1)": [1.0]}).replace_schema_metadata({"cells": "not json"})
        pq.write_table(table, file)
    with pytest.raises(CrossworldError):
        Scores.load(file)


def test_parquet_of_other_tools_is_read(tmp_path: Path) -> None:
    """Only the columns are needed: cells by name, ``cluster`` and ``weights`` if they are there."""
    file = tmp_path / "scores.parquet"
    pq.write_table(
        pa.table({"Y(1)": [1.0, 2.0], "Y(1, M(0))": [0.0, 1.0], "cluster": ["b", "a"]}), file
    )
    held = Scores.load(file)
    assert held.cells == (Y(1), Y(1, M(0)))
    assert held.cluster.tolist() == [1, 0]
    assert held.influence

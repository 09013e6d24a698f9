"""Mistakes of people who write Python: the same care as on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import crossworld as xw
from crossworld.errors import CrossworldError

from .command import PATH, columns

FRAME = pd.DataFrame(columns())


def told(call: Any) -> str:
    with pytest.raises(CrossworldError) as caught:
        call()
    message = str(caught.value)
    assert len(message) < 1200
    return message


def study(**options: Any) -> xw.TableStudy:
    return xw.TableStudy.from_frame(FRAME, options.pop("path", PATH), **options)


@pytest.mark.parametrize("value", ["x", 3, None, [3]])
def test_adjust_is_a_list_of_names(value: Any) -> None:
    # defect: TypeErrors for 3 and None.
    assert "list of column names" in told(lambda: study(adjust=value))


@pytest.mark.parametrize(
    "names", [("x",), np.array(["x"]), pd.Index(["x"]), {"x"}, (n for n in ["x"])]
)
def test_any_collection_of_names_will_do(names: Any) -> None:
    # defect: a numpy array leaves np.str_ in the study.
    found = study(adjust=names)
    assert found.adjust == ("x",)
    assert type(found.adjust[0]) is str, "numpy text would end up in specs"


@pytest.mark.parametrize("value", [3, ["g"], FRAME["g"], FRAME["g"].to_numpy()], ids=type)
@pytest.mark.parametrize("role", ["cluster", "weights"])
def test_cluster_and_weights_are_names_of_columns(role: str, value: Any) -> None:
    # defect: a column that is passed as such is printed whole, line by line.
    message = told(lambda: study(**{role: value}))
    assert f"{role} is the name of a column" in message
    assert "\n" not in message


@pytest.mark.parametrize("levels", [[0, 1], (0, 1), np.array([0, 1]), (np.int64(0), np.int64(1))])
def test_levels_are_any_pair(levels: Any) -> None:
    # defect: a numpy pair is refused, "levels is a pair (reference, active), got array([0, 1])".
    assert study(levels=levels).levels == (0.0, 1.0)


@pytest.mark.parametrize("levels", [3, {0, 1}, {0: 1}, "01", (None, 1), (0, 1j), ([0], [1])])
def test_what_is_no_pair_of_levels(levels: Any) -> None:
    assert "level" in told(lambda: study(levels=levels))


@pytest.mark.parametrize(
    "frame", [None, 3, [1, 2], FRAME["a"], FRAME.to_numpy(), "", Path("none.csv")], ids=type
)
def test_what_is_no_frame(frame: Any) -> None:
    told(lambda: xw.TableStudy.from_frame(frame, PATH))


@pytest.mark.parametrize("path", [None, 3, ["a", "m", "y"], Path("a -> m -> y")])
def test_what_is_no_path(path: Any) -> None:
    assert "a path reads 'treatment -> mediator -> outcome'" in told(lambda: study(path=path))


@pytest.mark.parametrize(
    ("given", "fragments"),
    [
        # defect: AttributeErrors and TypeErrors from inside.
        ((FRAME, xw.Regression()), ["DataFrame", "TableStudy.from_frame"]),
        ((None, xw.Regression()), ["None", "TableStudy"]),
        (("t.csv", xw.Regression()), ["'t.csv'", "TableStudy"]),
        (("study", xw.Regression), ["Regression", "xw.Regression()"]),
        (("study", "Regression"), ["'Regression'", "xw.Regression()"]),
        (("study", None), ["None", "xw.Regression()"]),
        ((xw.Regression(), "study"), ["Regression"]),
    ],
)
def test_estimate_takes_a_study_and_an_estimator(given: tuple, fragments: list[str]) -> None:
    held = [study() if isinstance(part, str) and part == "study" else part for part in given]
    message = told(lambda: xw.estimate(*held))
    for fragment in fragments:
        assert fragment in message


@pytest.mark.parametrize("inference", [xw.Wald, "Wald", 3])
def test_inference_is_a_value(inference: Any) -> None:
    # defect: "Wald.infer() missing 1 required positional argument: 'estimands'".
    message = told(lambda: xw.estimate(study(), xw.Regression(), inference=inference))
    assert "xw.Wald()" in message


@pytest.mark.parametrize("level", ["0.95", None, True, 95, 0, 1, float("nan")])
def test_level_is_a_number_between_0_and_1(level: Any) -> None:
    message = told(lambda: xw.estimate(study(), xw.Regression(), level=level))
    assert "level" in message
    assert "between 0 and 1" in message


@pytest.mark.parametrize("kind", [xw.Bootstrap, xw.Simulation])
@pytest.mark.parametrize("field", ["draws", "seed", "workers"])
def test_whole_numbers_of_numpy_are_whole_numbers(kind: Any, field: str) -> None:
    # defect: "draws must be a whole number of at least 20, got np.int64(30)".
    made = kind(**{"draws": 30, field: np.int64(30)})
    plain = kind(**{"draws": 30, field: 30})
    one, two = (xw.estimate(study(), xw.Regression(), inference=i) for i in (made, plain))
    assert one.rows == two.rows
    assert one.to_dict()["spec"] == two.to_dict()["spec"]


@pytest.mark.parametrize("make", [lambda: xw.CDE(None), lambda: xw.CDE([1]), lambda: xw.Y(None)])
def test_levels_and_values_in_expressions(make: Any) -> None:
    # defect: "bad operand type for abs()".
    assert "None" in (message := told(make)) or "[1]" in message


@pytest.mark.parametrize("expr", ["te", 3, None])
def test_an_estimand_is_made_of_cells(expr: Any) -> None:
    # defect: "'str' object has no attribute 'bind'".
    message = told(lambda: xw.estimate(study(), xw.Regression(), [xw.Estimand("mine", expr)]))
    assert "mine" in message
    assert repr(expr) in message


def test_an_unknown_term_of_a_result() -> None:
    found = xw.estimate(study(), xw.Regression())
    with pytest.raises(KeyError, match="Did you mean 'nie'"):
        found["nei"]


@pytest.mark.parametrize("text", ["{}", "[]", "[" * 50_000, '{"schema": "crossworld/1"}', "a,m,y"])
def test_what_is_no_result_file(text: str) -> None:
    Path("r.json").write_text(text)
    assert "'r.json'" in told(lambda: xw.EffectTable.from_json("r.json"))


@pytest.mark.parametrize("target", ["folder", "none/r.json"])
def test_where_python_cannot_write(target: str) -> None:
    Path("folder").mkdir()
    found = xw.estimate(study(), xw.Regression())
    for write in (found.to_json, found.report):
        assert f"cannot write {target!r}" in told(lambda write=write: write(target))

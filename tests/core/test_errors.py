"""Messages say what is wrong, the value seen, and the likely fix."""

from __future__ import annotations

import pytest

from crossworld import errors
from crossworld.errors import DesignError, MissingExtraError, SpecError, hint


def test_nearest_name_is_suggested() -> None:
    error = DesignError.missing_column("jobseek", "mediator", ["treat", "job_seek", "age"])
    assert str(error) == "mediator column 'jobseek' is not in the table. Did you mean 'job_seek'?"
    assert str(SpecError.unknown("effect", "nei", ["nde", "nie"])) == (
        "unknown effect 'nei'. Did you mean 'nie'?"
    )
    assert hint("AGE", ["age", "sex"]) == "Did you mean 'age'?"


def test_without_a_near_name_all_are_listed() -> None:
    assert hint("zzz", ["age", "sex"]) == "Known are: age, sex."
    assert hint("zzz", []) == "There are none."
    many = hint("zzz", [f"column{k}" for k in range(40)])
    assert "column11" in many
    assert "column12" not in many
    assert "40 in all" in many


def test_exit_codes() -> None:
    codes = {
        name: kind.exit_code
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.CrossworldError)
    }
    assert codes.pop("NotIdentifiedError") == 3
    assert set(codes.values()) == {2}


def test_errors_are_value_errors_and_warnings_user_warnings() -> None:
    assert issubclass(errors.CrossworldError, ValueError)
    assert issubclass(errors.CrossworldWarning, UserWarning)


def test_missing_extra_names_the_install_command() -> None:
    error = MissingExtraError.for_feature("Boosting on a GPU", "gpu")
    assert "pip install 'crossworld[gpu]'" in str(error)


@pytest.mark.parametrize("available", [[1, 2], ["a", 3.5]])
def test_hint_takes_names_of_any_type(available: list) -> None:
    assert str(available[0]) in hint("zzz", available)

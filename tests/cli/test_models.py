"""Models that the data cannot determine: which column, in which model, and what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

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

RNG = np.random.default_rng(3)
X = columns()["x"]
COIN = RNG.integers(0, 2, N)
THREE = RNG.integers(0, 3, N)
LETTER = np.array(["u", "v", "z"])[THREE]


@pytest.mark.parametrize(
    ("change", "study", "estimator", "fragments"),
    [
        # every event has x > 0
        ({"y": (X > 0) * 1}, {"adjust": ["x"]}, {}, ["'x'", "'y'", "y ~ a + m + x", "logit"]),
        # every treated unit has the event, of the others some have
        ({"y": np.where(ARM == 1, 1, COIN)}, {}, {}, ["'a'", "'y'", "y ~ a + m", "logit"]),
        ({"y": np.where(ARM == 1, 0, COIN)}, {}, {}, ["'a'", "'y'", "logit"]),
        (
            {"y": np.where(ARM == 1, 1, COIN)}, {}, {"outcome_family": "probit"},
            ["'a'", "'y'", "probit"],
        ),
        ({"m": ARM}, {}, {}, ["'a'", "'m'", "m ~ a", "logit"]),
        ({"m": 1 - ARM}, {}, {}, ["'a'", "'m'", "logit"]),
        ({"m": np.where(ARM == 1, 1, COIN)}, {}, {}, ["'a'", "'m'", "logit"]),
        ({"m": np.where(ARM == 1, "u", LETTER)}, {}, {}, ["'a'", "'m'", "multinomial"]),
        (
            {"m": np.where(X > 0.5, "u", np.where(X > -0.5, "v", "z"))}, {"adjust": ["x"]}, {},
            ["'x'", "'m'", "multinomial"],
        ),
        ({"m": COIN, "y": COIN}, {}, {}, ["'m'", "'y'", "y ~ a + m", "logit"]),
        ({"y": ARM}, {}, {}, ["'a'", "'y'", "logit"]),
    ],
)  # fmt: skip
def test_separation_names_the_column_that_separates(
    door: str, change: dict, study: dict, estimator: dict, fragments: list[str]
) -> None:
    ask = Ask(columns(**change), study=study, estimator=estimator)
    refuses(door, ask, "separation", *fragments)


@pytest.mark.parametrize(
    ("change", "estimator", "fragments"),
    [
        # defect: "did not converge: look for categories with few rows": no column, no arm.
        ({"m": np.where(ARM == 1, 2, COIN)}, {"mediator_family": "ordinal"}, ["'a'", "ordinal"]),
        (
            {"m": np.where(ARM == 1, 0, THREE)}, {"mediator_family": "poisson"},
            ["'a'", "poisson"],
        ),
        ({"y": np.where(ARM == 1, 0, THREE)}, {"outcome_family": "poisson"}, ["'a'", "poisson"]),
        (
            {"y": np.where(ARM == 1, 0, RNG.poisson(RNG.gamma(1.0, 3.0, N)))},
            {"outcome_family": "negative-binomial"}, ["'a'", "negative-binomial"],
        ),
        # defect: "a fitted risk reaches 1" where the risk of the treated is 0.
        (
            {"y": np.where(ARM == 1, 0, COIN)}, {"outcome_family": "log-binomial"},
            ["'a'", "log-binomial"],
        ),
    ],
    ids=["ordinal", "poisson mediator", "poisson", "negative-binomial", "log-binomial"],
)  # fmt: skip
def test_an_arm_without_any_event_is_named_in_every_family(
    change: dict, estimator: dict, fragments: list[str]
) -> None:
    ask = Ask(columns(**change), estimator=estimator)
    message = refuses("mediate", ask, "separation", *fragments)
    assert "reaches 1" not in message


def test_counts_that_vary_less_than_poisson_are_told_to_take_poisson() -> None:
    # defect: "did not converge: look for categories with few rows".
    ask = Ask(columns(y=RNG.integers(3, 6, N)), estimator={"outcome_family": "negative-binomial"})
    refuses("mediate", ask, "negative-binomial", "'y'", "poisson")


def test_a_log_binomial_risk_of_one_says_so(door: str) -> None:
    ask = Ask(columns(y=np.where(ARM == 1, 1, COIN)), estimator={"outcome_family": "log-binomial"})
    refuses(door, ask, "log-binomial", "'y'", "a fitted risk reaches 1", "poisson", "logit")


def test_data_short_of_separation_are_fitted() -> None:
    """Two units on the wrong side of the line: extreme, but the maximum exists."""
    order = np.argsort(X)
    events = (X > 0).astype(float)
    for row in (*order[20:24], *order[-24:-20]):
        events[row] = 1.0 - events[row]
    done(crossworld(*Ask(columns(y=events), study={"adjust": ["x"]}).words()))


@pytest.mark.parametrize(
    ("change", "adjust", "fragments"),
    [
        ({"z": X}, ["x", "z"], ["'x'", "'z'"]),
        ({"z": 2.0 * X + 3.0}, ["x", "z"], ["'x'", "'z'"]),
        ({"z": X + 1e-12 * columns()["m"]}, ["x", "z"], ["'x'", "'z'"]),
        ({"x": ARM}, ["x"], ["'x'", "'a'"]),
        ({"x": np.where(ARM == 1, "t", "c")}, ["x"], ["x", "'a'"]),
        (
            {"d0": (THREE == 0) * 1, "d1": (THREE == 1) * 1, "d2": (THREE == 2) * 1},
            ["d0", "d1", "d2"], ["'d0'", "'d1'", "'d2'"],
        ),
    ],
    ids=["a copy", "rescaled", "nearly a copy", "the treatment", "as text", "dummy trap"],
)  # fmt: skip
def test_collinear_covariates_are_named(
    door: str, change: dict, adjust: list[str], fragments: list[str]
) -> None:
    ask = Ask(columns(**change), study={"adjust": adjust})
    refuses(door, ask, "perfect collinearity", "'m ~ a + ", *fragments)


def test_a_mediator_that_copies_the_treatment(door: str) -> None:
    ask = Ask(columns(a=np.arange(N) % 3, m=np.arange(N) % 3 * 2.0), study={"levels": (0, 1)})
    refuses(door, ask, "perfect collinearity", "'y ~ a + m'", "'m'", "'a'")


@pytest.mark.parametrize("factor", [1e300, 1e-300])
@pytest.mark.parametrize("name", ["x", "m"])
def test_a_column_far_from_1_is_fitted_or_said_to_be_far_from_1(name: str, factor: float) -> None:
    """Whatever the unit of a column, it is no combination of nothing, and not 0 in every row."""
    # defect: "linear combination of  (1 of 3 columns", with RuntimeWarnings; "is 0 in every row".
    table = columns(**{name: columns()[name] * factor})
    run = crossworld("mediate", write(table), PATH, "--adjust", "x")
    if run.code:
        message = refused(run, f"'{name}'")
        assert "combination of  (" not in message
        assert "is 0 in every row" not in message


def test_fewer_rows_than_parameters(door: str) -> None:
    table = {k: v[:6] for k, v in columns().items()}
    ask = Ask(table, study={"adjust": ["x"]}, estimator={"outcome": "y ~ a * m * x"})
    refuses(door, ask, "'y ~ a * m * x' has 8 parameters but only 6 rows")


def test_a_category_for_every_row(door: str) -> None:
    ask = Ask(columns(x=[f"id{k}" for k in range(N)]), study={"adjust": ["x"]})
    refuses(door, ask, "'m ~ a + x' has 61 parameters but only 60 rows")


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_tables_of_a_few_rows(door: str, rows: int) -> None:
    refuses(door, Ask({k: v[:rows] for k, v in columns().items()}))


@pytest.mark.parametrize(
    ("estimator", "fragments"),
    [
        ({"mediator_family": "gausian"}, ["family 'gausian'", "Did you mean 'gaussian'?"]),
        ({"outcome_family": "Poisson"}, ["family 'Poisson'", "Did you mean 'poisson'?"]),
        ({"outcome_family": "logit"}, ["outcome 'y' has 60 values", "logit needs two"]),
        ({"mediator_family": "probit"}, ["mediator 'm' has 60 values", "probit needs two"]),
        ({"outcome_family": "poisson"}, ["outcome 'y' is no count", "poisson"]),
        ({"mediator_family": "multinomial"}, ["mediator 'm' has 60 values", "multinomial"]),
        ({"outcome_family": "ordinal"}, ["ordinal outcome", "event"]),
        ({"mediator_family": {"q": "logit"}}, ["'q'", "Known are: m"]),
        ({"mediator_family": {"m": "logt"}}, ["family 'logt'", "Did you mean 'logit'?"]),
        ({"population": "treted"}, ["population", "'treted'", "Did you mean 'treated'?"]),
        ({"at": {"z": 0}}, ["at holds 'z'", "x"]),
        ({"at": {"x": "high"}}, ["at holds 'x' at 'high'"]),
        ({"at": {"m": 0}}, ["at holds 'm'", "no covariate"]),
        ({"rare_outcome": True}, ["rare_outcome", "logit", "'y'"]),
    ],
)
def test_options_of_the_regression_engine(door: str, estimator: dict, fragments: list[str]) -> None:
    refuses(door, Ask(study={"adjust": ["x"]}, estimator=estimator), *fragments)


def test_a_text_mediator_is_not_gaussian(door: str) -> None:
    ask = Ask(columns(m=LETTER), estimator={"mediator_family": "gaussian"})
    refuses(door, ask, "mediator 'm' is text ('u', 'v', 'z')", "gaussian")


def test_the_treated_of_a_continuous_treatment(door: str) -> None:
    """No row is exactly at a level that was chosen between the rows."""
    # defect: "no row is at the level of the treated": neither the column nor the level is named.
    ask = Ask(path="x -> m -> y", study={"levels": (0, 1)}, estimator={"population": "treated"})
    refuses(door, ask, "'x'", "level 1", "population")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_covariates_held_at_no_number(value: Any) -> None:
    """A value that no covariate has, or an answer that the models give: never an overflow."""
    # defect: a message about logarithms (nan), RuntimeWarnings (inf, 1e300).
    ask = Ask(columns(z=X**2), study={"adjust": ["x", "z"]}, estimator={"at": {"x": value}})
    refuses("mediate", ask, "at", "'x'")


def test_an_outcome_that_repeats_the_mediator_has_no_significant_direct_effect() -> None:
    """``y = m``: the direct effect is 0, and rounding is no evidence against that."""
    done(crossworld(*Ask(columns(y=columns()["m"])).words(), "--json", "r.json"))
    estimate, *_, p_value = numbers("r.json")["nde"]
    assert estimate == pytest.approx(0.0, abs=1e-12)
    assert p_value is None or p_value > 0.5


def test_an_extreme_weight_of_one_row_leaves_too_few_rows(door: str) -> None:
    ask = Ask(columns(w=np.where(np.arange(N) < 3, 1.0, 0.0)), study={"weights": "w"})
    refuses(door, ask, "'y ~ a + m' has 3 parameters but only 3 rows")


def test_no_message_depends_on_the_order_of_a_set() -> None:
    """The same mistake gives the same words, whatever the hash seed."""
    table = columns(z=at(X, 0, 1.0))
    ask = Ask(table, study={"adjust": ["x", "z"]}, estimator={"mediator": "m ~ q"})
    message = refuses("mediate", ask, "'q'")
    # defect: the known columns stand in the order of a frozenset.
    assert "Known are: a, x, z" in message

"""Which rows a window holds, and when it is closed."""

from __future__ import annotations

import datetime

import numpy as np
import pytest

from crossworld.errors import DesignError, SpecError
from crossworld.watching.windows import Windows, amount, by_count, by_time, origin, times

HOUR, DAY = 3600.0, 86400.0


def counted(n: int, windows: Windows, *, start: int = 0) -> list[tuple[int, int, int]]:
    cuts = by_count(np.arange(n), windows, closed=np.arange(n), start=start, index=0)
    return [(c.index, int(c.rows[0]), int(c.rows[-1])) for c in cuts]


def test_rows_are_cut_without_and_with_overlap_and_with_gaps() -> None:
    assert counted(10, Windows(4)) == [(0, 0, 3), (1, 4, 7)]
    assert counted(10, Windows(4, step=2)) == [(0, 0, 3), (1, 2, 5), (2, 4, 7), (3, 6, 9)]
    assert counted(10, Windows(3, step=5)) == [(0, 0, 2), (1, 5, 7)]
    assert counted(3, Windows(4)) == []


def test_a_lag_keeps_a_window_open() -> None:
    assert counted(5, Windows(4, lag=2)) == []
    assert counted(6, Windows(4, lag=2)) == [(0, 0, 3)]


def test_questions_are_cut_by_the_row_that_settles_them() -> None:
    order = np.array([0, 1, 0, 1, 2, 0, 3, -1])  # question 0 gets one more row late
    closed = np.array([2, 3, 4, 6])
    cuts = list(by_count(order, Windows(2), closed=closed, start=0, index=0))
    assert [list(c.rows) for c in cuts] == [[0, 1, 2, 3], [4, 6]]
    later = list(by_count(order, Windows(2, lag=2), closed=closed, start=0, index=0))
    assert [list(c.rows) for c in later] == [[0, 1, 2, 3, 5]]


def test_time_is_cut_and_empty_windows_are_passed_over() -> None:
    at = np.array([0.0, 1.0, 2.5, 9.0, 10.0, 30.0])
    cuts = [(c.start, list(c.rows)) for c in by_time(at, Windows(3, time="t"), start=0, index=0)]
    assert cuts == [(0, [0, 1, 2]), (9, [3, 4])]
    overlapping = by_time(at, Windows(4, step=2, time="t"), start=0, index=5)
    assert [(c.index, c.start) for c in overlapping] == [(5, 0), (6, 2), (7, 6), (8, 8), (9, 10)]


def test_a_time_window_is_closed_by_a_row_after_its_end() -> None:
    at = np.array([0.0, 2.9])
    assert list(by_time(at, Windows(3, time="t"), start=0, index=0)) == []
    assert len(list(by_time(np.append(at, 3.0), Windows(3, time="t"), start=0, index=0))) == 1
    lagging = Windows(3, time="t", lag=1)
    assert list(by_time(np.append(at, 3.0), lagging, start=0, index=0)) == []


def test_durations() -> None:
    found = [amount(t) for t in ("30min", "12h", "7d", "2w", "1.5h", "40", 3, 2.5)]
    assert found == [1800.0, 12 * HOUR, 7 * DAY, 14 * DAY, 1.5 * HOUR, 40.0, 3.0, 2.5]
    for wrong in ("7 dogs", "", "h", True, None, float("nan"), float("inf")):
        with pytest.raises(SpecError, match="length of time"):
            amount(wrong)


def test_times_are_read_and_wrong_ones_named() -> None:
    found, dates = times(["2026-03-01", "2026-03-01T12:00:00", "2026-03-01T12:00:00+02:00"], "t")
    assert dates and list(found - found[0]) == [0.0, 12 * HOUR, 10 * HOUR]
    assert datetime.datetime.fromtimestamp(found[0], datetime.UTC).isoformat()[:10] == "2026-03-01"
    stamped, dates = times([datetime.datetime(2026, 3, 1), datetime.datetime(2026, 3, 2)], "t")
    assert dates and stamped[1] - stamped[0] == DAY
    plain, dates = times(["1", 2, "3.5"], "t")
    assert not dates and list(plain) == [1.0, 2.0, 3.5]
    with pytest.raises(DesignError, match=r"row 12 has 'soon' in column 't'"):
        times(["2026-03-01", "soon"], "t", first_row=10)
    with pytest.raises(DesignError, match=r"row 2 has no time in column 't'"):
        times(["2026-03-01", None], "t")


def test_dates_begin_at_a_round_time() -> None:
    first = 20_000 * DAY + 5.5 * HOUR + 7.0
    assert origin(first, 7 * DAY, True) == 20_000 * DAY
    assert origin(first, 12 * HOUR, True) == 20_000 * DAY + 5 * HOUR
    assert origin(first, 90.0, True) == 20_000 * DAY + 5.5 * HOUR
    assert origin(17.3, 7.0, False) == 17.3


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"size": 0}, "whole number of rows, got 0"),
        ({"size": 1}, "at least 2 rows"),
        ({"size": 2.5}, "whole number of rows, got 2.5"),
        ({"size": "7d"}, "name the column of times"),
        ({"size": True}, "whole number"),
        ({"size": 10, "step": 0}, "step of the windows"),
        ({"size": 10, "lag": -1}, "lag of the windows"),
        ({"size": "0h", "time": "t"}, "a time above 0"),
        ({"size": "-3", "time": "t"}, "a time above 0"),
    ],
)
def test_impossible_windows_are_refused(wrong: dict, told: str) -> None:
    with pytest.raises(SpecError, match=told):
        Windows(**wrong)

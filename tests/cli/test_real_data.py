"""Published tables through the command: what is in the files is read as their authors meant it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import statsmodels.formula.api as smf

from .command import crossworld, done, numbers, refused


@pytest.fixture
def tables(shared_data: Path) -> Path:
    return shared_data / "tables"


def test_jobs_by_hand(tables: Path) -> None:
    jobs = pd.read_csv(tables / "mediation__jobs.csv")
    covariates = "econ_hard + sex + age"
    words = ["mediate", tables / "mediation__jobs.csv", "treat -> job_seek -> depress2"]
    out = done(crossworld(*words, "--adjust", "econ_hard,sex,age", "--json", "r.json"))
    assert "899 units" in out
    total = smf.ols(f"depress2 ~ treat + {covariates}", jobs).fit(cov_type="HC0")
    last = smf.ols(f"depress2 ~ treat + job_seek + {covariates}", jobs).fit(cov_type="HC0")
    found = numbers("r.json")
    assert found["te"][:2] == pytest.approx([total.params["treat"], total.bse["treat"]], rel=1e-8)
    assert found["nde"][:2] == pytest.approx([last.params["treat"], last.bse["treat"]], rel=1e-8)


def test_jobs_text_columns(tables: Path) -> None:
    """``work1`` is text with two values, ``control`` names the arms in words."""
    file = tables / "mediation__jobs.csv"
    refused(crossworld("mediate", file, "treat -> job_seek -> work1"), "'work1'", "event", "psyemp")
    words = [file, "treat -> job_seek -> work1", "--event", "psyemp", "--json", "event.json"]
    done(crossworld("mediate", *words))
    arms = [file, "control -> job_seek -> depress2", "--levels", "control,treat"]
    done(crossworld("mediate", *arms, "--json", "a.json"))
    done(crossworld("mediate", file, "treat -> job_seek -> depress2", "--json", "b.json"))
    for term, row in numbers("b.json").items():
        assert numbers("a.json")[term] == pytest.approx(row, rel=1e-9)


def test_jobs_categories_by_hand(tables: Path) -> None:
    """Text covariates are categories, whatever their labels (``$15k-24k``, ``non.white1``)."""
    jobs = pd.read_csv(tables / "mediation__jobs.csv")
    names = ["occp", "marital", "nonwhite", "educ", "income"]
    words = ["mediate", tables / "mediation__jobs.csv", "treat -> job_seek -> depress2"]
    done(crossworld(*words, "--adjust", ",".join(names), "--json", "r.json"))
    total = smf.ols(f"depress2 ~ treat + {' + '.join(names)}", jobs).fit(cov_type="HC0")
    found = numbers("r.json")["te"][:2]
    assert found == pytest.approx([total.params["treat"], total.bse["treat"]], rel=1e-8)


def test_welfare_missing_values_are_counted(tables: Path) -> None:
    file = tables / "paths__welfare.csv"
    welfare = pd.read_csv(file)
    words = ["mediate", file, "ttt -> W1 -> Y", "--adjust", "gender1,educ1,polint1,ideo1,know1"]
    used = ["ttt", "W1", "Y", "gender1", "educ1", "polint1", "ideo1", "know1"]
    holes = welfare[used].isna()
    gone = int(holes.any(axis=1).sum())
    counted = [f"'{name}' ({count})" for name, count in holes.sum().items() if count]
    assert counted
    refused(crossworld(*words), f"{gone} of {len(welfare)} rows", *counted)
    out = done(crossworld(*words, "--missing", "drop", "--json", "r.json"))
    assert f"{gone:,} incomplete rows dropped" in out
    kept = welfare[used].dropna()
    total = smf.ols(f"Y ~ ttt + {' + '.join(used[3:])}", kept).fit(cov_type="HC0")
    found = numbers("r.json")["te"][:2]
    assert found == pytest.approx([total.params["ttt"], total.bse["ttt"]], rel=1e-8)


def test_student_clusters_by_hand(tables: Path) -> None:
    student = pd.read_csv(tables / "mediation__student.csv").dropna(
        subset=["catholic", "attachment", "score", "gender"]
    )
    student.to_csv("student.csv", index=False)
    words = ["mediate", "student.csv", "catholic -> attachment -> score", "--adjust", "gender"]
    out = done(crossworld(*words, "--cluster", "SCH_ID", "--json", "r.json"))
    schools = student["SCH_ID"].nunique()
    assert f"in {schools:,} clusters" in out
    total = smf.logit("attachment ~ catholic + gender", student).fit(disp=0)
    assert total.mle_retvals["converged"]
    last = smf.ols("score ~ catholic + attachment + gender", student).fit(
        cov_type="cluster", cov_kwds={"groups": student["SCH_ID"], "use_correction": False}
    )
    error = last.bse["catholic"] * (schools / (schools - 1.0)) ** 0.5
    found = numbers("r.json")["nde"][:2]
    assert found == pytest.approx([last.params["catholic"], error], rel=1e-7)

"""An analysis over HTTP is the analysis of the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crossworld.spec import load_spec
from tests.serve.client import SPEC, Caller, csv, frame, parquet, refused, service

EXAMPLE_TOML = '[study]\npath = "a -> m -> y"\nadjust = ["x"]\n'


def local(folder: Path, spec: dict[str, object] = SPEC) -> list[dict[str, object]]:
    """The same effects, without a service."""
    (folder / "t.csv").write_bytes(csv())
    held = json.loads(json.dumps(spec))
    held["study"]["data"] = str(folder / "t.csv")
    rows: list[dict[str, object]] = load_spec(held).run().to_dict()["effects"]
    return rows


@pytest.mark.parametrize("form", ["csv", "csv.gz", "parquet", "columns", "text", "toml"])
def test_every_way_to_send_a_table_gives_the_same_effects(
    caller: Caller, form: str, tmp_path: Path
) -> None:
    import gzip

    if form == "columns":
        table = {name: frame()[name].tolist() for name in frame()}
        answer = caller.post(json.dumps({"spec": SPEC, "table": table}))
    elif form == "text":
        answer = caller.post(json.dumps({"spec": SPEC, "table": csv().decode()}))
    elif form == "toml":
        answer = caller.send(csv(), EXAMPLE_TOML)
    else:
        sent = {"csv": csv(), "csv.gz": gzip.compress(csv()), "parquet": parquet(frame())}[form]
        answer = caller.send(sent, name=f"jobs.{form}")
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/analyses/{answer.json()['id']}"
    state = caller.ended(answer.headers["location"])
    assert (state["status"], state["error"], state["attempts"]) == ("done", None, 1)
    assert state["result"]["schema"] == "crossworld/1"
    for got, wanted in zip(state["result"]["effects"], local(tmp_path), strict=True):
        assert got["term"] == wanted["term"]
        for name in ("estimate", "std_error", "conf_low", "conf_high", "p_value"):
            assert got[name] == pytest.approx(wanted[name], rel=1e-12)


def test_results_say_nothing_about_the_machine(caller: Caller) -> None:
    place = caller.send(csv()).headers["location"]
    caller.ended(place)
    told = caller.get(place).text + caller.get(place, params={"format": "html"}).text
    assert str(caller.data) not in told
    assert caller.get(place).json()["result"]["spec"]["study"]["data"] == "table.csv"


def test_report_by_format_or_accept(caller: Caller) -> None:
    place = caller.send(csv()).headers["location"]
    caller.ended(place)
    page = caller.get(place, headers={"Accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
    assert page.text.startswith("<!doctype html>")
    assert "nie" in page.text
    assert "sandbox" in page.headers["content-security-policy"]
    assert caller.get(place, params={"format": "html"}).content == page.content
    words = caller.get(place, params={"format": "md"})
    assert words.headers["content-type"].startswith("text/markdown")
    assert "# " in words.text
    assert caller.get(place).headers["content-type"] == "application/json"
    refused(caller.get(place, headers={"Accept": "image/png"}), 406, "image/png", "text/html")
    refused(caller.get(place, params={"format": "pdf"}), 422, "pdf", "html")


def test_not_identified_is_a_result_with_its_reason(caller: Caller) -> None:
    spec = {"study": {"path": "a -> m -> y", "intermediate": ["x"]}, "ask": {"effects": ["nie"]}}
    place = caller.send(csv(), spec).headers["location"]
    state = caller.ended(place)
    assert state["status"] == "not_identified"
    assert state["error"]["kind"] == "NotIdentifiedError"
    assert state["result"]["identified"] is False
    assert "x" in state["result"]["reason"]
    refused(caller.get(place, params={"format": "html"}), 409, "not_identified")


def test_failed_fits_are_told(caller: Caller) -> None:
    table = frame()
    table["y"] = (table["m"] > 0).astype(int)  # separated: no logit fits it
    spec = {**SPEC, "estimator": {"name": "Regression", "outcome": "y ~ a + m"}}
    state = caller.ended(caller.send(csv(table), spec).headers["location"])
    assert state["status"] == "failed"
    assert state["error"]["kind"] in ("EstimationError", "DesignError")
    assert "m" in state["error"]["message"]
    assert state["result"] is None


def test_listing_goes_page_by_page_and_deleting_forgets(caller: Caller) -> None:
    other = caller.named("lister")
    places = [other.send(csv()).headers["location"] for _ in range(3)]
    first = other.get("/v1/analyses", params={"limit": 2}).json()
    rest = other.get("/v1/analyses", params={"limit": 2, "before": first["next"]}).json()
    seen = [f"/v1/analyses/{job['id']}" for job in first["analyses"] + rest["analyses"]]
    assert seen == places[::-1]
    assert rest["next"] is None
    assert other.delete(places[1]).status_code == 204
    refused(other.get(places[1]), 404)
    refused(other.delete(places[1]), 404)
    assert not (caller.data / "jobs" / places[1].rsplit("/", 1)[1]).exists()
    assert len(other.get("/v1/analyses").json()["analyses"]) == 2


def test_jobs_are_their_owners_alone(caller: Caller) -> None:
    place = caller.send(csv()).headers["location"]
    stranger = caller.named("stranger")
    refused(stranger.get(place), 404)
    refused(stranger.delete(place), 404)
    assert stranger.get("/v1/analyses").json() == {"analyses": [], "next": None}
    assert caller.get(place).status_code == 200


def test_jobs_survive_a_restart(tmp_path: Path) -> None:
    with service(tmp_path / "d") as one:
        done = one.send(csv()).headers["location"]
        result = one.ended(done)
        spec = {**SPEC, "inference": {"name": "Bootstrap", "draws": 100_000}}
        waiting = [one.send(csv(), spec).headers["location"] for _ in range(2)]
        key = one.key
    with service(tmp_path / "d") as again:
        same = again.__class__(again.http, key, again.data, again.app)
        assert same.get(done).json() == result
        for place in waiting:
            assert same.get(place).json()["status"] in ("queued", "running")
            assert same.delete(place).status_code == 204
        assert same.ended(same.send(csv()).headers["location"])["status"] == "done"

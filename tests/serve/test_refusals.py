"""What the service refuses, how it says so, and that it stays small while it does."""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crossworld.serve.keys import make_key, remove_key
from tests.serve.client import LIMITS, SPEC, Caller, csv, frame, parquet, refused, service

MIB = 2**20


def resident() -> int:
    """Peak memory of this process, in bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("given", [None, "Bearer wrong", "Bearer", "Basic eA==", "Bearer \x7f", ""])
def test_without_a_known_key_401(caller: Caller, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given}
    for method, path in (
        ("GET", "/v1/analyses"),
        ("POST", "/v1/analyses"),
        ("GET", f"/v1/analyses/{'0' * 32}"),
        ("DELETE", f"/v1/analyses/{'0' * 32}"),
    ):
        answer = caller.http.request(method, path, headers=headers)
        refused(answer, 401, "Authorization: Bearer")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_keys_are_hashed_and_end_at_once(caller: Caller) -> None:
    secret = make_key(caller.data, "leaver")
    headers = {"Authorization": f"Bearer {secret}"}
    assert caller.http.get("/v1/analyses", headers=headers).status_code == 200
    stored = (caller.data / "keys.json").read_text()
    assert secret not in stored
    assert secret.removeprefix("xw_") not in stored
    assert (caller.data / "keys.json").stat().st_mode & 0o077 == 0
    remove_key(caller.data, "leaver")
    refused(caller.http.get("/v1/analyses", headers=headers), 401)


@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        ({"ask": {"effects": ["nei"]}}, ["'nei'", "Did you mean 'nie'?"]),
        ({"studdy": {}}, ["'studdy'", "'study'"]),
        ({"estimator": {"name": "Regresion"}}, ["'Regresion'", "'Regression'"]),
        ({"ask": {"level": 95}}, ["95"]),
        ({"study": {"path": "a -> m -> z"}}, ["'z'"]),
        ({"study": {"path": "a -> m -> y", "adjust": ["w"]}}, ["'w'"]),
        ({"study": {"path": "nonsense"}}, ["nonsense"]),
        ({"study": {"path": "a -> m -> y", "data": "/etc/passwd"}}, ["/etc/passwd", "sent along"]),
        ({"study": {"path": "a -> m -> y", "data": "../keys.json"}}, ["keys.json"]),
        ({"study": {"path": "a -> m -> y", "graph": "/etc/passwd"}}, ["graph"]),
        ({"study": {"path": "a -> m -> y", "graph": "../../keys.json"}}, ["graph"]),
        ({"estimator": {"name": "Auxiliary", "experiment": "/etc/passwd"}}, ["second table"]),
        ({"inference": {"name": "Bootstrap", "workers": 1000}}, ["1000", "4"]),
        ({"inference": {"name": "Bootstrap", "draws": -1}}, ["draws"]),
        ({"estimator": {"name": "Regression", "outcome": "y ~ __import__('os')"}}, ["__import__"]),
        ({"study": []}, ["study"]),
        ({"study": {"kind": "internals", "scores": "/etc/passwd"}}, ["internals", "reasoning"]),
        ({"ask": {"effects": []}}, ["no effect"]),
    ],
)
def test_a_malformed_spec_422(caller: Caller, change: dict[str, Any], fragments: list[str]) -> None:
    answer = caller.send(csv(), {**SPEC, **change})
    if answer.status_code == 202:  # what only a fit can find
        state = caller.ended(answer.headers["location"])
        assert state["status"] == "failed"
        assert state["error"]["kind"] in ("SpecError", "DesignError")
        message = state["error"]["message"]
    else:
        message = refused(answer, 422)
    for fragment in fragments:
        assert fragment in message, message
    assert "root:" not in message, "the content of a file"
    assert str(caller.data) not in message


@pytest.mark.parametrize(
    ("body", "fragments"),
    [
        ("", ["JSON"]),
        ("[]", ["spec and table"]),
        ("{", ["JSON"]),
        ('{"spec": {}, "table": {}, "x": 1}', ["spec and table"]),
        ('{"spec": {"study": {}}, "table": {"a": [1]}}', ["data and path", "path"]),
        ('{"spec": 3, "table": {"a": [1]}}', ["spec"]),
        ('{"spec": {}, "table": 3}', ["table"]),
        ('{"spec": {}, "table": {"a": 3}}', ["'a'"]),
        ('{"spec": {}, "table": {"a": [1], "b": [1, 2]}}', ["'a' has 1", "'b' has 2"]),
        ('{"spec": {}, "table": {"a": [1, "x"]}}', ["mixes int, str"]),
        ('{"spec": {}, "table": {"a": [[1]]}}', ["'a'"]),
        ('{"spec": {}, "table": {"a": [NaN]}}', ["NaN"]),
        ('{"spec": {}, "table": {"a": [1e999]}}', ["1e999"]),
        ('{"spec": {}, "table": {"a": [' + "9" * 500 + "]}}", ["500 digits"]),
        ('{"spec": {}, "spec": {}, "table": ""}', ["'spec' twice"]),
        ('{"spec": {}, "table": "a\\ud800"}', []),
        ("\udc80", []),
    ],
)
def test_a_malformed_body_422(caller: Caller, body: str, fragments: list[str]) -> None:
    message = refused(caller.post(body.encode("utf-8", "surrogateescape")), 422)
    if fragments:
        assert any(fragment in message for fragment in fragments), message


def test_a_malformed_form_422_and_other_bodies_415(caller: Caller) -> None:
    post = caller.http.post
    files = {"table": ("t.csv", csv())}
    refused(post("/v1/analyses", headers=caller.headers, files=files), 422, "spec")
    refused(
        post("/v1/analyses", headers=caller.headers, files={**files, "more": ("x", b"x")}),
        422, "'more'",
    )  # fmt: skip
    refused(caller.post(b"--x\r\n", "multipart/form-data; boundary=x"), 422)
    refused(caller.post(b"--x\r\n", "multipart/form-data"), 422)
    refused(caller.post(b"a,b", "text/csv"), 415, "text/csv")
    refused(caller.send(b"   "), 422, "empty")
    refused(caller.send(b"\x00\x01\x02"), 422)
    refused(caller.send(b"PAR1" + b"x" * 100), 422, "parquet")
    refused(caller.send(gzip.compress(csv())[:-20], name="t.csv.gz"), 422, "gzip")
    refused(caller.send(csv(), "study = {"), 422, "TOML")


def test_other_paths_and_methods_have_the_same_shape(caller: Caller) -> None:
    refused(caller.get("/v2"), 404, "openapi.json")
    answer = caller.http.put("/v1/analyses", headers=caller.headers)
    refused(answer, 405)
    assert answer.headers["allow"] == "GET, POST"
    for path in ("/v1/analyses", f"/v1/analyses/{'0' * 32}", "/v1/effects", "/healthz"):
        document = caller.http.get("/openapi.json").json()["paths"]
        item = document[path.replace("0" * 32, "{id}")]
        answer = caller.http.request("PATCH", path, headers=caller.headers)
        wanted = {name.upper() for name in item} - {"PARAMETERS"}
        assert set(answer.headers["allow"].split(", ")) == wanted
    refused(caller.get("/v1/analyses/..%2f..%2fkeys.json"), 404)
    refused(caller.get(f"/v1/analyses/{'0' * 31}x"), 404)
    refused(caller.get("/v1/analyses", params={"limit": "0"}), 422, "limit")
    refused(caller.get("/v1/analyses", params={"before": "x"}), 404, "'x'")


def test_deep_nesting_is_refused_before_it_is_read(caller: Caller) -> None:
    caller.post("{")
    before = resident()
    for deep in ("[" * (7 * MIB), '{"a":' * MIB, '{"spec": ' + "[" * 100 + "]" * 100 + "}"):
        refused(caller.post(deep), 422, "nested too deeply")
    refused(caller.send(csv(), '{"study": ' + "[" * 100_000), 422, "nested too deeply")
    refused(caller.send(csv(), "study = " + "[" * 100_000), 422, "nested too deeply")
    assert resident() - before < 64 * MIB


def test_too_many_columns_413(caller: Caller) -> None:
    wide = ",".join(f"c{j}" for j in range(100_000))
    body = f"{wide}\n{','.join('1' for _ in range(100_000))}\n".encode()
    before = resident()
    refused(caller.send(body), 413, "2,000 columns")
    refused(caller.send(gzip.compress(body), name="t.csv.gz"), 413, "2,000 columns")
    columns = json.dumps({"spec": SPEC, "table": {f"c{j}": [1] for j in range(100_000)}})
    refused(caller.post(columns), 413, "2,000 columns")
    assert resident() - before < 96 * MIB
    narrow = pd.DataFrame({f"c{j}": [1.0] for j in range(3_000)})
    refused(caller.send(parquet(narrow), name="t.parquet"), 413)


def bomb(size: int) -> bytes:
    """A gzip file of a csv that is a thousand times as long."""
    out = io.BytesIO()
    with gzip.open(out, "wb") as text:
        text.write(b"a,m,y\n")
        for _ in range(size // MIB):
            text.write(b"0" * MIB)
    return out.getvalue()


def test_bombs_413(caller: Caller) -> None:
    refused(caller.send(b"a"), 422)
    sent = bomb(400 * MIB)
    zeros = io.BytesIO()
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: pa.array(np.zeros(900_000)) for name in "abcdefghijklmnopqrst"}
    pq.write_table(pa.table(columns), zeros, use_dictionary=False, compression="zstd")
    assert len(zeros.getvalue()) < MIB
    before = resident()
    refused(caller.send(sent, name="t.csv.gz"), 413, "bytes once it is decompressed")
    refused(caller.send(zeros.getvalue(), name="t.parquet"), 413, "bytes once it is decompressed")
    rows = gzip.compress(b"a,m,y\n" + b"1,2,3\n" * 1_500_000)
    refused(caller.send(rows, name="t.csv.gz"), 413, "1,000,000 rows")
    assert resident() - before < 64 * MIB


def test_a_lying_parquet_file_is_stopped_by_the_workers_memory(tmp_path: Path) -> None:
    """What the limits on paper do not see, the operating system does."""
    wide = pd.DataFrame({"a": [0, 1] * 50, "m": ["x" * 300_000] * 100, "y": [0.0, 1.0] * 50})
    limits = replace(LIMITS, memory=400 * MIB, plain=2**40)
    sent = parquet(wide)  # one dictionary entry on disk, thirty million characters in memory
    assert len(sent) < MIB
    with service(tmp_path / "d", limits) as one:
        answer = one.send(sent, name="t.parquet")
        assert answer.status_code in (413, 422), answer.text


def test_too_long_413_with_and_without_a_declared_length(tmp_path: Path) -> None:
    limits = replace(LIMITS, body=200_000, inline=100_000, document=10_000)
    with service(tmp_path / "d", limits) as one:
        refused(one.send(b"a,b\n" * 100_000), 413, "200,000")
        refused(one.post("x" * 100_001), 413, "100,000")
        refused(one.send(csv(), "x" * 10_001), 413, "10,000")
        taken = 0

        def endless() -> Any:
            nonlocal taken
            while True:
                taken += 1000
                yield b"x" * 1000

        head = {**one.headers, "Content-Type": "application/json"}
        refused(one.http.post("/v1/analyses", headers=head, content=_first(endless(), 5000)), 413)
        assert list((one.data / "jobs").iterdir()) == []


def _first(chunks: Any, count: int) -> Any:
    for _ in range(count):
        yield next(chunks)


def test_too_often_429(tmp_path: Path) -> None:
    with service(tmp_path / "d", replace(LIMITS, rate=5)) as one:
        answers = [one.get("/v1/analyses") for _ in range(6)]
        assert [a.status_code for a in answers[:5]] == [200] * 5
        refused(answers[5], 429, "5 requests a minute")
        assert 1 <= int(answers[5].headers["retry-after"]) <= 13
        assert one.named("other").get("/v1/analyses").status_code == 200
        assert one.http.get("/healthz").status_code == 200


def test_too_many_analyses_429(tmp_path: Path) -> None:
    slow = {**SPEC, "inference": {"name": "Bootstrap", "draws": 1_000_000}}
    with service(tmp_path / "d", replace(LIMITS, pending=2, kept=3)) as one:
        places = [one.send(csv(), slow).headers["location"] for _ in range(2)]
        answer = one.send(csv(), slow)
        refused(answer, 429, "2 analyses wait")
        assert int(answer.headers["retry-after"]) >= 1
        other = one.named("other")
        assert other.send(csv()).status_code == 202, "the limit is each key's own"
        for place in places:
            assert one.delete(place).status_code == 204
        assert one.send(csv()).status_code == 202


def test_slow_work_is_stopped(tmp_path: Path) -> None:
    slow = {**SPEC, "inference": {"name": "Bootstrap", "draws": 10_000_000}}
    with service(tmp_path / "d", replace(LIMITS, seconds=3)) as one:
        state = one.ended(one.send(csv(), slow).headers["location"])
        assert (state["status"], state["error"]["kind"]) == ("failed", "TimedOut")
        assert "3 s" in state["error"]["message"]
        assert state["attempts"] == 1


def test_a_table_that_needs_too_much_memory_413(tmp_path: Path) -> None:
    with service(tmp_path / "d", replace(LIMITS, memory=500 * MIB)) as one:
        message = refused(one.send(csv(frame(300_000))), 413, "memory")
        assert f"{500 * MIB:,} bytes" in message
        assert list((one.data / "jobs").iterdir()) == []

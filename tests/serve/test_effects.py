"""Effects of new prompts over HTTP are those of the exported models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the extra 'serve' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'serve' is not installed")

from crossworld.serve.model.export import Export, export
from crossworld.serve.model.folder import read_model
from crossworld.serve.model.running import Asked
from tests.serve.client import LIMITS, Caller, refused, service
from tests.serve.texts import written

PROMPT = "How many coins are left when you add 9 and 4 coins?"
REASONING = "check the sum; take 9; then 4; check the sum."
COLUMNS = {r: r for r in ("prompt", "treatment", "reasoning", "outcome", "question")}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    table = written(folder / "t.csv", questions=120)
    export(Export(table, COLUMNS, ("hasty", "careful"), draws=30), folder / "m")
    return folder / "m"


@pytest.fixture(scope="module")
def asker(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    with service(tmp_path_factory.mktemp("asked"), model=model) as running:
        yield running


def ask(caller: Caller, body: Any) -> Any:
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    head = {**caller.headers, "Content-Type": "application/json"}
    return caller.http.post("/v1/effects", headers=head, content=content)


def test_effects_are_those_of_the_model(asker: Caller, model: Path) -> None:
    prompts = [
        {"id": "a", "prompt": PROMPT},
        {"id": "b", "prompt": PROMPT, "reasoning": REASONING, "treatment": "careful"},
        {"prompt": PROMPT, "reasoning": REASONING, "treatment": "hasty"},
        {"prompt": "Quite another zebra"},
    ]
    answer = ask(asker, {"prompts": prompts, "level": 0.9})
    assert answer.status_code == 200, answer.text
    held, served = answer.json(), read_model(model)
    assert held["model"] == {
        "sha256": served.digest, "reference": "hasty", "active": "careful",
        "outcome": "probability",
    }  # fmt: skip
    assert asker.http.get("/healthz").json()["model"] == served.digest
    rows = held["effects"]
    assert [(r["id"], r["given_reasoning"]) for r in rows] == [
        ("a", False), ("b", True), (None, True), (None, False),
    ]  # fmt: skip
    told = served.served.effects(
        [Asked(PROMPT), Asked(PROMPT, REASONING, 1), Asked(PROMPT, REASONING, 0),
         Asked("Quite another zebra")]
    )  # fmt: skip
    for i, row in enumerate(rows):
        for j, term in enumerate(("te", "nde", "nie")):
            one = row[term]
            assert one["estimate"] == pytest.approx(told.estimate[i, j], abs=1e-7)
            assert one["std_error"] == pytest.approx(told.std_error[i, j], abs=1e-7)
            half = 1.6448536269514722 * one["std_error"]
            assert one["conf_low"] == pytest.approx(one["estimate"] - half, abs=1e-9)
            assert one["conf_high"] == pytest.approx(one["estimate"] + half, abs=1e-9)
    careful, hasty = rows[1]["te"]["estimate"], rows[2]["te"]["estimate"]
    assert careful != hasty, "the treatment of the reasoning matters"
    assert rows[0]["known"] > 0.8
    assert rows[3]["known"] == 0.0


@pytest.mark.parametrize("level", [1e-300, 0.5, 0.9999999999999999])
def test_any_level_within_0_and_1(asker: Caller, level: float) -> None:
    row = ask(asker, {"prompts": [{"prompt": PROMPT}], "level": level}).json()["effects"][0]
    wide = row["te"]["conf_high"] - row["te"]["conf_low"]
    factor = {1e-300: 0.0, 0.5: 2 * 0.6744897501960817, 0.9999999999999999: 2 * 8.3}[level]
    assert wide == pytest.approx(factor * row["te"]["std_error"], rel=0.02)


def test_the_examples_of_the_document_work(asker: Caller) -> None:
    document = asker.http.get("/openapi.json").json()
    body = document["paths"]["/v1/effects"]["post"]["requestBody"]["content"]["application/json"]
    for name, example in body["examples"].items():
        assert ask(asker, example["value"]).status_code == 200, name
    post = document["paths"]["/v1/analyses"]["post"]["requestBody"]["content"]["application/json"]
    place = asker.post(json.dumps(post["example"])).headers["location"]
    assert asker.ended(place)["status"] == "done"


@pytest.mark.parametrize(
    ("body", "fragments"),
    [
        ({}, ["prompts"]),
        ([], ["prompts"]),
        ({"prompts": []}, ["at least one"]),
        ({"prompts": PROMPT}, ["list"]),
        ({"prompts": [PROMPT]}, ["prompts[0]", "object"]),
        ({"prompts": [{"prompt": PROMPT}, {"prompt": ""}]}, ["prompts[1]", "needs a prompt"]),
        ({"prompts": [{"prompt": 3}]}, ["prompt of prompts[0]", "3"]),
        ({"prompts": [{"prompt": None}]}, ["prompt of prompts[0]"]),
        ({"prompts": [{"promt": PROMPT}]}, ["'promt'", "Did you mean 'prompt'?"]),
        ({"prompts": [{"prompt": PROMPT, "reasoning": "x"}]}, ["together", "careful"]),
        ({"prompts": [{"prompt": PROMPT, "treatment": "hasty"}]}, ["together"]),
        (
            {"prompts": [{"prompt": PROMPT, "reasoning": "x", "treatment": "carefull"}]},
            ["Did you mean 'careful'?"],
        ),
        ({"prompts": [{"prompt": PROMPT}], "level": 95}, ["level", "95"]),
        ({"prompts": [{"prompt": PROMPT}], "level": True}, ["level"]),
        ({"prompts": [{"prompt": PROMPT, "id": "x" * 201}]}, ["id of prompts[0]"]),
        ({"prompts": [{"prompt": "x" * 20_001}]}, ["20,000 characters"]),
        ({"prompts": [{"prompt": PROMPT}] * 65}, ["65 prompts", "64"]),
        ('{"prompts": ' + "[" * 5000, ["nested too deeply"]),
        ("{", ["JSON"]),
    ],
)
def test_malformed_requests_422(asker: Caller, body: Any, fragments: list[str]) -> None:
    refused(ask(asker, body), 422, *fragments)


def test_other_refusals(asker: Caller, tmp_path: Path) -> None:
    body = json.dumps({"prompts": [{"prompt": PROMPT}]})
    head = {"Content-Type": "application/json"}
    refused(asker.http.post("/v1/effects", headers=head, content=body), 401)
    refused(ask(asker, "x" * (2**20 + 1)), 413, "1,048,576")
    plain = asker.http.post("/v1/effects", headers=asker.headers, content=body)
    refused(plain, 415)
    refused(asker.get("/v1/effects"), 405)
    with service(tmp_path / "d", replace(LIMITS, rate=2)) as bare:
        refused(ask(bare, body), 404, "crossworld serve MODEL")
        ask(bare, body)
        answer = ask(bare, body)
        refused(answer, 429)
        assert int(answer.headers["retry-after"]) >= 1


def test_metrics_count(asker: Caller) -> None:
    def count(name: str) -> float:
        lines = asker.http.get("/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    name = 'crossworld_requests_total{method="POST",route="/v1/effects",status="200"}'
    before, prompts = count(name), count("crossworld_prompts_total")
    ask(asker, {"prompts": [{"prompt": PROMPT}, {"prompt": PROMPT}]})
    assert count(name) == before + 1
    assert count("crossworld_prompts_total") == prompts + 2
    assert count("process_resident_memory_bytes") > 1e6
    odd = asker.http.request("BREW", "/coffee", headers=asker.headers)
    assert odd.status_code in (404, 405)
    assert 'route="other"' in asker.http.get("/metrics").text
    assert "BREW" not in asker.http.get("/metrics").text


def test_texts_that_nobody_thought_of_get_finite_numbers(asker: Caller) -> None:
    odd = ["☃" * 300, "\u202e x", "a\x00b", "١٢٣", "-" * 5000, "word " * 3000]
    rows = ask(asker, {"prompts": [{"prompt": text} for text in odd]}).json()["effects"]
    numbers = [row[t][f] for row in rows for t in ("te", "nde", "nie") for f in row[t]]
    assert np.isfinite(numbers).all()
    assert all(abs(row["te"]["estimate"]) <= 1.0 for row in rows)

"""Exported graphs equal the Python models, int8 only where nothing moves, folders verify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the extra 'serve' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'serve' is not installed")

import crossworld as xw
from crossworld.errors import DesignError
from crossworld.serve.model.export import Export, export, read_texts
from crossworld.serve.model.folder import Model, read_model
from crossworld.serve.model.graphs import columns_graph, effects_graph
from crossworld.serve.model.int8 import TENTH, choose, quantized
from crossworld.serve.model.running import Asked, call, session
from crossworld.serve.model.words import Weights, learn_words, terms_of
from tests.cli.command import crossworld, done, refused
from tests.serve.texts import answers, written

FLOAT = 1e-5  # float32 against float64
COLUMNS = {r: r for r in ("prompt", "treatment", "reasoning", "outcome", "question")}


def table_study(*, logit: bool, arms: int) -> xw.TableStudy:
    rng = np.random.default_rng(1)
    n = 300
    a, (x1, x2), m = rng.integers(0, arms, n), rng.normal(size=(2, n)), rng.normal(size=(n, 3))
    m[:, 0] += 0.8 * a + 0.3 * x1
    m[:, 1] += 0.5 * x2 - 0.4 * a
    eta = 0.4 * a + m @ [0.5, 0.3, -0.2] + 0.2 * x1 + 0.2 * a * m[:, 0]
    y = (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(int) if logit else eta + rng.normal(size=n)
    frame = {"a": a, "x1": x1, "x2": x2, "m1": m[:, 0], "m2": m[:, 1], "m3": m[:, 2], "y": y}
    return xw.TableStudy.from_frame(
        frame, "a -> m1 + m2 + m3 -> y", adjust=["x1", "x2"], levels=(0, arms - 1)
    )


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("components", [None, 2])
@pytest.mark.parametrize("mediator", ["linear", "neural"])
@pytest.mark.parametrize(("logit", "arms"), [(True, 2), (False, 3), (True, 3), (False, 2)])
def test_effects_graphs_equal_the_models(
    logit: bool, arms: int, mediator: str, components: int | None, given: bool
) -> None:
    learner = xw.LearnedMediator(mediator=mediator, components=components, hidden=3)
    models = learner.learn(table_study(logit=logit, arms=arms), draws=20)
    rng = np.random.default_rng(2)
    x, m, arm = rng.normal(size=(9, 2)), rng.normal(size=(9, 3)), rng.integers(0, 2, 9)
    fed, seen = {"x": x.astype(np.float32)}, {}
    if given:
        fed |= {"mediators": m.astype(np.float32), "arm": arm[:, None].astype(np.float32)}
        seen = {"mediators": m, "arm": arm}
    opened = session(effects_graph(models, given=given).SerializeToString())
    estimate, error = call(opened, fed)
    wanted = models.effects(x, **seen)
    assert np.abs(estimate - wanted.estimate).max() < FLOAT
    assert np.abs(error - wanted.std_error).max() < FLOAT
    assert wanted.std_error.min() > 100 * FLOAT, "the comparison could not fail"
    if given:
        assert np.abs(estimate - models.effects(x).estimate).max() > 100 * FLOAT


NASTY = ["Add 17+25!", "", "  ", "naïve CAFÉ ☃ x_1", "add add add, 25", "ﬁ İstanbul ß 三四"]


def test_words_equal_scikit_learn() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [*answers(60)["reasoning"], *NASTY]
    words, weights = learn_words(texts, size=500, components=6)
    theirs: Any = TfidfVectorizer(
        token_pattern=r"[^\W\d_]+|\d+|[^\w\s]", ngram_range=(1, 2), sublinear_tf=True,
        max_features=500,
    ).fit(texts)  # fmt: skip
    for text in NASTY:
        assert terms_of(text) == theirs.build_analyzer()(text)
    assert words.terms == tuple(theirs.get_feature_names_out())
    tfidf = theirs.transform(texts).toarray()
    held = words.counts(texts) * weights.idf
    size = np.linalg.norm(held, axis=1, keepdims=True)
    assert np.abs(held / np.maximum(size, 1e-30) - tfidf).max() < 1e-6
    columns = weights(words.counts(texts))
    wanted = (tfidf @ weights.project - weights.centre) / weights.scale
    assert np.abs(columns - wanted).max() < FLOAT
    assert np.abs(columns.mean(axis=0)).max() < FLOAT
    assert np.abs(columns.std(axis=0) - 1.0).max() < FLOAT
    graph = session(columns_graph(weights).SerializeToString())
    assert np.abs(call(graph, {"features": words.counts(texts)})[0] - wanted).max() < FLOAT


def test_known_words_are_counted() -> None:
    words, _ = learn_words(["add two apples", "take two"], size=50, components=2)
    assert words.known("add two pears now") == 0.5
    assert words.known("") == 1.0


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Export, Path, Any]:
    folder = tmp_path_factory.mktemp("export")
    asked = Export(written(folder / "answers.csv"), COLUMNS, ("hasty", "careful"), draws=60)
    return asked, folder / "model", export(asked, folder / "model")


def models_of(asked: Export) -> tuple[Any, Any, Any]:
    """The Python models and columns behind an export, made again without it."""
    texts = read_texts(asked)
    columns = {}
    for role, given, size in (
        ("prompt", texts.prompt, asked.covariates),
        ("reasoning", texts.reasoning, asked.components),
    ):
        words, weights = learn_words(given, size=asked.vocabulary, components=size)
        columns[role] = weights(words.counts(given))
    x, m = columns["prompt"], columns["reasoning"]
    frame = {f"x{j}": x[:, j] for j in range(x.shape[1])}
    frame |= {f"m{j}": m[:, j] for j in range(m.shape[1])}
    frame |= {"arm": texts.arm, "y": texts.study.outcome, "q": texts.study.cluster}
    path = f"arm -> {' + '.join(f'm{j}' for j in range(m.shape[1]))} -> y"
    study = xw.TableStudy.from_frame(
        frame, path, adjust=[f"x{j}" for j in range(x.shape[1])], cluster="q"
    )
    return xw.LearnedMediator().learn(study, draws=asked.draws), columns, texts


def told_of(model: Model, texts: Any) -> tuple[Any, Any]:
    n = len(texts.arm)
    plain = model.served.effects([Asked(p) for p in texts.prompt])
    given = model.served.effects(
        [Asked(texts.prompt[i], texts.reasoning[i], int(texts.arm[i])) for i in range(n)]
    )
    return plain, given


def test_a_folder_tells_what_the_models_tell(
    exported: tuple[Export, Path, Any], tmp_path: Path
) -> None:
    """In float32 to 1e-5; in int8 within a tenth of a standard error where it was checked."""
    asked, folder, done_ = exported
    models, columns, texts = models_of(asked)
    wanted = (
        models.effects(columns["prompt"]),
        models.effects(columns["prompt"], mediators=columns["reasoning"], arm=texts.arm),
    )
    export(Export(asked.data, COLUMNS, asked.levels, draws=60, int8=False), tmp_path / "float")
    for told, want in zip(told_of(read_model(tmp_path / "float"), texts), wanted, strict=True):
        assert np.abs(told.estimate - want.estimate).max() < FLOAT
        assert np.abs(told.std_error - want.std_error).max() < FLOAT
    kept = {c.part: c.kept for c in done_.checks}
    assert any(kept.values()), "no graph in int8: nothing is tested"
    sample = np.linspace(0, len(texts.arm) - 1, 200).astype(int)
    moved = max(
        float((np.abs(told.estimate - want.estimate)[sample] / want.std_error[sample]).max())
        for told, want in zip(told_of(read_model(folder), texts), wanted, strict=True)
    )
    printed = [c.moved for c in done_.checks if c.kept][-1]
    assert moved == pytest.approx(printed, abs=1e-3)
    assert FLOAT < moved <= TENTH


def test_what_is_told_of_a_prompt_does_not_depend_on_its_neighbours(
    exported: tuple[Export, Path, Any],
) -> None:
    served, texts = read_model(exported[1]).served, read_texts(exported[0])
    asked = [Asked(texts.prompt[i], texts.reasoning[i], int(texts.arm[i])) for i in range(6)]
    asked += [Asked(p) for p in texts.prompt[:6]]
    together = served.effects(asked)
    alone = np.concatenate([served.effects([one]).estimate for one in asked])
    assert np.abs(together.estimate - alone).max() < 1e-6


def test_effects_are_near_the_truth_of_the_world(tmp_path: Path) -> None:
    """Careful minus hasty, counted in the table itself; and the reasoning carries most of it."""
    table = answers(400, seed=3)
    table.to_csv(tmp_path / "t.csv", index=False)
    export(Export(tmp_path / "t.csv", COLUMNS, ("hasty", "careful"), draws=40), tmp_path / "m")
    arms = table.pivot(index="question", columns="treatment", values="outcome")
    gap = arms["careful"] - arms["hasty"]
    prompts = table.drop_duplicates("question")["prompt"]
    told = read_model(tmp_path / "m").served.effects([Asked(p) for p in prompts]).estimate
    assert told[:, 0].mean() == pytest.approx(gap.mean(), abs=3 * gap.std() / 20)
    assert told[:, 2].mean() > 0.5 * told[:, 0].mean()
    assert np.abs(told[:, 0] - told[:, 1] - told[:, 2]).max() < FLOAT


def test_reasoning_that_checks_more_moves_the_answer(
    exported: tuple[Export, Path, Any],
) -> None:
    served = read_model(exported[1]).served
    prompt = "How many coins are left when you add 9 and 4 coins?"
    plain, given = (
        served.effects([Asked(prompt)]),
        served.effects([Asked(prompt, "check the sum; check the sum; check the sum.", 1)]),
    )
    assert np.abs(plain.estimate - given.estimate).max() > 1e-3


def test_int8_stays_out_where_an_estimate_would_move() -> None:
    """One column a thousand times as large as what decides: eight bits lose the latter."""
    coarse = Weights(None, np.array([[1000.0], [0.4]]), np.zeros(1), np.ones(1))
    fine = Weights(None, np.array([[1.0], [1.0]]), np.zeros(1), np.ones(1))
    graphs = {
        name: columns_graph(
            Weights(None, np.tile(w.project, (1, 64)), *(np.zeros(64), np.ones(64)))
        )
        for name, w in (("coarse", coarse), ("fine", fine))
    }
    rows = np.array([[0.0, 1.0], [0.0, 2.0]], dtype=np.float32)

    def run(parts: Any) -> tuple[Any, Any]:
        found = [call(session(g), {"features": rows})[0] for g in parts.values()]
        return np.concatenate(found), np.full((4, 64), 0.5)

    parts = {name: g.SerializeToString() for name, g in graphs.items()}
    for name, graph in parts.items():
        assert quantized(graph) is not None, name
    held, checks = choose(parts, run)
    verdict = {c.part: c for c in checks}
    for name, check in verdict.items():
        assert check.kept == (check.moved <= TENTH)
        assert (held[name] == parts[name]) == (not check.kept)
    if "coarse" in verdict:
        assert not verdict["coarse"].kept
        assert verdict["coarse"].moved > 0.5


@pytest.mark.parametrize(
    ("harm", "fragments"),
    [
        ("flip", ["effects.onnx", "SHA-256"]),
        ("gone", ["no file 'given.onnx'"]),
        ("outside", ["../secret"]),
        ("link", ["no file 'given.onnx'"]),
        ("schema", ["crossworld-model/9"]),
        ("json", ["damaged", "JSON"]),
        ("levels", ["both"]),
        ("none", ["crossworld export"]),
    ],
)
def test_damaged_folders_are_refused(
    exported: tuple[Export, Path, Any], harm: str, fragments: list[str], tmp_path: Path
) -> None:
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(exported[1], folder)
    manifest = json.loads((folder / "model.json").read_text())
    if harm == "flip":
        content = bytearray((folder / "effects.onnx").read_bytes())
        content[len(content) // 2] ^= 1
        (folder / "effects.onnx").write_bytes(content)
    elif harm == "gone":
        (folder / "given.onnx").unlink()
    elif harm == "link":
        (folder / "given.onnx").rename(tmp_path / "elsewhere.onnx")
        (folder / "given.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    elif harm == "outside":
        manifest["files"]["../secret"] = "0" * 64
    elif harm == "schema":
        manifest["schema"] = "crossworld-model/9"
    elif harm == "levels":
        manifest["levels"] = ["a", "a"]
    if harm in ("outside", "schema", "levels"):
        (folder / "model.json").write_text(json.dumps(manifest))
    elif harm == "json":
        (folder / "model.json").write_text("{")
    elif harm == "none":
        (folder / "model.json").unlink()
    with pytest.raises(DesignError) as told:
        read_model(folder)
    for fragment in fragments:
        assert fragment in str(told.value)


def test_graphs_with_weights_elsewhere_are_refused(tmp_path: Path) -> None:
    import onnx

    from crossworld.serve.model.folder import check_self_contained

    weights = Weights(None, np.ones((400, 2)), np.zeros(2), np.ones(2))
    graph = columns_graph(weights)
    onnx.save_model(
        graph, tmp_path / "g.onnx", save_as_external_data=True, location="w", size_threshold=0
    )
    with pytest.raises(DesignError, match="in another file"):
        check_self_contained((tmp_path / "g.onnx").read_bytes(), "g.onnx")
    with pytest.raises(DesignError, match="no ONNX graph"):
        check_self_contained(b"\xff" * 40, "g.onnx")


def test_the_command_prints_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(Path("t.csv"), questions=120)
    words = ["export", "t.csv", "--out", "m", "--levels", "hasty,careful", "--draws", "25"]
    out = done(crossworld(*words, "--question", "question", "--components", "3"))
    assert "of a standard error (0.1 allowed)" in out
    assert "float32 against float64" in out
    assert f"sha256 {read_model(Path('m')).digest}" in out
    files = sorted(p.name for p in Path("m").iterdir())
    assert files == ["effects.onnx", "given.onnx", "model.json", "prompt.onnx",
                     "prompt.words.json", "reasoning.onnx", "reasoning.words.json"]  # fmt: skip
    again = done(crossworld(*words[:3], "n", *words[4:], "--question", "question",
                            "--components", "3"))  # fmt: skip
    assert again.replace("n  (", "m  (").replace("serve n", "serve m") == out


def test_what_cannot_be_exported_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    table = answers(30)
    table.to_csv("t.csv", index=False)
    words = ["export", "t.csv", "--out", "m", "--levels", "hasty,careful"]
    refused(crossworld(*words, "--prompt", "promt"), "'promt'", "Did you mean 'prompt'?")
    refused(crossworld(*words[:-1], "hasty"), "hasty")
    refused(crossworld(*words, "--reasoning", "outcome"), "outcome")
    refused(crossworld(*words, "--encoder", "nowhere"), "model.onnx", "nowhere")
    table["prompt"] += " " + table["treatment"]
    table.to_csv("t.csv", index=False)
    refused(crossworld(*words, "--question", "question"), "two prompts", "its own column")
    Path("m").mkdir()
    Path("m/notes.txt").write_text("mine")
    answers(60).to_csv("t.csv", index=False)
    refused(crossworld(*words, "--draws", "20", "--components", "2"), "notes.txt", "new folder")
    assert Path("m/notes.txt").read_text() == "mine"
    monkeypatch.setattr("crossworld.serve.need.find_spec", lambda _: None)
    refused(crossworld(*words), "pip install 'crossworld[serve]'")

"""``crossworld patch`` as a user meets it, on a tiny model in a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the internals of networks need the extra 'local'")
tf = pytest.importorskip("transformers", reason="the models need the extra 'local'")

import crossworld as xw  # noqa: E402
from crossworld.internals.patch import Patch  # noqa: E402

from .command import crossworld, done, misused, numbers, refused  # noqa: E402

WORDS = ("<unk>", "Mary", "John", "Anna", "Paul", "gave", "took", "it", "to", "she", "he")
OUTPUTS = ("--json", "out.json", "--report", "out.html")


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random two-layer model and a tokenizer of eleven words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    model = tf.GPT2LMHeadModel(tf.GPT2Config(
        n_layer=2, n_embd=16, n_head=2, vocab_size=len(WORDS), n_positions=16,
        bos_token_id=0, eos_token_id=0,
    ))  # fmt: skip
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(4.0)
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    tf.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def model(saved: Path, folder: Path) -> str:
    """The model beside the working folder's files, and ``pairs.jsonl``."""
    Path("model").symlink_to(saved, target_is_directory=True)
    write(rows())
    return "model"


def rows() -> list[dict[str, Any]]:
    names = ("Mary", "John", "Anna", "Paul")
    return [
        {
            "clean": f"{one} gave it to {other}",
            "corrupt": f"{other} gave it to {one}",
            "answer": "she" if one in ("Mary", "Anna") else "he",
            "wrong": "he" if one in ("Mary", "Anna") else "she",
            "cluster": f"{one} {other}",
            "spans": {"first": [one, other]},
        }
        for one in names
        for other in names
        if one != other
    ]


def write(held: list[dict[str, Any]], file: str = "pairs.jsonl") -> None:
    Path(file).write_text("".join(json.dumps(row) + "\n" for row in held), encoding="utf-8")


def left() -> set[str]:
    return {p.name for p in Path().iterdir()} - {"model", "pairs.jsonl", "spec.toml"}


def refuses(*words: object, fragments: tuple[str, ...]) -> str:
    message = refused(crossworld("patch", *words, *OUTPUTS), *fragments)
    assert left() == set()
    return message


def test_estimate_says_what_python_says() -> None:
    sites = ("layers.0.mlp", "layers.*.attn @ -1")
    options = [word for site in sites for word in ("--sites", site)]
    out = done(crossworld("patch", "estimate", "model", "pairs.jsonl", *options, *OUTPUTS,
                          "--effects", "te,nde,nie,pnie,nie[layers.0.mlp]"))  # fmt: skip
    subject = xw.TorchSubject.load("model")
    study = xw.PatchStudy(subject, "pairs.jsonl", "logit_difference", sites=sites)
    asked = [xw.TE, xw.NDE, xw.NIE, xw.PNIE, xw.NIE.at("layers.0.mlp")]
    expected = xw.estimate(study, Patch(), asked)
    found = numbers("out.json")
    for row in expected:
        assert found[row.term][0] == pytest.approx(row.estimate, abs=1e-7)
        assert found[row.term][1] == pytest.approx(row.std_error, abs=1e-7)
        assert abs(row.estimate) > 1e-4
        assert row.term in out
    assert "12 pairs" in out
    assert "12 clusters" in out
    page = Path("out.html").read_text(encoding="utf-8")
    assert "layers.0.mlp" in page


@pytest.mark.parametrize("command", ["estimate", "sweep"])
@pytest.mark.parametrize(
    "options",
    [
        ("--sites", "layers.*.resid @ first"),
        ("--sites", "layers.0.heads.* @ -1", "--metric", "probability", "--source", "zero"),
        ("--sites", "layers.1.mlp", "--metric", "kl", "--at", "-2", "--level", "0.9"),
        ("--sites", "layers.*.mlp @ -1", "--source", "resample", "--hold", "layers.0.attn"),
    ],
)
def test_a_result_can_be_run_again(command: str, options: tuple[str, ...]) -> None:
    first = done(crossworld("patch", command, "model", "pairs.jsonl", *options, "--json", "a.json"))
    again = done(crossworld("run", "a.json", "--json", "b.json"))
    assert numbers("a.json") == numbers("b.json")
    assert first == again


def test_noise_can_be_run_again() -> None:
    write([{k: v for k, v in row.items() if k != "corrupt"} | {"spans": {"first": [0, 1]}}
           for row in rows()])  # fmt: skip
    done(crossworld("patch", "sweep", "model", "pairs.jsonl", "--sites", "layers.*.resid @ first",
                    "--noise", "embed @ first", "--json", "a.json"))  # fmt: skip
    done(crossworld("run", "a.json", "--json", "b.json"))
    assert numbers("a.json") == numbers("b.json")
    assert numbers("a.json")["nie[layers.0.resid @ first]"][0] != 0.0


def test_a_sweep_keeps_its_scores_and_its_report_has_a_heat_map() -> None:
    done(crossworld("patch", "sweep", "model", "pairs.jsonl", "--sites", "layers.*.resid @ *",
                    "--scores", "s.npz", "--json", "s.json"))  # fmt: skip
    done(crossworld("patch", "report", "s.json", "--report", "s.html"))
    page = Path("s.html").read_text(encoding="utf-8")
    assert "layer by position" in page
    assert "<svg" in page
    spec = '[study]\nkind = "internals"\nscores = "s.npz"\n[ask]\neffects = ["{}"]\n'
    term = "nie[layers.0.resid @ 0]"
    Path("spec.toml").write_text(spec.format(term), encoding="utf-8")
    done(crossworld("run", "spec.toml", "--json", "again.json"))
    assert numbers("again.json")[term][0] == pytest.approx(numbers("s.json")[term][0], abs=1e-9)


def test_an_interrupted_sweep_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("patch", "sweep", "model", "pairs.jsonl", "--sites", "layers.*.mlp @ -1",
             "--batch-size", "4")  # fmt: skip
    done(crossworld(*words, "--json", "whole.json"))
    from crossworld.internals.patch import _Plan

    run, calls = _Plan.run, []

    def counted(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return run(*args)

    monkeypatch.setattr(_Plan, "run", counted)
    stopped = crossworld(*words, "--resume", "keep.npz", "--json", "a.json")
    assert stopped.code == 130
    assert not Path("a.json").exists()
    assert Path("keep.npz").exists()
    calls.clear()
    calls.extend([1] * 10)
    done(crossworld(*words, "--resume", "keep.npz", "--json", "a.json"))
    assert len(calls) == 11, "two of three batches were kept"
    assert not Path("keep.npz").exists()
    assert numbers("a.json") == numbers("whole.json")
    spec = json.loads(Path("a.json").read_text(encoding="utf-8"))["spec"]
    assert spec["estimator"].get("resume") is None, "where it was kept is no part of the question"


def test_a_file_kept_for_something_else_is_refused() -> None:
    np.savez("keep.npz", values=np.zeros(3), what=np.array("else"))
    words = ("patch", "sweep", "model", "pairs.jsonl", "--sites", "embed", "--resume", "keep.npz")
    refused(crossworld(*words), "keep.npz", "kept for other pairs")
    Path("keep.npz").write_text("no", encoding="utf-8")
    refused(crossworld(*words), "keep.npz")


def test_sites_are_listed() -> None:
    out = done(crossworld("patch", "sites", "model"))
    assert {"embed", "layers.0.resid_pre", "layers.1.mlp"} <= set(out.splitlines())
    out = done(crossworld("patch", "sites", "model", "layers.*.heads.*.q @ -1"))
    assert out.splitlines()[0] == "layers.0.heads.0.q @ -1"
    assert len(out.splitlines()) == 4
    refused(crossworld("patch", "sites", "model", "layers.9.mlp"), "no layer 9", "layers.1.mlp")


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        (("--sites", "layers.0.mpl"), ("layers.0.mpl", "layers.0.mlp")),
        (("--sites", "layers.7.mlp"), ("no layer 7", "0 to 1")),
        (("--sites", "layers.0.heads.5"), ("no head 5", "0 to 1")),
        (("--sites", "layers.0.mlp @ frist"), ("no span is called 'frist'", "first")),
        (("--sites", "layers.0.mlp @ 9"), ("no position 9", "5 tokens")),
        (("--sites", "layers..mlp"), ("empty name between dots",)),
        (("--sites", "layers.0.mlp @ @"), ("layers.0.mlp @ @",)),
        (("--sites", "embed", "--metric", "logit_diff"), ("logit_diff", "logit_difference")),
        (("--sites", "embed", "--source", "nothing"), ("nothing", "resample")),
        (("--sites", "embed", "--noise", "embed"), ("corrupt input of their own",)),
        (("--sites", "embed", "--hold", "layers.0.mpl"), ("layers.0.mpl", "layers.0.mlp")),
        (("--sites", "embed", "--effects", "nei"), ("nei", "nie")),
        (("--sites", "embed", "--effects", "nie[layers.0.mlp]"), ("layers.0.mlp",)),
        (("--sites", "embed", "--level", "95"), ("95",)),
        (("--sites", "embed", "--batch-size", "0"), ("batch_size", "0")),
        (("--sites", "embed", "--at", "first"), ("first",)),
        (("--sites", "embed", "--at", "a b"), ("'a b'", "no position")),
    ],
)
def test_wrong_options_are_refused_in_one_message(
    options: tuple[str, ...], fragments: tuple[str, ...]
) -> None:
    if options[-2:] == ("--at", "first"):
        write([{k: v for k, v in row.items() if k != "spans"} for row in rows()])
    for command in ("estimate", "sweep"):
        refuses(command, "model", "pairs.jsonl", *options, fragments=fragments)


def _changed(at: int, **new: Any) -> list[dict[str, Any]]:
    held = rows()
    held[at] = {k: v for k, v in (held[at] | new).items() if v is not ...}
    return held


@pytest.mark.parametrize(
    ("held", "fragments"),
    [
        ([], ("no pairs",)),
        (_changed(3, corrupt="Mary it"), ("pair 3", "5 and 2 tokens", "span")),
        (_changed(2, clen="x"), ("clen", "clean")),
        (_changed(2, clean=...), ("pair 2 has no 'clean'",)),
        (_changed(5, answer=...), ("pair 5 has no 'answer'",)),
        (_changed(4, answer="she he"), ("answer of pair 4", "2 tokens")),
        (_changed(4, answer=99), ("99",)),
        (_changed(4, answer=-1), ("answer of pair 4", "-1")),
        (_changed(1, clean=""), ("clean input 1", "no tokens")),
        (_changed(1, clean=7), ("clean input 1",)),
        (_changed(6, spans={"first": "Zoe"}), ("clean input 6", "Zoe")),
        (_changed(6, spans={"first": [3, 1]}), ("first", "[3, 1]")),
        (_changed(6, spans="Mary"), ("spans of pair 6",)),
    ],
)
def test_broken_pairs_are_refused_by_their_place(
    held: list[dict[str, Any]], fragments: tuple[str, ...]
) -> None:
    write(held)
    refuses("estimate", "model", "pairs.jsonl", "--sites", "layers.0.mlp", fragments=fragments)


def test_broken_lines_are_named() -> None:
    text = Path("pairs.jsonl").read_text(encoding="utf-8").splitlines()
    for bad in ('{"clean": "Mary', "[1, 2]", "nan"):
        text[2] = bad
        Path("pairs.jsonl").write_text("\n".join(text), encoding="utf-8")
        refuses("sweep", "model", "pairs.jsonl", "--sites", "embed",
                fragments=("line 3", "pairs.jsonl"))  # fmt: skip


def test_files_that_are_not_there() -> None:
    refuses("sweep", "model", "none.jsonl", "--sites", "embed", fragments=("none.jsonl",))
    refuses("sweep", "./none", "pairs.jsonl", "--sites", "embed", fragments=("no folder './none'",))
    refused(crossworld("patch", "sites", "./none"), "no folder './none'")
    refused(crossworld("patch", "report", "none.json"), "none.json")
    Path("empty").mkdir()
    refused(crossworld("patch", "sites", "empty"), "safetensors")
    Path("pairs2.json").write_text("{}", encoding="utf-8")
    refused(crossworld("patch", "report", "pairs2.json"), "pairs2.json")


def test_outputs_that_cannot_be_written_or_are_inputs() -> None:
    words = ("patch", "sweep", "model", "pairs.jsonl", "--sites", "embed")
    refused(crossworld(*words, "--json", "nowhere/out.json"), "nowhere")
    before = Path("pairs.jsonl").read_bytes()
    for option in ("--json", "--report", "--scores"):
        refused(crossworld(*words, option, "pairs.jsonl"), "pairs.jsonl")
    assert Path("pairs.jsonl").read_bytes() == before
    assert left() == set()


def test_missing_words_are_usage_errors() -> None:
    misused(crossworld("patch", "estimate", "model", "pairs.jsonl"), "--sites")
    misused(crossworld("patch", "sweep", "model"), "PAIRS")
    misused(crossworld("patch", "swep"), "swep")


def test_a_pipe_gets_the_table_and_nothing_else() -> None:
    words = ("patch", "sweep", "model", "pairs.jsonl", "--sites", "layers.*.mlp @ -1")
    code = "from crossworld.cli.main import main; main()"
    path = os.pathsep.join(p for p in sys.path if p)
    ran = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True,
                         env={**os.environ, "PYTHONPATH": path}, timeout=120)  # fmt: skip
    assert ran.returncode == 0
    assert ran.stderr == ""
    assert "\r" not in ran.stdout
    assert "\x1b" not in ran.stdout
    assert "nie[layers.1.mlp @ -1]" in ran.stdout


@pytest.mark.parametrize(
    ("study", "fragments"),
    [
        ({"modle": "model"}, ("modle", "model")),
        ({"model": "model"}, ("needs pairs",)),
        ({"pairs": "pairs.jsonl"}, ("needs model",)),
        ({"model": "model", "pairs": "pairs.jsonl", "sites": 3}, ("sites", "3")),
        ({"model": "model", "pairs": "pairs.jsonl", "metric": ["kl"]}, ("metric",)),
        ({"model": "model", "pairs": "pairs.jsonl", "noise": "embed"}, ("noise",)),
        ({"model": "model", "pairs": "pairs.jsonl", "noise": {"at": "embed", "sd": 1}}, ("sd",)),
        ({"scores": "s.npz", "sites": ["embed"]}, ("scores takes nothing else", "sites")),
        ({"scores": "s.npz"}, ("s.npz",)),
        ({"model": "model", "pairs": "pairs.jsonl", "noise": {"at": "embed", "draws": 0}},
         ("draws", "0")),
        ({"model": "model", "pairs": "pairs.jsonl", "noise": {"at": "embed", "scale": "x"}},
         ("scale", "x")),
    ],
)  # fmt: skip
def test_specs_of_kind_internals_are_checked(
    study: dict[str, Any], fragments: tuple[str, ...]
) -> None:
    document = {"study": {"kind": "internals", **study}, "ask": {"effects": ["te"]}}
    Path("spec.json").write_text(json.dumps(document), encoding="utf-8")
    refused(crossworld("run", "spec.json", *OUTPUTS), *fragments)
    assert left() == {"spec.json"}


def test_a_spec_in_another_folder_finds_its_files(tmp_path: Path) -> None:
    Path("sub").mkdir()
    for name in ("model", "pairs.jsonl"):
        Path(name).rename(Path("sub") / name)
    Path("sub/spec.toml").write_text(
        '[study]\nkind = "internals"\nmodel = "model"\npairs = "pairs.jsonl"\n'
        'sites = ["layers.*.mlp"]\n[ask]\neffects = ["te", "nie"]\n', encoding="utf-8",
    )  # fmt: skip
    done(crossworld("run", "sub/spec.toml", "--json", "out.json"))
    assert numbers("out.json")["te"][0] != 0.0

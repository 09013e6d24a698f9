"""Interchange accuracy against programs that are right, wrong and half right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from crossworld.errors import DesignError, SpecError
from crossworld.internals.alignment.interchange import interchange_accuracy
from crossworld.internals.alignment.rivals import approximate_abstraction, rank_programs
from crossworld.internals.alignment.task import Interchange, interchanges
from crossworld.internals.basis import Subspace
from crossworld.internals.subject import TorchSubject


def at(planted, name: str, direction: int):
    bases = {**planted.subject.bases, name: Subspace(planted.directions[direction])}
    return replace(planted.subject, bases=bases)


def test_the_right_program_at_the_right_place(planted) -> None:
    subject = at(planted, "s", 0)
    pairs = interchanges(planted.task.program, 200, seed=1)
    found = interchange_accuracy(subject, planted.task, sites={"s": "hidden[s]"}, pairs=pairs)
    assert found.iia.estimate == 1.0
    assert found.iia.conf_low > 0.98
    assert found.iia.conf_high == 1.0
    assert found.table["behaviour"].estimate == 1.0
    assert found.table["kappa"].estimate == pytest.approx(1.0)
    assert found.illusions["s"].fired is False  # every result of a subspace comes with a diagnosis
    assert "hidden[s]: no illusion" in str(found)
    whole = interchange_accuracy(subject, planted.task, sites={"s": "hidden"}, pairs=pairs)
    assert not whole.illusions


def test_accuracies_are_those_of_a_loop_by_hand(planted) -> None:
    """At a wrong place: every pair is run by hand, with the swap written out."""
    torch = pytest.importorskip("torch")
    subject = at(planted, "s", 1)  # the direction of c
    pairs = interchanges(planted.task.program, 60, seed=2)
    found = interchange_accuracy(
        subject, planted.task, sites={"s": "hidden[s]"}, pairs=pairs, batch=7
    )
    net, v = planted.subject.model, torch.from_numpy(planted.directions[1]).float()
    hits, moved = [], []
    for pair in pairs:
        kept = {}
        for name, setting in (("base", pair.base), ("source", pair.sources["s"])):
            x = torch.tensor([planted.task.encode(setting)])
            handle = net.hidden.register_forward_hook(
                lambda m, i, o, name=name: kept.update({name: o.detach()})
            )
            net(x)
            handle.remove()
        patched = kept["base"] + ((kept["source"] - kept["base"]) @ v) * v
        handle = net.hidden.register_forward_hook(lambda m, i, o, p=patched: p)
        logit = net(torch.tensor([planted.task.encode(pair.base)])).item()
        handle.remove()
        s = pair.sources["s"]["a"] ^ pair.sources["s"]["b"]
        truth = s & pair.base["c"]
        hits.append(int(logit > 0) == truth)
        moved.append(truth != ((pair.base["a"] ^ pair.base["b"]) & pair.base["c"]))
    assert found.hits.tolist() == [float(h) for h in hits]
    assert found.table["iia"].estimate == pytest.approx(np.mean(hits))
    assert found.table["iia[changed]"].estimate == pytest.approx(np.mean(np.array(hits)[moved]))
    assert 0.2 < np.mean(hits) < 0.9


def test_multi_source_interchange(planted) -> None:
    bits = planted.task.program.inputs
    task = planted.rival(
        {"s": lambda a, b: a ^ b, "k": lambda c: c, "out": lambda s, k: s & k}
    )  # fmt: skip
    subject = replace(
        planted.subject,
        bases={"s": Subspace(planted.directions[0]), "k": Subspace(planted.directions[1])},
    )
    pairs = interchanges(task.program, 150, variables=[("s", "k"), "s", "k"], seed=4)
    sites = {"s": "hidden[s]", "k": "hidden[k]"}
    found = interchange_accuracy(subject, task, sites=sites, pairs=pairs)
    assert found.iia.estimate == 1.0
    assert found.table["iia[s and k]"].estimate == 1.0
    wrong = interchange_accuracy(
        subject, task, sites={"s": "hidden[k]", "k": "hidden[s]"}, pairs=pairs
    )
    assert wrong.table["iia[s and k]"].conf_high < 0.95
    base = dict.fromkeys(bits, 0)
    both = Interchange({**base, "c": 0}, {"s": {**base, "a": 1}, "k": {**base, "c": 1}})
    one = interchange_accuracy(subject, task, sites=sites, pairs=[both] * 3)
    assert one.target.tolist() == [1, 1, 1]
    assert one.table["iia[novel]"].estimate == 1.0  # neither base nor a source has that answer


def test_two_variables_at_one_place_are_refused(planted) -> None:
    task = planted.rival({"s": lambda a: a, "k": lambda c: c, "out": lambda s, k: s & k})
    pairs = interchanges(task.program, 5, variables=[("s", "k")], changed=None)
    with pytest.raises(DesignError, match="both live at hidden"):
        interchange_accuracy(
            planted.subject, task, sites={"s": "hidden", "k": "hidden"}, pairs=pairs
        )


def test_sites_and_pairs_that_do_not_go_together(planted) -> None:
    pairs = interchanges(planted.task.program, 5)
    with pytest.raises(SpecError, match="unknown variable of the program"):
        interchange_accuracy(planted.subject, planted.task, sites={"z": "hidden"}, pairs=pairs)
    with pytest.raises(DesignError, match="has no site"):
        interchange_accuracy(planted.subject, planted.task, sites={"out": "hidden"}, pairs=pairs)
    with pytest.raises(DesignError, match="no interchanges"):
        interchange_accuracy(planted.subject, planted.task, sites={"s": "hidden"}, pairs=[])


def test_clusters_widen_the_interval(planted) -> None:
    """Twenty copies of fifteen pairs are not three hundred pairs."""
    few = interchanges(planted.task.program, 15, seed=3)
    subject = at(planted, "s", 1)
    copies = [replace(p, cluster=i) for i, p in enumerate(few) for _ in range(20)]
    loose = [replace(p, cluster=None) for p in copies]
    tables = [
        interchange_accuracy(subject, planted.task, sites={"s": "hidden[s]"}, pairs=p).iia
        for p in (copies, loose, few)
    ]
    widths = [t.conf_high - t.conf_low for t in tables]
    assert tables[0].estimate == tables[1].estimate
    assert widths[0] > 3.0 * widths[1]
    assert widths[0] == pytest.approx(widths[2], rel=0.15)


def test_ranking_rules_out_rivals(planted) -> None:
    pairs = {}
    subject = at(planted, "s", 0)
    rivals = {
        "xor": planted.task,
        "a": planted.rival({"s": lambda a: a, "out": lambda s, b, c: (s ^ b) & c}),
        "b": planted.rival({"s": lambda b: b, "out": lambda s, a, c: (s ^ a) & c}),
    }
    for name, task in rivals.items():
        drawn = interchanges(task.program, 300, seed=1)
        pairs[name] = interchange_accuracy(subject, task, sites={"s": "hidden[s]"}, pairs=drawn)
    ranking = rank_programs(pairs)
    assert ranking.order[0] == "xor"
    assert set(ranking.ruled_out) == {"a", "b"}
    alone = pairs["a"].iia
    together = ranking.table["iia[a]"]
    assert together.estimate == alone.estimate
    assert together.conf_low < alone.conf_low < alone.conf_high < together.conf_high
    assert ranking.table["iia[xor] - iia[a]"].conf_low > 0.0
    assert ranking.table["iia[xor] - iia[a]"].conf_method == "newcombe"
    same = rank_programs({"one": pairs["xor"], "two": replace(pairs["xor"])})
    assert same.table["iia[one] - iia[two]"].conf_method == "bonett-price"
    assert same.ruled_out == ()
    assert "agree equally often" in same.table.warnings[0]


def test_errors_by_variable_and_the_worst(planted) -> None:
    task = planted.rival({"s": lambda a, b: a ^ b, "k": lambda c: c, "out": lambda s, k: s & k})
    subject = replace(
        planted.subject,
        bases={"s": Subspace(planted.directions[0]), "k": Subspace(planted.directions[2])},
    )
    pairs = interchanges(task.program, 300, seed=5)
    found = interchange_accuracy(
        subject, task, sites={"s": "hidden[s]", "k": "hidden[k]"}, pairs=pairs
    )
    table = approximate_abstraction(found)
    assert table["error[s]"].estimate == 0.0
    assert table["error[k]"].conf_low > 0.3
    assert table["error[worst]"].estimate == table["error[k]"].estimate
    assert table["error[worst]"].conf_low == table["error[k]"].conf_low
    assert table["distance[s]"].estimate < 0.01 < 0.3 < table["distance[k]"].estimate
    assert table["distance[undisturbed]"].estimate < 1e-6


def test_one_logit_and_token_columns(planted) -> None:
    torch = pytest.importorskip("torch")
    task = planted.task
    both = task.logits(torch.tensor([[2.0], [-1.0]]))
    assert both.tolist() == [[0.0, 2.0], [0.0, -1.0]]
    wide = replace(task, columns=(3, 1))
    logits = torch.arange(24.0).reshape(2, 3, 4)
    assert wide.logits(logits).tolist() == [[11.0, 9.0], [23.0, 21.0]]
    with pytest.raises(DesignError, match="say which logits they are"):
        replace(task, readout=lambda out: out).logits(logits)


def test_a_language_model_is_interchanged_at_a_token() -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from crossworld.internals.alignment.program import CausalProgram
    from crossworld.internals.alignment.task import AlignmentTask

    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=10, n_positions=8, n_embd=8, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    subject = TorchSubject(transformers.GPT2LMHeadModel(config).eval())
    program = CausalProgram(
        {"x": range(10), "y": range(10)},
        {"u": lambda x: x % 2, "out": lambda u, y: (u + y) % 2},
        "out",
    )
    task = AlignmentTask(program, lambda s: [s["x"], s["y"]], (0, 1), columns=(4, 5))
    pairs = interchanges(program, 20, seed=0)
    whole = interchange_accuracy(
        subject, task, sites={"u": ["layers.1.resid @ 0", "layers.1.resid @ 1"]}, pairs=pairs
    )
    source = [subject.run(task.batch([p.sources["u"]])).output[0, -1, [4, 5]] for p in pairs]
    expected = torch.stack(source).double().softmax(-1).numpy()
    np.testing.assert_allclose(whole.probabilities, expected, atol=1e-6)


def test_prompts_of_unequal_length_are_aligned_by_spans() -> None:
    """The key's token stands at another place in base and source; only its span is exchanged."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from crossworld.internals.alignment.program import CausalProgram
    from crossworld.internals.alignment.task import AlignmentTask

    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=10, n_positions=8, n_embd=8, n_layer=2, n_head=2, initializer_range=0.5,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config).eval()
    program = CausalProgram(
        {"pad": range(3), "x": range(8)}, {"u": lambda x: x, "out": lambda u: u % 2}, "out"
    )
    task = AlignmentTask(
        program, lambda s: [9] * s["pad"] + [s["x"], 8], (0, 1), columns=(4, 5),
        spans=lambda s: {"key": (s["pad"], s["pad"] + 1)},
    )  # fmt: skip
    pairs = interchanges(program, 25, seed=0)
    site = {"u": "layers.0.resid @ key"}
    found = interchange_accuracy(TorchSubject(model), task, sites=site, pairs=pairs, batch=4)
    block, kept = model.transformer.h[0], {}
    for row, pair in enumerate(pairs):
        source, base = (
            torch.tensor([task.encode(s)]) for s in (pair.sources["u"], pair.base)
        )  # fmt: skip
        with torch.no_grad():
            handle = block.register_forward_hook(lambda m, i, o: kept.update(h=o.clone()))
            model(source)
            handle.remove()
            value = kept["h"][0, pair.sources["u"]["pad"]]

            def put(m, i, o, at=pair.base["pad"], value=value):
                new = o.clone()
                new[0, at] = value
                return new

            handle = block.register_forward_hook(put)
            expected = model(base).logits[0, -1, [4, 5]].double().softmax(-1)
            handle.remove()
        np.testing.assert_allclose(found.probabilities[row], expected.numpy(), atol=1e-6)

"""Networks trained in seconds: they learn, repeat themselves, and run the program they should."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from crossworld.errors import DesignError, SpecError

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from crossworld.datasets.networks import (  # noqa: E402
    Program,
    Step,
    TrainedNetwork,
    adder_programs,
    boolean_programs,
    pointer_images,
    pointer_program,
    train_adder,
    train_boolean,
    train_digits,
    train_greater_than,
    train_induction,
    train_ioi,
    train_pointer,
)
from crossworld.datasets.networks.images import QUARTERS, SHARE  # noqa: E402
from crossworld.datasets.networks.programs import agree  # noqa: E402


def difference(net: TrainedNetwork, inputs: object) -> np.ndarray:
    output = net.module(inputs)
    logits = getattr(output, "logits", output)
    last = logits[:, -1] if logits.ndim == 3 else logits
    rows = np.arange(len(net))
    return (last[rows, net.answer] - last[rows, net.wrong]).numpy()


def interchanged(net: TrainedNetwork, base: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Outputs for base inputs with all of ``first`` taken from source inputs."""
    seen = []
    handle = net.module.first.register_forward_hook(lambda m, a, out: seen.append(out.clone()))
    net.module(torch.from_numpy(source).float())
    handle.remove()
    handle = net.module.first.register_forward_hook(lambda m, a, out: seen[0])
    said = net.module(torch.from_numpy(base).float()).argmax(dim=-1).numpy()
    handle.remove()
    return said


def columns(program: Program, inputs: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(program.inputs, inputs.T, strict=True))


@pytest.mark.parametrize(("train", "kinds"), [(train_boolean, 2), (train_adder, 10)])
def test_only_the_right_program_survives_interchange(train, kinds: int) -> None:
    net = train(seed=1)
    assert net.accuracy == 1.0
    rng = np.random.default_rng(0)
    base, source = rng.integers(kinds, size=(2, 3000, len(net.programs[0].inputs)))
    said = interchanged(net, base, source)
    for program in net.programs:
        wanted = program.interchange(columns(program, base), {"u": columns(program, source)})
        share = (said == wanted).mean()
        assert share > 0.99 if program.right else share < 0.6, program.name


@pytest.mark.parametrize(("programs", "kinds"), [(boolean_programs(), 2), (adder_programs(), 10)])
def test_rivals_compute_the_same(programs: tuple[Program, ...], kinds: int) -> None:
    assert [p.right for p in programs] == [True, False, False, False]
    every = np.array(list(product(range(kinds), repeat=len(programs[0].inputs))))
    assert agree(programs, columns(programs[0], every))
    if kinds == 2:
        p, q, r, s = every.T
        np.testing.assert_array_equal(
            programs[0].run(columns(programs[0], every))["out"], (p == q) == (r == s)
        )


def test_pairs_have_different_answers() -> None:
    net = train_boolean(steps=1, n=20)
    assert len(net.pairs) == 20
    assert (net.answer != net.wrong).all()
    for inputs, outputs in ((net.clean, net.answer), (net.corrupt, net.wrong)):
        program = net.programs[0]
        held = program.run(columns(program, inputs.numpy().astype(int)))
        np.testing.assert_array_equal(held["out"], outputs)


def test_one_seed_gives_one_network_and_leaves_no_trace() -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    first, second, other = (train_boolean(seed=s, steps=50) for s in (3, 3, 4))
    weights = [
        torch.cat([p.flatten() for p in n.module.parameters()]) for n in (first, second, other)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(first.clean, second.clean)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_digits_are_read() -> None:
    net = train_digits(seed=1, steps=250)
    assert net.accuracy > 0.93
    assert (net.answer != net.wrong).all()
    assert difference(net, net.clean).mean() > 2 < -difference(net, net.corrupt).mean()
    assert net.clean.shape == (64, 1, 8, 8)


def test_pointer_program_reads_the_quarter_pointed_to() -> None:
    program = pointer_program()
    digits = np.array([[0, 5, 6, 7], [3, 5, 6, 7], [4, 5, 6, 7], [6, 5, 6, 7], [7, 5, 6, 7],
                       [9, 5, 6, 7]])  # fmt: skip
    held = columns(program, digits)
    np.testing.assert_array_equal(program.run(held)["out"], [5, 5, 6, 6, 7, 7])
    other = columns(program, np.full((6, 4), 8))
    np.testing.assert_array_equal(program.interchange(held, {"top_left": other}), [7] * 6)
    both = {"top_left": other, "bottom_right": other}
    np.testing.assert_array_equal(program.interchange(held, both), [8] * 6)


def test_pointer_images_show_the_digits_in_their_quarters() -> None:
    images, digits = pointer_images(n=50, seed=3)
    assert images.shape == (50, 1, 16, 16)
    assert digits.shape == (50, 4)
    alone = {d: {im.tobytes() for im in _digits(d)} for d in range(10)}
    for image, shown in zip(images[:, 0], digits, strict=True):
        quarters = [image[:8, :8], image[:8, 8:], image[8:, :8], image[8:, 8:]]
        assert all(q.tobytes() in alone[d] for q, d in zip(quarters, shown, strict=True))
    held = {im.tobytes() for im in pointer_images(n=200, seed=3, held_out=True)[0][:, 0, :8, :8]}
    seen = {im.tobytes() for im in pointer_images(n=200, seed=3)[0][:, 0, :8, :8]}
    assert not held & seen


def _digits(digit: int) -> np.ndarray:
    from sklearn.datasets import load_digits

    held = load_digits()
    return (held.images[held.target == digit] / 16.0).astype(np.float32)


@pytest.mark.slow
def test_interchange_training_aligns_the_pointer_network() -> None:
    """Higher interchange accuracy for every variable, and better answers on unseen digits."""
    share = {}
    for weight in (0.0, 1.0):
        net = train_pointer(interchange=weight)
        (program,) = net.programs
        base, shown = pointer_images(n=2000, seed=11, held_out=True)
        source, other = pointer_images(n=2000, seed=12, held_out=True)
        held, moved = (net.module.encoder(torch.from_numpy(im)) for im in (base, source))
        share[weight] = [net.accuracy]
        for at, quarter in enumerate(QUARTERS):
            units = slice(at * SHARE, (at + 1) * SHARE)
            hidden = held.clone()
            hidden[:, units] = moved[:, units]
            said = net.module.out(hidden).argmax(dim=-1).numpy()
            wanted = program.interchange(
                columns(program, shown), {quarter: columns(program, other)}
            )
            share[weight].append((said == wanted).mean())
    assert all(a > b + 0.05 for a, b in zip(share[1.0], share[0.0], strict=True)), share


def test_induction_is_learnt_and_needs_the_first_occurrence() -> None:
    net = train_induction(steps=900)
    assert net.accuracy > 0.9
    assert ((net.clean != net.corrupt).sum(dim=1) == 1).all()
    assert difference(net, net.clean).mean() > 3
    assert abs(difference(net, net.corrupt).mean()) < 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_names_are_learnt_and_follow_the_subject(seed: int) -> None:
    net = train_ioi(seed=seed)
    assert net.accuracy > 0.65
    assert difference(net, net.clean).mean() > 2 < -difference(net, net.corrupt).mean()


def test_name_prompts() -> None:
    net = train_ioi(steps=1, n=32)
    words = np.array(net.words)
    for clean, corrupt, answer, wrong in zip(
        net.clean.numpy(), net.corrupt.numpy(), net.answer, net.wrong, strict=True
    ):
        start, a, and_, b, _, subject, _, to = words[clean]
        assert (start, and_, to) == ("<s>", "and", "to")
        assert {a, b} == {words[answer], words[wrong]}
        assert subject == words[wrong]
        assert words[corrupt[5]] == words[answer]
        assert np.flatnonzero(clean != corrupt).tolist() == [5]
    assert set(net.cluster) == set(range(8))


def test_greater_than_is_learnt() -> None:
    net = train_greater_than(steps=300)
    assert net.accuracy > 0.9

    class Rows:
        wrong = net.wrong

    with torch.no_grad():
        logits = [net.module(inputs).logits for inputs in (net.clean, net.corrupt)]
    clean, corrupt = (net.metric(output, Rows).mean() for output in logits)
    assert clean > 0.7
    assert corrupt < clean - 0.4


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: train_ioi(steps=0), "steps must be at least 1"),
        (lambda: train_adder(n=1), "n must be at least 2"),
        (lambda: train_pointer(interchange=-1.0), "0 or more"),
        (lambda: pointer_images(n=0), "at least 1"),
        (lambda: Program("p", ("x",), (Step("a", ("b",), abs),)), "needs b"),
    ],
)
def test_impossible_requests_are_refused(make, told: str) -> None:
    with pytest.raises(DesignError, match=told):
        make()


def test_programs_name_what_they_lack() -> None:
    program = adder_programs()[0]
    with pytest.raises(SpecError, match="needs the input 'z'"):
        program.run({"x": 1, "y": 2})
    with pytest.raises(SpecError, match="'w'"):
        program.run({"x": 1, "y": 2, "z": 3}, {"w": 1})

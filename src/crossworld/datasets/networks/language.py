"""Language tasks that a two-layer GPT-2 learns in seconds: induction, greater-than, names."""

from __future__ import annotations

from typing import Any

import numpy as np

from crossworld.datasets.networks.build import seeded, torch_or_error
from crossworld.datasets.networks.trained import (
    TrainedNetwork,
    small_gpt2,
    train,
)
from crossworld.errors import DesignError

NAMES = ("Ann", "Ben", "Cat", "Dan", "Eva", "Fay", "Gus", "Hal", "Ida", "Jon", "Kim", "Leo")
VERBS = ("gave", "sold", "lent", "sent")
PLACES = ("park", "shop")


def train_ioi(*, seed: int = 0, steps: int = 1200, n: int = 64) -> TrainedNetwork:
    """Train the indirect object task: "Ann and Ben park Ann gave to" is completed by "Ben".

    A quarter of the pairs of names is held out. A pair of inputs differs in the second subject
    alone ("Ann and Ben ... Ben gave to"), so answers swap; sentences come from eight templates
    (four verbs in two places), both orders of the names equally often.

    Parameters
    ----------
    seed
        Seed of weights, batches and pairs; which heads do the work differs by seed.
    steps
        Training steps of 64 sentences.
    n
        Pairs.

    Returns
    -------
    TrainedNetwork
        ``cluster`` codes the template.

    References
    ----------
    Wang et al. (2023), Interpretability in the wild, ICLR, arXiv 2211.00593.
    """
    _check(n)
    words = ("<s>", "and", "to", *NAMES, *VERBS, *PLACES)
    pairs = np.array([(a, b) for a in range(len(NAMES)) for b in range(len(NAMES)) if a != b])
    rng = np.random.default_rng(seed)
    # both orders of two names fall on one side, so that held-out pairs are new
    held = rng.random((len(NAMES), len(NAMES)))
    held = np.triu(held, 1) + np.triu(held, 1).T
    seen = held[pairs[:, 0], pairs[:, 1]] < 0.75
    torch = torch_or_error()

    def sentences(names: Any, subject: Any, template: Any) -> tuple[Any, Any, Any]:
        first, second = names[:, 0] + 3, names[:, 1] + 3
        again, answer = np.where(subject, second, first), np.where(subject, first, second)
        verb, place = 3 + len(NAMES) + template % 4, 3 + len(NAMES) + 4 + template // 4
        start = np.zeros_like(first)
        columns = [start, first, start + 1, second, place, again, verb, start + 2]
        return np.column_stack(columns), answer, again

    known = torch.from_numpy(pairs[seen])

    def loss(module: Any, generator: Any) -> Any:
        at = torch.randint(len(known), (64,), generator=generator)
        subject = torch.randint(2, (64,), generator=generator).numpy()
        template = torch.randint(8, (64,), generator=generator).numpy()
        ids, answer, _ = sentences(known[at].numpy(), subject == 1, template)
        logits = module(input_ids=torch.from_numpy(ids), use_cache=False).logits[:, -1]
        return torch.nn.functional.cross_entropy(logits, torch.from_numpy(answer))

    module = train(
        lambda: small_gpt2(vocabulary=len(words), length=8), loss, steps=steps, rate=5e-3, seed=seed
    )
    new = pairs[~seen][rng.integers(0, int((~seen).sum()), size=n)]
    subject, template = np.arange(n) % 2 == 1, np.arange(n) // 2 % 8
    clean, answer, wrong = sentences(new, subject, template)
    corrupt = sentences(new, ~subject, template)[0]
    return _finish(module, (clean, corrupt), (answer, wrong), template, words)


def train_induction(*, seed: int = 0, steps: int = 1500, n: int = 64) -> TrainedNetwork:
    """Train on sequences in which tokens come back: "<s> q b x d ... b" is completed by "x".

    Eight distinct tokens of 24 are followed by three of them, each with its successor; the last
    token shown is what the model completes. A pair of inputs has one repeated token and differs in
    its first occurrence, which the corrupt input replaces, so that nothing is left to complete.

    Parameters
    ----------
    seed
        Seed of weights, batches and pairs.
    steps
        Training steps of 64 sequences.
    n
        Pairs.

    Returns
    -------
    TrainedNetwork
        Every pair is a cluster of its own; ``wrong`` is another token of the sequence.

    References
    ----------
    Olsson et al. (2022), In-context learning and induction heads, arXiv 2209.11895.
    """
    _check(n)
    kinds, inner, asked = 24, 8, 3
    torch = torch_or_error()

    def sequences(rows: int, generator: Any) -> tuple[Any, Any]:
        drawn = torch.rand(rows, kinds, generator=generator).argsort(dim=1)[:, : inner + 1] + 1
        at = torch.rand(rows, inner - 1, generator=generator).argsort(dim=1)[:, :asked]
        return drawn, at

    def loss(module: Any, generator: Any) -> Any:
        drawn, at = sequences(64, generator)
        again = torch.stack([drawn.gather(1, at), drawn.gather(1, at + 1)], dim=2)
        start = torch.zeros(64, 1, dtype=torch.long)
        ids = torch.cat([start, drawn[:, :inner], again.flatten(1)], dim=1)[:, :-1]
        logits = module(input_ids=ids, use_cache=False).logits[:, inner + 1 :: 2]
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), again[:, :, 1].flatten())

    module = train(
        lambda: small_gpt2(vocabulary=kinds + 1, length=inner + 2 * asked),
        loss,
        steps=steps,
        rate=5e-3,
        seed=seed,
    )
    with seeded(seed + 10_000) as generator:
        drawn, at = (held.numpy() for held in sequences(n, generator))
    rows, first = np.arange(n), at[:, 0]
    clean = np.hstack([np.zeros((n, 1), np.int64), drawn[:, :inner], drawn[rows, first][:, None]])
    corrupt = clean.copy()
    corrupt[rows, first + 1] = drawn[:, inner]
    answer, wrong = drawn[rows, first + 1], drawn[rows, (first + 3) % inner]
    words = ("<s>", *(chr(97 + k) for k in range(kinds)))
    return _finish(module, (clean, corrupt), (answer, wrong), rows, words)


def train_greater_than(*, seed: int = 0, steps: int = 600, n: int = 64) -> TrainedNetwork:
    """Train "<s> from 17 to" on any greater number, 0 to 29.

    A pair of inputs differs in the number: the corrupt one is 0, after which nothing is too small.
    The metric is the probability of numbers above the clean one minus that of the others.

    Parameters
    ----------
    seed
        Seed of weights, batches and pairs.
    steps
        Training steps of 256 sentences.
    n
        Pairs.

    Returns
    -------
    TrainedNetwork
        ``cluster`` codes the verb of the sentence; ``answer`` is the smallest right number,
        ``wrong`` the clean number itself.

    References
    ----------
    Hanna, Liu, Variengien (2023), How does GPT-2 compute greater-than? NeurIPS, arXiv 2305.00586.
    """
    _check(n)
    most = 30
    verbs = ("lasted", "went", "ran", "held")
    words = (*map(str, range(most)), "<s>", "from", "to", *verbs)
    torch = torch_or_error()

    def sentences(number: Any, verb: Any) -> Any:
        fixed = np.zeros_like(number)
        columns = [fixed + most, verb + most + 3, fixed + most + 1, number, fixed + most + 2]
        return np.column_stack(columns)

    def loss(module: Any, generator: Any) -> Any:
        number = torch.randint(most - 1, (256,), generator=generator)
        verb = torch.randint(len(verbs), (256,), generator=generator)
        ids = torch.from_numpy(sentences(number.numpy(), verb.numpy()))
        above = torch.arange(most) > number[:, None]
        target = above / above.sum(dim=1, keepdim=True)
        logits = module(input_ids=ids, use_cache=False).logits[:, -1]
        spread = torch.nn.functional.pad(target, (0, len(words) - most))
        return torch.nn.functional.cross_entropy(logits, spread)

    module = train(
        lambda: small_gpt2(vocabulary=len(words), length=5), loss, steps=steps, rate=3e-3, seed=seed
    )
    rng = np.random.default_rng(seed)
    number, verb = rng.integers(5, most - 5, size=n), np.arange(n) % len(verbs)
    clean, corrupt = sentences(number, verb), sentences(np.zeros_like(number), verb)

    def above_minus_below(output: Any, rows: Any) -> Any:
        chances = output[:, -1].softmax(dim=-1)[:, :most]
        above = torch.arange(most) > torch.as_tensor(rows.wrong)[:, None]
        return torch.where(above, chances, -chances).sum(dim=-1)

    with torch.no_grad():
        said = module(input_ids=torch.from_numpy(clean)).logits[:, -1].argmax(dim=-1).numpy()
    return TrainedNetwork(
        module,
        torch.from_numpy(clean),
        torch.from_numpy(corrupt),
        above_minus_below,
        float(((said > number) & (said < most)).mean()),
        verb,
        number + 1,
        number,
        words,
    )


def _check(n: int) -> None:
    if n < 2:
        raise DesignError(f"n must be at least 2, got {n!r}")


def _finish(
    module: Any, inputs: tuple[Any, Any], answers: tuple[Any, Any], cluster: Any, words: Any
) -> TrainedNetwork:
    """Wrap a model with its pairs and measure how often it is right."""
    torch = torch_or_error()
    clean, corrupt = (torch.from_numpy(ids) for ids in inputs)
    with torch.no_grad():
        said = module(input_ids=clean).logits[:, -1].argmax(dim=-1).numpy()
    return TrainedNetwork(
        module,
        clean,
        corrupt,
        "logit_difference",
        float((said == answers[0]).mean()),
        np.asarray(cluster),
        *answers,
        words,
    )

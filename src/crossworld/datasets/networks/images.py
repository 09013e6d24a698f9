"""Networks that see: digits, and digits that point to digits."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.datasets.networks.build import torch_or_error
from crossworld.datasets.networks.programs import Program, Step
from crossworld.datasets.networks.trained import TrainedNetwork, train
from crossworld.errors import DesignError

QUARTERS = ("top_left", "top_right", "bottom_left", "bottom_right")
SHARE = 24  # hidden units that belong to one quarter


def train_digits(*, seed: int = 0, steps: int = 400, n: int = 64) -> TrainedNetwork:
    """Train a small convolutional network on the handwritten digits of scikit-learn.

    Channels of ``conv1`` (8) and ``conv2`` (16) are mediators; a third of the 1,797 images is held
    out. A pair is two held-out images of different digits.

    Parameters
    ----------
    seed
        Seed of weights, batches, split and pairs.
    steps
        Training steps of 128 images.
    n
        Pairs.

    Returns
    -------
    TrainedNetwork
        Inputs of shape (n, 1, 8, 8); ``answer`` and ``wrong`` are the two digits, ``cluster`` the
        clean one.
    """
    images, labels = _digits()
    rng = np.random.default_rng(seed)
    seen, held = np.split(rng.permutation(len(labels)), [1200])
    module = _fit(_classes()["Digits"], images[seen], labels[seen], steps, seed)
    torch = torch_or_error()
    with torch.no_grad():
        said = module(torch.from_numpy(images[held])).argmax(dim=-1).numpy()
    clean, corrupt = rng.choice(held, size=(2, 40 * n))
    kept = _first(np.flatnonzero(labels[clean] != labels[corrupt]), n)
    clean, corrupt = clean[kept], corrupt[kept]
    return TrainedNetwork(
        module,
        torch.from_numpy(images[clean]),
        torch.from_numpy(images[corrupt]),
        "logit_difference",
        float((said == labels[held]).mean()),
        labels[clean],
        labels[clean],
        labels[corrupt],
        tuple(map(str, range(10))),
    )


def pointer_program() -> Program:
    """Return the program of `train_pointer`: one variable per quarter, the first says which counts.

    Inputs are the four images' digits; a top left digit of 0 to 3 points to the top right, 4 to 6
    to the bottom left, 7 to 9 to the bottom right.
    """

    def same(digit: Any) -> Any:
        return digit

    def pointed(pointer: Any, *others: Any) -> Any:
        where = np.digitize(pointer, [4, 7])
        return np.choose(where, others)

    inputs = tuple(f"{quarter}_image" for quarter in QUARTERS)
    read = tuple(Step(q, (i,), same) for q, i in zip(QUARTERS, inputs, strict=True))
    return Program("pointer", inputs, (*read, Step("out", QUARTERS, pointed)))


def pointer_images(
    *, n: int, seed: int = 0, held_out: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw two-by-two grids of digits.

    Parameters
    ----------
    n, seed
        Number of grids; seed.
    held_out
        Draw from the third of the digits that `train_pointer` does not see.

    Returns
    -------
    images
        Shape (n, 1, 16, 16).
    digits
        What the quarters show, in the order of the program's inputs, shape (n, 4).

    References
    ----------
    Zhang, Raghu, Kleinberg, Bengio (2021), Pointer value retrieval, arXiv 2107.12580.
    """
    if n < 1:
        raise DesignError(f"n must be at least 1, got {n!r}")
    images, labels = _digits()
    order = np.random.default_rng(0).permutation(len(labels))
    pool = order[1200:] if held_out else order[:1200]
    at = np.random.default_rng(seed).choice(pool, size=(n, 4))
    top = np.concatenate([images[at[:, 0]], images[at[:, 1]]], axis=3)
    bottom = np.concatenate([images[at[:, 2]], images[at[:, 3]]], axis=3)
    return np.concatenate([top, bottom], axis=2), labels[at]


def train_pointer(
    *, seed: int = 0, steps: int = 1500, interchange: float = 0.0, n: int = 64
) -> TrainedNetwork:
    r"""Train a network to read the digit that the top left digit points to.

    With ``interchange`` > 0 the loss has the term of interchange intervention training,

    .. math:: E_{b,s,v}\, \mathrm{CE}\big(f(b; H_v \leftarrow H_v(s)),\
              \text{program}(b; v \leftarrow v(s))\big)

    where :math:`H_v` is the quarter of the hidden layer that belongs to variable ``v``: units 0 to
    23 to ``top_left``, and so on.

    Parameters
    ----------
    seed
        Seed of weights, batches and pairs.
    steps
        Training steps of 64 grids.
    interchange
        Weight of the interchange term; 0 trains plainly.
    n
        Pairs.

    Returns
    -------
    TrainedNetwork
        Inputs of shape (n, 1, 16, 16), from digits that training did not see; the hidden layer is
        the output of ``encoder``, ``encoder.neurons.0`` to ``95``. Pairs have different answers.

    References
    ----------
    Geiger et al. (2022), Inducing causal structure for interpretable neural networks, ICML, arXiv
    2112.00826.
    """
    if interchange < 0.0:
        raise DesignError(f"interchange is a weight, 0 or more, got {interchange!r}")
    torch, program = torch_or_error(), pointer_program()
    images, digits = pointer_images(n=20_000, seed=seed)
    cross_entropy = torch.nn.functional.cross_entropy
    known, labels = torch.from_numpy(images), torch.from_numpy(_answers(program, digits))

    def loss(module: Any, generator: Any) -> Any:
        base, source = torch.randint(len(known), (2, 64), generator=generator)
        hidden = module.encoder(known[base])
        plain = cross_entropy(module.out(hidden), labels[base])
        if not interchange:
            return plain
        which = int(torch.randint(4, (1,), generator=generator))
        units = slice(which * SHARE, (which + 1) * SHARE)
        moved = torch.cat(
            [hidden[:, : units.start], module.encoder(known[source])[:, units],
             hidden[:, units.stop :]], dim=1
        )  # fmt: skip
        held = _columns(program, digits[base]), {QUARTERS[which]: _columns(program, digits[source])}
        wanted = torch.from_numpy(program.interchange(*held))
        return plain + interchange * cross_entropy(module.out(moved), wanted)

    module = train(_classes()["Pointer"], loss, steps=steps, rate=2e-3, seed=seed)
    clean, shown = pointer_images(n=40 * n, seed=seed + 1, held_out=True)
    corrupt, other = pointer_images(n=40 * n, seed=seed + 2, held_out=True)
    answer, wrong = _answers(program, shown), _answers(program, other)
    with torch.no_grad():
        said = module(torch.from_numpy(clean)).argmax(dim=-1).numpy()
    kept = _first(np.flatnonzero(answer != wrong), n)
    return TrainedNetwork(
        module,
        torch.from_numpy(clean[kept]),
        torch.from_numpy(corrupt[kept]),
        "logit_difference",
        float((said == answer).mean()),
        np.arange(n),
        answer[kept],
        wrong[kept],
        tuple(map(str, range(10))),
        (program,),
    )


def _columns(program: Program, digits: NDArray[np.int64]) -> dict[str, Any]:
    return dict(zip(program.inputs, digits.T, strict=True))


def _answers(program: Program, digits: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(program.run(_columns(program, digits))[program.output], dtype=np.int64)


def _first(found: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    if n < 2:
        raise DesignError(f"n must be at least 2, got {n!r}")
    return found[:n]


def _digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images scaled to [0, 1], shape (1797, 1, 8, 8), and their labels."""
    from sklearn.datasets import load_digits

    held = load_digits()
    images = (held.images / 16.0).astype(np.float32)[:, None]
    return images, held.target.astype(np.int64)


def _fit(make: Any, images: Any, labels: Any, steps: int, seed: int) -> Any:
    torch = torch_or_error()
    known, wanted = torch.from_numpy(images), torch.from_numpy(labels)

    def loss(module: Any, generator: Any) -> Any:
        at = torch.randint(len(known), (128,), generator=generator)
        return torch.nn.functional.cross_entropy(module(known[at]), wanted[at])

    return train(make, loss, steps=steps, rate=5e-3, seed=seed)


@cache
def _classes() -> dict[str, Any]:
    nn = torch_or_error().nn

    class Digits(nn.Module):  # type: ignore[misc, name-defined]
        """Two convolutions and a linear map."""

        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
            self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
            self.pool = nn.MaxPool2d(2)
            self.relu = nn.ReLU()
            self.out = nn.Linear(64, 10)

        def forward(self, images: Any) -> Any:
            seen = self.pool(self.relu(self.conv1(images)))
            return self.out(self.pool(self.relu(self.conv2(seen))).flatten(1))

    class Pointer(nn.Module):  # type: ignore[misc, name-defined]
        """An encoder of the whole image and an MLP that reads it."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(
                nn.Conv2d(1, 16, 3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Linear(16 * 64, 4 * SHARE),
                nn.ReLU(),
            )
            self.out = nn.Sequential(nn.Linear(4 * SHARE, 128), nn.ReLU(), nn.Linear(128, 10))

        def forward(self, images: Any) -> Any:
            return self.out(self.encoder(images))

    return {kind.__name__: kind for kind in (Digits, Pointer)}

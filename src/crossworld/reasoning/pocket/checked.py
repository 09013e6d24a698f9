"""Numbers that hold what the pocket reasoner's answer depends on: whether its sums are right."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LINE = re.compile(r"(\d(?:\+\d)+)=(\d)")


def check_sums(texts: Sequence[str]) -> NDArray[np.float64]:
    r"""Check the sums of a reasoning, line by line.

    Written by somebody who knows the task, it is what an embedding has to stand in for elsewhere.

    Returns
    -------
    ndarray of shape (n, 4)
        Lines; terms added; whether every line is right and goes on from the one before; terms added
        if so, else 0.

    Examples
    --------
    >>> check_sums(["3+8=1\n1+5=6", "3+8=2", ""]).tolist()
    [[2.0, 3.0, 1.0, 3.0], [1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    """
    return np.array([_checked(text) for text in texts], dtype=np.float64).reshape(-1, 4)


def _checked(text: str) -> list[float]:
    lines, terms, right, last = 0, 0, 1.0, None
    for line in filter(None, map(str.strip, text.split("\n"))):
        found = LINE.fullmatch(line)
        if found is None:
            right = 0.0
            continue
        added, result = [int(v) for v in found[1].split("+")], int(found[2])
        follows = last is None or added[0] == last
        right *= float(follows and sum(added) % 10 == result)
        terms += len(added) - (last is not None)
        last, lines = result, lines + 1
    return [lines, terms, right, terms * right]

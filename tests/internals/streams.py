"""Who reads the residual stream of a transformer, and who wrote to it before: names alone."""

from __future__ import annotations

from collections.abc import Mapping


def graph(
    layers: int, queries: int, keys: int, *, parallel: bool = False
) -> tuple[list[str], dict[str, list[str]]]:
    """Senders in the order of the network, and every reader with the senders before it."""
    senders, before = ["input"], {}
    for i in range(layers):
        seen = list(senders)
        for stream, count in (("q", queries), ("k", keys), ("v", keys)):
            for h in range(count):
                before[f"layers.{i}.heads.{h}.{stream}"] = seen
        senders += [f"layers.{i}.heads.{h}" for h in range(queries)]
        before[f"layers.{i}.mlp"] = seen if parallel else list(senders)
        senders.append(f"layers.{i}.mlp")
    before["logits"] = list(senders)
    return senders, before


def owners(reader: str, group: int) -> list[str]:
    """Senders that a reader is a part of, where so many heads share keys and values."""
    if reader == "logits":
        return []
    if reader.endswith(".mlp"):
        return [reader]
    head, _, stream = reader.rpartition(".")
    if stream == "q":
        return [head]
    place, _, number = head.rpartition(".")
    return [f"{place}.{h}" for h in range(int(number) * group, (int(number) + 1) * group)]


def steps(sender: str, before: Mapping[str, list[str]], group: int) -> list[tuple[str, str]]:
    """Readers behind a sender, each with the sender it belongs to."""
    readers = [v for v, seen in before.items() if sender in seen]
    return [(v, owner) for v in readers for owner in owners(v, group)]

"""Models of the transformers library from a folder or a hub; pickles are not read."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

from crossworld.errors import DesignError, MissingExtraError
from crossworld.internals.backend import torch


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries from drawing a bar of their own and from telling of every attempt."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    told = [getLogger(name) for name in ("huggingface_hub", "transformers")]
    before = [logger.level for logger in told]
    for logger in told:
        logger.setLevel(ERROR)
    try:
        yield
    finally:
        for logger, level in zip(told, before, strict=True):
            logger.setLevel(level)
        if shown:
            logging.enable_progress_bar()


def _is_path(name: str) -> bool:
    """Whether a name cannot be that of a model on a hub."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name


def load(folder: str | Path) -> tuple[Any, Any]:
    """Read model and tokenizer; the tokenizer is None where there is none."""
    if importlib.util.find_spec("transformers") is None:
        raise MissingExtraError.for_feature("a model from a folder", "local")
    torch()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = Path(folder)
    if not place.is_dir() and _is_path(str(folder)):
        raise DesignError(f"there is no folder {str(folder)!r}")
    if place.is_dir() and not list(place.glob("*.safetensors")):
        raise DesignError(f"{str(folder)!r} holds no *.safetensors; pickles are not read")
    try:
        with _quiet():
            model = AutoModelForCausalLM.from_pretrained(str(folder), use_safetensors=True)
    except (OSError, ValueError) as error:
        what = "no model" if place.is_dir() else "neither a folder nor a model that the hub gave"
        told = " ".join(str(error).split())[:200]
        raise DesignError(f"{str(folder)!r} is {what}: {told}") from None
    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(str(folder))
    except (OSError, ValueError, KeyError):
        tokenizer = None
    return model.eval(), tokenizer

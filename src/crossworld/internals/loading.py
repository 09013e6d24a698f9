"""Models of the transformers library from a folder or a hub; pickles are not read."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crossworld.errors import DesignError, MissingExtraError
from crossworld.internals.backend import torch


@contextmanager
def _no_bar() -> Iterator[None]:
    """Keep the library from drawing a bar of its own."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def load(folder: str | Path) -> tuple[Any, Any]:
    """Read model and tokenizer; the tokenizer is None where there is none."""
    if importlib.util.find_spec("transformers") is None:
        raise MissingExtraError.for_feature("a model from a folder", "local")
    torch()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = Path(folder)
    if place.is_dir() and not list(place.glob("*.safetensors")):
        raise DesignError(f"{str(folder)!r} holds no *.safetensors; pickles are not read")
    try:
        with _no_bar():
            model = AutoModelForCausalLM.from_pretrained(str(folder), use_safetensors=True)
    except (OSError, ValueError) as error:
        raise DesignError(f"{str(folder)!r} is no model: {str(error)[:200]}") from None
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
    except (OSError, ValueError, KeyError):
        tokenizer = None
    return model.eval(), tokenizer

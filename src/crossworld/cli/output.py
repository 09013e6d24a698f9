"""Printing to a reader who may leave: ``crossworld ... | head`` is no error."""

from __future__ import annotations

import os
import sys


def say(text: object) -> None:
    """Print; when nobody reads on, go on in silence."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

"""What has run so far, in a file that a run goes on from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np

from crossworld.errors import DesignError
from crossworld.io import whole_file


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of values that are not yet all there.

    Parameters
    ----------
    file
        Where, or None to keep nothing.
    what
        Fingerprint of what is being run.
    """

    file: Path | None
    what: str

    @classmethod
    def open(cls, file: str | None, names: Sequence[str], values: Any) -> Self:
        """Fill in the values that the file holds.

        Raises
        ------
        DesignError
            If it was kept for something else.
        """
        what = hashlib.sha256("\n".join(names).encode()).hexdigest()
        made = cls(None if file is None else Path(file), what)
        if made.file is None or not made.file.exists():
            return made
        try:
            with made.file.open("rb") as opened, np.load(opened, allow_pickle=False) as held:
                found, before = held["values"], str(held["what"])
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise DesignError(f"{file!r} is no file that a run goes on from: {error}") from None
        if before != what or found.shape != values.shape:
            raise DesignError(
                f"{file!r} was kept for other pairs, sites or effects; remove it, or name another"
            )
        values[:] = found
        return made

    def save(self, values: Any) -> None:
        """Keep the values that are there; the file appears whole."""
        if self.file is not None:
            with whole_file(self.file, "wb") as out:
                np.savez(out, values=values, what=np.array(self.what))

    def close(self) -> None:
        """Remove the file."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)

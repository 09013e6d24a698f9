"""What has run so far, in a file that a run goes on from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from zipfile import BadZipFile

import numpy as np

from crossworld.errors import DesignError
from crossworld.io import whole_file

if TYPE_CHECKING:
    from crossworld.core.expression import Cell
    from crossworld.internals.patch import Patch
    from crossworld.internals.study import PatchStudy

PROBES = 64  # entries of every parameter that tell one network from another


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
            raise DesignError(
                f"{file!r} is no file that a run goes on from, or a damaged one; name a new file"
            ) from error
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


def asked(study: PatchStudy, patch: Patch, cells: Sequence[Cell]) -> tuple[str, ...]:
    """Everything that the values of a run depend on, in words: what a kept file has to agree with.

    Of the weights some entries of every parameter are compared, of a metric of one's own its code.
    """
    pairs = study.pairs
    told = [study.sha256(), study.describe(), study.source, repr(study.noise), repr(pairs.spans)]
    told += [repr(patch.hold), repr(patch.seed), *map(str, study.sites), *map(str, cells)]
    return (*told, _coded(study.metric), weights(getattr(study.subject, "model", None)),
            *_bases(getattr(study.subject, "bases", {})))  # fmt: skip


def _coded(metric: Any) -> str:
    """A metric's fields; of a function its name, code and plain constants."""
    function = getattr(metric, "function", None)
    code = getattr(function, "__code__", None)
    if code is None:
        return repr(metric) if function is None else str(metric.name)
    plain = [c for c in code.co_consts if isinstance(c, int | float | str | None)]
    return repr((metric.name, code.co_code, code.co_names, plain))


def weights(model: Any) -> str:
    """Digest of names, shapes and some entries of the parameters."""
    digest = hashlib.sha256()
    for name, held in () if model is None else model.named_parameters():
        flat = held.detach().flatten()
        some = flat[:: max(1, flat.numel() // PROBES)].double().cpu().numpy()
        digest.update(f"{name}{tuple(held.shape)}".encode() + some.tobytes())
    return digest.hexdigest()


def _bases(bases: Any) -> list[str]:
    """Digest of every registered subspace and feature."""
    found = []
    for name, basis in sorted(bases.items()):
        arrays = [np.asarray(getattr(basis, f, None)) for f in ("matrix", "encoder", "bias",
                  "decoder", "centre", "threshold")]  # fmt: skip
        held = b"".join(a.tobytes() for a in arrays if a.dtype.kind == "f")
        found.append(f"{name} {hashlib.sha256(held).hexdigest()}")
    return found

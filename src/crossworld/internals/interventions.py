"""Interventions and subspaces as values: saved, shared, refused where they do not fit."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from crossworld.core.late import late
from crossworld.core.provenance import Provenance, fingerprint
from crossworld.core.table import EffectTable
from crossworld.errors import DesignError, FitWarning, MissingExtraError, SpecError
from crossworld.internals.backend import torch
from crossworld.internals.basis import Basis, Feature, Subspace
from crossworld.internals.kept import weights
from crossworld.internals.site import Site
from crossworld.internals.subject import TorchSubject
from crossworld.internals.widths import width

Array = NDArray[Any]
FORMAT = "crossworld-intervention/1"
ACTIONS = ("set", "add", "scale")
_FEATURE = ("encoder", "bias", "decoder", "centre", "threshold")


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    r"""One thing that is done to an activation, or to its coordinates in a basis.

    ``set`` :math:`h \leftarrow v`, ``add`` :math:`h \leftarrow h + v`, ``scale``
    :math:`h \leftarrow v\,h`.

    Parameters
    ----------
    site
        Where.
    action
        What.
    value
        Shape (d,), or (k, d) for k positions, or () to scale; finite.
    """

    site: Site
    action: str
    value: Array

    def __post_init__(self) -> None:
        if isinstance(self.site, str):
            object.__setattr__(self, "site", Site.parse(self.site))
        if self.action not in ACTIONS:
            raise SpecError.unknown("action", str(self.action), ACTIONS)
        given = np.asarray(self.value)
        if given.dtype.kind not in "iuf" or given.ndim > 2 or not np.isfinite(given).all():
            raise DesignError(
                f"the value at {self.site} is finite numbers of shape (d,), (k, d) or (), got "
                f"{given.dtype} of shape {given.shape}"
            )
        wide = given.dtype if given.dtype in (np.float32, np.float64) else np.float64
        object.__setattr__(self, "value", given.astype(wide))

    def write(self) -> Callable[[Any], Any]:
        """Return the function of the present activation that a subject takes."""

        def change(hidden: Any) -> Any:
            value = torch().as_tensor(self.value, dtype=hidden.dtype, device=hidden.device)
            if value.ndim and value.shape[-1] not in (1, hidden.shape[-1]):
                raise DesignError(
                    f"the value at {self.site} has {value.shape[-1]} features, the activation "
                    f"{hidden.shape[-1]}"
                )
            if value.ndim > 1 and value.shape[0] not in (1, hidden.shape[-2]):
                raise DesignError(
                    f"the value at {self.site} is for {value.shape[0]} positions, the activation "
                    f"has {hidden.shape[-2]}"
                )
            if self.action == "set":
                return value.expand_as(hidden)
            return hidden + value if self.action == "add" else hidden * value

        return change


@dataclass(frozen=True, slots=True, eq=False)
class Intervention:
    """Changes, the subspaces and features they are written in, and what was found with them.

    Parameters
    ----------
    changes
        What is done, in order; empty to share subspaces alone.
    bases
        Name -> `Subspace` or `Feature`.
    note
        Anything a reader should know.
    result
        A result that belongs to it.
    provenance
        Of a loaded one: the versions it was saved with.

    Examples
    --------
    >>> import numpy as np
    >>> steer = Intervention((Change("layers.3.resid", "add", np.ones(8)),), note="more formal")
    >>> len(steer.digest), [str(site) for site in steer.writes()]
    (64, ['layers.3.resid'])
    """

    changes: tuple[Change, ...] = ()
    bases: Mapping[str, Basis] = field(default_factory=dict)
    note: str = ""
    result: EffectTable | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, basis in self.bases.items():
            if not isinstance(basis, Subspace | Feature):
                raise DesignError(f"{name!r} is a {type(basis).__name__}, which is not saved")
        for change in self.changes:
            used = change.site.basis
            if used is None:
                continue
            if used not in self.bases:
                raise SpecError.unknown("subspace or feature", used, self.bases)
            size = _sizes(self.bases[used])[1]
            if change.value.ndim and change.value.shape[-1] not in (1, size):
                raise DesignError(
                    f"{change.site} has {size} coordinates, its value {change.value.shape[-1]}"
                )

    def writes(self) -> dict[Site, Callable[[Any], Any]]:
        """What `TorchSubject.run` and `World` take; changes of one site follow one another."""
        found: dict[Site, Callable[[Any], Any]] = {}
        for change in self.changes:
            before = found.get(change.site)
            found[change.site] = change.write() if before is None else _both(before, change.write())
        return found

    def on(self, subject: TorchSubject) -> TorchSubject:
        """Return the subject with these subspaces and features registered.

        Raises
        ------
        DesignError
            If they do not fit the network.
        """
        self.check(subject)
        return replace(subject, bases={**subject.bases, **self.bases})

    def check(self, subject: TorchSubject) -> None:
        """Refuse a network that lacks a site, or whose activations have another size.

        Raises
        ------
        DesignError
            Naming the site and both shapes.
        """
        for change in self.changes:
            site, name = change.site, change.site.basis
            there = width(subject, replace(site, basis=None))
            if there is None:
                continue
            needed, of = None, "value"
            if name is not None:
                needed, of = _sizes(self.bases[name])[0], f"subspace or feature {name!r}"
            elif change.value.ndim and change.value.shape[-1] != 1:
                needed = change.value.shape[-1]
            if needed is not None and needed != there:
                raise DesignError(
                    f"the {of} at {site} has {needed} features, but {site.where} of this "
                    f"{type(subject.model).__name__} has {there}"
                )

    @property
    def digest(self) -> str:
        """SHA-256 of everything in it, whatever file it is in."""
        return _digest(*self._parts())

    def save(self, file: str | Path, *, subject: TorchSubject | None = None) -> Path:
        """Write ``NAME.json`` and ``NAME.safetensors`` beside it, each whole or not at all.

        Parameters
        ----------
        file
            Name of the json file; ``.json`` is added where it lacks an ending.
        subject
            The network it was made for: checked, and described in the file.
        """
        if importlib.util.find_spec("safetensors") is None:
            raise MissingExtraError.for_feature("saving interventions", "local")
        from safetensors.numpy import save

        place = Path(file) if Path(file).suffix == ".json" else Path(f"{file}.json")
        document, tensors = self._parts()
        if subject is not None:
            self.check(subject)
        document["digest"] = _digest(document, tensors)
        document["network"] = None if subject is None else network(subject)
        document["provenance"] = Provenance.now(None, None, 0.0).to_dict()
        document["provenance"].pop("seconds")
        text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        io = late("io")
        with io.whole_file(place.with_suffix(".safetensors"), "wb") as out:
            out.write(save({k: np.array(v, order="C") for k, v in tensors.items()}))
        io.write_text(place, text)
        return place

    @classmethod
    def load(cls, file: str | Path, *, subject: TorchSubject | None = None) -> Self:
        """Read what `save` wrote.

        Parameters
        ----------
        file
            The json file.
        subject
            The network it is for. A `FitWarning` says when it was saved for another one.

        Raises
        ------
        DesignError
            If a file is missing or damaged, or it does not fit the network.
        """
        place = Path(file) if Path(file).suffix == ".json" else Path(f"{file}.json")
        document, tensors = _read(place)
        core = {k: document.get(k) for k in ("format", "note", "changes", "bases", "result")}
        digest = _digest(core, tensors)
        if digest != document.get("digest"):
            raise DesignError(
                f"{str(place)!r} and its tensors are not as they were saved: the digest is "
                f"{digest[:12]}..., the file says {str(document.get('digest'))[:12]}..."
            )
        try:
            found = cls._of(document, tensors)
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise DesignError(f"{str(place)!r} is a damaged intervention: {error!r}") from None
        if subject is not None:
            found.check(subject)
            made_for = document.get("network") or {}
            here = network(subject)
            other = [key for key in here if key in made_for and made_for[key] != here[key]]
            if other:
                what = "weights" if other == ["weights"] else "parameters"
                warnings.warn(
                    f"{place.name} was saved for a {made_for.get('class')} with other {what} "
                    f"than this {type(subject.model).__name__}",
                    FitWarning, stacklevel=2,
                )  # fmt: skip
        return found

    @classmethod
    def _of(cls, document: Mapping[str, Any], tensors: Mapping[str, Array]) -> Self:
        bases: dict[str, Basis] = {}
        for name, kind in document["bases"].items():
            parts = {p: tensors.get(f"bases.{name}.{p}") for p in ("matrix", *_FEATURE)}
            if kind == "subspace" and parts["matrix"] is not None:
                bases[name] = Subspace(np.asarray(parts["matrix"]))
            elif kind == "feature":
                bases[name] = Feature(**{p: parts[p] for p in _FEATURE})  # type: ignore[arg-type]
            else:
                raise KeyError(f"bases.{name}")
        changes = tuple(
            Change(Site.parse(one["site"]), one["action"], tensors[f"changes.{i}"])
            for i, one in enumerate(document["changes"])
        )
        held = document.get("result")
        result = None if held is None else EffectTable.from_dict(held)
        return cls(changes, bases, document["note"], result, document.get("provenance") or {})

    def _parts(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Document and tensors, without what is told about the saving."""
        tensors: dict[str, Array] = {}
        for name, basis in self.bases.items():
            held = (("matrix", basis.matrix),) if isinstance(basis, Subspace) else tuple(
                (p, getattr(basis, p)) for p in _FEATURE)  # fmt: skip
            tensors |= {f"bases.{name}.{p}": np.asarray(v) for p, v in held if v is not None}
        tensors |= {f"changes.{i}": change.value for i, change in enumerate(self.changes)}
        document = {
            "format": FORMAT,
            "note": self.note,
            "changes": [{"site": str(c.site), "action": c.action, "shape": list(c.value.shape)}
                        for c in self.changes],
            "bases": {n: "subspace" if isinstance(b, Subspace) else "feature"
                      for n, b in self.bases.items()},
            "result": None if self.result is None else self.result.to_dict(),
        }  # fmt: skip
        return document, tensors


def network(subject: TorchSubject) -> dict[str, Any]:
    """Class, number of blocks, and digests of parameter names and shapes, and of some weights."""
    shapes = [f"{n}{tuple(p.shape)}" for n, p in subject.model.named_parameters()]
    return {
        "class": type(subject.model).__name__,
        "layers": len(subject.layout.blocks),
        "parameters": hashlib.sha256("\n".join(shapes).encode()).hexdigest(),
        "weights": weights(subject.model),
    }


def _both(first: Callable[[Any], Any], second: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda hidden: second(first(hidden))


def _sizes(basis: Basis) -> tuple[int, int]:
    """Features of the activation, and coordinates."""
    if isinstance(basis, Subspace):
        return basis.matrix.shape[0], basis.matrix.shape[1]
    assert isinstance(basis, Feature)
    return int(np.shape(basis.encoder)[0]), int(np.shape(basis.encoder)[1])


def _digest(document: Mapping[str, Any], tensors: Mapping[str, Array]) -> str:
    plain = json.dumps(document, sort_keys=True, allow_nan=False, ensure_ascii=False)
    inside = fingerprint((name, np.asarray(tensors[name])) for name in sorted(tensors))
    return hashlib.sha256(f"{plain}\n{inside}".encode()).hexdigest()


def _read(place: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    if importlib.util.find_spec("safetensors") is None:
        raise MissingExtraError.for_feature("reading interventions", "local")
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        document = json.loads(place.read_text(encoding="utf-8"))
        tensors = load(place.with_suffix(".safetensors").read_bytes())
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise DesignError(f"{str(place)!r} is no saved intervention: {error}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise DesignError(f"{str(place)!r} is no saved intervention of format {FORMAT}")
    return document, tensors

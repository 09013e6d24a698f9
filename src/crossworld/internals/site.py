"""Places in a network, as values with one grammar.

===============================  ===================================================================
text                             place
===============================  ===================================================================
``embed``                        output of the token embedding
``layers.3.resid_pre``           residual stream before block 3
``layers.3.resid``               residual stream after block 3
``layers.3.attn``                what attention adds to the stream (after a norm of its own)
``layers.3.mlp``                 what the MLP adds to the stream
``layers.3.mixer``               what the mixer of a state-space block adds
``layers.3.heads.5``             output of head 5, before the output projection (``.z``)
``layers.3.heads.5.q``           its query; also ``.k``, ``.v`` (before rotary positions)
``layers.3.heads.5.pattern``     its attention weights
``layers.3.mlp.neurons.17``      a hidden unit of the MLP, after the non-linearity
``conv1``, ``conv1.channels.3``  output of any module, or a channel of it; ``conv1.in`` its input
===============================  ===================================================================

Any of them takes ``[name]``, a linear subspace or a feature registered under that name, and
``@ position``: ``@ -1`` (from the end), ``@ 3``, ``@ 2:5``, ``@ subject`` (a named span) or
``@ subject[-1]`` (its last token). Without ``@`` every position moves together. Patterns have
``<- keys`` after the position: the attention from those keys alone. In `sites` a ``*`` stands for
every layer, head, neuron, channel or position.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from crossworld.errors import SpecError

STREAMS = ("z", "q", "k", "v", "pattern")
PARTS = ("resid_pre", "resid", "attn", "mlp", "mixer")
_POSITION = re.compile(r"-?\d+|-?\d*:-?\d*|[A-Za-z_]\w*(\[-?\d+\])?|\*")
_TEXT = re.compile(
    r"^(?P<where>[^@\[\]<]+?)\s*(\[(?P<basis>[^\[\]]+)\])?\s*"
    r"(@\s*(?P<position>[^<]+?)\s*(<-\s*(?P<keys>.+?)\s*)?)?$"
)


@dataclass(frozen=True, slots=True)
class Site:
    """A place in a network: a part, a basis inside it, and positions.

    Parameters
    ----------
    where
        The part, in the grammar of this module.
    position
        Token positions, or None for all of them together.
    basis
        Name of a linear subspace or feature inside the part.
    keys
        Of an attention pattern: the key positions whose weights are meant.

    Examples
    --------
    >>> site = Site.parse("layers.3.heads.5.q@-1")
    >>> str(site), site.layer, site.head, site.stream
    ('layers.3.heads.5.q @ -1', 3, 5, 'q')
    """

    where: str
    position: str | None = None
    basis: str | None = None
    keys: str | None = None

    @classmethod
    def parse(cls, text: str) -> Site:
        """Read a site.

        Raises
        ------
        SpecError
            If the text does not follow the grammar.
        """
        if not isinstance(text, str):
            raise SpecError(f"a site is written as text, got {text!r}; try 'layers.3.mlp @ -1'")
        found = _TEXT.match(text.strip())
        if found is None or not found["where"].strip():
            raise SpecError(f"cannot read the site {text[:80]!r}; try 'layers.3.mlp @ -1'")
        where = re.sub(r"\s+", "", found["where"])
        if any(not part for part in where.split(".")):
            raise SpecError(f"the site {text[:80]!r} has an empty name between dots")
        position, keys = _clean(found["position"]), _clean(found["keys"])
        for given in (position, keys):
            if given is not None and not _POSITION.fullmatch(given):
                raise SpecError(
                    f"the position {given!r} of the site {text[:80]!r} is no position; try -1, 3, "
                    "2:5, a named span such as subject, or subject[-1]"
                )
        site = cls(where, position, found["basis"], keys)
        if site.keys is not None and site.stream != "pattern":
            raise SpecError(f"'<- {site.keys}' names keys of an attention pattern, not of {where}")
        return site

    @property
    def layer(self) -> int | None:
        """Index of its block, where it has one."""
        found = re.match(r"layers\.(\d+)(\.|$)", self.where)
        return None if found is None else int(found[1])

    @property
    def head(self) -> int | None:
        """Index of its attention head, where it has one."""
        found = re.search(r"\.heads\.(\d+)", self.where)
        return None if found is None else int(found[1])

    @property
    def stream(self) -> str | None:
        """Which vector of a head: z, q, k, v or pattern."""
        found = re.search(r"\.heads\.(?:\d+|\*)(?:\.(\w+))?$", self.where)
        return None if found is None else found[1] or "z"

    @property
    def unit(self) -> int | None:
        """Index of its neuron or channel, where it has one."""
        found = re.search(r"\.(?:neurons|channels)\.(\d+)$", self.where)
        return None if found is None else int(found[1])

    @property
    def stem(self) -> str:
        """The part without neuron or channel."""
        return re.sub(r"\.(?:neurons|channels)\.(?:\d+|\*)$", "", self.where)

    @property
    def is_pattern(self) -> bool:
        """Whether a ``*`` in it stands for several sites."""
        return "*" in self.where or "*" in (self.position or "")

    def at(self, position: int | str | None) -> Site:
        """Return the same part at another position."""
        return replace(self, position=None if position is None else str(position))

    def __str__(self) -> str:
        basis = "" if self.basis is None else f"[{self.basis}]"
        at = "" if self.position is None else f" @ {self.position}"
        keys = "" if self.keys is None else f" <- {self.keys}"
        return f"{self.where}{basis}{at}{keys}"


def _clean(text: str | None) -> str | None:
    return None if text is None else re.sub(r"\s*:\s*", ":", text.strip())


def sites(*patterns: str | Site) -> tuple[Site, ...]:
    """Read sites; a ``*`` in one stands for all there are and is filled in by the study.

    Examples
    --------
    >>> [str(s) for s in sites("layers.*.mlp @ -1", "layers.0.heads.*")]
    ['layers.*.mlp @ -1', 'layers.0.heads.*']
    """
    if not patterns:
        raise SpecError("no site was named; try sites('layers.*.mlp @ -1')")
    found = [p if isinstance(p, Site) else Site.parse(p) for p in patterns]
    return tuple(dict.fromkeys(found))

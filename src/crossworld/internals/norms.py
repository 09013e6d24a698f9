"""Norms of a residual stream as what they are: a scale, a centring and weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crossworld.errors import DesignError
from crossworld.internals.backend import torch

EPS = ("eps", "variance_epsilon", "epsilon", "layer_norm_eps")


@dataclass(frozen=True, slots=True, eq=False)
class Norm:
    r"""A layer norm or a root-mean-square norm.

    .. math:: f(x) = w \odot \frac{u}{\sqrt{\overline{u^2} + \epsilon}} + b, \qquad
              u = x - c\,\bar x, \quad c \in \{0, 1\}

    Parameters
    ----------
    weight
        What multiplies the normalised stream, (d,); Gemma's ``1 + w`` is resolved.
    centred
        Whether the mean is taken out (c = 1).
    eps
        Added to the mean square.
    """

    weight: Any
    centred: bool
    eps: float

    def scale(self, x: Any) -> Any:
        """One over the root mean square, (..., 1)."""
        held = self._centre(x)
        return torch().rsqrt(held.pow(2).mean(-1, keepdim=True) + self.eps)

    def unit(self, x: Any) -> Any:
        """Normalised stream before the weights."""
        held = self._centre(x)
        return held * torch().rsqrt(held.pow(2).mean(-1, keepdim=True) + self.eps)

    def _centre(self, x: Any) -> Any:
        return x - x.mean(-1, keepdim=True) if self.centred else x

    def fold(self, matrix: Any) -> Any:
        r"""Fold weights and centring into what reads the norm's output.

        For rows :math:`m` (..., d) this is :math:`m \odot w`, minus its mean where the norm
        centres, so that ``unit(x) @ fold(m).T`` is ``f(x) @ m.T`` without the norm's bias.
        """
        folded = matrix * self.weight
        return folded - folded.mean(-1, keepdim=True) if self.centred else folded

    def pull(self, folded: Any, unit: Any) -> Any:
        r"""Gradient at the norm's input, from gradients that are folded and scaled.

        With :math:`G = \tilde m^\top g / \sigma` this is
        :math:`G - \hat x\,\overline{G \odot \hat x}`, the Jacobian of both kinds of norm.

        Parameters
        ----------
        folded
            Shape (r, n, d); changed in place.
        unit
            Normalised stream, (n, d).
        """
        along = torch().einsum("rnd,nd->rn", folded, unit) / unit.shape[-1]
        return folded.addcmul_(unit[None], along[:, :, None], value=-1.0)


def read_norm(module: Any, width: int, path: str) -> Norm:
    """Find which norm a module is, by what it does to vectors.

    Raises
    ------
    DesignError
        If it is neither a layer norm nor a root-mean-square norm.
    """
    t = torch()
    held = next(module.parameters(), None)
    kind = {"dtype": t.float32 if held is None else held.dtype}
    if held is not None:
        kind["device"] = held.device
    with t.no_grad():
        zero = module.forward(t.zeros(1, 2, width, **kind))[0, 0].double()
        ones = module.forward(t.ones(1, 2, width, **kind))[0, 0].double() - zero
        drawn = t.randn(width, generator=t.Generator().manual_seed(0), dtype=t.float64)
        drawn = (drawn - drawn.mean()).to(held.device if held is not None else "cpu")
        centred = bool(ones.abs().max() < 1e-3 * _response(module, drawn, zero, kind).abs().max())
        eps = _eps(module, drawn, zero, kind)
        probe = drawn if centred else t.ones_like(drawn)
        size = (probe.pow(2).mean() + eps).sqrt()
        big = _response(module, probe, zero, kind)
        given = getattr(module, "weight", None)
        weight = big * size if not centred else t.ones_like(drawn)
        if centred and given is not None:
            weight = given.detach().double()
        norm = Norm(weight.detach().to(kind["dtype"]), centred, eps)
        shifted = drawn + 0.3
        made = norm.unit(shifted) * weight
        seen = _response(module, shifted, zero, kind)
        close = 3e-2 if kind["dtype"] in (t.float16, t.bfloat16) else 1e-4
        if not bool((made - seen).abs().max() <= close * seen.abs().max()):
            raise DesignError(
                f"{path} is a {type(module).__name__}, neither a layer norm nor a root-mean-square "
                "norm, so edges through it are not defined here; attribute nodes instead"
            )
    return norm


def _response(module: Any, vector: Any, zero: Any, kind: dict[str, Any]) -> Any:
    """What the module does to one vector, without its bias."""
    given = vector.to(kind["dtype"]).expand(1, 2, -1)
    return module.forward(given)[0, 0].double() - zero


def _eps(module: Any, drawn: Any, zero: Any, kind: dict[str, Any]) -> float:
    """Read the constant, or solve for it from the responses to a large and a small vector."""
    for name in EPS:
        if isinstance(getattr(module, name, None), float):
            return float(getattr(module, name))
    small = drawn * 1e-3
    ratio = float(_response(module, small, zero, kind).norm())
    ratio = (ratio / float(_response(module, drawn, zero, kind).norm())) ** 2
    big, little = float(drawn.pow(2).mean()), float(small.pow(2).mean())
    beyond = ratio - little / big
    return 0.0 if beyond <= 1e-9 else max(little * (1.0 - ratio) / beyond, 0.0)

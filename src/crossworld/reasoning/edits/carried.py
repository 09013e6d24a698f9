"""The carried share: how much of a prompt's effect is lost when the reasoning is edited."""

from __future__ import annotations

from crossworld.core.analysis import contrast
from crossworld.core.effects import TE
from crossworld.core.estimand import Estimand
from crossworld.core.expression import Y
from crossworld.core.protocols import Inference
from crossworld.core.regime import M
from crossworld.core.scores import Scores
from crossworld.core.table import EffectTable
from crossworld.errors import SpecError


def CARRIED(edit: str, *, control: str | None = "paraphrase") -> Estimand:  # noqa: N802
    r"""Build the carried share of an edit, less that of its control.

    .. math:: \frac{Y(1) - Y(1, M(1, e))}{Y(1) - Y(0)} - \frac{Y(1) - Y(1, M(1, c))}{Y(1) - Y(0)}
              = \frac{Y(1, M(1, c)) - Y(1, M(1, e))}{Y(1) - Y(0)}

    One quotient of contrasts, so its interval is Fieller's set. It is a mediator intervention: how
    far the answer follows the content that the edit destroys, not an indirect effect, and not a
    share that different edits divide among themselves.

    Parameters
    ----------
    edit
        Name of the edit, as in the cell ``Y(1, M(1, edit))``.
    control
        Name of the edit that changes the text but not its content; None takes the trace as it was
        written, replayed, and leaves what editing alone does in the share.

    Raises
    ------
    SpecError
        If edit and control are the same.

    Examples
    --------
    >>> print(CARRIED("shuffle").expr)
    (Y(1, M(1, 'paraphrase')) - Y(1, M(1, 'shuffle'))) / (Y(1) - Y(0))
    """
    if edit == control:
        raise SpecError(f"an edit is not its own control, got {edit!r} twice")
    name = f"carried({edit}, {control})" if control is not None else f"carried({edit})"
    kept = Y(1) if control is None else Y(1, M(1, control))
    return Estimand(name, (kept - Y(1, M(1, edit))) / (Y(1) - Y(0)))


def carried_share(
    scores: Scores,
    *,
    edit: str,
    control: str | None = "paraphrase",
    inference: Inference | None = None,
    level: float = 0.95,
) -> EffectTable:
    """Estimate the carried share with what it is made of.

    Parameters
    ----------
    scores
        One score per question in ``Y(1)``, ``Y(0)``, ``Y(1, M(1, edit))`` and
        ``Y(1, M(1, control))``, questions as clusters.
    edit, control
        As in `CARRIED`.
    inference
        Wald intervals by default, with Fieller's sets for the quotients.
    level
        Confidence level.

    Returns
    -------
    EffectTable
        The carried share, the shares of the edit and of the control alone, and te. Where the
        interval of te covers 0 a `RatioWarning` says so and the set may be unbounded.

    Raises
    ------
    DesignError
        If a cell was not scored.

    Examples
    --------
    >>> import numpy as np
    >>> up = np.random.default_rng(0).normal(size=(100, 4)) * 0.1 + [0.8, 0.3, 0.45, 0.8]
    >>> cells = (Y(1), Y(0), Y(1, M(1, "shuffle")), Y(1, M(1, "paraphrase")))
    >>> shares = carried_share(Scores(up, cells), edit="shuffle")
    >>> [round(row.estimate, 1) + 0.0 for row in shares]
    [0.7, 0.7, 0.0, 0.5]
    """
    asked = [CARRIED(edit, control=control), TE]
    if control is not None:
        asked[1:1] = [CARRIED(edit, control=None), CARRIED(control, control=None)]
    return contrast(scores, asked, inference=inference, level=level)

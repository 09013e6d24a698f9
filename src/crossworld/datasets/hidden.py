"""Generators in which adjustment does not identify natural effects, and their exact truths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from crossworld.core.estimand import Estimand
from crossworld.core.expression import MEAN, Cell
from crossworld.core.regime import Draw, Fixed, Level, Random
from crossworld.datasets.laws import (
    Array,
    Bernoulli,
    Discrete,
    Gaussian,
    Law,
    Outcome,
    State,
    coin,
    expit,
    normal,
)
from crossworld.datasets.simulated import Model, simulate
from crossworld.errors import DesignError, NotIdentifiedError, SpecError

if TYPE_CHECKING:
    from crossworld.tables.study import TableStudy

Component = Literal["direct", "indirect"]


@dataclass(frozen=True, slots=True, eq=False)
class Hidden:
    """Data whose causes are partly unseen, and the true value of every cell.

    Parameters
    ----------
    frame
        Observed columns, each of length n; the unmeasured variables are not among them.
    path, adjust, levels, intermediate, cluster
        As in `Simulated`.
    model
        The structural model; its covariates hold the unmeasured variables after the observed ones.
    latent
        Names of the unmeasured variables.
    assign
        The treatment component, ``"direct"`` or ``"indirect"``, behind each intermediate
        variable; where given, ``Y(n, M(o))`` is a separable cell.
    experiment
        A second table from the same population in which the mediator was randomised, or None.

    Examples
    --------
    >>> from crossworld.core.effects import TE
    >>> data = front_door(n=100, seed=1)
    >>> sorted(data.frame), round(data.effect(TE), 4)
    (['a', 'm', 'x', 'y'], 0.3274)
    """

    frame: Mapping[str, np.ndarray[Any, Any]]
    path: str
    adjust: tuple[str, ...]
    levels: tuple[Level, Level]
    intermediate: tuple[str, ...]
    cluster: str | None
    model: Model
    latent: tuple[str, ...] = ()
    assign: Mapping[str, Component] | None = None
    experiment: Mapping[str, np.ndarray[Any, Any]] | None = None

    def __len__(self) -> int:
        return int(next(iter(self.frame.values())).shape[0])

    def truth(self, cell: Cell) -> float:
        """Return the population mean of a cell: a sum or a quadrature, never simulation.

        Raises
        ------
        NotIdentifiedError
            If the cell is a natural one across an intermediate variable without a component.
        DesignError
            If some mediators are drawn at random and others are not.
        """
        held = cell.bind(self.model.blocks)
        if held.functional != MEAN:
            raise SpecError(f"simulated data know the means of cells only, got {cell}")
        regimes = {name: held.regime(name) for name in self.model.mediators}
        kinds = {type(r) for r in regimes.values()}
        if Random in kinds:
            if len(set(regimes.values())) > 1:
                raise DesignError(f"{cell} draws mediators apart; draw them jointly")
            return self._at_random(held, next(iter(regimes.values())))
        if self.assign is None or Fixed in kinds:
            grid, mass = self.model.population()
            return float(mass @ self.model.mean(held, self._levels(), grid))
        state, mass = self.model.population()
        own = self._level(held.treatment)
        drawn = {r.level for r in regimes.values() if isinstance(r, Draw)}
        if len(drawn) > 1:
            raise DesignError(f"{cell} puts mediators under different levels")
        through = self._level(drawn.pop())
        for law in self.model.chain:
            part = "indirect" if law.name in regimes else self.assign[law.name]
            level = own if part == "direct" else through
            state, mass = cross(law, {**state, "a": np.full(mass.size, level)}, mass)
        return self._outcome(state, mass, own)

    def effect(self, estimand: Estimand) -> float:
        """Return the population value of an estimand."""
        return float(estimand.bind(self.model.blocks).expr.evaluate(self.truth))

    def study(self) -> TableStudy:
        """Return the observed data in their causal roles."""
        return self._study(self.frame)

    def second(self) -> TableStudy:
        """Return the table in which the mediator was randomised.

        Raises
        ------
        DesignError
            If there is none.
        """
        if self.experiment is None:
            raise DesignError("these data have no auxiliary experiment")
        return self._study(self.experiment)

    def _study(self, frame: Mapping[str, Any]) -> TableStudy:
        from crossworld.tables.study import TableStudy

        return TableStudy.from_frame(
            dict(frame),
            self.path,
            adjust=self.adjust,
            levels=self.levels,
            intermediate=self.intermediate,
        )

    def _at_random(self, cell: Cell, regime: Draw | Random | Fixed) -> float:
        """Mean with mediators drawn from their law given the observed covariates alone."""
        if not isinstance(regime, Random):
            raise NotIdentifiedError(f"{cell} draws nothing at random")
        seen = [law for law in self.model.covariates if law.name not in self.latent]
        unseen = [law for law in self.model.covariates if law.name in self.latent]
        state, mass = {"": np.empty(1)}, np.ones(1)
        for law in seen:
            state, mass = cross(law, state, mass)
        through = {**state, "a": np.full(mass.size, self._level(regime.level))}
        for law in (*unseen, *self.model.chain):
            through, mass = cross(law, through, mass)
        kept = {"", *(law.name for law in seen), *self.model.mediators}
        state = {name: held for name, held in through.items() if name in kept}
        own = self._level(cell.treatment)
        state["a"] = np.full(mass.size, own)
        others = [law for law in self.model.chain if law.name not in self.model.mediators]
        for law in (*unseen, *others):
            state, mass = cross(law, state, mass)
        return self._outcome(state, mass, own)

    def _outcome(self, state: State, mass: Array, level: float) -> float:
        at = {**state, "a": np.full(mass.size, level)}
        return float(mass @ self.model.outcome.mean(at))

    def _levels(self) -> tuple[float, float]:
        low, high = self.levels
        return float(low), float(high)

    def _level(self, level: Level) -> float:
        return self._levels()[int(level)] if level in (0, 1) else float(level)


def cross(law: Law, state: State, mass: Array) -> tuple[dict[str, Array], Array]:
    """Cross every grid point with the support of one more variable."""
    values, chances = law.support(state)
    grown = {name: np.repeat(held, values.shape[1]) for name, held in state.items()}
    grown[law.name] = values.ravel()
    return grown, (mass[:, None] * chances).ravel()


def _hide(model: Model, latent: tuple[str, ...], *, n: int, seed: int) -> Hidden:
    drawn = simulate(model, n=n, seed=seed)
    return Hidden(
        {name: column for name, column in drawn.frame.items() if name not in latent},
        drawn.path,
        tuple(name for name in drawn.adjust if name not in latent),
        drawn.levels,
        drawn.intermediate,
        None,
        model,
        latent,
    )


def front_door(
    *,
    n: int = 1000,
    seed: int = 0,
    mediator: Literal["binary", "gaussian"] = "binary",
    direct: float = 0.0,
) -> Hidden:
    r"""Draw an unmeasured cause of treatment and outcome that the mediator is shielded from.

    .. math::
        x &\sim \mathrm{Bern}(0.5), \quad u \sim \mathrm{Bern}(0.4) \\
        a &\sim \mathrm{Bern}(\mathrm{expit}(-0.8 + 1.8 u + 0.5 x)) \\
        m &\sim \mathrm{Bern}(\mathrm{expit}(-0.7 + 1.4 a + 0.5 x))
        \quad\text{or}\quad m = -0.2 + 0.7 a + 0.4 x + e, \ e \sim N(0, 1) \\
        y &= 0.5 + d a + m + 1.2 u + 0.4 x + v, \quad v \sim N(0, 1)

    With ``direct`` d = 0 the whole effect goes through ``m``, and front-door adjustment identifies
    it although ``u`` is unmeasured.

    Parameters
    ----------
    n, seed
        Number of units; seed.
    mediator
        ``"binary"`` or ``"gaussian"``.
    direct
        Coefficient d of the treatment in the outcome.
    """
    if mediator not in ("binary", "gaussian"):
        raise SpecError.unknown("mediator", str(mediator), ("binary", "gaussian"))
    middle: Law = Gaussian("m", lambda s: -0.2 + 0.7 * s["a"] + 0.4 * s["x"])
    if mediator == "binary":
        middle = Bernoulli("m", lambda s: expit(-0.7 + 1.4 * s["a"] + 0.5 * s["x"]))
    model = Model(
        (coin("x", 0.5), coin("u", 0.4)),
        Bernoulli("a", lambda s: expit(-0.8 + 1.8 * s["u"] + 0.5 * s["x"])),
        (middle,),
        Gaussian("y", lambda s: 0.5 + direct * s["a"] + s["m"] + 1.2 * s["u"] + 0.4 * s["x"]),
        (("m",),),
    )
    return _hide(model, ("u",), n=n, seed=seed)


def separable(*, n: int = 1000, seed: int = 0, assign: Component = "direct") -> Hidden:
    r"""Draw a treatment with two components and an intermediate variable behind one of them.

    .. math::
        x &\in \{-1, 0, 1\} \text{ with } (0.3, 0.4, 0.3), \quad
        a \sim \mathrm{Bern}(\mathrm{expit}(0.4 x)), \quad a = a_n = a_o \\
        l &= 0.2 + 0.8 a_l + 0.4 x + e_l, \quad
        m = 0.1 + 0.5 a_o + 0.6 l + 0.3 x + e_m \\
        y &= 0.3 a_n + 0.5 m + 0.4 a_n m + 0.6 l + 0.4 x + v

    with standard normal residuals and :math:`a_l = a_n` (``"direct"``) or :math:`a_o`. The data do
    not show which; the cell ``Y(n, M(o))`` is the mean with the components set apart.

    Parameters
    ----------
    n, seed
        Number of units; seed.
    assign
        The component that ``l`` responds to.
    """
    if assign not in ("direct", "indirect"):
        raise SpecError.unknown("component", str(assign), ("direct", "indirect"))
    model = Model(
        (Discrete("x", (-1.0, 0.0, 1.0), (0.3, 0.4, 0.3)),),
        Bernoulli("a", lambda s: expit(0.4 * s["x"])),
        (
            Gaussian("l", lambda s: 0.2 + 0.8 * s["a"] + 0.4 * s["x"]),
            Gaussian("m", lambda s: 0.1 + 0.5 * s["a"] + 0.6 * s["l"] + 0.3 * s["x"]),
        ),
        Gaussian(
            "y",
            lambda s: 0.3 * s["a"] + (0.5 + 0.4 * s["a"]) * s["m"] + 0.6 * s["l"] + 0.4 * s["x"],
        ),
        (("m",),),
    )
    return replace(_hide(model, (), n=n, seed=seed), assign={"l": assign})


def auxiliary(
    *,
    n: int = 1000,
    seed: int = 0,
    second: int | None = None,
    mediator: Literal["binary", "gaussian"] = "gaussian",
    interaction: float = 0.0,
) -> Hidden:
    r"""Draw an unmeasured cause of mediator and outcome, and an experiment on the mediator.

    .. math::
        x &\in \{-1, 0, 1\} \text{ with } (0.3, 0.4, 0.3), \quad u \sim N(0, 1), \quad
        a \sim \mathrm{Bern}(\mathrm{expit}(0.3 x)) \\
        m &= 0.2 + 0.8 a + 0.4 x + (0.5 + 0.3 a) u + 0.6 e \quad\text{or}\quad
        m \sim \mathrm{Bern}(\mathrm{expit}(-1 + 1.2 a + 0.4 x + 1.2 u)) \\
        y &= 0.5 + 0.4 a + 0.6 m + 0.3 a m + 0.7 u + 0.3 u m + c\, a u m + 0.3 x + v

    with standard normal e and v. In the second table ``x``, ``u`` and ``y`` follow the same laws,
    ``a`` is a fair coin and ``m`` was set at random, N(0.6, 1) or a fair coin.

    Parameters
    ----------
    n, seed
        Number of units; seed.
    second
        Units of the second table; as many as in the first by default.
    mediator
        ``"gaussian"`` or ``"binary"``.
    interaction
        Coefficient c. Where it is not 0 the direct effect varies with ``u`` and ``m``, and natural
        effects stay out of reach of the two tables.
    """
    if mediator not in ("binary", "gaussian"):
        raise SpecError.unknown("mediator", str(mediator), ("gaussian", "binary"))
    covariates = (Discrete("x", (-1.0, 0.0, 1.0), (0.3, 0.4, 0.3)), normal("u"))
    outcome: Outcome = Gaussian(
        "y",
        lambda s: (
            0.5
            + 0.4 * s["a"]
            + (0.6 + 0.3 * s["a"] + (0.3 + interaction * s["a"]) * s["u"]) * s["m"]
            + 0.7 * s["u"]
            + 0.3 * s["x"]
        ),
    )
    middle: Law
    chosen: Law
    if mediator == "gaussian":
        middle = Gaussian(
            "m",
            lambda s: 0.2 + 0.8 * s["a"] + 0.4 * s["x"] + (0.5 + 0.3 * s["a"]) * s["u"],
            sd=0.6,
        )
        chosen = Gaussian("m", lambda s: np.full(s["x"].shape, 0.6))
    else:
        middle = Bernoulli("m", lambda s: expit(-1.0 + 1.2 * s["a"] + 0.4 * s["x"] + 1.2 * s["u"]))
        chosen = coin("m", 0.5)
    treatment = Bernoulli("a", lambda s: expit(0.3 * s["x"]))
    model = Model(covariates, treatment, (middle,), outcome, (("m",),))
    made = _hide(model, ("u",), n=n, seed=seed)
    randomised = Model(covariates, coin("a", 0.5), (chosen,), outcome, (("m",),))
    rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
    drawn = randomised.draw(n if second is None else second, rng)
    return replace(made, experiment={k: v for k, v in drawn.items() if k != "u"})


HIDDEN: dict[str, Callable[..., Hidden]] = {
    made.__name__: made for made in (front_door, separable, auxiliary)
}

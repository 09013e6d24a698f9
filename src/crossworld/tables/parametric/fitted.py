"""Formulas and fitted statsmodels results as users pass them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossworld.errors import DesignError, SpecError
from crossworld.tables.parametric.formulas import quoted
from crossworld.tables.parametric.models import Model

_CLASSES = {
    "OLS": "gaussian",
    "WLS": "gaussian",
    "Logit": "logit",
    "Probit": "probit",
    "Poisson": "poisson",
    "NegativeBinomial": "negative-binomial",
    "MNLogit": "multinomial",
    "OrderedModel": "ordinal",
}
_GLMS = {
    ("Gaussian", "Identity"): "gaussian",
    ("Binomial", "Logit"): "logit",
    ("Binomial", "Probit"): "probit",
    ("Binomial", "Log"): "log-binomial",
    ("Poisson", "Log"): "poisson",
}


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What was said about one model: a formula, a family, fitted values to agree with."""

    response: str = ""
    formula: str = ""
    family: str | None = None
    fitted: np.ndarray[Any, Any] | None = None

    def check(self, model: Model) -> None:
        """Refuse a fitted result that is not the fit of this study's rows."""
        if self.fitted is None:
            return
        ours = model.family.mean(model.predictors())[0]
        same = self.fitted.shape == ours.shape
        if not same or np.abs(self.fitted - ours).max() > 1e-5 * max(1.0, np.abs(ours).max()):
            raise DesignError(
                f"the fitted model of {self.response!r} does not agree with a fit of "
                f"{self.formula!r} to the study's {ours.size} rows; was it fitted to other rows, "
                "with other weights, "
                "or without convergence?"
            )


def read(given: Any) -> Asked:
    """Read a formula or a fitted result.

    Raises
    ------
    SpecError
        If it is neither, or a model whose family or terms are not known here.
    """
    if isinstance(given, str):
        left, tilde, _ = given.partition("~")
        if not tilde:
            raise SpecError(f"a formula reads 'response ~ terms', got {given!r}")
        return Asked(left.strip().strip("`"), given.strip())
    model = getattr(given, "model", None)
    if model is None or not hasattr(given, "params"):
        raise SpecError(
            f"a model is given as a formula or a fitted statsmodels result, got {given!r}"
        )
    return _from_statsmodels(given, model)


def as_text(given: Any) -> tuple[Any, dict[str, str]]:
    """Replace fitted results by their formulas.

    Returns
    -------
    tuple
        What was given with formulas in the place of fitted results, and the families of those
        results by response.
    """
    if given is None or isinstance(given, str):
        return given, {}
    if isinstance(given, Mapping):
        read_ = {name: as_text(one) for name, one in given.items()}
        families = {k: v for _, held in read_.values() for k, v in held.items()}
        return {name: text for name, (text, _) in read_.items()}, families
    if isinstance(given, list | tuple):
        parts = [as_text(one) for one in given]
        return [text for text, _ in parts], {k: v for _, held in parts for k, v in held.items()}
    asked = read(given)
    return asked.formula, {asked.response: asked.family} if asked.family else {}


def _from_statsmodels(result: Any, model: Any) -> Asked:
    kind = type(model).__name__
    if kind == "GLM":
        pair = (type(model.family).__name__, type(model.family.link).__name__)
        family = _GLMS.get(pair)
        named = f"GLM with {pair[0]} family and {pair[1]} link"
    else:
        family, named = _CLASSES.get(kind), kind
    if family is None:
        raise SpecError(
            f"a fitted {named} is not among the families known here: "
            f"{', '.join(sorted(set(_CLASSES.values()) | set(_GLMS.values())))}"
        )
    formula = getattr(model, "formula", None) or _from_names(model)
    response = str(formula).partition("~")[0].strip()
    fitted = getattr(result, "fittedvalues", None)
    if family in ("logit", "probit", "poisson", "negative-binomial"):
        fitted = result.predict()
    if family in ("multinomial", "ordinal"):
        chances = np.asarray(result.predict())
        fitted = chances @ np.arange(chances.shape[1])
    return Asked(response, str(formula), family, _counted(model, np.asarray(fitted, dtype=float)))


def _counted(model: Any, fitted: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Fitted values of the rows that had a weight; a study leaves the others out."""
    for name in ("freq_weights", "weights"):
        held = np.asarray(getattr(model, name, 1.0))
        if held.shape == fitted.shape and (held == 0.0).any():
            return fitted[held > 0.0]
    return fitted


def _from_names(model: Any) -> str:
    """Write the formula of a model that was fitted to named columns."""
    names = [str(n) for n in model.exog_names]
    terms = [n for n in names if n not in ("const", "Intercept", "intercept")]
    generic = any(n[0] == "x" and n[1:].isdigit() for n in terms) or model.endog_names == "y"
    if generic and not hasattr(getattr(model.data, "orig_exog", None), "columns"):
        raise SpecError(
            "a fitted result must know its columns: fit it with a formula or to a pandas frame"
        )
    constant = "1" if len(terms) < len(names) or type(model).__name__ == "OrderedModel" else "0"
    return f"{quoted(str(model.endog_names))} ~ {' + '.join([constant, *map(quoted, terms)])}"

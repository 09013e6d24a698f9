"""Effects of single steps of a reasoning text, from long tables of rollouts; no model is called.

The one exception collects: `token_readouts` asks a local model what every token does, and
`token_effects` estimates from its table.

Every function returns `Measured`: scores with one row per independent unit and the estimands over
their cells, for which any inference gives intervals. With ``Multiplier()`` they hold for all steps
at once, so that "this step carries 31 % of the effect" can be said of several steps. Ariadne's
composite score is left out, because its formula is not published.
"""

from crossworld.reasoning.steps.ariadne import Ariadne
from crossworld.reasoning.steps.early import early_answering
from crossworld.reasoning.steps.gather import Measured
from crossworld.reasoning.steps.importance import divergence, importance
from crossworld.reasoning.steps.policy import policies
from crossworld.reasoning.steps.resilience import by_chance, reappears, resilience
from crossworld.reasoning.steps.rollouts import Rollouts
from crossworld.reasoning.steps.similarity import Embedded, Similarity, TfIdf
from crossworld.reasoning.steps.token_changes import TokenPlan
from crossworld.reasoning.steps.token_effects import Agreement, TokenEffects, token_effects
from crossworld.reasoning.steps.tokens import token_readouts
from crossworld.reasoning.steps.transplant import transplant

__all__ = [
    "Agreement",
    "Ariadne",
    "Embedded",
    "Measured",
    "Rollouts",
    "Similarity",
    "TfIdf",
    "TokenEffects",
    "TokenPlan",
    "by_chance",
    "divergence",
    "early_answering",
    "importance",
    "policies",
    "reappears",
    "resilience",
    "token_effects",
    "token_readouts",
    "transplant",
]

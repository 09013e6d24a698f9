"""Edits that keep the meaning: the control of every edit that does not."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from crossworld.errors import DesignError, EstimationError
from crossworld.reasoning.edits.detect import contains_answer
from crossworld.reasoning.edits.protocol import Edit, Edited, NotApplicable, finish, generator
from crossworld.reasoning.models.protocol import LanguageModel, Request
from crossworld.reasoning.segment import PROTECTED, within
from crossworld.reasoning.trace import Trace

# forms that can stand for one another wherever they occur in running text
_EQUAL = (
    ("therefore", "hence", "thus", "consequently"),
    ("is equal to", "equals"),
    ("because", "since"),
    ("calculate", "compute", "work out"),
    ("calculating", "computing", "working out"),
    ("we need to", "we have to", "we must"),
    ("i need to", "i have to", "i must"),
    ("however", "nevertheless"),
    ("in total", "altogether", "all together"),
    ("first of all", "to begin with"),
    ("for example", "for instance"),
    ("also", "in addition"),
    ("let's", "let us"),
    ("it's", "it is"),
    ("that's", "that is"),
    ("don't", "do not"),
    ("doesn't", "does not"),
    ("isn't", "is not"),
    ("aren't", "are not"),
    ("can't", "cannot"),
    ("won't", "will not"),
    ("i'm", "i am"),
    ("we'll", "we will"),
    ("we're", "we are"),
    ("there're", "there are"),
    ("begin with", "start with"),
    ("obtain", "get"),
    ("show that", "demonstrate that"),
    ("big", "large"),
    ("finally", "lastly", "in the end"),
)
_OTHERS = {form: [f for f in group if f != form] for group in _EQUAL for form in group}
_FORMS = re.compile(
    r"(?<![\w'])(?:"
    + "|".join(re.escape(f).replace("'", "['\u2019]") for f in sorted(_OTHERS, key=len)[::-1])
    + r")(?![\w'\u2019])",
    re.IGNORECASE,
)
PROMPT = (
    "Rewrite the reasoning below in other words. Keep every number, every step, the order of the "
    "steps, every mistake and the conclusion if there is one. Add nothing, leave nothing out and "
    "do not answer the question. Write the rewritten reasoning only.\n\nReasoning:\n{text}\n\n"
    "Rewritten reasoning:\n"
)


@dataclass(frozen=True, slots=True)
class SurfaceParaphrase:
    """Write connectives and contractions another way; numbers, formulas and code stay.

    Parameters
    ----------
    seed
        Seed of the choice among several other forms.

    Notes
    -----
    It changes little text: a conservative control, made offline. It knows about thirty sets of
    forms in English and nothing of style; `Paraphrase` rewrites everything, by a model.

    Examples
    --------
    >>> SurfaceParaphrase()(Trace("It's 5 because 2 + 3 is equal to 5.")).text
    'It is 5 since 2 + 3 equals 5.'
    """

    seed: int = 0

    @property
    def name(self) -> str:
        return "surface paraphrase"

    @property
    def control(self) -> Edit | None:
        return None

    def __call__(self, trace: Trace, /) -> Edited:
        rng = generator(trace, self.name, self.seed)
        held = [m.span() for m in PROTECTED.finditer(trace.text)]
        starts = [start for start, _ in held]

        def other(match: re.Match[str]) -> str:
            if within(held, starts, match.start()):
                return match.group()
            forms = _OTHERS[match.group().lower().replace("\u2019", "'")]
            chosen = forms[int(rng.integers(len(forms)))]
            return chosen[0].upper() + chosen[1:] if match.group()[0].isupper() else chosen

        why = "it has none of the forms that can be written another way"
        return finish(trace, _FORMS.sub(other, trace.text), self.name, why)


@dataclass(frozen=True, slots=True)
class Paraphrase:
    """Have a language model say the reasoning in other words.

    A rewriting that states the trace's answer where the trace did not, or no longer states it
    where it did, is refused: it would not be the same mediator.

    Parameters
    ----------
    model
        The model that rewrites; one call per trace, its draw index that of the trace.
    prompt
        The instruction, with ``{text}`` where the reasoning goes.
    temperature
        Sampling temperature.
    max_tokens
        Most tokens of the rewriting; one cut off there is refused.

    Examples
    --------
    >>> from crossworld.reasoning.models.protocol import Completion
    >>> class Polite:
    ...     name, modes = "polite", frozenset()
    ...     async def complete(self, request):
    ...         return Completion("If you add 2 and 3 you get 5.")
    >>> Paraphrase(Polite())(Trace("2 + 3 = 5.", answer="5")).text
    'If you add 2 and 3 you get 5.'
    """

    model: LanguageModel
    prompt: str = PROMPT
    temperature: float = 0.7
    max_tokens: int = 2048

    def __post_init__(self) -> None:
        if "{text}" not in self.prompt:
            raise DesignError("the prompt of Paraphrase says where the reasoning goes with {text}")

    @property
    def name(self) -> str:
        return "paraphrase"

    @property
    def control(self) -> Edit | None:
        return None

    def __call__(self, trace: Trace, /) -> Edited:
        """Paraphrase one trace; inside a running event loop await `rewrite` instead."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self.rewrite(trace))
        raise EstimationError("an event loop is running: use 'await paraphrase.rewrite(trace)'")

    async def rewrite(self, trace: Trace, /) -> Edited:
        """Paraphrase one trace."""
        if not trace.text.strip():
            return NotApplicable(trace, self.name, "the text is empty")
        request = Request(
            trace.question,
            "paraphrase",
            self.prompt.replace("{text}", trace.text),
            draw=trace.draw,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
        )
        done = await self.model.complete(request)
        text = done.text.strip()
        if done.finish == "length":
            why = f"the model was cut off at {self.max_tokens} tokens"
            return NotApplicable(trace, self.name, why)
        if not text:
            return NotApplicable(trace, self.name, "the model wrote nothing")
        if trace.answer:
            had, has = (contains_answer(t, trace.answer) for t in (trace.text, text))
            if had != has:
                why = "states an answer the trace did not" if has else "lost the trace's answer"
                return NotApplicable(trace, self.name, f"the rewriting {why}")
        return finish(trace, text, self.name, "the model gave the text back as it was")

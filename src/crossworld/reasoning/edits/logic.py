"""Edits that turn what a step says around, by rules: negate, invert the logic, reverse a fact."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from crossworld.reasoning.edits.paraphrase import SurfaceParaphrase
from crossworld.reasoning.edits.protocol import Edit, Edited, NotApplicable, generator, steps_of
from crossworld.reasoning.segment import How, join
from crossworld.reasoning.trace import Trace

Change = Callable[[str], str | None]

CONCLUSION = re.compile(
    r"\b(?:therefore|thus|hence|consequently|in conclusion|so,? (?:the|it|we|there|he|she|they)|"
    r"the (?:final |correct )?(?:answer|result|option) (?:is|must|should)|final answer)\b"
    r"|\\boxed|####",
    re.IGNORECASE,
)
_AUXILIARY = re.compile(
    r"\b(is|are|was|were|can|could|will|would|should|must|may|might|has|have|had|does|do|did)\b"
    r"(?P<not>[ ]not\b|n['\u2019]t\b)?",
    re.IGNORECASE,
)
_CONTRACTED = re.compile(
    r"\b(is|are|was|were|could|would|should|must|has|have|had|does|do|did)n['\u2019]t\b"
    r"|\b(?P<can>can)(?:not|['\u2019]t)\b|\b(?P<will>won)['\u2019]t\b",
    re.IGNORECASE,
)
_MAIN_VERB = re.compile(r"\b(?:have|has|had|do|does|did)\Z", re.IGNORECASE)
_NOT_A_CLAIM = re.compile(
    r"(?:let(?:['\u2019]s| us| me)|first,? we|now,? we|we need|i need|okay|ok|alright|wait|hmm|"
    r"find|compute|calculate|consider|note|suppose|assume|add|subtract|multiply|divide|step)\b",
    re.IGNORECASE,
)
_NO_STATEMENT = re.compile(
    r"(?:now|so|then|maybe|perhaps|here|there|if|when|since|because|\w+ing|what|which)\b",
    re.IGNORECASE,
)
_CHOICE_LINE = re.compile(
    r"(?:[-*] +)?(?:\(?[A-E][).:]|(?:options?|choices?|answers?) [A-E]\b)", re.IGNORECASE
)
_TALK = re.compile(
    r"\b(?:question|answers?|options?|choices?|what|which|who|whether|figure out|remember|if|"
    r"above|none|it|this|that|there|these|those|they|i|we|you|he|she)\b",
    re.IGNORECASE,
)
_PAIRS = (
    ("greater than", "less than"),
    ("more than", "fewer than"),
    ("larger than", "smaller than"),
    ("higher than", "lower than"),
    ("taller than", "shorter than"),
    ("older than", "younger than"),
    ("heavier than", "lighter than"),
    ("faster than", "slower than"),
    ("earlier than", "later than"),
    ("better than", "worse than"),
    ("at least", "at most"),
    ("increases", "decreases"),
    ("increase", "decrease"),
    ("add", "subtract"),
    ("adding", "subtracting"),
    ("plus", "minus"),
    ("multiply", "divide"),
    ("multiplying", "dividing"),
    ("multiplied by", "divided by"),
    ("before", "after"),
    ("always", "never"),
    ("and", "or"),
    ("if", "unless"),
    ("necessary", "sufficient"),
    ("maximum", "minimum"),
    (" + ", " - "),
    (" * ", " / "),
    ("<", ">"),
    ("\u2264", "\u2265"),
    ("<=", ">="),
    ("\\leq", "\\geq"),
)
_WEAK = frozenset({"and", "or", "before", "after"})
_OPPOSITE = {a: b for one, two in _PAIRS for a, b in ((one, two), (two, one))}
_FACTS = (
    ("true", "false"),
    ("correct", "incorrect"),
    ("right", "wrong"),
    ("even", "odd"),
    ("positive", "negative"),
    ("possible", "impossible"),
    ("valid", "invalid"),
    ("legal", "illegal"),
    ("north", "south"),
    ("east", "west"),
    ("hot", "cold"),
    ("young", "old"),
    ("rich", "poor"),
    ("guilty", "innocent"),
    ("alive", "dead"),
    ("present", "absent"),
    ("safe", "dangerous"),
    ("open", "closed"),
    ("qualified", "unqualified"),
    ("moral", "immoral"),
    ("consistent", "inconsistent"),
    ("known", "unknown"),
)
_CONTRARY = {a: b for one, two in _FACTS for a, b in ((one, two), (two, one))}
_PREDICATE = re.compile(
    r"\b(?:is|are|was|were)(?: (?:not|also|clearly|always|definitely|indeed))? "
    rf"(?P<fact>{'|'.join(_CONTRARY)})(?=[.,;!]|\Z| and\b| because\b| so\b| since\b)",
    re.IGNORECASE,
)
_SYMMETRIC = re.compile(r"\b(?:equal|equals|next|similar|married|different|same)\b")
_RELATION = re.compile(
    r"\A(?P<lead>(?:(?:we know|note|recall|given|it follows|since|so|and|but|also)(?: that)?,? )?)"
    r"(?P<left>(?:(?:the|a|an|every|each|my|his|her|their)[ ])?[\w'$\\-]+(?:[ ][\w'-]+){0,3}?)"
    r"(?P<verb>[ ](?:is|are|was|were)[ ](?:(?:the|a|an)[ ])?(?:"
    r"\w+er[ ]than|(?:more|less)[ ]\w+[ ]than|(?:\w+[ ]){0,2}\w+[ ](?:of|to|by|than)|part[ ]of|"
    r"before|after|above|below)[ ]|[ ](?:causes?|caused|precedes?|follows|contains?|beats?|"
    r"defeated|owns?|leads[ ]to|implies|produces?|supports?|employs?)[ ])"
    r"(?P<right>(?:(?:the|a|an|every|each|my|his|her|their)[ ])?[\w'$\\-]+(?:[ ][\w'-]+){0,4})"
    r"(?P<end>[.;,!]?)\Z",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class NegatePremise:
    """Negate one step that is no conclusion.

    Notes
    -----
    Rules for English: a negated auxiliary loses its *not*, another gains one ("is" becomes "is
    not"); a statement without an auxiliary is put after "It is not the case that". Questions,
    commands, plans ("let's add") and steps without three words are no premises; nothing is
    negated inside a subordinate clause on purpose, so "what he said is true" negates the first
    auxiliary found. Where no step qualifies, the edit does not apply.

    Parameters
    ----------
    how
        How the text is cut into steps.
    seed
        Seed of which premise is negated.

    Examples
    --------
    >>> NegatePremise()(Trace("All cats are mammals. So the answer is yes.")).text
    'All cats are not mammals. So the answer is yes.'
    """

    how: How = "auto"
    seed: int = 0

    @property
    def name(self) -> str:
        return "negate"

    @property
    def control(self) -> Edit | None:
        return SurfaceParaphrase(seed=self.seed)

    def __call__(self, trace: Trace, /) -> Edited:
        return _one_step(trace, self, (_negated,), "no premise that the rules can negate")


@dataclass(frozen=True, slots=True)
class InvertLogic:
    """Turn one comparison, operation or connective into its opposite.

    Notes
    -----
    One word or sign of one step that is no conclusion, from a list of pairs (greater and less
    than, add and subtract, at least and at most, if and unless, ``<`` and ``>``, ...). Numbers stay
    as they are, so "add 3 to 4 to get 7" becomes "subtract 3 to 4 to get 7": grammar may suffer.
    Words that often carry no logic (and, or, before, after) are used only where nothing else is
    there; quantifiers (all, none) are left alone, as their contraries need another sentence.
    Where no step has any of them, the edit does not apply.

    Parameters
    ----------
    how
        How the text is cut into steps.
    seed
        Seed of which is inverted.

    Examples
    --------
    >>> InvertLogic()(Trace("5 is greater than 3. The answer is 5.")).text
    '5 is less than 3. The answer is 5.'
    """

    how: How = "auto"
    seed: int = 0

    @property
    def name(self) -> str:
        return "invert"

    @property
    def control(self) -> Edit | None:
        return SurfaceParaphrase(seed=self.seed)

    def __call__(self, trace: Trace, /) -> Edited:
        return _one_step(trace, self, (_strong, _weak), "no comparison, operation or connective")


@dataclass(frozen=True, slots=True)
class ReverseFact:
    """Reverse one factual claim: exchange its two sides, or replace an adjective by its contrary.

    Notes
    -----
    "Paris is the capital of France" exchanges its sides; "the number is even" becomes odd. Only
    short statements of the form *thing, relation, thing*, and about twenty pairs of contraries are
    known; symmetric relations are not exchanged. World knowledge is not consulted: a claim that
    was false may become true. Where no step has such a claim, the edit does not apply.

    Parameters
    ----------
    how
        How the text is cut into steps.
    seed
        Seed of which claim is reversed.

    Examples
    --------
    >>> ReverseFact()(Trace("Ann is taller than Bob. The answer is Ann.")).text
    'Bob is taller than Ann. The answer is Ann.'
    """

    how: How = "auto"
    seed: int = 0

    @property
    def name(self) -> str:
        return "reverse fact"

    @property
    def control(self) -> Edit | None:
        return SurfaceParaphrase(seed=self.seed)

    def __call__(self, trace: Trace, /) -> Edited:
        return _one_step(trace, self, (_reversed,), "no claim of a form that the rules can reverse")


def _one_step(
    trace: Trace,
    edit: NegatePremise | InvertLogic | ReverseFact,
    changes: Sequence[Change],
    reason: str,
) -> Edited:
    """Change one step by the first rule that any step allows, drawn among the steps it allows."""
    steps = steps_of(trace, edit.how)
    made: dict[int, str] = {}
    for change in changes:
        for i, body in enumerate(s.body for s in steps):
            if CONCLUSION.search(body) or _CHOICE_LINE.match(body) or "`" in body:
                continue
            new = change(body)
            if new is not None and new != body:
                made[i] = new
        if made:
            break
    if not made:
        return NotApplicable(trace, edit.name, f"there is {reason}")
    at = list(made)[int(generator(trace, edit.name, edit.seed).integers(len(made)))]
    texts = [s.with_body(made[i]) if i == at else s.text for i, s in enumerate(steps)]
    return trace.edited(join(texts), edit.name)


def _negated(body: str) -> str | None:
    if body.endswith(("?", ":")) or len(body.split()) < 3 or _NOT_A_CLAIM.match(body):
        return None
    short = _CONTRACTED.search(body)
    if short is not None:
        kept = "can" if short["can"] else "will" if short["will"] else short[1]
        kept = kept.capitalize() if short.group()[0].isupper() else kept
        return body[: short.start()] + kept + body[short.end() :]
    for match in _AUXILIARY.finditer(body):
        if match.start() == 0 and not match["not"]:
            return None  # a question or a command
        if match["not"]:
            return body[: match.start("not")] + body[match.end("not") :]
        if _MAIN_VERB.search(body[: match.end()]) is None:
            gap = "" if match[1].lower() == "can" else " "
            return f"{body[: match.end()]}{gap}not{body[match.end() :]}"
    if not re.match(r"[A-Z][a-z]+|I\b", body) or _NO_STATEMENT.match(body):
        return None  # a formula, a list or a fragment
    proper = re.match(
        r"(?:The|A|An|There|This|That|These|Those|It|He|She|They|We|Each|In|At|On)\b", body
    )
    claim = body[0].lower() + body[1:] if proper else body
    return f"It is not the case that {claim}"


def _whole(word: str) -> str:
    """Pattern of a whole word or sign, where it is meant as logic.

    Not plus as the first word, not "add up", and if only where a clause starts.
    """
    if word[0] == " ":
        return rf"(?<=[\w)]){re.escape(word)}(?=[\w($])"
    if not word[0].isalpha():
        return rf"(?<![<>=\\-]){re.escape(word)}(?![<>=])" if word[0] != "\\" else re.escape(word)
    first = r"(?<!\A)" if word in ("plus", "minus") else ""
    if word in ("if", "unless"):
        first = r"(?:(?<=\A)|(?<=, )|(?<=because )|(?<=that ))"
    return rf"{first}(?<!\w){re.escape(word)}(?!\w|-| up\b)"


def _exchange(body: str, table: Mapping[str, str], words: list[str]) -> str | None:
    """Replace the first of some words by its opposite, not in questions and lists of choices."""
    if body.endswith("?") or re.search(r"\b(?:options|choices) are\b", body, re.IGNORECASE):
        return None
    parts = [_whole(w) for w in sorted(words, key=len, reverse=True)]
    found = re.search("|".join(parts), body, re.IGNORECASE)
    if found is None:
        return None
    new = table[found.group().lower()]
    new = new.capitalize() if found.group()[0].isupper() else new
    return body[: found.start()] + new + body[found.end() :]


def _strong(body: str) -> str | None:
    return _exchange(body, _OPPOSITE, [w for w in _OPPOSITE if w not in _WEAK])


def _weak(body: str) -> str | None:
    return _exchange(body, _OPPOSITE, sorted(_WEAK))


def _reversed(body: str) -> str | None:
    if body.endswith("?"):
        return None
    found = _RELATION.match(body)
    if found is not None and not _SYMMETRIC.search(found["verb"]):
        left, right = found["left"], found["right"]
        if not (_TALK.search(left) or _TALK.search(right)):
            if re.match(r"(?:The|An?|Every|Each|My)\b", left):
                left = left[0].lower() + left[1:]
            right = right if found["lead"] else right[0].upper() + right[1:]
            return f"{found['lead']}{right}{found['verb']}{left}{found['end']}"
    claim = _PREDICATE.search(body)
    if claim is None or re.search(r"\b(?:if|whether|which|what|figure out)\b", body, re.IGNORECASE):
        return None
    new = _CONTRARY[claim["fact"].lower()]
    return body[: claim.start("fact")] + new + body[claim.end("fact") :]

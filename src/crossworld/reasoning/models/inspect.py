"""Any model that inspect_ai reaches: hosted providers, vLLM, OpenAI-compatible servers."""

from __future__ import annotations

import asyncio
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from crossworld.errors import DesignError, MissingExtraError
from crossworld.reasoning.models.failures import RefusedError, TransientError
from crossworld.reasoning.models.parse import read_answer, split_answer
from crossworld.reasoning.models.protocol import Completion, ReplayMode, Request

ALL = frozenset({"continuation", "final-message", "prefill", "user-turn"})
RAW = frozenset({"continuation"})
CONTINUES = frozenset({"final-message", "user-turn"})
QUOTES = frozenset({"user-turn"})
MODES: Mapping[str, frozenset[str]] = {
    "mockllm": ALL,
    "openai-api-completions": RAW,
    "openai-completions": RAW,
    "vllm-completions": RAW,
    "openai-api": CONTINUES,
    "sglang": CONTINUES,
    "vllm": CONTINUES,
}
# Claude up to 4.5 continues a trailing assistant message; later ones refuse the request
PREFILLS = re.compile(r"claude-(?:[23]\b|[23][-.]|(?:opus|sonnet|haiku)-4(?:-[0-5])?(?!\d|-\d\b))")
QUOTED = "{prompt}\n\nThis is the reasoning so far:\n<reasoning>\n{shown}\n</reasoning>\n{cue}"
FINAL = {"continue_final_message": True, "add_generation_prompt": False}
PASSES = frozenset({408, 409, 425, 429})
MOST_LOGPROBS = 20
MANY = 10_000  # connections: how many are used is for `collect` to say


def modes_of(model: str) -> frozenset[str]:
    """Return the replay modes that inspect_ai can do with a model, from provider and name.

    Examples
    --------
    >>> sorted(modes_of("vllm/meta-llama/Llama-3.1-8B-Instruct"))
    ['final-message', 'user-turn']
    >>> sorted(modes_of("anthropic/claude-sonnet-4-5")), sorted(modes_of("openai/gpt-5"))
    (['prefill', 'user-turn'], ['user-turn'])
    >>> sorted(modes_of("anthropic/claude-opus-4-6"))
    ['user-turn']
    """
    provider, _, name = model.partition("/")
    if provider == "anthropic" and PREFILLS.search(name):
        return frozenset({"prefill", "user-turn"})
    return MODES.get(provider, QUOTES)


@dataclass(frozen=True, slots=True)
class InspectModel:
    r"""A model of inspect_ai, asked without an evaluation around it.

    Retries, pacing and the log are those of `collect`; inspect_ai is told not to retry.

    Parameters
    ----------
    model
        Provider and name, such as ``vllm/Qwen/Qwen3-8B`` or ``openai-api/local/my-model``.
    mode
        How reasoning is shown again. ``continuation``: prompt, reasoning and cue as one raw text.
        ``final-message``, ``prefill``: as the beginning of the model's own turn, which it goes on
        with. ``user-turn``: quoted in the user's turn, which any model can do and which is
        another version of the treatment.
    base_url
        Address of the server, where the provider needs one.
    options
        Further arguments of the provider.
    think
        Text put around shown reasoning in the model's own turn, such as
        ``("<think>\n", "\n</think>\n")``.
    limit
        Most characters of prompt, reasoning and cue; a longer request is refused, never cut.
    seeded
        Send a seed made of question and draw, the same in both arms.
    cache
        Use inspect_ai's own cache too, never expiring; the draw index is one of its scopes.

    Raises
    ------
    MissingExtraError
        If inspect_ai is not installed.
    DesignError
        If the model cannot replay in this mode.
    """

    model: str
    mode: ReplayMode = "user-turn"
    base_url: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    think: tuple[str, str] = ("", "")
    limit: int | None = None
    seeded: bool = False
    cache: bool = False
    _held: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.mode not in self.modes:
            raise DesignError(
                f"{self.model!r} cannot replay reasoning as {self.mode!r}; what it can do is: "
                f"{', '.join(sorted(self.modes))}"
            )
        if importlib.util.find_spec("inspect_ai") is None:
            raise MissingExtraError.for_feature("asking a model through inspect_ai", "inspect")

    @property
    def name(self) -> str:
        """Provider and name."""
        return self.model

    @property
    def modes(self) -> frozenset[str]:
        """What the provider can do with this model."""
        return modes_of(self.model)

    async def complete(self, request: Request) -> Completion:
        size = len(request.prompt) + len(request.shown or "") + len(request.cue)
        if self.limit is not None and size > self.limit:
            raise RefusedError.too_long(size, self.limit, "characters")
        model = self._model()
        try:
            output = await self._generate(model, request)
        except Exception as error:
            raise translated(error, model.api) from error
        if not output.choices:
            raise TransientError("the server answered without any choice")
        if output.stop_reason == "model_length":
            raise RefusedError(
                f"a request of {size} characters does not fit the model: {output.completion[:300]}"
            )
        return completion_of(output, request)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        model = self._held.pop(asyncio.get_running_loop(), None)
        if model is not None:
            await model.api.aclose()

    def _model(self) -> Any:
        """One client per event loop: connections cannot move from one loop to another."""
        from inspect_ai.model import get_model

        loop = asyncio.get_running_loop()
        if loop not in self._held:
            options = {"max_retries": 0} if self.model.startswith("openai-api") else {}
            self._held[loop] = get_model(
                self.model, base_url=self.base_url, memoize=False, **{**options, **self.options}
            )
        return self._held[loop]

    async def _generate(self, model: Any, request: Request) -> Any:
        """Ask the provider's layer itself unless the cache is wanted.

        What ``Model.generate`` adds besides (retries, limits, transcripts) is done by `collect`,
        and would double the time of a call to a fast server.
        """
        config = model.config.model_copy(update=self._config(request))
        messages = self._messages(request)
        if self.cache:
            return await model.generate(messages, config=config, cache=self._cache(request))
        answered = await model.api.generate(messages, [], "none", config)
        output = answered[0] if isinstance(answered, tuple) else answered
        if isinstance(output, Exception):
            raise output
        return output

    def _messages(self, request: Request) -> list[Any]:
        from inspect_ai.model import ChatMessageAssistant, ChatMessageUser

        if request.shown is None:
            return [ChatMessageUser(content=request.prompt)]
        shown = f"{self.think[0]}{request.shown}{self.think[1]}"
        if self.mode == "continuation":
            return [ChatMessageUser(content=f"{request.prompt}{shown}{request.cue}")]
        if self.mode == "user-turn":
            cue = request.cue.strip()
            quoted = QUOTED.format(prompt=request.prompt, shown=request.shown, cue=cue)
            return [ChatMessageUser(content=quoted)]
        begun = f"{shown}{request.cue}"
        own = [ChatMessageAssistant(content=begun)] if begun else []
        return [ChatMessageUser(content=request.prompt), *own]

    def _config(self, request: Request) -> dict[str, Any]:
        values: dict[str, Any] = {
            "max_retries": 0,
            "max_connections": MANY,
            "adaptive_connections": False,
            "temperature": request.temperature,
            "max_tokens": request.max_tokens,
        }
        body: dict[str, Any] = {}
        if self.mode == "final-message" and f"{request.shown or ''}{request.cue}":
            body |= FINAL if request.shown is not None else {}
        if request.choices:
            values |= {"logprobs": True, "top_logprobs": MOST_LOGPROBS}
            if self.model.startswith("vllm"):
                body["structured_outputs"] = {"choice": list(request.choices)}
        if self.seeded:
            values["seed"] = crc32(f"{request.question}|{request.draw}".encode())
        return values | ({"extra_body": body} if body else {})

    def _cache(self, request: Request) -> Any:
        from inspect_ai.model import CachePolicy

        scopes = {"question": request.question, "arm": request.arm, "draw": str(request.draw)}
        return CachePolicy(expiry=None, scopes=scopes)


def completion_of(output: Any, request: Request) -> Completion:
    """Turn what inspect_ai returns into a completion.

    Reasoning is hidden when a block of it is redacted or signed, or when reasoning tokens are
    charged for and none are shown.
    """
    content = output.choices[0].message.content
    blocks = [b for b in content if b.type == "reasoning"] if isinstance(content, list) else []
    channel = "".join(b.reasoning for b in blocks if not b.redacted)
    usage = output.usage
    charged = getattr(usage, "reasoning_tokens", None) or 0
    hidden = any(b.redacted or b.signature for b in blocks) or (charged > 0 and not channel)
    text = output.completion
    if request.shown is None:
        before, after = split_answer(text, request.cue)
        reasoning = channel + (before if after is not None or not channel else "")
        answer = read_answer(after if after is not None or not channel else text, request.choices)
    else:
        before, after = split_answer(text, request.cue)
        reasoning, answer = channel, read_answer(text if after is None else after, request.choices)
    return Completion(
        text=text,
        reasoning=reasoning,
        answer=answer,
        probabilities=law_of(output, request.choices),
        tokens_in=getattr(usage, "input_tokens", 0) or 0,
        tokens_out=getattr(usage, "output_tokens", 0) or 0,
        finish=str(output.stop_reason),
        model=output.model,
        hidden=hidden,
        cost=getattr(usage, "total_cost", None),
    )


def law_of(output: Any, choices: tuple[str, ...]) -> dict[str, float] | None:
    """Return probabilities of choices from the first token's log-probabilities.

    None unless every choice is one of the tokens reported: a choice that was not is not a zero.
    """
    from math import exp

    logprobs = output.choices[0].logprobs
    if not choices or logprobs is None or not logprobs.content:
        return None
    mass = dict.fromkeys(choices, 0.0)
    for token in logprobs.content[0].top_logprobs or []:
        if token.token.strip() in mass:
            mass[token.token.strip()] += exp(token.logprob)
    total = sum(mass.values())
    return {c: m / total for c, m in mass.items()} if min(mass.values()) > 0 else None


def translated(error: Exception, api: Any) -> Exception:
    """Say of a provider's exception whether trying again may help, and when.

    What the provider refuses (status 4xx, except where asked to come back) is final; everything
    else, garbled answers included, may pass.
    """
    cause: BaseException = error
    while cause.__cause__ is not None and getattr(cause, "status_code", None) is None:
        cause = cause.__cause__
    status = getattr(cause, "status_code", None)
    told = f"{type(cause).__name__}: {cause}"[:500]
    least, most = 400, 500
    if isinstance(status, int) and least <= status < most and status not in PASSES:
        return RefusedError(f"the provider refused the request ({status}): {told}")
    origin: BaseException = cause.__cause__ or cause
    decision = api.should_retry(origin)
    return TransientError(told, getattr(decision, "retry_after", None))

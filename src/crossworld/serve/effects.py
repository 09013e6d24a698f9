"""Routes of effects: prompts in, total, direct and indirect effects out."""

import asyncio
from collections.abc import Mapping
from typing import Any

from crossworld.errors import CrossworldError, SpecError, hint
from crossworld.serve import receive
from crossworld.serve.documents import read_json
from crossworld.serve.model.folder import Model
from crossworld.serve.model.running import Asked
from crossworld.serve.refusal import RefusedError
from crossworld.serve.service import Service
from crossworld.serve.settings import Limits

KEYS = ("prompt", "reasoning", "treatment", "id")
LONGEST_ID = 200
SMALL = 8_192  # bytes of a request that is answered in a few milliseconds


def read(body: bytes, model: Model, limits: Limits) -> tuple[list[Asked], list[Any], float]:
    """Read a request: prompts, their ids, the confidence level.

    Raises
    ------
    SpecError
        If the request is malformed; the message says where.
    """
    held = read_json(body, limits.depth)
    if not isinstance(held, dict):
        raise SpecError('the request is an object with prompts: {"prompts": [{"prompt": "..."}]}')
    _known(held, ("prompts", "level"), "the request")
    prompts = held.get("prompts")
    if not isinstance(prompts, list) or not prompts:
        raise SpecError("prompts is a list of at least one object with a prompt")
    if len(prompts) > limits.prompts:
        raise SpecError(
            f"there are {len(prompts):,} prompts; a request may have {limits.prompts:,}"
        )
    level = held.get("level", 0.95)
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0.0 < level < 1.0:
        raise SpecError(f"level is a number between 0 and 1, got {str(level)[:40]}")
    asked = [_one(i, p, model, limits) for i, p in enumerate(prompts)]
    return asked, [p.get("id") for p in prompts], float(level)


def _one(at: int, given: Any, model: Model, limits: Limits) -> Asked:
    where = f"prompts[{at}]"
    if not isinstance(given, dict):
        raise SpecError(f'{where} is an object such as {{"prompt": "..."}}')
    _known(given, KEYS, where)
    texts = {k: given.get(k) for k in ("prompt", "reasoning", "treatment", "id")}
    for name, text in texts.items():
        if (text is not None or name in given) and not isinstance(text, str):
            raise SpecError(f"{name} of {where} is text, got {str(text)[:40]!r}")
    prompt, reasoning, treatment = texts["prompt"], texts["reasoning"], texts["treatment"]
    if not isinstance(prompt, str) or not prompt.strip():
        raise SpecError(f"{where} needs a prompt: the question's text")
    if max(len(prompt), len(reasoning or "")) > limits.characters:
        raise SpecError(f"a text of {where} has more than {limits.characters:,} characters")
    if len(texts["id"] or "") > LONGEST_ID:
        raise SpecError(f"id of {where} has more than {LONGEST_ID} characters")
    if (reasoning is None) != (treatment is None):
        raise SpecError(
            f"{where} needs reasoning and treatment together: the text, and the level of the "
            f"treatment under which it was written, {model.levels[0]!r} or {model.levels[1]!r}"
        )
    if treatment is not None and treatment not in model.levels:
        raise SpecError(
            f"treatment of {where} is {treatment[:40]!r}. {hint(treatment[:40], model.levels)}"
        )
    return Asked(prompt, reasoning, int(treatment == model.levels[1]))


def _known(held: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    for name in held:
        if name not in names:
            raise SpecError.unknown(f"key of {where}", name[:40], names)


def answer(body: bytes, model: Model, limits: Limits) -> dict[str, Any]:
    """Tell the effects of a request's prompts.

    Raises
    ------
    SpecError
        If the request is malformed.
    """
    asked, ids, level = read(body, model, limits)
    told = model.served.effects(asked)
    rows = [
        {"id": name, "given_reasoning": a.reasoning is not None, "known": known, **row}
        for name, a, known, row in zip(ids, asked, told.known, told.rows(level), strict=True)
    ]
    low, high = model.levels
    return {
        "model": {
            "sha256": model.digest,
            "reference": low,
            "active": high,
            "outcome": model.manifest["outcome"],
        },
        "level": level,
        "effects": rows,
    }


def routes(service: Service) -> Any:
    """Build the route of effects, or the one that says that there is no model."""
    from fastapi import APIRouter, Request
    from fastapi.responses import JSONResponse, Response

    router, limits, model = APIRouter(prefix="/v1/effects"), service.limits, service.model

    async def effects(request: Request) -> Response:
        service.caller(request.headers.get("authorization"))
        if receive.kind(request) != "application/json":
            raise RefusedError(415, "the request is a form; send application/json")
        body = await receive.whole(request, limits.document, limits.upload)
        if model is None:
            raise RefusedError(
                404, "no model is served; start the service as 'crossworld serve MODEL'"
            )
        try:
            if len(body) <= SMALL and not model.served.reads_slowly:
                told = answer(body, model, limits)  # a thread would cost more than the answer
            else:
                told = await asyncio.to_thread(answer, body, model, limits)
        except CrossworldError as error:
            raise RefusedError(422, str(error), kind=type(error).__name__) from None
        service.metrics.prompts.inc(len(told["effects"]))
        return JSONResponse(told)

    router.add_api_route("", effects, methods=["POST"])
    return router

"""Routes of analyses: accept a spec and a table, tell how the job goes, hand out its result."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

from crossworld.errors import CrossworldError
from crossworld.serve import receive, runner
from crossworld.serve.documents import admitted
from crossworld.serve.keys import Key
from crossworld.serve.refusal import RefusedError
from crossworld.serve.service import Service, told
from crossworld.serve.store import WAITING, Job
from crossworld.serve.tables import TooLargeError

MEDIA = {"json": "application/json", "html": "text/html", "md": "text/markdown"}
AGAIN = 1  # seconds after which a caller may look again
MOST_LISTED = 100
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; sandbox"
)


class Analyses:
    """What the routes of analyses do.

    Parameters
    ----------
    service
        Keys, limits, jobs.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._checks = asyncio.Semaphore(service.limits.checks)

    async def create(self, request: Any) -> tuple[Job, str]:
        """Accept an analysis: 202, or 408, 413, 415, 422, 429."""
        service = self._service
        key = service.caller(request.headers.get("authorization"))
        service.check_room(key)
        folder = await asyncio.to_thread(service.draft)
        try:
            sent = await receive.analysis(request, folder, service.limits)
            spec = admitted(sent.spec, sent.name, sent.stored, service.limits)
            (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
            await self._check(folder)
            service.check_room(key)
            await asyncio.to_thread(shutil.rmtree, folder / "check")
            job = await asyncio.to_thread(service.store.accept, folder, key.name, sent.name)
        except TooLargeError as error:
            raise RefusedError(413, str(error)) from None
        except CrossworldError as error:
            raise RefusedError(422, str(error), kind=type(error).__name__) from None
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, True)
        service.runner.submit(job)
        return job, f"/v1/analyses/{job.id}"

    async def _check(self, folder: Path) -> None:
        """Let a worker look at the table; nothing that was sent is opened in this process."""
        async with self._checks:
            try:
                wrong = await asyncio.to_thread(
                    runner.check, self._service.workers, folder, self._service.limits
                )
            except TimeoutError as error:
                raise RefusedError(413, str(error)) from None
        if wrong is not None:
            status = {"TooLarge": 413, "OutOfMemory": 413, "Bug": 500}.get(wrong["kind"], 422)
            raise RefusedError(status, wrong["message"], kind=wrong["kind"])

    def owned(self, request: Any, name: str) -> tuple[Job, Key]:
        """Find a job of the caller: 401, 404, 429."""
        key = self._service.caller(request.headers.get("authorization"))
        return self._service.job(name, key), key

    def show(self, job: Job, form: str) -> bytes:
        """Return a job's state with its result, or its report.

        Raises
        ------
        RefusedError
            409 when there is no report, or not yet.
        """
        held = self._service.store.result(job, form)
        if form != "json":
            if held is None:
                raise _no_report(job)
            return held
        state = json.dumps(told(job), ensure_ascii=False).encode()
        return state[:-1] + b', "result": ' + (held or b"null").strip() + b"}"

    def listed(self, request: Any, limit: int, before: str | None) -> dict[str, Any]:
        """List the caller's jobs, newest first, a page at a time."""
        key = self._service.caller(request.headers.get("authorization"))
        jobs = self._service.store.jobs(key.name)
        if before is not None:
            jobs = jobs[jobs.index(self._service.job(before, key)) + 1 :]
        page = jobs[:limit]
        following = page[-1].id if len(jobs) > limit else None
        return {"analyses": [told(job) for job in page], "next": following}


def _no_report(job: Job) -> RefusedError:
    if job.status in WAITING:
        return RefusedError(
            409, f"the analysis is {job.status}; there is no report yet", headers=_again()
        )
    why = "" if job.error is None else f": {job.error['message']}"
    return RefusedError(
        409, f"the analysis is {job.status}, so it has no report{why}", kind="NoReport"
    )


def _again() -> dict[str, str]:
    return {"Retry-After": str(AGAIN)}


def wanted(form: str | None, accept: str | None) -> str:
    """Choose between JSON, HTML and Markdown by ``?format=`` or the Accept header.

    Raises
    ------
    RefusedError
        422 for an unknown format, 406 when nothing acceptable can be sent.

    Examples
    --------
    >>> wanted(None, "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
    'html'
    >>> wanted("md", "text/html")
    'md'
    >>> wanted(None, None)
    'json'
    """
    if form is not None:
        if form not in MEDIA:
            raise RefusedError(422, f"format is {form[:40]!r}; it is json, html or md")
        return form
    best, chosen = 0.0, None
    for name in ("json", "html", "md"):
        weight = _weight(MEDIA[name], accept or "*/*")
        if weight > best:
            best, chosen = weight, name
    if chosen is None:
        raise RefusedError(
            406, f"Accept is {(accept or '')[:80]!r}; there are {', '.join(MEDIA.values())}"
        )
    return chosen


def _weight(media: str, accept: str) -> float:
    """Return the weight that an Accept header gives to a media type; the closest range decides."""
    found: tuple[int, float] = (-1, 0.0)
    for one in accept.split(","):
        span, *parameters = (part.strip().lower() for part in one.split(";"))
        ranges = ("*/*", f"{media.split('/')[0]}/*", media)
        if span in ranges:
            weight = next((p[2:] for p in parameters if p.startswith("q=")), "1")
            try:
                found = max(found, (ranges.index(span), float(weight)))
            except ValueError:
                continue
    return found[1]


def routes(service: Service) -> Any:
    """Build the routes of analyses."""
    from fastapi import APIRouter, Request
    from fastapi.responses import JSONResponse, Response

    router, held = APIRouter(prefix="/v1/analyses"), Analyses(service)

    async def create(request: Request) -> Response:
        job, place = await held.create(request)
        return JSONResponse(told(job), 202, {"Location": place, **_again()})

    async def listed(request: Request) -> Response:
        limit, before = _page(request.query_params)
        return JSONResponse(held.listed(request, limit, before))

    async def show(request: Request, name: str) -> Response:
        job, _ = held.owned(request, name)
        form = wanted(request.query_params.get("format"), request.headers.get("accept"))
        body = await asyncio.to_thread(held.show, job, form)
        headers = _again() if job.status in WAITING else {}
        if form == "html":
            headers["Content-Security-Policy"] = PAGE_POLICY
        return Response(body, headers={**headers, "Vary": "Accept"}, media_type=MEDIA[form])

    async def remove(request: Request, name: str) -> Response:
        job, _ = held.owned(request, name)
        await asyncio.to_thread(service.runner.cancel, job)
        return Response(status_code=204)

    router.add_api_route("", create, methods=["POST"])
    router.add_api_route("", listed, methods=["GET"])
    router.add_api_route("/{name}", show, methods=["GET"])
    router.add_api_route("/{name}", remove, methods=["DELETE"])
    return router


def _page(query: Any) -> tuple[int, str | None]:
    text = query.get("limit", "50")
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST_LISTED):
        raise RefusedError(
            422, f"limit is {text[:40]!r}; it is a whole number from 1 to {MOST_LISTED}"
        )
    return int(text), query.get("before")

"""The application: routes, headers, errors, counting."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

from crossworld.serve import analyses, effects, openapi
from crossworld.serve.need import need
from crossworld.serve.refusal import KINDS, RefusedError, body
from crossworld.serve.service import Service
from crossworld.serve.settings import Settings

SAFE = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
)
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
log = logging.getLogger("crossworld.serve")


def build(settings: Settings) -> Any:
    """Return the ASGI application of a service.

    Parameters
    ----------
    settings
        Where the files are, and what is allowed.

    Raises
    ------
    MissingExtraError
        If a package of the extra ``serve`` is not installed.
    DesignError
        If the data folder or the model cannot be used.
    """
    need("the service")
    from fastapi import FastAPI

    service = Service(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            await asyncio.to_thread(service.stop)

    app = FastAPI(
        title="crossworld",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.service = service
    app.openapi = lambda: openapi.document(service)
    app.include_router(analyses.routes(service))
    app.include_router(effects.routes(service))
    _plain_routes(app, service)
    _errors(app)
    app.add_middleware(Counted, service=service)
    return app


def _plain_routes(app: Any, service: Service) -> None:
    from fastapi.responses import JSONResponse, Response

    async def health() -> Response:
        return JSONResponse(
            {
                "status": "ok",
                "model": None if service.model is None else service.model.digest,
                **openapi.version(),
            }
        )

    async def metrics() -> Response:
        return Response(service.metrics.text(), headers={"Content-Type": PROMETHEUS})

    app.add_api_route("/healthz", health, methods=["GET"])
    app.add_api_route("/metrics", metrics, methods=["GET"])


def _errors(app: Any) -> None:
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect

    async def refused(_: Request, error: RefusedError) -> Response:
        headers = {**error.headers, **({"Connection": "close"} if error.status == 413 else {})}
        return JSONResponse(body(error.kind, error.message), error.status, headers)

    async def gone(_: Request, error: ClientDisconnect) -> Response:
        return JSONResponse(body("TooSlow", "the request ended too early"), 400)

    async def unknown(request: Request, error: HTTPException) -> Response:
        told = {404: f"there is no {request.url.path[:100]!r}; see /openapi.json"}
        message = told.get(error.status_code, f"{request.method} does not go here")
        kind, headers = KINDS.get(error.status_code, "Refused"), dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_allowed(request.url.path))
        return JSONResponse(body(kind, message), error.status_code, headers)

    async def bug(_: Request, error: Exception) -> Response:
        return JSONResponse(body("Bug", "this is a bug in crossworld; please report it"), 500)

    app.add_exception_handler(RefusedError, refused)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(HTTPException, unknown)
    app.add_exception_handler(Exception, bug)


def _allowed(path: str) -> list[str]:
    """Return the methods of a path, of all routes together."""
    for pattern, methods in openapi.ALLOWED:
        if pattern.fullmatch(path):
            return list(methods)
    return []


class Counted:
    """ASGI middleware that counts answers and sets headers that are always right.

    Parameters
    ----------
    app
        The application.
    service
        Whose metrics to count in.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], service: Service) -> None:
        self._app, self._metrics = app, service.metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        clock, status = perf_counter(), 500

        async def told(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *SAFE]
            await send(message)

        try:
            await self._app(scope, receive, told)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in openapi.METHODS else "other"
            self._metrics.answered(route, method, status, perf_counter() - clock)

"""The OpenAPI document, written by hand so that it says what the routes do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from crossworld.core.provenance import installed
from crossworld.serve.schemas import (
    EFFECTS,
    ERROR,
    EXAMPLE_SPEC,
    EXAMPLE_TABLE,
    JOB,
    LISTING,
    SPEC,
    STATE,
    examples,
    prompts,
)
from crossworld.serve.store import ID

if TYPE_CHECKING:
    from crossworld.serve.service import Service

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
ALLOWED = (
    (re.compile("/v1/analyses"), ("GET", "POST")),
    (re.compile("/v1/analyses/[^/]+"), ("DELETE", "GET")),
    (re.compile("/v1/effects"), ("POST",)),
    (re.compile("/(healthz|metrics|openapi.json)"), ("GET",)),
)
JSON = "application/json"
Document = dict[str, Any]
SAID = {
    401: "There is no key, or it is not known.",
    404: "There is no such analysis of this key.",
    406: "Nothing that the Accept header allows can be sent.",
    408: "The request came too slowly.",
    409: "There is no report, or not yet.",
    413: "The request, or the table in it, is larger than the service allows.",
    415: "The body is neither JSON nor a form.",
    422: "The request is malformed, or its spec does not fit its table; the message says how.",
    429: "Too many requests, or too many analyses; Retry-After says when to come again.",
}
RETRY = {
    "Retry-After": {
        "description": "Seconds to wait.",
        "schema": {"type": "integer", "minimum": 1},
    }
}


def version() -> dict[str, str]:
    """Return the version that is served."""
    return {"version": installed("crossworld")}


def document(service: Service) -> Document:
    """Return the whole document.

    Parameters
    ----------
    service
        Whose limits are written down.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "crossworld",
            "version": version()["version"],
            "description": "Causal mediation analysis: analyses of tables as jobs, and effects of "
            "new prompts from exported models.",
            "license": {"name": "BSD-3-Clause", "identifier": "BSD-3-Clause"},
        },
        "security": [{"key": []}],
        "paths": {
            "/v1/effects": {"post": _effects(service)},
            "/v1/analyses": {"post": _create(service), "get": _list()},
            "/v1/analyses/{id}": {"parameters": [_id()], "get": _show(), "delete": _remove()},
            "/healthz": {"get": _health()},
            "/metrics": {"get": _metrics()},
        },
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key made with `crossworld serve --new-key NAME`.",
                }
            },
            "schemas": {
                "Error": ERROR,
                "Spec": SPEC,
                "Job": JOB,
                "State": STATE,
                "Listing": LISTING,
                "Prompts": prompts(service.limits, _levels(service)),
                "Effects": EFFECTS,
            },
        },
    }


def refusals(*statuses: int) -> Document:
    """Describe the errors of a route."""
    told: Document = {}
    for status in statuses:
        told[str(status)] = {
            "description": SAID[status],
            "content": {JSON: {"schema": ref("Error")}},
            **({"headers": RETRY} if status == 429 else {}),
        }
    return told


def ref(name: str) -> Document:
    """Point to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def _levels(service: Service) -> tuple[str, str]:
    return ("reference", "active") if service.model is None else service.model.levels


def _effects(service: Service) -> Document:
    limits = service.limits
    return {
        "operationId": "effects",
        "summary": "Total, direct and indirect effect of the treatment on each of some prompts.",
        "description": f"At most {limits.prompts:,} prompts of {limits.characters:,} characters. "
        "With a reasoning and the treatment under which it was written, what that text has beyond "
        "the expected enters the answer. 404 when no model is served.",
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": ref("Prompts"), "examples": examples(_levels(service))}},
        },
        "responses": {
            "200": {
                "description": "Effects, in the order of the prompts.",
                "content": {JSON: {"schema": ref("Effects")}},
            },
            **refusals(401, 404, 408, 413, 415, 422, 429),
        },
    }


def _create(service: Service) -> Document:
    limits = service.limits
    return {
        "operationId": "createAnalysis",
        "summary": "Run a spec on a table.",
        "description": f"At most {limits.body:,} bytes, {limits.rows:,} rows, {limits.columns:,} "
        f"columns, {limits.seconds:,} s. The spec is that of the command line; its data may be "
        "left out, because the table comes along. The table is csv, csv.gz or parquet.",
        "requestBody": {
            "required": True,
            "content": {
                JSON: {
                    "schema": _inline(),
                    "example": {"spec": EXAMPLE_SPEC, "table": EXAMPLE_TABLE},
                },
                "multipart/form-data": {"schema": _form()},
            },
        },
        "responses": {
            "202": {
                "description": "Accepted; Location is where its state and result are.",
                "headers": {
                    "Location": {"schema": {"type": "string"}},
                    **RETRY,
                },
                "content": {JSON: {"schema": ref("Job")}},
            },
            **refusals(401, 408, 413, 415, 422, 429),
        },
    }


def _inline() -> Document:
    values = {"type": "array", "items": {"type": ["number", "string", "boolean", "null"]}}
    return {
        "type": "object",
        "required": ["spec", "table"],
        "additionalProperties": False,
        "properties": {
            "spec": ref("Spec"),
            "table": {
                "description": "Columns of equal length, or csv text.",
                "oneOf": [
                    {"type": "object", "minProperties": 1, "additionalProperties": values},
                    {"type": "string", "minLength": 1},
                ],
            },
        },
    }


def _form() -> Document:
    return {
        "type": "object",
        "required": ["spec", "table"],
        "additionalProperties": False,
        "properties": {
            "spec": {"type": "string", "description": "The spec, as JSON or TOML text."},
            "table": {
                "type": "string",
                "format": "binary",
                "description": "A csv, csv.gz or parquet file.",
            },
        },
    }


def _list() -> Document:
    return {
        "operationId": "listAnalyses",
        "summary": "List the analyses of this key, newest first.",
        "parameters": [
            {
                "name": "limit",
                "in": "query",
                "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 50},
            },
            {
                "name": "before",
                "in": "query",
                "description": "Go on after this analysis: `next` of the page before.",
                "schema": {"type": "string", "pattern": f"^{ID}$"},
            },
        ],
        "responses": {
            "200": {"description": "A page.", "content": {JSON: {"schema": ref("Listing")}}},
            **refusals(401, 404, 422, 429),
        },
    }


def _id() -> Document:
    return {
        "name": "id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": f"^{ID}$"},
    }


def _show() -> Document:
    return {
        "operationId": "getAnalysis",
        "summary": "The state of an analysis with its result, or its report.",
        "parameters": [
            {
                "name": "format",
                "in": "query",
                "description": "Overrules the Accept header.",
                "schema": {"type": "string", "enum": ["json", "html", "md"]},
            }
        ],
        "responses": {
            "200": {
                "description": "The state, with the result once it is done; or the report.",
                "headers": {"Retry-After": {**RETRY["Retry-After"], "required": False}},
                "content": {
                    JSON: {"schema": ref("State")},
                    "text/html": {"schema": {"type": "string"}},
                    "text/markdown": {"schema": {"type": "string"}},
                },
            },
            **refusals(401, 404, 406, 409, 422, 429),
        },
    }


def _remove() -> Document:
    return {
        "operationId": "deleteAnalysis",
        "summary": "Stop an analysis and forget it, with its table and its result.",
        "responses": {
            "204": {"description": "It is gone."},
            **refusals(401, 404, 429),
        },
    }


def _health() -> Document:
    return {
        "operationId": "health",
        "summary": "Whether the service is up.",
        "security": [],
        "responses": {
            "200": {
                "description": "It is.",
                "content": {
                    JSON: {
                        "schema": {
                            "type": "object",
                            "required": ["status", "model", "version"],
                            "properties": {
                                "status": {"const": "ok"},
                                "model": {
                                    "description": "SHA-256 of the model's manifest.",
                                    "type": ["string", "null"],
                                },
                                "version": {"type": "string"},
                            },
                        }
                    }
                },
            }
        },
    }


def _metrics() -> Document:
    return {
        "operationId": "metrics",
        "summary": "Counters for Prometheus.",
        "security": [],
        "responses": {
            "200": {
                "description": "The text format of Prometheus.",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            }
        },
    }

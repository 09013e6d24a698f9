"""Schemas of what goes over the wire, and the examples that are shown."""

from __future__ import annotations

from typing import Any

from crossworld.serve.settings import Limits
from crossworld.serve.store import ENDED, ID, WAITING

Document = dict[str, Any]
TIME: Document = {"type": "string", "format": "date-time"}
ERROR: Document = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["kind", "message"],
            "additionalProperties": False,
            "properties": {
                "kind": {"type": "string", "examples": ["SpecError"]},
                "message": {
                    "type": "string",
                    "examples": ["unknown effect 'nei'. Did you mean 'nie'?"],
                },
            },
        }
    },
}
SPEC: Document = {
    "type": "object",
    "description": "The document of docs/spec.md.",
    "required": ["study"],
    "additionalProperties": False,
    "properties": {
        "study": {
            "type": "object",
            "description": "Roles of the columns.",
            "properties": {
                "kind": {"enum": ["table", "reasoning"]},
                "path": {"type": "string", "examples": ["treat -> job_seek -> depress2"]},
                "adjust": {"type": "array", "items": {"type": "string"}},
                "levels": {"type": "array", "minItems": 2, "maxItems": 2},
            },
        },
        "estimator": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string", "examples": ["Regression"]}},
        },
        "inference": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string", "examples": ["Wald", "Bootstrap"]}},
        },
        "ask": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "effects": {
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": "string", "minLength": 1, "examples": ["te", "nie.ratio"]},
                },
                "refute": {"type": "array"},
                "level": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                "assume": {"type": "boolean"},
            },
        },
    },
}
_FIELDS: Document = {
    "id": {"type": "string", "pattern": f"^{ID}$"},
    "status": {"enum": [*WAITING, *ENDED]},
    "table": {"type": "string", "description": "The name of the file that was sent."},
    "created": TIME,
    "started": {"oneOf": [TIME, {"type": "null"}]},
    "finished": {"oneOf": [TIME, {"type": "null"}]},
    "attempts": {"type": "integer", "minimum": 0},
    "error": {
        "description": "Why it failed, or what is not identified.",
        "oneOf": [ERROR["properties"]["error"], {"type": "null"}],
    },
}
JOB: Document = {
    "type": "object",
    "required": [*_FIELDS],
    "additionalProperties": False,
    "properties": _FIELDS,
}
STATE: Document = {
    "type": "object",
    "required": [*_FIELDS, "result"],
    "additionalProperties": False,
    "properties": {
        **_FIELDS,
        "result": {
            "description": "Once done, the result document `crossworld/1` (docs/formats.md); when "
            "it is not identified, why not, and what is identified instead.",
            "type": ["object", "null"],
        },
    },
}
LISTING: Document = {
    "type": "object",
    "required": ["analyses", "next"],
    "additionalProperties": False,
    "properties": {
        "analyses": {"type": "array", "items": {"$ref": "#/components/schemas/Job"}},
        "next": {"oneOf": [_FIELDS["id"], {"type": "null"}]},
    },
}
_ROWS = 12
EXAMPLE_TABLE: Document = {
    "treat": [0, 1] * (_ROWS // 2),
    "job_seek": [3.2, 4.1, 2.9, 3.8, 3.6, 4.4, 3.1, 3.9, 2.7, 4.0, 3.4, 4.6],
    "depress": [2.1, 1.6, 2.4, 1.9, 1.8, 1.2, 2.2, 1.7, 2.6, 1.8, 2.0, 1.1],
}
EXAMPLE_SPEC: Document = {
    "study": {"path": "treat -> job_seek -> depress"},
    "estimator": {"name": "Regression"},
    "ask": {"effects": ["te", "nde", "nie"]},
}
_NUMBER: Document = {"type": "number"}
_EFFECT: Document = {
    "type": "object",
    "required": ["estimate", "std_error", "conf_low", "conf_high"],
    "additionalProperties": False,
    "properties": dict.fromkeys(("estimate", "std_error", "conf_low", "conf_high"), _NUMBER),
}
EFFECTS: Document = {
    "type": "object",
    "required": ["model", "level", "effects"],
    "additionalProperties": False,
    "properties": {
        "model": {
            "type": "object",
            "required": ["sha256", "reference", "active", "outcome"],
            "additionalProperties": False,
            "properties": {
                "sha256": {"type": "string"},
                "reference": {"type": "string"},
                "active": {"type": "string"},
                "outcome": {"enum": ["probability", "mean"]},
            },
        },
        "level": _NUMBER,
        "effects": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "given_reasoning", "known", "te", "nde", "nie"],
                "additionalProperties": False,
                "properties": {
                    "id": {"type": ["string", "null"]},
                    "given_reasoning": {"type": "boolean"},
                    "known": {
                        "type": ["number", "null"],
                        "description": "Share of the words that the model has seen; null with an "
                        "encoder.",
                    },
                    **dict.fromkeys(("te", "nde", "nie"), _EFFECT),
                },
            },
        },
    },
}


def prompts(limits: Limits, levels: tuple[str, str]) -> Document:
    """Return the schema of a request for effects."""
    text = {"type": "string", "maxLength": limits.characters}
    one = {
        "type": "object",
        "required": ["prompt"],
        "additionalProperties": False,
        "dependentRequired": {"reasoning": ["treatment"], "treatment": ["reasoning"]},
        "properties": {
            "id": {"type": "string", "maxLength": 200, "description": "Given back as it is."},
            "prompt": {**text, "minLength": 1, "pattern": "\\S"},
            "reasoning": text,
            "treatment": {
                "enum": [*levels],
                "description": "That the reasoning was written under.",
            },
        },
    }
    return {
        "type": "object",
        "required": ["prompts"],
        "additionalProperties": False,
        "properties": {
            "prompts": {"type": "array", "minItems": 1, "maxItems": limits.prompts, "items": one},
            "level": {
                "type": "number",
                "exclusiveMinimum": 0,
                "exclusiveMaximum": 1,
                "default": 0.95,
            },
        },
    }


def examples(levels: tuple[str, str]) -> Document:
    """Return examples of requests for effects."""
    question = "How many apples are left when you take 17 from 31?"
    known = {"prompt": question, "reasoning": "31 - 17 = 14. Check: 14 + 17 = 31."}
    return {
        "prompt": {"value": {"prompts": [{"prompt": question}]}},
        "reasoning": {"value": {"prompts": [{**known, "treatment": levels[1]}], "level": 0.9}},
    }

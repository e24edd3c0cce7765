"""Puts the one problem document that every refusal is shown as into the OpenAPI description."""

from __future__ import annotations

from typing import Any

from lens_site.errors import CODES, TITLES

PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "What was refused and why (RFC 9457).",
    "required": ["type", "title", "status", "detail", "instance", "code", "request_id", "errors"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string", "examples": ["VALIDATION_ERROR"]},
        "request_id": {"type": "string"},
        "retry_after": {"type": "number"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "code", "message"],
                "properties": {
                    "field": {"type": "string"},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                },
            },
        },
    },
}
EXAMPLE = {
    "type": "/docs/errors#validation_error",
    "title": "The request breaks a rule",
    "status": 400,
    "detail": "the signal breaks the rules",
    "instance": "/api/v1/signals",
    "code": "VALIDATION_ERROR",
    "request_id": "4f0c9b2e",
    "errors": [
        {
            "field": "liquidation_price",
            "code": "wrong_side",
            "message": "must lie below entry_price for this direction",
        }
    ],
}
ALWAYS = {
    "400": "The request breaks a rule; `errors` names the fields.",
    "401": "No valid API key.",
    "403": "The key's scopes do not allow this.",
    "429": "Too many requests; `Retry-After` says when to come back.",
    "503": "The database is away; nothing was stored.",
}
WITH_BODY = {
    "413": "The body is too large.",
    "415": "The body must be application/json.",
    "422": "The idempotency key was used with another body.",
}
METHODS = ("get", "post", "put", "patch", "delete")


def add_problems(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Return the description with the refusals that each operation may answer with."""
    result["components"].setdefault("schemas", {})["Problem"] = PROBLEM
    for path, operations in result["paths"].items():
        for method in METHODS:
            if method in operations:
                _add(operations[method], with_id="{" in path, with_body=method == "post")
    return result


def _add(operation: dict[str, Any], *, with_id: bool, with_body: bool) -> None:
    refusals = ALWAYS | (WITH_BODY if with_body else {})
    if with_id:
        refusals |= {"404": "Nothing answers to that id."}
    for status, description in sorted(refusals.items()):
        operation["responses"].setdefault(
            status,
            {
                "description": description,
                "content": {
                    "application/problem+json": {
                        "schema": {"$ref": "#/components/schemas/Problem"},
                        "example": _example(int(status), description),
                    }
                },
            },
        )


def _example(status: int, detail: str) -> dict[str, Any]:
    if status == EXAMPLE["status"]:
        return EXAMPLE
    code = CODES[status]
    return {
        **EXAMPLE,
        "type": f"/docs/errors#{code.lower()}",
        "title": TITLES[code],
        "status": status,
        "detail": detail,
        "code": code,
        "errors": [],
    }

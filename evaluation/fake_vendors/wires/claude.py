"""Claude's messages."""

from __future__ import annotations

import re
from collections.abc import Mapping

from evaluation.fake_vendors.asked import Asked, Ending, Said, Usage
from evaluation.fake_vendors.wires.base import Json, Refusal, Wire, flat, talk

STOP_REASONS = {
    Ending.STOP: "end_turn",
    Ending.TRUNCATED: "max_tokens",
    Ending.REFUSED: "refusal",
    Ending.BLOCKED: "refusal",
}
ERROR_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
SAMPLING = ("temperature", "top_p", "top_k", "seed")


class Claude(Wire):
    """Speaks ``POST /messages``."""

    path = re.compile(r"/messages$")
    vendor = "claude"
    request_id_header = "request-id"

    def read(self, body: Json, *, vendor: str, path: str) -> Asked:
        _, turns, user = talk(body["messages"])
        form = (body.get("output_config") or {}).get("format") or {}
        return Asked(
            vendor=vendor,
            model=body["model"],
            system=flat(body.get("system")),
            turns=turns,
            user=user,
            schema=form.get("schema"),
            is_json=form.get("type") == "json_schema",
            is_thinking=(body.get("thinking") or {}).get("type") != "disabled",
            max_tokens=body["max_tokens"],
        )

    def write(self, asked: Asked, said: Said) -> Json:
        body: Json = {
            "id": said.id,
            "type": "message",
            "role": "assistant",
            "model": said.model,
            "content": [{"type": "text", "text": said.text}] if said.text else [],
            "stop_reason": STOP_REASONS[said.ending],
            "stop_sequence": None,
        }
        return body if said.usage is None else body | {"usage": _usage(said.usage)}

    def error(self, refusal: Refusal) -> Json:
        other = "api_error" if refusal.status >= 500 else "invalid_request_error"
        kind = ERROR_TYPES.get(refusal.status, other)
        return {"type": "error", "error": {"type": kind, "message": refusal.message}}

    def complaint(
        self, body: Json, asked: Asked, headers: Mapping[bytes, bytes]
    ) -> tuple[int, str] | None:
        gone = next((name for name in SAMPLING if name in body), None)
        if gone:
            return 400, f"{gone}: Extra inputs are not permitted"
        if b"anthropic-version" not in headers:
            return 400, "anthropic-version: header is required"
        return super().complaint(body, asked, headers)


def _usage(usage: Usage) -> Json:
    return {
        "input_tokens": usage.tokens_in - usage.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.tokens_out,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
    }

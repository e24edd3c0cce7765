"""Gemini's generateContent."""

from __future__ import annotations

import re

from evaluation.fake_vendors.asked import Asked, Ending, Said, Usage
from evaluation.fake_vendors.wires.base import Json, Refusal, Wire, flat

STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
FINISH = {Ending.STOP: "STOP", Ending.TRUNCATED: "MAX_TOKENS", Ending.REFUSED: "SAFETY"}


class Gemini(Wire):
    """Speaks ``POST /models/<model>:generateContent``."""

    path = re.compile(r"/models/(?P<model>[^/:]+):generateContent$")
    vendor = "gemini"
    request_id_header = "x-goog-request-id"

    def read(self, body: Json, *, vendor: str, path: str) -> Asked:
        found = self.path.search(path)
        said = [flat(content.get("parts")) for content in body["contents"]]
        wish = body.get("generationConfig") or {}
        thinking = wish.get("thinkingConfig") or {}
        return Asked(
            vendor=vendor,
            model=found["model"] if found else "",
            system=flat((body.get("systemInstruction") or {}).get("parts")),
            turns=tuple(said[:-1]),
            user=said[-1],
            schema=wish.get("responseJsonSchema") or wish.get("responseSchema"),
            is_json=wish.get("responseMimeType") == "application/json",
            is_thinking=thinking.get("thinkingBudget", 1) != 0,
            max_tokens=wish.get("maxOutputTokens"),
        )

    def write(self, asked: Asked, said: Said) -> Json:
        body: Json = {"modelVersion": said.model, "responseId": said.id}
        if said.usage is not None:
            body["usageMetadata"] = _usage(said.usage)
        if said.ending is Ending.BLOCKED:
            return body | {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
        candidate: Json = {"index": 0, "finishReason": FINISH[said.ending]}
        if said.text and said.ending is not Ending.REFUSED:
            candidate["content"] = {"role": "model", "parts": [{"text": said.text}]}
        return body | {"candidates": [candidate]}

    def error(self, refusal: Refusal) -> Json:
        return gemini_error(refusal)

    def quota_status(self, vendor: str) -> int:
        return 429


def _usage(usage: Usage) -> Json:
    return {
        "promptTokenCount": usage.tokens_in,
        "cachedContentTokenCount": usage.cached,
        "candidatesTokenCount": usage.tokens_out - usage.reasoning,
        "thoughtsTokenCount": usage.reasoning,
        "totalTokenCount": usage.total,
    }


def gemini_error(refusal: Refusal) -> Json:
    """Return an error as Google words it; how long to wait stands in the details."""
    status = refusal.status
    name = STATUSES.get(status, "INTERNAL" if status >= 500 else "FAILED_PRECONDITION")
    error: Json = {"code": status, "message": refusal.message, "status": name}
    if refusal.retry_after_s is not None:
        error["details"] = [{"@type": RETRY_INFO, "retryDelay": f"{refusal.retry_after_s:g}s"}]
    return {"error": error}

"""OpenAI's chat completions, which most other vendors speak as well."""

from __future__ import annotations

import re
from collections.abc import Mapping

from evaluation.fake_vendors.asked import Asked, Ending, Said, Usage, digest
from evaluation.fake_vendors.wires.base import Json, Refusal, Wire, loose_part, talk

FINISH = {
    Ending.STOP: "stop",
    Ending.TRUNCATED: "length",
    Ending.REFUSED: "stop",
    Ending.BLOCKED: "content_filter",
}
ERROR_TYPES = {401: "authentication_error", 429: "rate_limit_error"}


class Chat(Wire):
    """Speaks ``POST /chat/completions``."""

    path = re.compile(r"/chat/completions$")
    vendor = "compatible"

    def read(self, body: Json, *, vendor: str, path: str) -> Asked:
        system, turns, user = talk(body["messages"])
        form = body.get("response_format") or {}
        return Asked(
            vendor=vendor,
            model=body["model"],
            system=system,
            turns=turns,
            user=user,
            schema=(form.get("json_schema") or {}).get("schema"),
            is_json=form.get("type") in {"json_object", "json_schema"},
            is_thinking=is_thinking(body),
            max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        )

    def write(self, asked: Asked, said: Said) -> Json:
        message: Json = {"role": "assistant", "content": said.text, "refusal": None}
        if said.ending is Ending.REFUSED:
            message |= {"content": None, "refusal": said.text}
        body: Json = {
            "id": said.id,
            "object": "chat.completion",
            "created": 1_750_000_000,
            "model": said.model,
            "system_fingerprint": f"fp_{digest(said.model)[:10]}",
            "choices": [
                {
                    "index": 0,
                    "message": message,
                    "logprobs": None,
                    "finish_reason": FINISH[said.ending],
                }
            ],
        }
        return body if said.usage is None else body | {"usage": _usage(asked, said.usage)}

    def error(self, refusal: Refusal) -> Json:
        return openai_error(refusal)

    def quota_status(self, vendor: str) -> int:
        return 429 if vendor in {"openai", "compatible", "qwen", "moonshot"} else 402

    def complaint(
        self, body: Json, asked: Asked, headers: Mapping[bytes, bytes]
    ) -> tuple[int, str] | None:
        form = body.get("response_format") or {}
        if form.get("type") == "json_schema" and asked.vendor == "deepseek":
            return 400, "This response_format type is unavailable now"
        if form.get("type") == "json_object" and "json" not in asked.prompt.lower():
            return 400, "Prompt must contain the word 'json' to use response_format json_object."
        told = form.get("json_schema") or {}
        loose = loose_part(told.get("schema")) if told.get("strict") else None
        if loose:
            return 400, f"Invalid schema for response_format: in {loose}"
        return super().complaint(body, asked, headers)


def is_thinking(body: Json) -> bool:
    """Return whether a call leaves the model its reasoning."""
    thinking = (body.get("thinking") or {}).get("type")
    effort = body.get("reasoning_effort") or (body.get("reasoning") or {}).get("effort")
    return thinking != "disabled" and effort != "none" and body.get("enable_thinking") is not False


def _usage(asked: Asked, usage: Usage) -> Json:
    told: Json = {
        "prompt_tokens": usage.tokens_in,
        "completion_tokens": usage.tokens_out,
        "total_tokens": usage.total,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
    if asked.vendor == "deepseek":
        return told | {
            "prompt_cache_hit_tokens": usage.cached,
            "prompt_cache_miss_tokens": usage.tokens_in - usage.cached,
        }
    return told | {"prompt_tokens_details": {"cached_tokens": usage.cached}}


def openai_error(refusal: Refusal) -> Json:
    """Return an error as OpenAI and its likes word it."""
    status = refusal.status
    kind = ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    code = None
    if refusal.is_quota and status == 429:
        kind = code = "insufficient_quota"
    return {"error": {"message": refusal.message, "type": kind, "param": None, "code": code}}

"""OpenAI's Responses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from evaluation.fake_vendors.asked import Asked, Ending, Said, Usage
from evaluation.fake_vendors.wires.base import Json, Refusal, Wire, loose_part, talk
from evaluation.fake_vendors.wires.chat import is_thinking, openai_error

INCOMPLETE = {Ending.TRUNCATED: "max_output_tokens", Ending.BLOCKED: "content_filter"}


class Responses(Wire):
    """Speaks ``POST /responses``."""

    path = re.compile(r"/responses$")
    vendor = "openai"

    def read(self, body: Json, *, vendor: str, path: str) -> Asked:
        told = body["input"]
        messages = [{"role": "user", "content": told}] if isinstance(told, str) else told
        system, turns, user = talk(messages)
        form = (body.get("text") or {}).get("format") or {}
        return Asked(
            vendor=vendor,
            model=body["model"],
            system="\n".join(part for part in (body.get("instructions") or "", system) if part),
            turns=turns,
            user=user,
            schema=form.get("schema"),
            is_json=form.get("type") in {"json_object", "json_schema"},
            is_thinking=is_thinking(body),
            max_tokens=body.get("max_output_tokens"),
        )

    def write(self, asked: Asked, said: Said) -> Json:
        why = INCOMPLETE.get(said.ending)
        status = "incomplete" if why else "completed"
        body: Json = {
            "id": said.id,
            "object": "response",
            "created_at": 1_750_000_000,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": why} if why else None,
            "instructions": asked.system,
            "model": said.model,
            "output": [
                {
                    "id": said.id.replace("resp", "msg"),
                    "type": "message",
                    "role": "assistant",
                    "status": status,
                    "content": _content(said),
                }
            ],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "store": False,
        }
        return body if said.usage is None else body | {"usage": openai_usage(said.usage)}

    def error(self, refusal: Refusal) -> Json:
        return openai_error(refusal)

    def quota_status(self, vendor: str) -> int:
        return 429

    def complaint(
        self, body: Json, asked: Asked, headers: Mapping[bytes, bytes]
    ) -> tuple[int, str] | None:
        unknown = next((name for name in ("seed", "messages") if name in body), None)
        if unknown:
            return 400, f"Unknown parameter: '{unknown}'."
        form = (body.get("text") or {}).get("format") or {}
        loose = loose_part(form.get("schema")) if form.get("strict") else None
        if loose:
            return 400, f"Invalid schema for response_format: in {loose}"
        return super().complaint(body, asked, headers)


def _content(said: Said) -> list[dict[str, Any]]:
    if said.ending is Ending.REFUSED:
        return [{"type": "refusal", "refusal": said.text}]
    return [{"type": "output_text", "text": said.text, "annotations": []}] if said.text else []


def openai_usage(usage: Usage) -> Json:
    """Return usage as OpenAI counts it outside chat."""
    return {
        "input_tokens": usage.tokens_in,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
        "output_tokens": usage.tokens_out,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }

"""Ollama's own chat, without streaming."""

from __future__ import annotations

import re

from evaluation.fake_vendors.asked import Asked, Ending, Said
from evaluation.fake_vendors.wires.base import Json, Refusal, Wire, talk


class Ollama(Wire):
    """Speaks ``POST /api/chat``."""

    path = re.compile(r"/api/chat$")
    vendor = "ollama"

    def read(self, body: Json, *, vendor: str, path: str) -> Asked:
        system, turns, user = talk(body["messages"])
        form = body.get("format")
        return Asked(
            vendor=vendor,
            model=body["model"],
            system=system,
            turns=turns,
            user=user,
            schema=form if isinstance(form, dict) else None,
            is_json=bool(form),
            is_thinking=False,
            is_cached=False,
            max_tokens=(body.get("options") or {}).get("num_predict"),
        )

    def write(self, asked: Asked, said: Said) -> Json:
        is_cut = said.ending is Ending.TRUNCATED
        body: Json = {
            "model": said.model,
            "created_at": "2026-01-15T12:00:00Z",
            "message": {"role": "assistant", "content": said.text},
            "done": True,
            "done_reason": "length" if is_cut else "stop",
            "total_duration": 1_000_000,
        }
        if said.usage is None:
            return body
        return body | {
            "prompt_eval_count": said.usage.tokens_in,
            "eval_count": said.usage.tokens_out,
        }

    def error(self, refusal: Refusal) -> Json:
        return {"error": refusal.message}

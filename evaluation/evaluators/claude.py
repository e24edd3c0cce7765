"""Claude by Anthropic's REST interface; one endpoint is not worth an SDK.

Source: Messages API of version 2026-10-21, headers as anthropic 2.11 sends them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from evaluation.evaluators.llm import LLM, Completion, Request
from evaluation.evaluators.wire import Reply, post_json
from evaluation.types import AttemptStatus

API_VERSION = "2026-10-21"
STOPS: Mapping[str, AttemptStatus] = {
    "end_turn": AttemptStatus.OK,
    "stop_sequence": AttemptStatus.OK,
    "max_tokens": AttemptStatus.TRUNCATED,
    "model_context_window_exceeded": AttemptStatus.TRUNCATED,
    "refusal": AttemptStatus.REFUSED,
}


class Claude(LLM):
    """Asks Claude, which takes neither temperature nor seed."""

    provider: ClassVar[str] = "claude"
    default_url: ClassVar[str] = "https://api.anthropic.com"

    async def complete(self, request: Request) -> Completion:
        reply = await post_json(
            self.http(),
            f"{self.base_url.removesuffix('/v1')}/v1/messages",
            body=self._body(request),
            headers={
                "authorization": f"Bearer {self.api_key}",
                "anthropic-version": API_VERSION,
            },
        )
        return _read(reply)

    def _body(self, request: Request) -> dict[str, Any]:
        system = {"type": "text", "text": request.instructions}
        wishes: dict[str, Any] = {}
        if request.effort:
            wishes["effort"] = request.effort
        if request.is_constrained:
            wishes["format"] = {"type": "json_schema", "schema": request.schema}
        return {
            "model": self.model_id,
            "max_tokens": request.max_tokens,
            "system": [{**system, "cache_control": {"type": "ephemeral"}}],
            "messages": [{"role": who, "content": text} for who, text in request.dialogue],
            **({"output_config": wishes} if wishes else {}),
        }


def _read(reply: Reply) -> Completion:
    texts = (part.get("text") for part in reply.each("content") if part.get("type") == "text")
    kinds = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    fresh, written, cached = (reply.count("usage", kind) for kind in kinds)
    return Completion(
        text="".join(text for text in texts if isinstance(text, str)),
        status=STOPS.get(reply.word("stop_reason"), AttemptStatus.INVALID),
        model_reported=reply.word("model"),
        request_id=reply.request_id or reply.word("id"),
        tokens_in=None if fresh is None else fresh + (written or 0) + (cached or 0),
        tokens_cached=cached,
        tokens_cache_write=written,
        tokens_out=reply.count("usage", "output_tokens"),
        tokens_reasoning=reply.count("usage", "output_tokens_details", "thinking_tokens"),
        raw=reply.text,
    )

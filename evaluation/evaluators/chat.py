"""Chat completions, as OpenAI began them and most others speak them.

Source: openai 3.52, resources/chat/completions; servers differ in what they leave out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from evaluation.evaluators.base import CallFailed
from evaluation.evaluators.llm import LLM, Completion, Request
from evaluation.evaluators.openai import load_sdk, open_sdk, post
from evaluation.evaluators.wire import PerLoop, Reply, status_of
from evaluation.types import AttemptStatus

if TYPE_CHECKING:
    from openai import AsyncOpenAI

FINISHES: Mapping[str, AttemptStatus] = {
    "stop": AttemptStatus.OK,
    "": AttemptStatus.OK,  # some servers do not say
    "length": AttemptStatus.TRUNCATED,
    "content_filter": AttemptStatus.BLOCKED,
    "error": AttemptStatus.OVERLOADED,
}
UPSTREAM_FAULT = 502


class Chat(LLM):
    """Asks any server that speaks chat completions, at the address it is given."""

    provider: ClassVar[str] = "compatible"
    needs_key: ClassVar[bool] = False
    cap: ClassVar[str] = "max_tokens"

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._sdk: PerLoop[AsyncOpenAI] = PerLoop(lambda: open_sdk(self))

    def warm_up(self) -> None:
        load_sdk()

    async def complete(self, request: Request) -> Completion:
        arguments = self.arguments(request)
        return self.reading(await post(self._sdk.get(), "/chat/completions", arguments))

    def arguments(self, request: Request) -> dict[str, Any]:
        """Return the call in the words that most servers know."""
        said = [{"role": role, "content": text} for role, text in request.dialogue]
        wanted = {
            "model": self.model_id,
            "messages": [{"role": "system", "content": request.instructions}, *said],
            self.cap: request.max_tokens,
            "seed": request.seed,
            "temperature": request.temperature,
            "reasoning_effort": request.effort or None,
            "response_format": self.shape(request),
        }
        given = {name: value for name, value in wanted.items() if value is not None}
        return self.extras(request) | given

    def shape(self, request: Request) -> dict[str, Any] | None:
        """Return how the answer is held to its shape, as far as the model can be."""
        if request.is_constrained:
            form = {"name": "verdict", "strict": True, "schema": request.schema}
            return {"type": "json_schema", "json_schema": form}
        return {"type": "json_object"} if request.card.structured == "json_object" else None

    def extras(self, request: Request) -> dict[str, Any]:
        """Return what this vendor takes besides, at the top of the body."""
        return {}

    def reading(self, reply: Reply) -> Completion:
        """Return what the reply brings.

        :raises CallFailed: if it is an error in the clothes of an answer.
        """
        if reply.at("error") and not reply.at("choices"):
            raise _disguised(reply)
        finish = reply.word("choices", 0, "finish_reason")
        message = reply.at("choices", 0, "message")
        status = FINISHES.get(finish, AttemptStatus.INVALID)
        if reply.word("choices", 0, "message", "refusal"):
            status = AttemptStatus.REFUSED
        cached = reply.count("usage", "prompt_tokens_details", "cached_tokens")
        if cached is None:
            cached = reply.count("usage", "prompt_cache_hit_tokens")
        return Completion(
            text=reply.word("choices", 0, "message", "content"),
            status=status if isinstance(message, dict) else AttemptStatus.INVALID,
            model_reported=reply.word("model"),
            request_id=reply.request_id or reply.word("id"),
            tokens_in=reply.count("usage", "prompt_tokens"),
            tokens_cached=cached,
            tokens_out=reply.count("usage", "completion_tokens"),
            tokens_reasoning=reply.count("usage", "completion_tokens_details", "reasoning_tokens"),
            raw=reply.text,
        )

    async def close(self) -> None:
        self._sdk.take()
        await super().close()


class OpenAIChat(Chat):
    """Asks OpenAI in the older way, where a seed can be named."""

    provider: ClassVar[str] = "openai"
    default_url: ClassVar[str] = "https://api.openai.com/v1"
    needs_key: ClassVar[bool] = True
    cap: ClassVar[str] = "max_completion_tokens"

    def extras(self, request: Request) -> dict[str, Any]:
        return {"store": False, "prompt_cache_key": request.cache_key}


def _disguised(reply: Reply) -> CallFailed:
    code = reply.count("error", "code") or UPSTREAM_FAULT
    said = reply.word("error", "message") or reply.word("error")
    return CallFailed(
        f"the server answered 200 with error {code}: {said[:300]}",
        status=status_of(code, reply),
        request_id=reply.request_id or reply.word("id"),
        answer=reply.text,
    )

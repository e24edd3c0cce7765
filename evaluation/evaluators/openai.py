"""OpenAI by its Responses API; what it is sent is not stored there.

Source: openai 3.52, resources/responses and types/responses.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import httpx2
import orjson

from evaluation.evaluators.llm import LLM, Completion, Request
from evaluation.evaluators.wire import CODES, PerLoop, Reply, failure_behind
from evaluation.types import AttemptStatus

if TYPE_CHECKING:
    from openai import AsyncOpenAI

UNFINISHED: Mapping[str, AttemptStatus] = {
    "max_output_tokens": AttemptStatus.TRUNCATED,
    "content_filter": AttemptStatus.BLOCKED,
}


class OpenAI(LLM):
    """Asks OpenAI; the schema is enforced by its side."""

    provider: ClassVar[str] = "openai"
    default_url: ClassVar[str] = "https://api.openai.com/v1"

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.sdk: PerLoop[AsyncOpenAI] = PerLoop(lambda: open_sdk(self))

    def warm_up(self) -> None:
        load_sdk()

    async def complete(self, request: Request) -> Completion:
        return _read(await post(self.sdk.get(), "/responses", self.arguments(request)))

    def arguments(self, request: Request) -> dict[str, Any]:
        """Return the call in OpenAI's words."""
        arguments: dict[str, Any] = {
            "model": self.model_id,
            "instructions": request.instructions,
            "max_output_tokens": request.max_tokens,
            "store": False,
            "prompt_cache_key": request.cache_key,
            "input": [{"role": role, "content": text} for role, text in request.dialogue],
        }
        if request.is_constrained:
            shape = {"name": "verdict", "strict": True, "schema": request.schema}
            arguments["text"] = {"format": {"type": "json_schema", **shape}}
        if request.effort:
            arguments["reasoning"] = {"effort": request.effort}
        if request.temperature is not None:
            arguments["temperature"] = request.temperature
        return arguments

    async def close(self) -> None:
        self.sdk.take()
        await super().close()


def load_sdk() -> None:
    """Load what the SDK else loads at its first call, which takes a second."""
    for part in ("openai", "openai.resources.chat.completions", "openai.resources.responses"):
        import_module(part)


def open_sdk(model: LLM) -> AsyncOpenAI:
    """Return OpenAI's client over the model's own connections, without retries of its own.

    It would tell every server the organization and project that the environment names.
    """
    from openai import AsyncOpenAI

    client = AsyncOpenAI(
        api_key=model.api_key or "none",
        base_url=model.base_url,
        max_retries=0,
        timeout=model.timeout_s,
        http_client=model.http(),
    )
    client.organization = client.project = None
    return client


async def post(client: AsyncOpenAI, path: str, arguments: Mapping[str, Any]) -> Reply:
    """Return the raw reply of one call, so that a shape the SDK would coerce is seen as it is.

    The methods that the SDK has for its own paths look into every part of a call and of its
    answer, which takes longer than all the rest; its door for other paths does not.
    """
    from openai import APIError

    try:
        asked = orjson.dumps(arguments)
        response = await client.post(path, cast_to=httpx2.Response, content=asked)
    except APIError as error:
        raise failure_behind(error) from None
    return Reply.of(response)


def _read(reply: Reply) -> Completion:
    parts = [part for item in reply.each("output") for part in _parts(item)]
    refused = any(part.get("type") == "refusal" for part in parts)
    texts = (part.get("text") for part in parts if part.get("type") == "output_text")
    return Completion(
        text="".join(text for text in texts if isinstance(text, str)),
        status=AttemptStatus.REFUSED if refused else _status(reply),
        model_reported=reply.word("model"),
        request_id=reply.request_id or reply.word("id"),
        tokens_in=reply.count("usage", "input_tokens"),
        tokens_cached=reply.count("usage", "input_tokens_details", "cached_tokens"),
        tokens_cache_write=reply.count("usage", "input_tokens_details", "cache_write_tokens"),
        tokens_out=reply.count("usage", "output_tokens"),
        tokens_reasoning=reply.count("usage", "output_tokens_details", "reasoning_tokens"),
        raw=reply.text,
    )


def _parts(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = item.get("content")
    parts = content if item.get("type") == "message" and isinstance(content, list) else ()
    return [part for part in parts if isinstance(part, dict)]


def _status(reply: Reply) -> AttemptStatus:
    stated = reply.word("status")
    if stated == "completed":
        return AttemptStatus.OK
    if stated == "incomplete":
        reason = reply.word("incomplete_details", "reason")
        return UNFINISHED.get(reason, AttemptStatus.INVALID)
    if stated == "failed":
        return CODES.get(reply.word("error", "code"), AttemptStatus.BAD_REQUEST)
    return AttemptStatus.INVALID

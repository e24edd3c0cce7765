"""Gemini through Google's SDK, which is given our connections and no say in retries.

Source: google-genai 3.4, models.py and types.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import httpx2

from evaluation.evaluators.llm import LLM, Completion, Request
from evaluation.evaluators.wire import PerLoop, Reply
from evaluation.types import AttemptStatus
from pipeline import egress

if TYPE_CHECKING:
    from google.genai import Client

API_VERSION = "v1"
EFFORTS = ("minimal", "low", "medium", "high", "xhigh")
ROLES = {"user": "user", "assistant": "model"}
FINISHES: Mapping[str, AttemptStatus] = {
    "STOP": AttemptStatus.OK,
    "MAX_TOKENS": AttemptStatus.TRUNCATED,
    "SAFETY": AttemptStatus.BLOCKED,
    "RECITATION": AttemptStatus.BLOCKED,
    "PROHIBITED_CONTENT": AttemptStatus.BLOCKED,
    "BLOCKLIST": AttemptStatus.BLOCKED,
    "SPII": AttemptStatus.BLOCKED,
}


class Gemini(LLM):
    """Asks Gemini; its key travels in a header, so no redirect may be followed."""

    provider: ClassVar[str] = "gemini"
    default_url: ClassVar[str] = "https://generativelanguage.googleapis.com"

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.sdk: PerLoop[Client] = PerLoop(lambda: open_sdk(self))

    def warm_up(self) -> None:
        import_module("google.genai.models")

    async def complete(self, request: Request) -> Completion:
        from google.genai.types import Content, Part

        spoken = [
            Content(role=ROLES[role], parts=[Part(text=text)]) for role, text in request.dialogue
        ]
        answer = await self.sdk.get().aio.models.generate_content(
            model=self.model_id, contents=list(spoken), config=_config(request)
        )
        http = answer.sdk_http_response
        text, headers = (http.body or "", http.headers or {}) if http else ("", {})
        return _read(Reply.from_text(text, headers=headers))

    async def close(self) -> None:
        self.sdk.take()
        await super().close()


def open_sdk(model: LLM) -> Client:
    """Return Google's client over the model's own connections; whoever gets it must keep it.

    Everything that it would else take from the environment is said: key, address and version.
    """
    from google.genai import Client
    from google.genai.types import HttpOptions, HttpRetryOptions

    options = HttpOptions(
        base_url=model.base_url,
        api_version=API_VERSION,
        timeout=int(model.timeout_s * 1000),
        retry_options=HttpRetryOptions(attempts=1),
        httpx_async_client=model.http(),
        # what follows it would make for itself and never use, reading certificates for each
        httpx_client=httpx2.Client(verify=egress.tls(), trust_env=False),
        async_client_args={"ssl": egress.tls()},
    )
    return Client(api_key=model.api_key or "none", vertexai=False, http_options=options)


def _config(request: Request) -> Any:
    from google.genai.types import GenerateContentConfig, ThinkingConfig, ThinkingLevel

    level = ThinkingLevel(request.effort.upper()) if request.effort in EFFORTS else None
    return GenerateContentConfig(
        system_instruction=request.instructions,
        response_mime_type=None if request.card.structured == "none" else "application/json",
        response_json_schema=request.schema if request.is_constrained else None,
        max_output_tokens=request.max_tokens,
        seed=request.seed,
        temperature=request.temperature,
        thinking_config=ThinkingConfig(thinking_level=level) if level else None,
        automatic_continuation=False,
        should_return_http_response=True,
    )


def _read(reply: Reply) -> Completion:
    parts = reply.each("candidates", 0, "content", "parts")
    texts = (part.get("text") for part in parts if not part.get("thought"))
    answered = reply.count("usageMetadata", "candidatesTokenCount")
    thought = reply.count("usageMetadata", "thoughtsTokenCount")
    return Completion(
        text="".join(text for text in texts if isinstance(text, str)),
        status=_status(reply),
        model_reported=reply.word("modelVersion"),
        request_id=reply.request_id or reply.word("responseId"),
        tokens_in=reply.count("usageMetadata", "promptTokenCount"),
        tokens_cached=reply.count("usageMetadata", "cachedContentTokenCount"),
        tokens_out=None if answered is None else answered + (thought or 0),
        tokens_reasoning=thought,
        raw=reply.text,
    )


def _status(reply: Reply) -> AttemptStatus:
    if not reply.at("candidates"):
        return AttemptStatus.BLOCKED
    finish = reply.word("candidates", 0, "finishReason")
    return FINISHES.get(finish, AttemptStatus.INVALID)

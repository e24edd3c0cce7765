"""Calls of every vendor through the SDK or client that Lens reaches it with."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
from google import genai
from google.genai import errors
from google.genai import types as gemini

from evaluation.fake_vendors.wires.known import MODELS
from evaluation.parsing import ANSWER_SCHEMA
from tests.evaluation.answers import PAYLOAD
from tests.fake_vendors import Vendors

SYSTEM = "You judge trading signals and answer in JSON. " * 20
USER = "PAYLOAD\n" + json.dumps(PAYLOAD, sort_keys=True)
SCHEMA = ANSWER_SCHEMA("OPEN_SIGNAL")
UNREAD = (ValueError, AttributeError)  # an SDK may hand a page on as if it were an answer
CHATTING = ("deepseek", "openrouter", "qwen", "moonshot", "compatible")
NO_TLS = False  # nobody on loopback speaks it, and reading certificates takes longer than a call
VENDORS = ("openai", *CHATTING, "gemini", "claude", "ollama")


@dataclass(frozen=True, kw_only=True)
class Told:
    """What an SDK showed of one call; ``tokens`` are in, cached, out and reasoning."""

    text: str | None = None
    ending: str = ""
    model: str | None = None
    request_id: str | None = None
    tokens: tuple[int | None, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked; a schema of None leaves the shape to the prompt."""

    system: str = SYSTEM
    user: str = USER
    schema: Mapping[str, Any] | None = None
    max_tokens: int = 1200
    timeout_s: float = 10.0


class Refused(Exception):
    """A vendor without an SDK answered with an error."""


async def ask(vendors: Vendors, vendor: str, question: Question) -> Told:
    """Return what one call shows, or raise as the SDK does."""
    if vendor == "openai":
        return await _responses(vendors, question)
    if vendor == "gemini":
        return await _gemini(vendors, question)
    if vendor == "claude":
        return await _claude(vendors, question)
    if vendor == "ollama":
        return await _ollama(vendors, question)
    return await _chat(vendors, vendor, question)


async def seen(vendors: Vendors, vendor: str, question: Question) -> str:
    """Return in a few words how the SDK shows the end of one call."""
    try:
        told = await ask(vendors, vendor, question)
    except (openai.OpenAIError, errors.APIError, httpx2.HTTPError, Refused, *UNREAD) as error:
        code = getattr(error, "status_code", None) or getattr(error, "code", None) or ""
        name = str(error) if isinstance(error, Refused) else type(error).__name__
        return f"{name} {code}".strip()
    return told.ending


@asynccontextmanager
async def open_openai(
    vendors: Vendors, vendor: str, *, timeout_s: float = 10.0
) -> AsyncIterator[openai.AsyncOpenAI]:
    """Yield OpenAI's client, set up as Lens does it."""
    async with (
        httpx2.AsyncClient(
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=False,
            limits=httpx2.Limits(max_connections=1000),
            verify=NO_TLS,
        ) as http,
        openai.AsyncOpenAI(
            api_key="any", base_url=vendors.url(vendor), max_retries=0, http_client=http
        ) as client,
    ):
        yield client


@asynccontextmanager
async def open_gemini(
    vendors: Vendors, *, timeout_s: float = 10.0
) -> AsyncIterator[genai.client.AsyncClient]:
    """Yield Google's client, set up as Lens does it."""
    async with httpx2.AsyncClient(verify=NO_TLS, trust_env=False) as http:
        client = genai.Client(
            api_key="any",
            http_options=gemini.HttpOptions(
                base_url=vendors.url("gemini"),
                timeout=int(timeout_s * 1000),
                retry_options=gemini.HttpRetryOptions(attempts=1),
                httpx_async_client=http,
            ),
        )
        yield client.aio


async def _responses(vendors: Vendors, question: Question) -> Told:
    async with open_openai(vendors, "openai", timeout_s=question.timeout_s) as client:
        form: Any = {
            "type": "json_schema",
            "name": "verdict",
            "strict": True,
            "schema": question.schema or SCHEMA,
        }
        answer = await client.responses.create(
            model=MODELS["openai"],
            instructions=question.system,
            input=question.user,
            text={"format": form},
            max_output_tokens=question.max_tokens,
            store=False,
        )
    usage = answer.usage
    refusal = any(
        part.type == "refusal"
        for item in answer.output
        if item.type == "message"
        for part in item.content
    )
    details = answer.incomplete_details
    return Told(
        text=answer.output_text,
        ending="refusal" if refusal else str(details.reason if details else answer.status),
        model=answer.model,
        request_id=answer._request_id,
        tokens=(
            usage.input_tokens,
            usage.input_tokens_details.cached_tokens,
            usage.output_tokens,
            usage.output_tokens_details.reasoning_tokens,
        )
        if usage
        else (),
    )


async def _chat(vendors: Vendors, vendor: str, question: Question) -> Told:
    form: Any = {"type": "json_object"}
    if vendor != "deepseek":
        schema = {"name": "verdict", "strict": True, "schema": question.schema or SCHEMA}
        form = {"type": "json_schema", "json_schema": schema}
    async with open_openai(vendors, vendor, timeout_s=question.timeout_s) as client:
        answer = await client.chat.completions.create(
            model=MODELS[vendor],
            messages=[
                {"role": "system", "content": question.system},
                {"role": "user", "content": question.user},
            ],
            response_format=form,
            max_tokens=question.max_tokens,
        )
    choice, usage = answer.choices[0], (answer.model_dump().get("usage") or {})
    cached = usage.get("prompt_cache_hit_tokens")
    if cached is None:
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    return Told(
        text=choice.message.content,
        ending="refusal" if choice.message.refusal else choice.finish_reason,
        model=answer.model,
        request_id=answer._request_id,
        tokens=(usage.get("prompt_tokens"), cached, usage.get("completion_tokens"), reasoning),
    )


async def _gemini(vendors: Vendors, question: Question) -> Told:
    async with open_gemini(vendors, timeout_s=question.timeout_s) as client:
        answer = await client.models.generate_content(
            model=MODELS["gemini"],
            contents=question.user,
            config=gemini.GenerateContentConfig(
                system_instruction=question.system,
                response_mime_type="application/json",
                response_json_schema=question.schema or SCHEMA,
                max_output_tokens=question.max_tokens,
                automatic_continuation=False,
            ),
        )
    usage = answer.usage_metadata
    if answer.candidates:
        ending = str(answer.candidates[0].finish_reason).removeprefix("FinishReason.")
    else:
        feedback = answer.prompt_feedback
        ending = str(feedback and feedback.block_reason).removeprefix("BlockedReason.")
    candidates, thoughts = (
        (usage.candidates_token_count, usage.thoughts_token_count) if usage else (None, None)
    )
    return Told(
        text=answer.text,
        ending=ending,
        model=answer.model_version,
        request_id=answer.response_id,
        tokens=(
            usage.prompt_token_count,
            usage.cached_content_token_count,
            (candidates or 0) + (thoughts or 0),
            thoughts,
        )
        if usage
        else (),
    )


async def _post(
    url: str, body: Mapping[str, Any], *, timeout_s: float, **headers: str
) -> tuple[dict[str, Any], httpx2.Headers]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx2.AsyncClient(timeout=timeout_s, verify=NO_TLS, trust_env=False) as http:
        answer = await http.post(url, json=body, headers=named)
    if answer.status_code != 200:
        raise Refused(str(answer.status_code))
    return answer.json(), answer.headers


async def _claude(vendors: Vendors, question: Question) -> Told:
    body, headers = await _post(
        f"{vendors.url('claude')}/v1/messages",
        {
            "model": MODELS["claude"],
            "max_tokens": question.max_tokens,
            "system": [{"type": "text", "text": question.system}],
            "messages": [{"role": "user", "content": question.user}],
            "output_config": {
                "format": {"type": "json_schema", "schema": question.schema or SCHEMA}
            },
        },
        timeout_s=question.timeout_s,
        authorization="Bearer any",
        anthropic_version="2026-10-21",
    )
    usage = body.get("usage") or {}
    cached = usage.get("cache_read_input_tokens", 0)
    thoughts = (usage.get("output_tokens_details") or {}).get("thinking_tokens")
    return Told(
        text="".join(part["text"] for part in body["content"]),
        ending=body["stop_reason"],
        model=body["model"],
        request_id=headers["request-id"],
        tokens=(
            usage.get("input_tokens", 0) + cached,
            cached,
            usage.get("output_tokens"),
            thoughts,
        ),
    )


async def _ollama(vendors: Vendors, question: Question) -> Told:
    body, headers = await _post(
        f"{vendors.url('ollama')}/api/chat",
        {
            "model": MODELS["ollama"],
            "stream": False,
            "think": False,
            "format": question.schema or SCHEMA,
            "options": {"num_predict": question.max_tokens},
            "messages": [
                {"role": "system", "content": question.system},
                {"role": "user", "content": question.user},
            ],
        },
        timeout_s=question.timeout_s,
    )
    return Told(
        text=body["message"]["content"],
        ending=body["done_reason"],
        model=body["model"],
        request_id=headers["x-request-id"],
        tokens=(body.get("prompt_eval_count"), 0, body.get("eval_count"), 0),
    )

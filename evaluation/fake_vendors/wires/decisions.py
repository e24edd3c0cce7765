"""The decision endpoints of OpenAI and Gemini: questions in, calibrated answers out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from evaluation.fake_vendors.asked import Asked, Ending, Said, Usage
from evaluation.fake_vendors.wires.base import Json, Refusal, Wire, flat, talk
from evaluation.fake_vendors.wires.chat import openai_error
from evaluation.fake_vendors.wires.gemini import gemini_error
from evaluation.fake_vendors.wires.responses import openai_usage


class OpenAIDecisions(Wire):
    """Speaks ``POST /decisions`` with a list of questions."""

    path = re.compile(r"/decisions$")
    vendor = "openai"

    def read(self, body: Json, *, vendor: str, path: str) -> Asked:
        told = body["input"]
        messages = [{"role": "user", "content": told}] if isinstance(told, str) else told
        system, turns, user = talk(messages)
        return Asked(
            vendor=vendor,
            model=body["model"],
            system=system,
            turns=turns,
            user=user,
            is_thinking=False,
            questions=list(body["questions"]),
        )

    def write(self, asked: Asked, said: Said) -> Json:
        if isinstance(said.answers, Sequence):
            answers: list[Any] = list(said.answers)
        else:
            answers = list(said.answers.values())
        if said.ending in {Ending.REFUSED, Ending.BLOCKED}:
            answers = [{"type": "refusal", "name": each.get("name")} for each in answers]
        body: Json = {"model": said.model, "answers": answers}
        return body if said.usage is None else body | {"usage": openai_usage(said.usage)}

    def error(self, refusal: Refusal) -> Json:
        return openai_error(refusal)

    def quota_status(self, vendor: str) -> int:
        return 429


class GeminiDecisions(Wire):
    """Speaks ``POST /decisions`` with questions by name."""

    path = re.compile(r"/decisions$")
    vendor = "gemini"
    request_id_header = "x-goog-request-id"

    def read(self, body: Json, *, vendor: str, path: str) -> Asked:
        return Asked(
            vendor=vendor,
            model=body["model"].removeprefix("models/"),
            system="",
            user=flat(body["input"]),
            is_thinking=False,
            questions=dict(body["questions"]),
        )

    def write(self, asked: Asked, said: Said) -> Json:
        body: Json = {"answers": said.answers}
        if said.ending in {Ending.REFUSED, Ending.BLOCKED}:
            body = {"prompt_feedback": {"block_reason": "PROHIBITED_CONTENT"}}
        return body if said.usage is None else body | {"usage": _gemini_usage(said.usage)}

    def error(self, refusal: Refusal) -> Json:
        return gemini_error(refusal)

    def quota_status(self, vendor: str) -> int:
        return 429


def _gemini_usage(usage: Usage) -> Json:
    return {
        "total_input_tokens": usage.tokens_in,
        "total_cached_tokens": usage.cached,
        "total_output_tokens": usage.tokens_out,
        "total_thought_tokens": usage.reasoning,
        "total_tokens": usage.total,
    }

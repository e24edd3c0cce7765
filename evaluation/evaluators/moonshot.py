"""Moonshot's Kimi. Source: platform.moonshot.ai/docs, chat API."""

from __future__ import annotations

from typing import Any, ClassVar

from evaluation.evaluators.chat import Chat
from evaluation.evaluators.llm import Request


class Moonshot(Chat):
    """Asks Kimi, which has no efforts to choose from: it thinks or it does not."""

    provider: ClassVar[str] = "moonshot"
    default_url: ClassVar[str] = "https://api.moonshot.ai/v1"
    needs_key: ClassVar[bool] = True

    def arguments(self, request: Request) -> dict[str, Any]:
        arguments = super().arguments(request)
        arguments.pop("reasoning_effort", None)
        return arguments

    def extras(self, request: Request) -> dict[str, Any]:
        return {"thinking": {"type": "enabled" if request.effort else "disabled"}}

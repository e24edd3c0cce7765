"""OpenRouter: many vendors behind one address, held to the one that was meant.

Source: openrouter.ai/docs, provider routing.
"""

from __future__ import annotations

from typing import Any, ClassVar

from evaluation.evaluators.chat import Chat
from evaluation.evaluators.llm import Request

ROUTING = {"data_collection": "deny", "allow_fallbacks": False, "require_parameters": True}
"""No vendor that keeps what it is sent, none instead of another, none that ignores a wish."""


class OpenRouter(Chat):
    """Asks one vendor's model through OpenRouter."""

    provider: ClassVar[str] = "openrouter"
    default_url: ClassVar[str] = "https://openrouter.ai/api/v1"
    needs_key: ClassVar[bool] = True

    def arguments(self, request: Request) -> dict[str, Any]:
        arguments = super().arguments(request)
        arguments.pop("reasoning_effort", None)
        return arguments

    def extras(self, request: Request) -> dict[str, Any]:
        reasoning = {"reasoning": {"effort": request.effort}} if request.effort else {}
        return {"provider": dict(ROUTING), **reasoning}

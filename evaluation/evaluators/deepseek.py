"""DeepSeek: chat completions without schemas.

Source: api-docs.deepseek.com. ``json_schema`` is refused with 400, ``json_object`` wants the word
json in the prompt, and thinking is on unless it is switched off.
"""

from __future__ import annotations

from typing import Any, ClassVar

from evaluation.evaluators.chat import Chat
from evaluation.evaluators.llm import Request

THINKING = ("low", "medium", "high", "max")


class DeepSeek(Chat):
    """Asks DeepSeek, which thinks only if an effort is set."""

    provider: ClassVar[str] = "deepseek"
    default_url: ClassVar[str] = "https://api.deepseek.com"
    needs_key: ClassVar[bool] = True
    structured: ClassVar[str] = "json_object"

    def arguments(self, request: Request) -> dict[str, Any]:
        arguments = super().arguments(request)
        if request.effort not in THINKING:
            arguments.pop("reasoning_effort", None)
        return arguments

    def extras(self, request: Request) -> dict[str, Any]:
        thinks = request.effort in THINKING
        return {"thinking": {"type": "enabled" if thinks else "disabled"}}

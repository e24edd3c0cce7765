"""Qwen by Alibaba's Model Studio.

Source: alibabacloud.com/help/en/model-studio, OpenAI-compatible chat; ``json_object`` is refused
while the model thinks.
"""

from __future__ import annotations

from typing import Any, ClassVar

from evaluation.evaluators.chat import Chat
from evaluation.evaluators.llm import Request


class Qwen(Chat):
    """Asks Qwen, which is not let think, so that its answer is held to JSON."""

    provider: ClassVar[str] = "qwen"
    default_url: ClassVar[str] = "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"
    needs_key: ClassVar[bool] = True

    def arguments(self, request: Request) -> dict[str, Any]:
        arguments = super().arguments(request)
        arguments.pop("reasoning_effort", None)
        return arguments

    def extras(self, request: Request) -> dict[str, Any]:
        return {"enable_thinking": False}

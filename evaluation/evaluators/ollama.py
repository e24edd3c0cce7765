"""Ollama by its own chat interface, for models on machines of one's own.

Source: docs.ollama.com, ``/api/chat``. What does not fit ``num_ctx`` it cuts off without a word,
so a prompt that may not fit is not sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from evaluation.evaluators.base import CallFailed
from evaluation.evaluators.llm import LLM, Completion, Request
from evaluation.evaluators.wire import Reply, post_json
from evaluation.types import AttemptStatus

CONTEXT_TOKENS = 8_192  # where the card does not know better
CONTEXT_MOST = 16_384  # a context takes memory; a case with its prompt needs no more
CHARS_PER_TOKEN = 3.0  # low for English and JSON, so that the estimate is high
THINKING = ("low", "medium", "high")
ENDS: Mapping[str, AttemptStatus] = {
    "stop": AttemptStatus.OK,
    "length": AttemptStatus.TRUNCATED,
}


class Ollama(LLM):
    """Asks a model that Ollama runs; one that thinks does so only if an effort is set."""

    provider: ClassVar[str] = "ollama"
    default_url: ClassVar[str] = "http://127.0.0.1:11434"
    needs_key: ClassVar[bool] = False

    async def complete(self, request: Request) -> Completion:
        context = min(request.card.context_tokens or CONTEXT_TOKENS, CONTEXT_MOST)
        _refuse_overflow(request, context)
        body = self._body(request, context)
        headers = {"authorization": f"Bearer {self.api_key}"} if self.api_key else None
        url = f"{self.base_url}/api/chat"
        return _read(await post_json(self.http(), url, body=body, headers=headers))

    def _body(self, request: Request, context: int) -> dict[str, Any]:
        wishes = {
            "num_ctx": context,
            "num_predict": request.max_tokens,
            "seed": request.seed,
            "temperature": request.temperature,
        }
        system = {"role": "system", "content": request.instructions}
        spoken = [{"role": role, "content": text} for role, text in request.dialogue]
        body = {
            "model": self.model_id,
            "messages": [system, *spoken],
            "stream": False,
            "think": request.effort if request.effort in THINKING else False,
            "options": {name: value for name, value in wishes.items() if value is not None},
        }
        if request.is_constrained:
            return {**body, "format": request.schema}
        return {**body, "format": "json"} if request.card.structured == "json_object" else body


def _refuse_overflow(request: Request, context: int) -> None:
    said = [request.instructions, *(text for _, text in request.dialogue)]
    needed = sum(map(len, said)) / CHARS_PER_TOKEN + request.max_tokens
    if needed > context:
        raise CallFailed(
            f"prompt and answer may take {needed:.0f} tokens of a context of {context}",
            status=AttemptStatus.BAD_REQUEST,
        )


def _read(reply: Reply) -> Completion:
    is_done = reply.at("done") is True
    ended = ENDS.get(reply.word("done_reason"), AttemptStatus.INVALID)
    return Completion(
        text=reply.word("message", "content"),
        status=ended if is_done else AttemptStatus.INVALID,
        model_reported=reply.word("model"),
        request_id=reply.request_id,
        tokens_in=reply.count("prompt_eval_count"),
        tokens_out=reply.count("eval_count"),
        raw=reply.text,
    )

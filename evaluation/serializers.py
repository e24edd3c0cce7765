"""The shapes of the evaluations door."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel

from evaluation.models import Attempt, Evaluation
from pipeline.parsing import decimal_text, time_text


class AttemptAnswer(BaseModel):
    """One call of a model."""

    number: int
    status: str
    started_at: datetime
    latency_ms: float
    error: str
    model_requested: str
    model_reported: str
    request_id: str
    parameters: dict[str, Any]
    prompt_version: str
    prompt_sha256: str
    tokens_in: int | None
    tokens_cached: int | None
    tokens_cache_write: int | None
    tokens_out: int | None
    tokens_reasoning: int | None
    cost_usd: str | None
    prompt: str | None = None
    answer: str | None = None


class EvaluationAnswer(BaseModel):
    """One model's judgement of one signal; ``verdict`` is null when the model abstained."""

    id: str
    event_id: str
    model: str
    model_version: str
    run: int
    status: str
    outcome: str
    reason: str
    verdict: dict[str, Any] | None
    latency_ms: float | None
    finished_at: datetime | None
    attempts: list[AttemptAnswer]


def evaluation_json(evaluation: Evaluation, *, with_texts: bool) -> dict[str, Any]:
    """Return one evaluation as clients see it; prompts and answers only when ``with_texts``."""
    return {
        "id": str(evaluation.id),
        "event_id": str(evaluation.signal.event_id),
        "model": evaluation.model,
        "model_version": evaluation.model_version,
        "run": evaluation.run,
        "status": evaluation.status,
        "outcome": evaluation.outcome,
        "reason": evaluation.reason,
        "verdict": evaluation.verdict,
        "latency_ms": evaluation.latency_ms,
        "finished_at": time_text(evaluation.finished_at),
        "attempts": [
            _attempt_json(attempt, with_texts=with_texts) for attempt in evaluation.attempts.all()
        ],
    }


def _attempt_json(attempt: Attempt, *, with_texts: bool) -> dict[str, Any]:
    shown = {
        name: getattr(attempt, name)
        for name in AttemptAnswer.model_fields
        if name not in {"prompt", "answer"}
    }
    shown["started_at"] = time_text(attempt.started_at)
    shown["cost_usd"] = decimal_text(attempt.cost_usd)
    if with_texts:
        shown |= {"prompt": attempt.prompt, "answer": attempt.answer}
    return shown

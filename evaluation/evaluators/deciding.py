"""Vendors' decision endpoints: a probability for a question, without a written answer.

Source: openai 3.52, resources/decisions.py; google-genai 3.4, _gaos/decisions.py. Both call their
numbers calibrated, but for such questions, not for tomorrow's prices: they are kept raw.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from evaluation.evaluators.gemini import Gemini
from evaluation.evaluators.llm import LLM, Completion, Request
from evaluation.evaluators.openai import OpenAI, post
from evaluation.evaluators.wire import Reply
from evaluation.parsing import QUESTIONS, BadAnswer
from evaluation.types import REASONS, Action, AttemptStatus, Case, Verdict

TARGET, ADVICE, REASON, ODDS = "target_first", "advice", "reason", "advice_odds"
STOP_ATR_MULTIPLE = 2.0  # the policy's usual stop: an endpoint that only chooses names none
ADVICES: Mapping[str, Mapping[Action, str]] = {
    "OPEN_SIGNAL": {
        Action.FOLLOW_ENTER: "The facts support entering in the signal's direction now.",
        Action.IGNORE: "The facts do not support it, or they contradict one another.",
    },
    "CLOSE_SIGNAL": {
        Action.FOLLOW_EXIT: "The facts support closing the position now.",
        Action.HOLD: "The facts support keeping the position.",
    },
}
"""What may be chosen; a tighter stop needs a number, which no choice gives."""

CHOOSE_ADVICE = "What should be done about this trading signal?"
CHOOSE_REASON = "Which of these observations weighs most?"
GEMINI_API_VERSION = "v1beta"
STAYS_IN = (Action.FOLLOW_ENTER, Action.HOLD)


class Deciding(LLM):
    """Asks three questions in one call: the odds, the advice, the weightiest reason."""

    version: ClassVar[str] = "deciding-1"
    takes_complaints: ClassVar[bool] = False

    def schema_for(self, case: Case) -> Mapping[str, Any]:
        """Return the questions; the endpoint takes these in place of a schema."""
        return {
            TARGET: QUESTIONS[case.event_type],
            ADVICE: {str(word): why for word, why in ADVICES[case.event_type].items()},
            REASON: {tag: tag.replace("_", " ") for tag in REASONS},
        }

    def read(self, text: str, case: Case) -> Verdict:
        """Return the verdict in the answers; its confidence is the raw probability.

        :raises BadAnswer: if one of them is missing or no possible answer.
        """
        answers = json.loads(text)
        chance = _probability(answers.get(TARGET))
        action = Action(_one_of(answers, ADVICE, list(ADVICES[case.event_type])))
        return Verdict(
            action=action,
            confidence=chance if action in STAYS_IN else round(1.0 - chance, 12),
            reasons=(_one_of(answers, REASON, REASONS),),
            details={"p_target_first": chance, "advice_probabilities": answers.get(ODDS)},
            **(_plans(chance, case) if action is Action.FOLLOW_ENTER else {}),
        )


class OpenAIDecisions(Deciding, OpenAI):
    """Asks OpenAI's decision endpoint."""

    async def complete(self, request: Request) -> Completion:
        asked = {
            "model": self.model_id,
            "input": request.user,
            "questions": _openai_questions(request.schema or {}),
            "prompt_cache_key": request.cache_key,
        }
        return _read_openai(await post(self.sdk.get(), "/decisions", asked))


class GeminiDecisions(Deciding, Gemini):
    """Asks Gemini's decision endpoint."""

    async def complete(self, request: Request) -> Completion:
        answer = await self.sdk.get().aio.decisions.with_raw_response.create(
            model=f"models/{self.model_id.removeprefix('models/')}",
            input=request.user,
            questions=_gemini_questions(request.schema or {}),
            api_version=GEMINI_API_VERSION,
            timeout=self.timeout_s,
        )
        return _read_gemini(Reply.of(answer.http_response), model=self.model_id)


def _openai_questions(asked: Mapping[str, Any]) -> list[Any]:
    predicate = {"type": "predicate", "name": TARGET, "instructions": asked[TARGET]}
    choices = [
        {
            "type": "choice",
            "name": name,
            "instructions": instructions,
            "choices": [{"value": word, "description": why} for word, why in asked[name].items()],
        }
        for name, instructions in ((ADVICE, CHOOSE_ADVICE), (REASON, CHOOSE_REASON))
    ]
    return [predicate, *choices]


def _gemini_questions(asked: Mapping[str, Any]) -> dict[str, Any]:
    choices = {
        name: {"type": "choice", "instructions": instructions, "criteria": dict(asked[name])}
        for name, instructions in ((ADVICE, CHOOSE_ADVICE), (REASON, CHOOSE_REASON))
    }
    return {TARGET: {"type": "noul", "instructions": asked[TARGET]}, **choices}


def _read_openai(reply: Reply) -> Completion:
    answers = list(reply.each("answers"))
    refused = any(answer.get("type") == "refusal" for answer in answers)
    target, advice, reason = (*answers, {}, {}, {})[:3]
    plain = {
        TARGET: _typed(target, "predicate", "probability"),
        ADVICE: _typed(advice, "choice", "choice"),
        REASON: _typed(reason, "choice", "choice"),
        ODDS: _typed(advice, "choice", "probabilities"),
    }
    return Completion(
        text=json.dumps(plain),
        status=AttemptStatus.REFUSED if refused else AttemptStatus.OK,
        model_reported=reply.word("model"),
        request_id=reply.request_id,
        tokens_in=reply.count("usage", "input_tokens"),
        tokens_cached=reply.count("usage", "input_tokens_details", "cached_tokens"),
        tokens_out=reply.count("usage", "output_tokens"),
        tokens_reasoning=reply.count("usage", "output_tokens_details", "reasoning_tokens"),
        raw=reply.text,
    )


def _read_gemini(reply: Reply, *, model: str) -> Completion:
    blocked = reply.at("prompt_feedback") is not None and not reply.at("answers")
    target, advice, reason = (reply.at("answers", name) for name in (TARGET, ADVICE, REASON))
    plain = {
        TARGET: _typed(target, "noul", "noul"),
        ADVICE: _typed(advice, "choice", "choice"),
        REASON: _typed(reason, "choice", "choice"),
        ODDS: _typed(advice, "choice", "probabilities"),
    }
    return Completion(
        text=json.dumps(plain),
        status=AttemptStatus.BLOCKED if blocked else AttemptStatus.OK,
        model_reported=model,  # this endpoint does not say who answered
        request_id=reply.request_id,
        tokens_in=reply.count("usage", "total_input_tokens"),
        tokens_cached=reply.count("usage", "total_cached_tokens"),
        tokens_out=reply.count("usage", "total_output_tokens"),
        tokens_reasoning=reply.count("usage", "total_thought_tokens"),
        raw=reply.text,
    )


def _typed(answer: object, kind: str, name: str) -> object:
    """Return one value of an answer, or None if the answer is of another kind than was asked."""
    if isinstance(answer, dict) and answer.get("type") == kind:
        return answer.get(name)
    return None


def _probability(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value <= 1.0:
        return float(value)
    raise BadAnswer(f"$.{TARGET}", f"must be a probability, was {value!r:.40}")


def _one_of(answers: Mapping[str, Any], name: str, words: Sequence[str]) -> str:
    value = answers.get(name)
    if not isinstance(value, str) or value not in words:
        raise BadAnswer(f"$.{name}", f"must be one of {', '.join(words)}, was {value!r:.40}")
    return value


def _plans(chance: float, case: Case) -> dict[str, Any]:
    """Return size, entry and stop of advice to enter: the size grows with the odds."""
    largest = float(case.constraints.get("max_position_size_pct", 0.0))
    return {
        "size_pct": round(largest * chance, 2),
        "entry_plan": {"type": "market", "offset_bps": 0.0},
        "risk_plan": {"stop_method": "atr", "atr_multiple": STOP_ATR_MULTIPLE},
    }

"""Every language model that Lens can ask, made for tests, by a name that says how it is asked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evaluation.evaluators.chat import Chat, OpenAIChat
from evaluation.evaluators.claude import Claude
from evaluation.evaluators.deciding import GeminiDecisions, OpenAIDecisions
from evaluation.evaluators.deepseek import DeepSeek
from evaluation.evaluators.gemini import Gemini
from evaluation.evaluators.llm import LLM
from evaluation.evaluators.moonshot import Moonshot
from evaluation.evaluators.ollama import Ollama
from evaluation.evaluators.openai import OpenAI
from evaluation.evaluators.openrouter import OpenRouter
from evaluation.evaluators.qwen import Qwen
from evaluation.types import Case, Rendered
from tests.evaluation.answers import make_case

KEY = "sk-test-4f1c9a7be2"


@dataclass(frozen=True, slots=True)
class Kind:
    """One way of asking, and under which vendor the fake server hears it."""

    make: type[LLM]
    vendor: str
    writes: bool = True  # text, and not only answers to questions


KINDS: Mapping[str, Kind] = {
    "openai": Kind(OpenAI, "openai"),
    "openai chat": Kind(OpenAIChat, "openai"),
    "openai decisions": Kind(OpenAIDecisions, "openai", writes=False),
    "gemini": Kind(Gemini, "gemini"),
    "gemini decisions": Kind(GeminiDecisions, "gemini", writes=False),
    "claude": Kind(Claude, "claude"),
    "deepseek": Kind(DeepSeek, "deepseek"),
    "openrouter": Kind(OpenRouter, "openrouter"),
    "qwen": Kind(Qwen, "qwen"),
    "moonshot": Kind(Moonshot, "moonshot"),
    "ollama": Kind(Ollama, "ollama"),
    "compatible": Kind(Chat, "compatible"),
}
WRITERS = tuple(name for name, kind in KINDS.items() if kind.writes)
DECIDERS = tuple(name for name, kind in KINDS.items() if not kind.writes)


def prompted(**changes: Any) -> Case:
    """Return a case with a prompt that holds its payload."""
    made = make_case(**changes)
    system, user = "You judge signals. " * 40, f"The case:\n{made.payload}\nJudge it."
    digest = hashlib.sha256(f"{system}\0{user}".encode()).hexdigest()
    prompt = Rendered(name="judge", version=3, system=system, user=user, sha256=digest)
    return make_case(**({"prompt": prompt} | changes))


def model(name: str, **settings: Any) -> LLM:
    """Return the model of that name with sensible settings."""
    given = {"name": name.replace(" ", "_"), "model_id": "model-1", "api_key": KEY}
    return KINDS[name].make(**(given | settings))

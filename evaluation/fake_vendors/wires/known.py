"""Which wire a call speaks, and who is asked."""

from __future__ import annotations

from collections.abc import Mapping

from evaluation.fake_vendors.wires.base import Json, Wire
from evaluation.fake_vendors.wires.chat import Chat
from evaluation.fake_vendors.wires.claude import Claude
from evaluation.fake_vendors.wires.decisions import GeminiDecisions, OpenAIDecisions
from evaluation.fake_vendors.wires.gemini import Gemini
from evaluation.fake_vendors.wires.ollama import Ollama
from evaluation.fake_vendors.wires.responses import Responses

WIRES: tuple[Wire, ...] = (Responses(), Chat(), Gemini(), Claude(), Ollama(), OpenAIDecisions())
GEMINI_DECISIONS = GeminiDecisions()

BASES: Mapping[str, str] = {
    "openai": "/openai/v1",
    "gemini": "/gemini",
    "claude": "/claude",
    "deepseek": "/deepseek",
    "openrouter": "/openrouter/api/v1",
    "qwen": "/qwen/compatible-mode/v1",
    "moonshot": "/moonshot/v1",
    "ollama": "/ollama",
    "compatible": "/compatible/v1",
}
"""Where each vendor is found, below the server's own URL, as its true base URL ends."""


MODELS: Mapping[str, str] = {
    "openai": "gpt-6-luna",
    "gemini": "gemini-3.8-flash",
    "claude": "claude-haiku-5-5",
    "deepseek": "deepseek-flash",
    "openrouter": "qwen/qwen4-max",
    "qwen": "qwen4-plus",
    "moonshot": "kimi-k3",
    "ollama": "qwen4:8b",
    "compatible": "local-model",
}
"""A model of each vendor, for those who only want one."""


def listing_at(path: str) -> Json | None:
    """Return the models that a vendor lists at a path, or None if it lists none there."""
    vendor = path.strip("/").partition("/")[0]
    model = MODELS.get(vendor, MODELS["openai"])
    if path.endswith("/api/tags"):
        return {"models": [{"name": MODELS["ollama"], "model": MODELS["ollama"]}]}
    if not path.endswith("/models"):
        return None
    if vendor == "gemini":
        return {"models": [{"name": f"models/{model}", "displayName": model}]}
    return {"object": "list", "data": [{"id": model, "object": "model", "created": 0}]}


def wire_of(path: str, body: object) -> Wire | None:
    """Return the wire that a call speaks, or None when nobody listens at that path."""
    found = next((wire for wire in WIRES if wire.path.search(path)), None)
    if isinstance(found, OpenAIDecisions) and _has_named_questions(body):
        return GEMINI_DECISIONS
    return found


def _has_named_questions(body: object) -> bool:
    return isinstance(body, dict) and isinstance(body.get("questions"), dict)


def vendor_of(path: str, wire: Wire) -> str:
    """Return who is asked: the path's first part if it names a vendor, else the wire's own."""
    first = path.strip("/").partition("/")[0]
    return first if first in BASES else wire.vendor

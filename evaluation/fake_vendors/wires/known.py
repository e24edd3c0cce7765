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


def wire_of(path: str, body: Json) -> Wire | None:
    """Return the wire that a call speaks, or None when nobody listens at that path."""
    found = next((wire for wire in WIRES if wire.path.search(path)), None)
    if isinstance(found, OpenAIDecisions) and isinstance(body.get("questions"), dict):
        return GEMINI_DECISIONS
    return found


def vendor_of(path: str, wire: Wire) -> str:
    """Return who is asked: the path's first part if it names a vendor, else the wire's own."""
    first = path.strip("/").partition("/")[0]
    return first if first in BASES else wire.vendor

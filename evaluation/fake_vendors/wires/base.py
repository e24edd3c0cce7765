"""What a wire format is: how its calls are read, and its answers and errors written."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from evaluation.fake_vendors.asked import Asked, Said

Json = dict[str, Any]


class Wire(ABC):
    """One vendor's format; ``path`` is how the end of a call's path looks."""

    path: ClassVar[re.Pattern[str]]
    vendor: ClassVar[str]  # who it is when the path does not say
    quota_status: ClassVar[int] = 402
    request_id_header: ClassVar[str] = "x-request-id"

    @abstractmethod
    def read(self, body: Json, *, vendor: str, path: str) -> Asked:
        """Return the call that a body asks for."""

    @abstractmethod
    def write(self, asked: Asked, said: Said) -> Json:
        """Return the body of an answer."""

    @abstractmethod
    def error(self, status: int, *, message: str, is_quota: bool = False) -> Json:
        """Return the body of a refusal."""


def flat(content: object) -> str:
    """Return the text of content that is a text, a part, or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        return str(content["text"]) if "text" in content else json.dumps(content, sort_keys=True)
    if isinstance(content, list):
        return "\n".join(flat(part) for part in content)
    return "" if content is None else str(content)


def talk(messages: list[Json]) -> tuple[str, tuple[str, ...], str]:
    """Return the system's text, the turns before the last message, and the last message."""
    system = [flat(each["content"]) for each in messages if is_system(each)]
    rest = [flat(each["content"]) for each in messages if not is_system(each)]
    return "\n".join(system), tuple(rest[:-1]), rest[-1] if rest else ""


def is_system(message: Json) -> bool:
    """Return whether a message comes from the one who set the model up."""
    return message.get("role") in {"system", "developer"}

"""What a wire format is: how its calls are read, and its answers and errors written."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from evaluation.fake_vendors.asked import Asked, Said

Json = dict[str, Any]
KEYLESS = frozenset({"ollama", "compatible"})
KEYS = (b"authorization", b"x-goog-api-key", b"x-api-key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a vendor answers with an error; ``is_quota`` when the account is what lacks."""

    status: int
    message: str
    is_quota: bool = False
    retry_after_s: float | None = None


class Wire(ABC):
    """One vendor's format; ``path`` is how the end of a call's path looks."""

    path: ClassVar[re.Pattern[str]]
    vendor: ClassVar[str]  # who it is when the path does not say
    request_id_header: ClassVar[str] = "x-request-id"

    @abstractmethod
    def read(self, body: Json, *, vendor: str, path: str) -> Asked:
        """Return the call that a body asks for."""

    @abstractmethod
    def write(self, asked: Asked, said: Said) -> Json:
        """Return the body of an answer."""

    @abstractmethod
    def error(self, refusal: Refusal) -> Json:
        """Return the body of a refusal."""

    def quota_status(self, vendor: str) -> int:
        """Return the HTTP status of a call that the account does not cover."""
        return 402

    def complaint(
        self, body: Json, asked: Asked, headers: Mapping[bytes, bytes]
    ) -> tuple[int, str] | None:
        """Return status and message if the vendor takes no such call, however well it is meant."""
        if asked.vendor in KEYLESS or any(headers.get(name, b"").strip() for name in KEYS):
            return None
        return 401, "You did not provide an API key."


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


def loose_part(schema: object, path: str = "schema") -> str | None:
    """Return where a schema is not strict: a property not required, or an object left open."""
    if isinstance(schema, list):
        return next(filter(None, (loose_part(each, path) for each in schema)), None)
    if not isinstance(schema, dict):
        return None
    properties = schema.get("properties")
    if isinstance(properties, dict):
        is_closed = schema.get("additionalProperties") is False
        if not is_closed or set(schema.get("required", ())) != set(properties):
            return path
        return next(
            filter(None, (loose_part(each, f"{path}.{name}") for name, each in properties.items())),
            None,
        )
    return loose_part(schema.get("items"), f"{path}[]") or loose_part(schema.get("anyOf"), path)


def is_system(message: Json) -> bool:
    """Return whether a message comes from the one who set the model up."""
    return message.get("role") in {"system", "developer"}

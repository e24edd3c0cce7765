"""Log lines: secrets masked always, JSON when asked."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django.conf import settings

from pipeline.tracing import current_event_id, current_request_id

SECRETS = re.compile(
    r"(lens_[a-z]+_[A-Za-z0-9]{8}_)[A-Za-z0-9_\-]+"
    r"|((?:api_key|ticket|token|password)=)[^&\s\"']+"
    r"|((?:authorization|x-api-key)['\"]?\s*[:=]\s*['\"]?(?:bearer\s+)?)[^\s'\",]+"
    r"|(://[^:/\s]*:)[^@\s]+(?=@)"
    r"|\b(sk-)[A-Za-z0-9_\-]{8,}"
    r"|(/hooks/|/welcome\?t=)[A-Za-z0-9_\-]+"
    r"|([\"'][a-z_\-]*(?:secret|passphrase|password|token|api_?key)[\"']\s*:\s*[\"'])[^\"']+",
    re.IGNORECASE,
)

SECRET_NAMES = re.compile(
    r"(?:^|_)(?:secret|secrets|password|passwd|pepper|hmac|authorization|credential|credentials)(?:_|$)"
    r"|(?:^|_)(?:api_key|private_key|access_token|auth_token)$",
    re.IGNORECASE,
)
STRUCK_OUT = "***"


def masked(text: str) -> str:
    """Return ``text`` without our own secrets and without what looks like anybody's."""
    own = _own_secrets()
    if own is not None:
        text = own.sub(STRUCK_OUT, text)
    return SECRETS.sub(lambda match: f"{next(g for g in match.groups() if g)}***", text)


def _own_secrets() -> re.Pattern[str] | None:
    return _any_of(tuple(settings.SECRET_VALUES)) if settings.configured else None


@lru_cache(maxsize=8)
def _any_of(values: tuple[str, ...]) -> re.Pattern[str] | None:
    return re.compile("|".join(map(re.escape, values))) if values else None


def without_secrets(value: Any) -> Any:
    """Return a JSON value with everything struck out that is a secret by its name or its look."""
    if isinstance(value, str):
        return value if value.isalnum() else masked(value)  # a bare word or hash shows no secret
    if isinstance(value, Mapping):
        return {
            name: STRUCK_OUT if _names_a_secret(name) and part else without_secrets(part)
            for name, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_secrets(part) for part in value]
    return value


def _names_a_secret(name: object) -> bool:
    return isinstance(name, str) and SECRET_NAMES.search(name) is not None


class MaskSecrets(logging.Filter):
    """Strikes secrets out of every line before any formatter sees it."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        clean = masked(text)
        if clean != text:
            record.msg, record.args = clean, None
        return True


class Context(logging.Filter):
    """Adds the request and the signal that the present work is for."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in (
            ("request_id", current_request_id()),
            ("event_id", current_event_id()),
        ):
            if value and not hasattr(record, name):
                setattr(record, name, value)
        return True


class TextLines(logging.Formatter):
    """A line for people; the traceback below it is masked as well."""

    def formatException(self, ei: Any) -> str:  # noqa: N802  logging's name
        return masked(super().formatException(ei))


class QuietReadiness(logging.Filter):
    """Drops the web server's complaint about ``/ready``: not being ready is an answer."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Service Unavailable: /")


class JsonLines(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in ("request_id", "event_id"):
            if hasattr(record, name):
                line[name] = getattr(record, name)
        line |= without_secrets(getattr(record, "fields", {}))
        if record.exc_info:
            line["error"] = masked(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)

"""Log lines: secrets masked always, JSON when asked."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime

SECRETS = re.compile(
    r"(lens_[a-z]+_[A-Za-z0-9]{8}_)[A-Za-z0-9_\-]+"
    r"|((?:api_key|ticket|token|password)=)[^&\s\"']+"
    r"|((?:authorization|x-api-key)['\"]?\s*[:=]\s*['\"]?(?:bearer\s+)?)[^\s'\",]+"
    r"|(://[^:/\s]*:)[^@\s]+(?=@)"
    r"|\b(sk-)[A-Za-z0-9_\-]{8,}",
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """Return ``text`` with everything that looks like a secret struck out."""
    return SECRETS.sub(lambda match: f"{next(g for g in match.groups() if g)}***", text)


class MaskSecrets(logging.Filter):
    """Strikes secrets out of every line before any formatter sees it."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        clean = masked(text)
        if clean != text:
            record.msg, record.args = clean, None
        return True


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
        if record.exc_info:
            line["error"] = masked(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)

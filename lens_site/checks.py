"""System checks of the settings as a whole; each says in one sentence what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DatabaseError, connection

ANY = "<NAME>"
TOOLING = frozenset({"LENS_MARKET_DATA", "LENS_CHAOS_N", "LENS_API_KEY", "LENS_WS_URL"})
"""Names that only the test suite and the examples read."""


@register()
def check_names(**_: object) -> list[CheckMessage]:
    """Warn of variables that carry our prefixes but that nothing reads: most are misspelt."""
    found = [name for name in settings.UNKNOWN_SETTINGS if name not in TOOLING]
    return [
        Warning(f"{name} is set, but nothing reads it.", hint=_hint(name), id="lens.W001")
        for name in found
    ]


def _hint(name: str) -> str | None:
    patterns = [known for known in settings.SETTING_NAMES if ANY in known]
    idle = next((known for known in patterns if _shape(known).fullmatch(name)), None)
    if idle is not None:
        return "AI_MODELS does not name that model."
    names = [known for known in settings.SETTING_NAMES if ANY not in known]
    near = get_close_matches(name, [*names, *settings.MODEL_SETTING_NAMES], n=1)
    return f"Did you mean {near[0]}?" if near else None


def _shape(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.replace(ANY, "[A-Z0-9_]+") + "(?:_FILE)?")


@register()
def check_provider(**_: object) -> list[CheckMessage]:
    """Refuse a market-data provider that nothing is known of, or one without its recording."""
    name = settings.PROVIDER_PRIMARY
    if name not in settings.PROVIDERS:
        known = ", ".join(sorted(settings.PROVIDERS))
        text = f"PROVIDER_PRIMARY is {name!r}; there are {known}."
        return [Error(text, id="lens.E001")]
    if name == "recorded" and not settings.RECORDED_CANDLES:
        text = "PROVIDER_PRIMARY is 'recorded', but RECORDED_CANDLES names no candle file."
        return [Error(text, id="lens.E002")]
    return []


@register(Tags.security, deploy=True)
def check_secrets(**_: object) -> list[CheckMessage]:
    """Refuse to be deployed with the key that stands in the source."""
    if settings.SECRET_KEY.startswith("unsafe"):
        text = "SECRET_KEY is the one from the source; set a random one of 50 characters or more."
        return [Error(text, id="lens.E003")]
    return []


@register(Tags.database)
def check_durability(databases: Sequence[str] | None = None, **_: object) -> list[CheckMessage]:
    """Refuse a PostgreSQL that confirms what a power cut could still take."""
    if not databases or connection.vendor != "postgresql":
        return []
    try:
        with connection.cursor() as cursor:
            cursor.execute("SHOW synchronous_commit")
            mode = str(cursor.fetchone()[0])
    except DatabaseError:
        return []
    if mode == "off":
        text = "PostgreSQL runs with synchronous_commit=off: an accepted signal could be lost."
        return [Error(text, hint="Set synchronous_commit to on.", id="lens.E004")]
    return []

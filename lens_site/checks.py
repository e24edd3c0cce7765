"""System checks of the settings as a whole; each says in one sentence what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DatabaseError, connection

from access import factors
from pipeline import egress, queue

ANY = "<NAME>"
DAILY = re.compile(r"never|([01]\d|2[0-3]):[0-5]\d")
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
def check_retention(**_: object) -> list[CheckMessage]:
    """Refuse an hour that is none, and a share of work that would never end or never rest."""
    found: list[CheckMessage] = []
    for name in ("PURGE_AT", "AUDIT_VERIFY_AT"):
        if not DAILY.fullmatch(getattr(settings, name)):
            text = (
                f"{name} is {getattr(settings, name)!r}; it must be a time such as 03:30, or never."
            )
            found.append(Error(text, id="lens.E030"))
    if not 1 <= settings.PURGE_SHARE_PCT <= 100:
        text = f"PURGE_SHARE_PCT is {settings.PURGE_SHARE_PCT}; it must be 1 to 100."
        found.append(Error(text, id="lens.E031"))
    for name in ("RETENTION_DAYS", "AUDIT_RETENTION_DAYS", "PURGE_BATCH", "SEAL_BATCH"):
        if getattr(settings, name) < 1:
            found.append(Error(f"{name} must be 1 or more.", id="lens.E032"))
    return found


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


@register()
def check_people(**_: object) -> list[CheckMessage]:
    """Refuse rules for people that nothing understands."""
    if settings.REQUIRE_2FA not in (factors.OFF, factors.STAFF, factors.ALL):
        text = f"REQUIRE_2FA is {settings.REQUIRE_2FA!r}; it is off, staff or all."
        return [Error(text, id="lens.E005")]
    return []


@register()
def check_addresses(**_: object) -> list[CheckMessage]:
    """Refuse an address of ours that is none, and one of a venue that would leak what is sent."""
    found: list[CheckMessage] = []
    ours = urlsplit(settings.PUBLIC_URL)
    if settings.PUBLIC_URL and (ours.scheme not in ("http", "https") or not ours.hostname):
        text = f"LENS_PUBLIC_URL is {settings.PUBLIC_URL!r}, not like https://lens.example.org."
        found.append(Error(text, id="lens.E006"))
    fault = egress.wrong_with(settings.HYPERLIQUID_BASE_URL, allowed=settings.LOCAL_MODEL_HOSTS)
    if fault:
        found.append(Error(f"HYPERLIQUID_BASE_URL {fault}.", id="lens.E007"))
    return found


@register()
def check_queues(**_: object) -> list[CheckMessage]:
    """Refuse queues whose jobs could carry code."""
    return [
        Error(
            f"The queue {name} does not use JSON: whoever writes to Redis could run code here.",
            hint="Set its SERIALIZER to rq.serializers.JSONSerializer.",
            id="lens.E008",
        )
        for name, queue_settings in settings.RQ_QUEUES.items()
        if queue_settings.get("SERIALIZER") != "rq.serializers.JSONSerializer"
    ]


@register(Tags.security, deploy=True)
def check_keys_apart(**_: object) -> list[CheckMessage]:
    """Refuse to be deployed with one secret for everything: none could be changed alone."""
    return [
        Error(f"{name} is the SECRET_KEY; give it a secret of its own.", id="lens.E009")
        for name in ("LENS_KEY_PEPPER", "LENS_ENCRYPTION_KEYS")
        if getattr(settings, name) == settings.SECRET_KEY
    ]


@register(Tags.security, deploy=True)
def check_hosts(**_: object) -> list[CheckMessage]:
    """Refuse to answer to any name, which lets strangers' pages talk to us as if they were ours."""
    if "*" in settings.ALLOWED_HOSTS:
        text = "ALLOWED_HOSTS holds *; name the hosts that this desk answers to."
        return [Error(text, id="lens.E010")]
    return []


@register(Tags.security, deploy=True)
def check_redis(**_: object) -> list[CheckMessage]:
    """Warn of a Redis that others could write to, or that throws bells away when it is full."""
    found: list[CheckMessage] = []
    parts = urlsplit(settings.REDIS_URL)
    if parts.hostname not in (None, "localhost", "127.0.0.1", "::1") and not parts.password:
        text = f"REDIS_URL names {parts.hostname} without a password."
        found.append(Warning(text, hint="Start it with --requirepass.", id="lens.W011"))
    policy = queue.eviction_policy()
    if policy not in (None, "noeviction"):
        text = f"Redis forgets keys when it is full ({policy})."
        found.append(Warning(text, hint="Set maxmemory-policy noeviction.", id="lens.W012"))
    return found


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

"""Settings of the access room that would open the door too wide, told before anything runs."""

from __future__ import annotations

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from access.parsing import ENVIRONMENT, looks_like_an_example

ADMIN_KEY_MIN_LENGTH = 32
PEPPER_MIN_LENGTH = 32
LIMITS = (
    "RATE_LIMIT_PER_MIN",
    "RATE_LIMIT_BURST",
    "RATE_LIMIT_READS_PER_MIN",
    "RATE_LIMIT_READS_BURST",
)
HOW_TO_MAKE = "python -c 'import secrets; print(secrets.token_urlsafe(32))' makes a good one."


def check_admin_key(**_: object) -> list[CheckMessage]:
    """Refuse an admin key out of some documentation and warn of a short one."""
    plain: str = settings.API_KEY_ADMIN
    if not plain:
        return []
    if looks_like_an_example(plain):
        return [
            Error("API_KEY_ADMIN is an example; it opens nothing.", HOW_TO_MAKE, id="lens.E101")
        ]
    if len(plain) < ADMIN_KEY_MIN_LENGTH:
        found = f"API_KEY_ADMIN is shorter than {ADMIN_KEY_MIN_LENGTH} characters."
        return [Warning(found, HOW_TO_MAKE, id="lens.W101")]
    return []


def check_peppers(**_: object) -> list[CheckMessage]:
    """Demand that the newest pepper stands and that none is short."""
    peppers: list[str] = settings.LENS_KEY_PEPPER.split(",")
    if not peppers[-1]:
        return [Error("LENS_KEY_PEPPER ends in an empty place.", HOW_TO_MAKE, id="lens.E102")]
    if any(pepper and len(pepper) < PEPPER_MIN_LENGTH for pepper in peppers):
        found = f"A pepper in LENS_KEY_PEPPER is shorter than {PEPPER_MIN_LENGTH} characters."
        return [Warning(found, HOW_TO_MAKE, id="lens.W102")]
    return []


def check_environment_name(**_: object) -> list[CheckMessage]:
    """Demand a name that can stand inside a key."""
    if ENVIRONMENT.fullmatch(settings.LENS_ENV):
        return []
    found = f"LENS_ENV is {settings.LENS_ENV!r}."
    return [Error(found, "Use 1 to 16 lower-case letters.", id="lens.E103")]


def check_limits(**_: object) -> list[CheckMessage]:
    """Demand limits that let at least one call pass."""
    return [
        Error(f"{name} is {getattr(settings, name)}.", "Use 1 or more.", id="lens.E104")
        for name in LIMITS
        if getattr(settings, name) < 1
    ]


ALL = (check_admin_key, check_peppers, check_environment_name, check_limits)

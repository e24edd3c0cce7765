"""Checks at start: settings of this room that cannot be right."""

from __future__ import annotations

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from quant.types import TIMEFRAMES

NAMES = ("TIMEFRAMES", "ENSEMBLE_TIMEFRAME", "PRIMARY_TIMEFRAME")


@register()
def check_timeframes(**_: object) -> list[CheckMessage]:
    """Return an error for each timeframe setting that names none."""
    return [
        Error(
            f"{name} names {value!r}, which is no timeframe; there are {' '.join(TIMEFRAMES)}.",
            id="enrichment.E001",
        )
        for name in NAMES
        for value in _values(getattr(settings, name))
        if value not in TIMEFRAMES
    ]


def _values(setting: str | tuple[str, ...]) -> tuple[str, ...]:
    return (setting,) if isinstance(setting, str) else setting

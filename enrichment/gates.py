"""The conditions a signal must meet before any model is asked; pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from enrichment.types import Gate

UNKNOWN_SYMBOL = "unknown_symbol"


def signal_age(*, ts_utc: datetime, known_at: datetime, limit_s: float) -> Gate:
    """Return whether a signal was fresh when it came in.

    What happens to it later in the house is the business of its validity, not of this gate.
    """
    age_s = round((known_at - ts_utc).total_seconds(), 3)
    return Gate(gate="signal_age", value=age_s, limit=limit_s, unit="s", passed=age_s <= limit_s)


def known_symbol(*, symbol: str, provider: str, refusal: str | None) -> Gate:
    """Return whether the market has the instrument; ``refusal`` is what it said if not."""
    return Gate(
        gate=UNKNOWN_SYMBOL,
        value=symbol if refusal is None else f"{symbol}: {refusal}",
        limit=f"listed at {provider}",
        unit="symbol",
        passed=refusal is None,
    )


def price_drift(*, drift_bps: float, limit_bps: float, is_opening: bool) -> Gate:
    """Return whether the market is still near the entry price.

    A CLOSE signal is measured and never refused: its entry price may be that of the position,
    and a way out must not be shut because the price has moved.
    """
    far_bps = round(abs(drift_bps), 4)
    return Gate(
        gate="price_drift",
        value=far_bps,
        limit=limit_bps if is_opening else None,
        unit="bps",
        passed=far_bps <= limit_bps or not is_opening,
    )


def known_profile(*, name: str, fault: str | None, known: Iterable[str]) -> Gate:
    """Return whether the wanted feature profile exists and can be used."""
    return Gate(
        gate="feature_profile",
        value=name if fault is None else f"{name}: {fault}",
        limit=", ".join(sorted(known)),
        unit="name",
        passed=fault is None,
    )

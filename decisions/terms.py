"""The bet behind a signal: entry, target, stop, horizon and costs, and what it must be worth; pure.

A signal's own levels count where it carries them; what it lacks lies a multiple of the average
true range away, so that every signal asks the same kind of question.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from decisions.types import House, Terms
from quant.lifecycle import atr_barriers
from quant.types import Side

PERCENT = 100.0


def terms_of(
    *,
    side: Side,
    entry: float,
    target: float | None,
    stop: float | None,
    atr: float | None,
    house: House,
) -> Terms | None:
    """Return the bet, or None while the market's range is needed for a level and not known."""
    if target is not None and stop is not None:
        return _terms(side, entry, target, stop, atr, "SIGNAL", house)
    if atr is None:
        return None
    own_target, own_stop = atr_barriers(
        side=side,
        entry=entry,
        atr=atr,
        target_multiple=house.target_atr_multiple,
        stop_multiple=house.stop_atr_multiple,
    )
    return _terms(
        side,
        entry,
        own_target if target is None else target,
        own_stop if stop is None else stop,
        atr,
        "ATR",
        house,
    )


def planned(terms: Terms, *, risk_plan: Mapping[str, Any] | None, entry: float) -> Terms:
    """Return the bet as a decision's risk plan changes it: another stop, and the entry it saw.

    A trailing stop is watched at its first distance. A plan whose stop is missing keeps the
    signal's; the target moves with the entry, so that only the plan's own stop changes the odds.
    """
    moved = entry - terms.entry
    stop = _planned_stop(terms, risk_plan or {}, entry=entry)
    return Terms(
        side=terms.side,
        entry=entry,
        target=terms.target if terms.basis == "SIGNAL" else terms.target + moved,
        stop=terms.stop + (0.0 if terms.basis == "SIGNAL" else moved) if stop is None else stop,
        atr=terms.atr,
        basis=terms.basis if stop is None else "PLAN",
        house=terms.house,
    )


def _planned_stop(terms: Terms, plan: Mapping[str, Any], *, entry: float) -> float | None:
    level, multiple, trail = (plan.get(key) for key in ("stop_level", "atr_multiple", "trail_pct"))
    if plan.get("stop_method") == "fixed" and level is not None:
        return float(level)
    if plan.get("stop_method") == "atr" and multiple is not None and terms.atr is not None:
        return entry - terms.side.sign * float(multiple) * terms.atr
    if plan.get("stop_method") == "trailing" and trail:
        return entry * (1.0 - terms.side.sign * float(trail) / PERCENT)
    return None


def _terms(
    side: Side,
    entry: float,
    target: float,
    stop: float,
    atr: float | None,
    basis: str,
    house: House,
) -> Terms:
    return Terms(
        side=side, entry=entry, target=target, stop=stop, atr=atr, basis=basis, house=house
    )

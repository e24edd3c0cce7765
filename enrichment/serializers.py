"""The shapes of the enrichment door."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel

from enrichment.measures import moment
from enrichment.models import Enrichment


class GateAnswer(BaseModel):
    """One condition that the signal was held against."""

    gate: Literal["signal_age", "unknown_symbol", "price_drift", "feature_profile"]
    value: float | str | None
    limit: float | str | None
    unit: str
    passed: bool


class QualityAnswer(BaseModel):
    """What is wrong with the facts, as paths into the payload; ``notes`` are sentences."""

    missing_data: list[str]
    stale_data: list[str]
    out_of_range: list[str]
    provider_errors: list[str]
    notes: list[str]


class EnrichmentAnswer(BaseModel):
    """What was known when a signal was judged.

    ``payload`` is what language models were given, frozen under ``payload_sha256``: the hash is
    of its canonical JSON (sorted keys, no spaces, UTF-8). ``provenance`` names the moment and the
    source of each group of fields; ``market`` is SIMULATED when no such market exists.
    """

    event_id: str
    run: int
    market: Literal["REAL", "SIMULATED"]
    provider: str
    as_of: datetime
    profile: str
    profile_version: int
    policy_version: int
    payload: dict[str, Any]
    payload_sha256: str
    facts_sha256: str
    constraints: dict[str, Any]
    quality_flags: QualityAnswer
    gates: list[GateAnswer]
    provenance: dict[str, Any]
    provider_weight: int
    duration_ms: int
    created_at: datetime


def enrichment_json(row: Enrichment) -> dict[str, Any]:
    """Return one enrichment as clients see it."""
    return {
        "event_id": str(row.event_id),
        "run": row.run,
        "market": "SIMULATED" if row.simulated else "REAL",
        "provider": row.provider,
        "as_of": moment(row.as_of),
        "profile": row.profile,
        "profile_version": row.profile_version,
        "policy_version": row.policy_version,
        "payload": json.loads(row.payload),
        "payload_sha256": row.payload_sha256,
        "facts_sha256": row.facts_sha256,
        "constraints": row.constraints,
        "quality_flags": row.quality_flags,
        "gates": row.gates,
        "provenance": row.provenance,
        "provider_weight": row.provider_weight,
        "duration_ms": row.duration_ms,
        "created_at": moment(row.created_at),
    }


EXAMPLE: dict[str, Any] = {
    "event_id": "3f0a9a1e-5c1b-4a63-9d53-0c1b6f6f2f11",
    "run": 1,
    "market": "REAL",
    "provider": "hyperliquid",
    "as_of": "2026-01-15T10:30:01.250Z",
    "profile": "trend_follow_v1",
    "profile_version": 1,
    "policy_version": 1,
    "payload": {
        "as_of": "2026-01-15T10:30:01.250Z",
        "original": {
            "event_type": "OPEN_SIGNAL",
            "symbol": "BTC",
            "direction": "long",
            "entry_price": "42000",
            "size": "0.1",
            "liquidation_price": "38000",
            "target_price": None,
            "stop_price": None,
            "ts_utc": "2026-01-15T10:30:00.000Z",
            "untrusted": {"source": "strategy_alpha"},
        },
        "market": {"mid": 42010.5, "spread_bps": 0.24, "price_drift_bps_from_entry": 2.5},
        "ta": {
            "timeframes": {
                "15m": {
                    "closed_at": "2026-01-15T10:30:00.000Z",
                    "close": 42008,
                    "ema_9": 41950.21,
                    "rsi_14": 58.4,
                }
            }
        },
        "levels": {},
        "derivs": {},
        "constraints": {"max_position_size_pct": 30, "max_leverage": 20},
        "quality_flags": {
            "missing_data": [],
            "stale_data": [],
            "out_of_range": [],
            "provider_errors": [],
            "notes": [],
        },
    },
    "payload_sha256": "9f2c4be0d3d65ed56d4bd0a64d1de1b0d9a8aa3f7c0b4b3a9f1f5c0d6c8e7a21",
    "facts_sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    "constraints": {"max_position_size_pct": 30, "max_leverage": 20},
    "quality_flags": {
        "missing_data": [],
        "stale_data": [],
        "out_of_range": [],
        "provider_errors": [],
        "notes": [],
    },
    "gates": [
        {"gate": "signal_age", "value": 1.1, "limit": 300, "unit": "s", "passed": True},
        {"gate": "price_drift", "value": 2.5, "limit": 200, "unit": "bps", "passed": True},
    ],
    "provenance": {
        "market": {"as_of": "2026-01-15T10:30:01.000Z", "source": "hyperliquid"},
        "ta.timeframes.15m": {"as_of": "2026-01-15T10:30:00.000Z", "source": "hyperliquid"},
        "profile": ["trend_follow_v1 v1"],
    },
    "provider_weight": 4,
    "duration_ms": 180,
    "created_at": "2026-01-15T10:30:01.480Z",
}

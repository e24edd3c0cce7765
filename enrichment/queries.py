"""Reading profiles, the policy and enrichments."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import QuerySet, prefetch_related_objects

from enrichment.models import Enrichment, FeatureProfile, Policy
from pipeline.types import Batch
from quant.ensemble.tally import regime_of as quant_regime_of
from signals.models import Signal
from signals.queries import list_waiting
from signals.types import SignalStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Enriched:
    """A signal and the facts that were frozen around it."""

    signal: Signal
    enrichment: Enrichment


def list_active_profiles() -> list[FeatureProfile]:
    """Return the version in force of every profile."""
    return list(FeatureProfile.objects.filter(is_active=True).order_by("name"))


def get_active_policy() -> Policy | None:
    """Return the policy in force."""
    return Policy.objects.filter(is_active=True).first()


def list_unenriched(*, event_ids: Sequence[UUID]) -> list[Signal]:
    """Return those of the signals that still wait for their facts, with their replays."""
    signals = list_waiting(event_ids=event_ids, status=SignalStatus.ENQUEUED)
    prefetch_related_objects([signal for signal in signals if signal.replay_id], "replay")
    return signals


def get_enrichment(*, event_id: UUID, run: int | None = None) -> Enrichment | None:
    """Return the facts around one run of a signal; without ``run`` those of the latest."""
    rows = Enrichment.objects.filter(event_id=event_id)
    if run is not None:
        return rows.filter(run=run).first()
    return rows.order_by("-run").first()


def list_enrichments(*, event_ids: Sequence[UUID]) -> QuerySet[Enrichment]:
    """Select the facts around several signals, every run of each."""
    return Enrichment.objects.filter(event_id__in=event_ids).order_by("event_id", "run")


def atr_of(*, enrichment: Enrichment | None, timeframe: str) -> float | None:
    """Return the frozen average true range of a timeframe, in quote currency, if it is known."""
    if enrichment is None:
        return None
    frozen = (enrichment.facts.get("atr") or {}).get(timeframe)
    if frozen is None:
        frames = (json.loads(enrichment.payload or "{}").get("ta") or {}).get("timeframes") or {}
        frozen = (frames.get(timeframe) or {}).get("atr_14")
    return float(frozen) if frozen else None


def regime_of(*, enrichment: Enrichment | None) -> str:
    """Return how the market moved when the facts were frozen, or nothing if that is not known."""
    ensemble = ((enrichment.facts if enrichment else {}).get("ensemble")) or {}
    adx = ensemble.get("adx")
    return "" if adx is None else str(quant_regime_of(float(adx)).value)


def latest_enrichments(*, limit: int) -> list[Enrichment]:
    """Return the latest facts, newest first, by what they were gathered."""
    rows = Enrichment.objects.order_by("-id")
    return list(rows.only("event_id", "profile", "policy_version", "constraints")[:limit])


def list_symbols(*, event_ids: Sequence[UUID]) -> dict[UUID, str]:
    """Return the symbol of each of the signals."""
    rows = Signal.objects.filter(event_id__in=event_ids)
    return dict(rows.values_list("event_id", "symbol"))


def latest_judged(*, event_id: UUID | None = None) -> Signal | None:
    """Return the signal of that id, or the newest that has facts."""
    if event_id is not None:
        return Signal.objects.filter(event_id=event_id).select_related("replay").first()
    newest = Enrichment.objects.order_by("-id").values_list("event_id", flat=True).first()
    if newest is None:
        return None
    return Signal.objects.filter(event_id=newest).select_related("replay").first()


def rows_to_purge(*, batch: Batch) -> list[QuerySet[Any]]:
    """Return the facts around signals that are being purged."""
    return [Enrichment.objects.filter(event_id__in=batch.events)]

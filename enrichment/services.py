"""Every write of this room, and the gathering of facts that goes before it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings

from enrichment import gates, payload, queries
from enrichment.authoring import (
    Rules,
    add_policy_version,
    add_profile_version,
    current_rules,
    ensure_built_ins,
    forget_rules,
)
from enrichment.gathering import FAULT_MAX_CHARS, gather
from enrichment.measures import drift_bps, measure
from enrichment.model_facts import ModelNeeds, model_facts, needs_of
from enrichment.models import Enrichment
from enrichment.parsing import plain_text
from enrichment.policy import TradingPolicy, constraints_for
from enrichment.profiles import Profile
from enrichment.queries import Enriched
from enrichment.types import (
    BadDefinition,
    Facts,
    Gate,
    Limits,
    Measured,
    Needs,
    QualityFlags,
    Snapshot,
)
from markets.services import (
    Market,
    MarketDataUnavailable,
    UnknownInstrument,
    close_markets,
    market_named,
)
from pipeline import services as pipeline
from pipeline.models import StageRun
from pipeline.services import Opening
from pipeline.statements import insert
from pipeline.types import GiveUp
from signals import services as signals
from signals.models import Signal
from signals.types import EventType, Origin, SignalStatus

__all__ = [
    "add_policy_version",
    "add_profile_version",
    "current_rules",
    "ensure_built_ins",
    "forget_rules",
]

STAGE = "enrich"
ACTOR = "lens"
PATIENCE_SHARE = 0.6  # of the stage's deadline, for what a signal can be judged without


class BadPolicy(Exception):
    """The policy in force breaks a rule, so no constraint can be promised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A signal that waits for its facts, and the rules to gather them by."""

    signal: Signal
    rules: Rules

    @property
    def profile_name(self) -> str:
        """The profile that the signal asks for, or the house's."""
        return self.signal.feature_profile or str(settings.FEATURE_PROFILE)

    @property
    def profile(self) -> Profile | None:
        """The profile, if there is a usable one of that name."""
        return self.rules.profiles.get(self.profile_name)

    def has_lapsed(self, *, now: datetime) -> bool:
        """Say whether the advice has lost its worth before anything was done with it."""
        return self.signal.expires_at is not None and self.signal.expires_at < now


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """The facts around one run of a signal, before they are frozen."""

    signal: Signal
    run: int
    facts: Facts


def request_enrichment(*, signals: Sequence[Signal], now: datetime) -> None:
    """Open the work of gathering facts around signals that have just come in."""
    for signal in signals:
        pipeline.record(trace=signal.event_id, verb="ENQUEUED", actor=ACTOR, at=now, run=signal.run)
    pipeline.open_runs(
        Opening(
            stage=STAGE,
            subject=signal.event_id,
            trace=signal.event_id,
            run=signal.run,
            attempts_max=settings.RETRY_MAX + 1,
        )
        for signal in signals
    )


def load_work(*, event_ids: Sequence[UUID], now: datetime) -> dict[UUID, Work]:
    """Return what is to be done for those signals that still wait for their facts."""
    rules = current_rules(now=now)
    waiting = queries.list_unenriched(event_ids=event_ids)
    return {signal.event_id: Work(signal=signal, rules=rules) for signal in waiting}


async def gather_facts(*, work: Work, now: datetime) -> Facts:
    """Return the facts around a signal, or the gate that refused it with what was known by then.

    With a provider of the present the facts are of ``now``, with one of the past of the signal's
    own time. ``provider_weight`` is what the market spent meanwhile, for this signal and for any
    gathered beside it in the same process.

    :raises MarketDataUnavailable: if the price or the candles cannot be had now.
    :raises BadMarketData: if the provider answers with garbage.
    :raises BadPolicy: if the policy in force breaks a rule.
    """
    policy = work.rules.policy
    if isinstance(policy, BadDefinition):
        raise BadPolicy(str(policy))
    draft = _Draft(work=work, policy=policy, market=market_for(work.signal), now=now)
    age = draft.age_gate()
    if not age.passed:
        return draft.facts(snapshot=None, passed=(age,))
    spent = draft.market.weight_used
    try:
        snapshot = await gather(
            draft.market,
            symbol=work.signal.symbol,
            as_of=draft.as_of,
            needs=draft.needs(),
            patience_s=settings.ENRICH_DEADLINE_MS / 1000 * PATIENCE_SHARE,
        )
    except UnknownInstrument as refusal:
        return draft.facts(
            snapshot=None,
            passed=(age, draft.symbol_gate(plain_text(str(refusal), most=FAULT_MAX_CHARS))),
        )
    facts = draft.facts(snapshot=snapshot, passed=(age, *draft.market_gates(snapshot)))
    return replace(facts, provider_weight=max(0, draft.market.weight_used - spent))


def market_for(signal: Signal) -> Market:
    """Return the running event loop's market on which a signal is judged."""
    if signal.origin == Origin.REPLAY and signal.replay is not None:
        return market_named("recorded", recording=signal.replay.candles_path)
    if signal.origin == Origin.DEMO:
        return market_named("simulated")
    return market_named(settings.PROVIDER_PRIMARY)


def _limits() -> Limits:
    return Limits(
        signal_age_s=settings.MAX_SIGNAL_AGE_S,
        price_drift_bps=settings.MAX_PRICE_DRIFT_BPS,
        stale_mid_s=settings.STALE_MID_S,
        stale_book_s=settings.STALE_L2_S,
        stale_derivatives_s=settings.STALE_CTX_S,
        stale_candle_multiplier=settings.STALE_CANDLE_MULTIPLIER,
    )


class _Draft:
    """The facts around one signal while they are being put together."""

    def __init__(self, *, work: Work, policy: TradingPolicy, market: Market, now: datetime) -> None:
        self.work = work
        self.signal = work.signal
        self.policy = policy
        self.market = market
        self.limits = _limits()
        self.as_of = work.signal.ts_utc if market.clock == "signal" else now
        self.model_needs = _model_needs()

    def needs(self) -> Needs:
        return needs_for(self.work.profile)

    def age_gate(self) -> Gate:
        is_past = self.market.clock == "signal"
        return gates.signal_age(
            ts_utc=self.signal.ts_utc,
            known_at=self.as_of if is_past else self.signal.received_at,
            limit_s=self.limits.signal_age_s,
        )

    def symbol_gate(self, refusal: str | None) -> Gate:
        return gates.known_symbol(
            symbol=self.signal.symbol, provider=self.market.name, refusal=refusal
        )

    def market_gates(self, snapshot: Snapshot) -> tuple[Gate, ...]:
        drift = gates.price_drift(
            drift_bps=drift_bps(snapshot.quote, entry_price=float(self.signal.entry_price)),
            limit_bps=self.limits.price_drift_bps,
            is_opening=self.signal.event_type == EventType.OPEN_SIGNAL,
        )
        rules, name = self.work.rules, self.work.profile_name
        profile = gates.known_profile(
            name=name,
            fault=None if self.work.profile else rules.faults.get(name, "there is no such profile"),
            known=rules.profiles,
        )
        return self.symbol_gate(None), drift, profile

    def facts(self, *, snapshot: Snapshot | None, passed: tuple[Gate, ...]) -> Facts:
        profile, parts, numbers = self.work.profile, dict[str, Measured](), dict[str, Any]()
        if snapshot is not None and profile is not None:
            entry_price = float(self.signal.entry_price)
            parts = measure(snapshot, profile=profile, entry_price=entry_price, limits=self.limits)
            numbers = model_facts(
                snapshot,
                needs=self.model_needs,
                simulated=self.market.simulated,
                limits=self.limits,
            )
        flags = sum((part.flags for part in parts.values()), QualityFlags())
        symbol = snapshot.quote.symbol if snapshot is not None else self.signal.symbol
        constraints = constraints_for(self.policy, symbol=symbol)
        text = payload.payload_of(
            signal=self.signal,
            as_of=self.as_of,
            parts=parts,
            constraints=constraints,
            flags=flags,
            simulated=self.market.simulated,
        )
        lineage = {"profile": list(profile.lineage)} if profile else {}
        return Facts(
            as_of=self.as_of,
            provider=self.market.name,
            simulated=self.market.simulated,
            profile=self.work.profile_name,
            profile_version=profile.version if profile else 0,
            policy_version=self.policy.version,
            gates=passed,
            payload=text,
            facts=numbers,
            constraints=constraints,
            quality_flags=flags.to_dict(),
            provenance={key: of for part in parts.values() for key, of in part.provenance.items()}
            | lineage,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What a profile would gather around a signal: the facts, and what they take."""

    facts: Facts
    needs: Needs
    took_ms: int


def try_profile(*, signal: Signal, profile: Profile, now: datetime) -> Tried:
    """Gather the facts around a signal by a profile that need not be in force; nothing is kept.

    Blocks until the market has answered, in an event loop of its own: call it where no
    transaction is open.

    :raises MarketDataUnavailable: if the price or the candles cannot be had now.
    :raises BadMarketData: if the provider answers with garbage.
    :raises BadPolicy: if the policy in force breaks a rule.
    """
    rules = current_rules(now=now)
    rules = replace(rules, profiles={**rules.profiles, profile.name: profile})
    signal.feature_profile = profile.name
    work = Work(signal=signal, rules=rules)
    return asyncio.run(_tried(work, now=now))


async def _tried(work: Work, *, now: datetime) -> Tried:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(settings.ENRICH_DEADLINE_MS / 1000):
            facts = await gather_facts(work=work, now=now)
    except TimeoutError as error:
        raise MarketDataUnavailable("no answer within ENRICH_DEADLINE_MS") from error
    finally:
        await close_markets()
    needs = needs_for(work.profile)
    return Tried(facts=facts, needs=needs, took_ms=round((time.perf_counter() - started) * 1000))


def needs_for(profile: Profile | None) -> Needs:
    """Return what a profile, and the models beside it, ask the market for."""
    if profile is None:
        return Needs()
    core, extra = profile.bars_needed(), _model_needs().bars_needed()
    return Needs(
        candles={key: max(core.get(key, 0), extra.get(key, 0)) for key in sorted({*core, *extra})},
        core=frozenset(profile.timeframes),
        book=bool(profile.book_imbalance_pct),
        derivatives=bool(profile.derivatives),
    )


def _model_needs() -> ModelNeeds:
    return needs_of(
        settings.AI_MODELS,
        ensemble_timeframe=settings.ENSEMBLE_TIMEFRAME,
        primary_timeframe=settings.PRIMARY_TIMEFRAME,
    )


def record_enrichments(*, gathered: Sequence[Gathered], now: datetime) -> None:
    """Freeze facts and send their signals on; a gate that refused turns its signal away.

    Signals that were closed meanwhile are left alone.
    """
    passed = [each for each in gathered if each.facts.refused_by is None]
    moved = signals.mark_enriched(event_ids=[each.signal.event_id for each in passed])
    enriched = [
        Enriched(signal=each.signal, enrichment=_frozen(each, now=now))
        for each in passed
        if each.signal.event_id in moved
    ]
    turned_away = [each for each in gathered if _turn_away(each, now=now)]
    insert(
        [each.enrichment for each in enriched] + [_frozen(each, now=now) for each in turned_away]
    )
    for each in enriched:
        each.signal.status = SignalStatus.ENRICHED
        _note(each, now=now)
    if enriched:
        pipeline.announce("signals.enriched", enriched=enriched, now=now)


def _turn_away(each: Gathered, *, now: datetime) -> bool:
    """Reject a signal that a gate refused; say whether it was still there to be rejected."""
    refused, event_id = each.facts.refused_by, each.signal.event_id
    if refused is None or not signals.advance(
        event_id=event_id,
        to=SignalStatus.REJECTED,
        now=now,
        reason=refused.reason(),
        frm=(SignalStatus.ENQUEUED,),
    ):
        return False
    reason = refused.reason()
    pipeline.record(trace=event_id, verb="REJECTED", actor=ACTOR, at=now, run=each.run, **reason)
    return True


def _note(each: Enriched, *, now: datetime) -> None:
    facts = each.enrichment
    pipeline.record(
        trace=facts.event_id,
        verb="ENRICHED",
        actor=ACTOR,
        at=now,
        run=facts.run,
        profile=f"{facts.profile} v{facts.profile_version}",
        provider=facts.provider,
        simulated=facts.simulated,
        duration_ms=facts.duration_ms,
        flags={kind: len(paths) for kind, paths in facts.quality_flags.items()},
        payload_sha256=facts.payload_sha256,
    )


def _frozen(each: Gathered, *, now: datetime) -> Enrichment:
    """Return the row that keeps the facts; it is not stored yet."""
    facts = each.facts
    return Enrichment(
        event_id=each.signal.event_id,
        run=each.run,
        profile=facts.profile,
        profile_version=facts.profile_version,
        policy_version=facts.policy_version,
        provider=facts.provider,
        simulated=facts.simulated,
        as_of=facts.as_of,
        payload=facts.payload,
        payload_sha256=payload.sha256_of(facts.payload),
        facts=dict(facts.facts),
        facts_sha256=payload.sha256_of(payload.canonical(dict(facts.facts))),
        constraints=dict(facts.constraints),
        quality_flags=dict(facts.quality_flags),
        gates=[gate.to_dict() for gate in facts.gates],
        provenance=dict(facts.provenance),
        duration_ms=facts.duration_ms,
        provider_weight=facts.provider_weight,
        created_at=now,
    )


def fail_enrichment(*, run: StageRun, give_up: GiveUp, now: datetime) -> None:
    """Mark a signal as dead whose facts could not be had."""
    reason = {"stage": STAGE, "code": give_up.code, "reason": give_up.reason}
    moved = signals.advance(
        event_id=run.subject,
        to=SignalStatus.DEAD,
        now=now,
        reason=reason,
        frm=(SignalStatus.ENQUEUED,),
    )
    if moved:
        pipeline.record(trace=run.trace, verb="DEAD", actor=ACTOR, at=now, run=run.run, **reason)


def forget_facts(*, event_ids: Sequence[UUID]) -> None:
    """Forget the facts around signals that are being taken away."""
    Enrichment.objects.filter(event_id__in=event_ids).delete()

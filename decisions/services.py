"""Every write of the decisions room: deciding, convening the jury, publishing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial, reduce
from operator import or_
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Max

from decisions import deliberation, jury, ledger, push
from decisions import worth as worths
from decisions.clamp import Advice, History, Needs, clamp
from decisions.deliberation import Judge, Past, Story
from decisions.jury import Vote
from decisions.models import ConfidenceMap, Decision, PublicationHead, VoiceWeights
from decisions.queries import Bench, Made
from decisions.types import (
    CANCELLED,
    COST_UNKNOWN,
    EXPIRED,
    JURY,
    UNGROUNDED,
    Adjustment,
    Calibrated,
    Learnt,
    Terms,
    Voices,
    stated_of,
)
from enrichment.models import Enrichment
from evaluation.models import Evaluation
from evaluation.queries import Judged
from evaluation.types import Action, EvaluationStatus
from pipeline import anchors, queue, tracing
from pipeline import services as pipeline
from pipeline.models import StageRun
from pipeline.parsing import decimal_text
from pipeline.prepared import Prepared
from pipeline.queries import is_paused, requests_of
from pipeline.stage import Finished
from pipeline.statements import insert, update_each
from pipeline.types import Batch, GiveUp, SwitchName
from signals import queries as signals_queries
from signals import services as signals
from signals.models import Signal
from signals.types import Direction, Origin, SignalStatus

STAGE = "jury"
MADE = "decisions.made"
HEAD: Prepared[PublicationHead] = Prepared(
    lambda _: PublicationHead.objects.select_for_update().filter(id=1)
)


@dataclass(frozen=True, slots=True)
class Known:
    """What a batch is decided by beside its facts, read once for all of it."""

    maps: Mapping[Judge, Sequence[Learnt]]
    voices: Mapping[str, Voices]
    past: Past


@dataclass(frozen=True, slots=True)
class Fresh:
    """Decisions of one moment that are not stored yet."""

    decisions: tuple[Decision, ...]
    at: datetime


def summon_jury(*, signals: Sequence[Signal], now: datetime) -> None:
    """Set the hour at which the jury rules with whoever has voted by then."""
    due_at = now + timedelta(milliseconds=settings.JURY_DEADLINE_MS)
    pipeline.open_runs(
        pipeline.Opening(
            stage=STAGE,
            subject=signal.event_id,
            trace=signal.event_id,
            run=signal.run,
            attempts_max=settings.LEASE_LOSSES_MAX,
            due_at=due_at,
        )
        for signal in signals
    )


def decide(*, judged: Sequence[Judged], now: datetime) -> None:
    """Turn finished evaluations into decisions, and see which signals are done with.

    The signals' rows are held until the commit, so that of two models that finish together one
    sees the other. What was decided is published before the commit, if it may be.
    """
    held = signals_queries.hold(ids={each.evaluation.signal_id for each in judged})
    live = [each for each in judged if _is_awaited(held.get(each.evaluation.signal_id), each)]
    if not live:
        return
    benches = {
        each.evaluation.signal_id: Bench(
            signal=held[each.evaluation.signal_id], enrichment=each.enrichment
        )
        for each in live
    }
    models = {each.evaluation.model for each in live}
    known = _known(list(benches.values()), models=models, now=now)
    decided = [each for each in live if each.evaluation.status == EvaluationStatus.DECIDED]
    made = [_decided(benches[each.evaluation.signal_id], each, known, now=now) for each in decided]
    made += _deliberate(list(benches.values()), made, known, now=now)
    _bring_out(made, now=now)


def _known(benches: Sequence[Bench], *, models: Collection[str], now: datetime) -> Known:
    """Return what these models and the jury are held to; of what is replayed, nothing."""
    live = [bench for bench in benches if bench.signal.origin == Origin.LIVE]
    learning = [bench for bench in benches if bench.signal.origin != Origin.REPLAY]
    seats = {(model, bench.signal.symbol) for bench in live for model in (*models, JURY)}
    needs = reduce(or_, (Needs.of(bench.enrichment.constraints) for bench in live), Needs())
    return Known(
        maps=deliberation.list_maps(scopes={bench.scope for bench in learning}, models=models),
        voices=deliberation.list_voices(scopes={bench.scope for bench in benches}),
        past=deliberation.get_past(seats=seats, needs=needs, now=now),
    )


def _bring_out(made: Sequence[Made], *, now: datetime) -> None:
    """Say that decisions were made, and have them stored and published before the commit."""
    if made:
        pipeline.announce(MADE, made=made, now=now)
    decisions = tuple(each.decision for each in made)
    pipeline.at_end(work=publish_made, item=Fresh(decisions, now))


def _is_awaited(signal: Signal | None, judged: Judged) -> bool:
    if signal is None or signal.status != SignalStatus.ENRICHED:
        return False
    return signal.run == judged.evaluation.run


def _deliberate(
    benches: Sequence[Bench], made: Sequence[Made], known: Known, *, now: datetime
) -> list[Made]:
    """Let the jury rule where everybody has answered, and where it has ruled before."""
    rows = [bench.signal for bench in benches]
    unfinished = deliberation.list_unfinished(signals=rows)
    waiting = unfinished - deliberation.list_ruled(signals=rows)
    due = [bench for bench in benches if bench.signal.id not in waiting]
    stories = deliberation.list_stories(
        signals=[bench.signal for bench in due], made=[each.decision for each in made]
    )
    rulings = [_ruling(bench, stories[bench.signal.id], known, now=now) for bench in due]
    ended = [bench.signal for bench in due if bench.signal.id not in unfinished]
    _conclude([(signal, len(stories[signal.id].members)) for signal in ended], now=now)
    return [each for each in rulings if each is not None]


def _decided(bench: Bench, judged: Judged, known: Known, *, now: datetime) -> Made:
    """Return what follows from one model's verdict under what was learnt of it and the policy."""
    evaluation, meta = judged.evaluation, _meta(judged)
    verdict: Mapping[str, Any] = evaluation.verdict or {}
    worth = worths.calibrated(
        action=verdict["action"],
        confidence=float(verdict["confidence"]),
        learnt=worths.own_or_common(
            known.maps.get((bench.scope, evaluation.model), ()),
            prompt_version=meta["prompt_version"] or "",
            source=bench.signal.source,
        ),
    )
    advice, held_back = worths.gated(
        Advice(
            action=Action(verdict["action"]),
            size_pct=float(verdict["size_pct"]),
            entry_plan=verdict["entry_plan"],
            risk_plan=verdict["risk_plan"],
        ),
        p=worth.p,
        terms=bench.terms,
        margin=_margin(),
    )
    spoken = str(advice.action)
    advice, adjustments = _within_policy(bench, advice, known, model=evaluation.model, now=now)
    decision = Decision(
        **_common(bench, advice, [*held_back, *adjustments], now=now),
        model=evaluation.model,
        confidence=_confidence(spoken, worth, stated=verdict, is_held=bool(held_back)),
        confidence_raw=verdict["confidence"],
        calibration=worth.by,
        economics=worths.economics_of(worth, bench.terms),
        reasons=list(verdict["reasons"]),
        invalidation=verdict["invalidation"],
        model_meta=meta,
    )
    return _made(bench, decision, known)


def _made(bench: Bench, decision: Decision, known: Known) -> Made:
    """Let later decisions of the same batch be held against this one."""
    if bench.signal.origin == Origin.LIVE:
        known.past.add(decision, direction=bench.signal.direction)
    return Made(decision=decision, bench=bench)


def _confidence(
    action: str, worth: Calibrated, *, stated: Mapping[str, Any], is_held: bool
) -> float:
    """Return how probable it is that an action is right; as stated while nothing changes it."""
    if worth.by is None and not is_held:
        return float(stated["confidence"])
    return worths.confidence_of(action=action, p=worth.p)


def _margin() -> float | None:
    """Return what a probability must have beyond break-even, None while the gate is off."""
    return settings.BREAK_EVEN_MARGIN if settings.BREAK_EVEN_GATE else None


def _within_policy(
    bench: Bench, advice: Advice, known: Known, *, model: str, now: datetime
) -> tuple[Advice, list[Adjustment]]:
    signal, history = bench.signal, History()
    if signal.origin == Origin.LIVE:
        history = known.past.history(model=model, symbol=signal.symbol, now=now)
    return clamp(
        advice,
        constraints=bench.enrichment.constraints,
        history=history,
        side=Direction(signal.direction).side,
        entry_price=float(signal.entry_price),
    )


def _common(
    bench: Bench, advice: Advice, adjustments: list[Adjustment], *, now: datetime
) -> dict[str, Any]:
    signal = bench.signal
    return {
        "signal": signal,
        "event_id": signal.event_id,
        "run": signal.run,
        "origin": signal.origin,
        "simulated": bench.enrichment.simulated,
        "symbol": signal.symbol,
        "event_type": signal.event_type,
        "source": signal.source,
        "decision": str(advice.action),
        "entry_plan": advice.entry_plan,
        "risk_plan": advice.risk_plan,
        "size_pct": advice.size_pct,
        "policy_adjustments": [adjustment.as_json() for adjustment in adjustments],
        "expires_at": signal.expires_at,
        "evaluated_at": now,
    }


def _meta(judged: Judged) -> dict[str, Any]:
    evaluation, attempt = judged.evaluation, judged.attempt
    is_language = bool(attempt and attempt.prompt_sha256)
    return {
        "model_name": evaluation.model,
        "model_version": evaluation.model_version,
        "evaluation_id": str(evaluation.id),
        "latency_ms": round(evaluation.latency_ms or 0.0, 3),
        "status": "SUCCESS",
        "tokens_used": judged.tokens if is_language else None,
        "cost_usd": decimal_text(evaluation.cost_usd),
        "prompt_version": (attempt and attempt.prompt_version) or None,
        "prompt_hash": (attempt and attempt.prompt_sha256) or None,
        "grounding_score": evaluation.grounding_score,
        "flags": list(_flags(evaluation)) if is_language else [],
        "calibration": None,
    }


def _flags(evaluation: Evaluation) -> Iterator[str]:
    """Yield what a reader should know before trusting a language model's decision."""
    if evaluation.cost_usd is None:
        yield COST_UNKNOWN
    score = evaluation.grounding_score
    if score is not None and score < settings.GROUNDING_FLOOR:
        yield UNGROUNDED


def _conclude(ended: Sequence[tuple[Signal, int]], *, now: datetime) -> None:
    """Close the judging of signals: every model has decided or abstained."""
    if not ended:
        return
    pipeline.skip_runs(
        traces=[signal.event_id for signal, _ in ended],
        reason="all models answered",
        stages=[STAGE],
    )
    signals.mark_evaluated(event_ids=[signal.event_id for signal, votes in ended if votes])
    for signal, votes in ended:
        if not votes:
            _give_up(signal, now=now)
            continue
        pipeline.record(
            trace=signal.event_id,
            verb="EVALUATED",
            actor="lens",
            at=now,
            run=signal.run,
            decided=votes,
            asked=len(settings.AI_MODELS),
        )


def _give_up(signal: Signal, *, now: datetime) -> None:
    """Close a signal that nobody could judge; if it was replayed, that is a finding, no work."""
    causes = deliberation.list_abstentions(signal=signal)
    reason = "no model gave a verdict: " + "; ".join(causes)
    if signal.origin != Origin.REPLAY:
        run = StageRun(
            stage=STAGE, subject=signal.event_id, trace=signal.event_id, run=signal.run, attempts=1
        )
        pipeline.bury(run=run, result=GiveUp(reason, code="NO_VERDICT"), at=now)
    kill(signal=signal, code="NO_VERDICT", reason=reason, now=now)


def kill(*, signal: Signal, code: str, reason: str, now: datetime) -> None:
    """Close a signal that nothing can be made of."""
    details = {"code": code, "reason": reason}
    if signals.advance(event_id=signal.event_id, to=SignalStatus.DEAD, now=now, reason=details):
        pipeline.record(
            trace=signal.event_id, verb="DEAD", actor="lens", at=now, run=signal.run, **details
        )


def convene_juries(batch: Sequence[Finished], now: datetime) -> None:
    """Rule at the deadline with whoever has voted; who comes later may bring a revision."""
    for item in batch:
        _convene(event_id=item.claim.subject, now=now)


def _convene(*, event_id: UUID, now: datetime) -> None:
    signal = Signal.objects.select_for_update().get(event_id=event_id)
    if signal.status != SignalStatus.ENRICHED:
        return
    enrichment = Enrichment.objects.get(event_id=event_id, run=signal.run)
    bench = Bench(signal=signal, enrichment=enrichment)
    story = deliberation.list_stories(signals=[signal])[signal.id]
    known = _known([bench], models=(), now=now)
    ruling = _ruling(bench, story, known, now=now)
    _bring_out([] if ruling is None else [ruling], now=now)


def fail_jury(run: StageRun, failure: GiveUp, now: datetime) -> None:
    """Leave the ruling to the last model's answer: nothing else hangs on the deadline."""
    del run, failure, now


def _ruling(bench: Bench, story: Story, known: Known, *, now: datetime) -> Made | None:
    """Return the jury's ruling if it is the first or differs from the last."""
    ruling = jury.rule(
        [_vote(decision) for decision in story.members],
        event_type=bench.signal.event_type,
        asked=settings.AI_MODELS,
        quorum_pct=settings.JURY_QUORUM_PCT,
        voices=known.voices.get(bench.scope),
        threshold=_threshold(bench.terms),
    )
    last = story.rulings[-1] if story.rulings else None
    if ruling is None or (last is not None and last.decision == ruling.action):
        return None
    lead = next((each for each in story.members if each.decision == ruling.action), None)
    advice, adjustments = _within_policy(
        bench,
        Advice(
            action=Action(ruling.action),
            size_pct=ruling.size_pct,
            entry_plan=lead.entry_plan if lead else None,
            risk_plan=lead.risk_plan if lead else None,
        ),
        known,
        model=JURY,
        now=now,
    )
    decision = Decision(
        **_common(bench, advice, adjustments, now=now),
        model=JURY,
        revision=1 if last is None else last.revision + 1,
        confidence=ruling.confidence,
        confidence_raw=ruling.confidence_raw,
        economics=worths.economics_of(Calibrated(p_raw=ruling.p_raw, p=ruling.p), bench.terms),
        reasons=list(ruling.reasons) or ["no_trend"],
        model_meta=_jury_meta(took=now - bench.enrichment.created_at),
        jury={**ruling.tally, "decisions": _participants(story.members)},
    )
    return _made(bench, decision, known)


def _participants(members: Sequence[Decision]) -> list[dict[str, str]]:
    return [
        {"id": str(member.id), "model": member.model, "decision": member.decision}
        for member in members
    ]


def _jury_meta(*, took: timedelta) -> dict[str, Any]:
    return {
        "model_name": JURY,
        "model_version": "pool-1",
        "latency_ms": round(took.total_seconds() * 1000, 3),
        "status": "SUCCESS",
        "tokens_used": None,
        "cost_usd": None,
        "prompt_version": None,
        "prompt_hash": None,
        "grounding_score": None,
        "flags": [],
        "calibration": None,
    }


def _threshold(terms: Terms | None) -> float | None:
    """Return the probability from which the jury enters, if a bet and its break-even are known."""
    needed, margin = worths.break_even_of(terms), _margin()
    return None if needed is None or margin is None else needed + margin


def install(
    *,
    scope: str,
    maps: Sequence[Learnt],
    weights_version: int,
    weights: Mapping[str, Any],
    effective_models: float | None,
    now: datetime,
) -> None:
    """Put what was learnt of the models in force, all of it at once, for decisions from now on."""
    rows = [
        ConfidenceMap(
            scope=scope,
            model=each.model,
            prompt_version=each.prompt_version,
            source=each.source,
            version=each.version,
            n=each.n,
            knots=[list(knot) for knot in each.knots],
            installed_at=now,
        )
        for each in maps
    ]
    with transaction.atomic():
        ConfidenceMap.objects.filter(scope=scope).delete()
        ConfidenceMap.objects.bulk_create(rows)
        VoiceWeights.objects.update_or_create(
            scope=scope,
            defaults={
                "version": weights_version,
                "weights": dict(weights),
                "effective_models": effective_models,
                "installed_at": now,
            },
        )


def _vote(decision: Decision) -> Vote:
    p_raw, p = stated_of(
        action=decision.decision,
        confidence=decision.confidence,
        confidence_raw=decision.confidence_raw,
        economics=decision.economics,
        adjustments=decision.policy_adjustments,
    )
    return Vote(
        model=decision.model,
        action=Action(decision.decision),
        confidence=decision.confidence,
        p=p,
        p_raw=p_raw,
        size_pct=decision.size_pct,
        reasons=tuple(decision.reasons),
    )


def publish(*, now: datetime, limit: int) -> int | None:
    """Number what waits to be published, in one transaction; return the new head.

    None means that nothing was published. Whoever holds the head's row numbers; a second
    publisher waits for it and then finds nothing left. A decision whose signal is no longer
    valid, or was cancelled, is withheld: stale advice must not come out as fresh. While operators
    have paused publishing everything waits unnumbered.
    """
    if not deliberation.has_unpublished() or is_paused(SwitchName.PUBLISHING):
        return None
    with transaction.atomic():
        waiting = {each.event_id for each in deliberation.list_unpublished(limit=limit)}
        with tracing.requests(requests_of(traces=waiting)), pipeline.trail():
            return _publish(now=now, limit=limit)


def publish_made(fresh: Sequence[Fresh]) -> None:
    """Store decisions with their numbers in the transaction that made them.

    They are announced once it commits. Whatever waits goes before them, so that nothing that was
    made later comes out earlier.
    """
    made = [decision for each in fresh for decision in each.decisions]
    if is_paused(SwitchName.PUBLISHING):
        insert(made)
        return
    now = max(each.at for each in fresh)
    head = _publish(now=now, limit=settings.PUBLISH_BATCH, made=made)
    if head is not None:
        transaction.on_commit(partial(push.announce, head), robust=True)


def _publish(*, now: datetime, limit: int, made: Sequence[Decision] = ()) -> int | None:
    counter = _head()
    before = counter.head
    waiting = deliberation.list_unpublished(limit=limit)
    for decision in waiting:
        _number(decision, counter, now=now)
    update_each(waiting, fields=("seq", "published_at", "withheld"))
    are_more = len(waiting) == limit
    if not are_more:
        for decision in sorted(made, key=_turn):
            _number(decision, counter, now=now)
    insert(made)
    _enter_in_ledger([each for each in (*waiting, *made) if each.published_at], now=now)
    anchors.reserve(upto=counter.head, at=now)
    if counter.head > before:
        update_each([counter], fields=("head",))
    _finish_publications(now=now, limit=limit)
    if are_more:
        queue.ring_after_commit(pipeline.PUBLISH)
    return counter.head if counter.head > before else None


def _turn(decision: Decision) -> tuple[datetime, bool, str]:
    """Return what puts decisions in the order of their numbers: a ruling comes after its votes."""
    return decision.evaluated_at, decision.model == JURY, decision.model


def _head() -> PublicationHead:
    """Return the head's row, held; the first publication makes it."""
    for head in HEAD.rows():
        return cast(PublicationHead, head)
    return PublicationHead.objects.select_for_update().get_or_create(id=1)[0]


def _number(decision: Decision, counter: PublicationHead, *, now: datetime) -> None:
    if decision.signal.status == SignalStatus.CANCELLED:
        decision.withheld = CANCELLED
        return
    if decision.expires_at is not None and decision.expires_at < now:
        decision.withheld = EXPIRED
        return
    decision.published_at = now
    if decision.origin != Origin.REPLAY:
        counter.head += 1
        decision.seq = counter.head


def _enter_in_ledger(published: Sequence[Decision], *, now: datetime) -> None:
    """Put the hash of what is published into the trail, before anybody can know how it ends."""
    if published:
        pipeline.record(
            trace=None,
            verb=ledger.LEDGER,
            actor="publisher",
            at=now,
            fields=ledger.FIELDS,
            decisions=ledger.entries(published),
        )


def _finish_publications(*, now: datetime, limit: int) -> None:
    """Close the signals whose every decision is out."""
    concluded = signals_queries.hold_evaluated(limit=limit)
    waiting, withheld = deliberation.list_not_out(event_ids=[row.event_id for row in concluded])
    for event_id in withheld - waiting:
        signals.expire(event_id=event_id, now=now)
    out = [signal for signal in concluded if signal.event_id not in waiting | withheld]
    signals.mark_published(signals=out, now=now)


def note_purged(*, batch: Batch, now: datetime) -> None:
    """Remember up to where numbers are no longer all stored, so that the feed can tell."""
    del now
    numbered = Decision.objects.filter(signal_id__in=batch.signals)
    last = numbered.aggregate(last=Max("seq"))["last"]
    if last is not None:
        PublicationHead.objects.filter(complete_from__lte=last).update(complete_from=last + 1)


def go_on_above(*, seq: int) -> None:
    """Never give a number up to ``seq`` again; what lies between is told as a gap."""
    counter = _head()
    counter.head = max(counter.head, seq)
    counter.complete_from = counter.head + 1
    counter.save(update_fields=["head", "complete_from"])

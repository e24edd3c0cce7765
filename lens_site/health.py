"""Is the house alive, and can it do its work."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse

from decisions import queries as decisions
from evaluation import queries as evaluation
from lens_site import draining, migrating
from markets import queries as markets
from markets.types import CircuitPhase
from pipeline import queries as pipeline
from pipeline import queue
from pipeline.logs import masked
from pipeline.models import Heartbeat
from pipeline.parsing import time_text
from signals import queries as signals

Check = dict[str, Any]
UNVERIFIED_MAX = timedelta(days=2)


def health(request: HttpRequest) -> JsonResponse:
    """Answer as long as this process runs."""
    del request
    return JsonResponse(
        {"status": "ok", "version": settings.VERSION, "time": time_text(datetime.now(UTC))}
    )


def ready(request: HttpRequest) -> JsonResponse:
    """Answer 200 when signals can be accepted and judged, else 503; names each dependency.

    What is not ``fatal`` costs quality or time, not signals: a balancer should go on sending here.
    """
    del request
    now = datetime.now(UTC)
    checks = {
        name: {**_checked(check, now=now), "fatal": name in FATAL} for name, check in CHECKS.items()
    }
    failing = [name for name, check in checks.items() if not check["ok"]]
    ok = not FATAL & set(failing)
    body = {
        "status": "ready" if ok else "not ready",
        "degraded": [name for name in failing if name not in FATAL],
        "time": time_text(now),
        "checks": checks,
        "work": _checked(_work, now=now) if checks["database"]["ok"] else None,
        "models": list(settings.AI_MODELS),
        "market": settings.PROVIDER_PRIMARY,
    }
    return JsonResponse(body, status=200 if ok else 503)


def _checked(check: Callable[[datetime], Check], *, now: datetime) -> Check:
    started = time.perf_counter()
    try:
        found = check(now)
    except DatabaseError as error:
        found = {"ok": False, "why": type(error).__name__}
    return {**found, "took_ms": round((time.perf_counter() - started) * 1000, 1)}


def _process(now: datetime) -> Check:
    del now
    if draining.is_stopping():
        return {"ok": False, "why": "this web process is about to stop"}
    return {"ok": True}


def _database(now: datetime) -> Check:
    del now
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return {"ok": True, "engine": connection.vendor}


def _migrations(now: datetime) -> Check:
    del now
    waiting = migrating.count_waiting()
    if waiting:
        return {"ok": False, "why": f"{waiting} migrations wait; run ./lens manage migrate"}
    return {"ok": True}


def _redis(now: datetime) -> Check:
    """Tell of Redis, which nothing that was accepted depends on: without it work is slower."""
    del now
    if queue.is_answering():
        return {"ok": True}
    return {
        "ok": False,
        "why": "no answer; signals are still accepted and judged, a second or so later",
    }


def _workers(now: datetime) -> Check:
    return _programs("worker", now=now)


def _conductor(now: datetime) -> Check:
    return _programs("conductor", now=now)


def _programs(kind: str, *, now: datetime) -> Check:
    alive = [
        beat
        for beat in pipeline.list_heartbeats()
        if beat.kind == kind and now - beat.seen_at < Heartbeat.STALE_AFTER
    ]
    if not alive:
        return {"ok": False, "why": f"no {kind} has reported for 15 s; is it running?"}
    oldest = max((now - beat.seen_at).total_seconds() for beat in alive)
    return {"ok": True, "alive": len(alive), "last_seen_s": round(oldest, 1)}


def _work(now: datetime) -> Check:
    unfinished, age = signals.get_backlog(now=now)
    depths = pipeline.list_depths()
    return {
        "unfinished_signals": unfinished,
        "oldest_queued_s": round(age.total_seconds(), 1),
        "waiting": {depth.stage: depth.waiting for depth in depths},
        "dead_letters_open": pipeline.count_open_letters(),
        "head_seq": decisions.get_head(),
    }


def _backlog(now: datetime) -> Check:
    """Tell whether intake refuses new signals because too many are unfinished."""
    unfinished, age = signals.get_backlog(now=now)
    oldest_s = round(age.total_seconds(), 1)
    found = {"unfinished_signals": unfinished, "oldest_queued_s": oldest_s}
    if unfinished > settings.BACKLOG_MAX_SIGNALS:
        return {"ok": False, "why": "too many signals are unfinished; new ones get 429", **found}
    if oldest_s > settings.BACKLOG_MAX_AGE_S:
        return {"ok": False, "why": "the oldest signal waits too long; new ones get 429", **found}
    return {"ok": True, **found}


def _disk(now: datetime) -> Check:
    """Tell of the space where Lens keeps its files; without any nothing can be stored."""
    del now
    place = settings.VAR_DIR if settings.VAR_DIR.exists() else settings.BASE_DIR
    free_mb = shutil.disk_usage(place).free // 1_000_000
    if free_mb < settings.DISK_FREE_MIN_MB:
        why = f"only {free_mb} MB are free; {settings.DISK_FREE_MIN_MB} are wanted"
        return {"ok": False, "why": why, "free_mb": free_mb}
    return {"ok": True, "free_mb": free_mb}


def _clock(now: datetime) -> Check:
    """Compare this clock with the database's, by which leases and waits are measured."""
    del now
    offset_s = (datetime.now(UTC) - pipeline.database_now()).total_seconds()
    found = {"offset_s": round(offset_s, 3)}
    if abs(offset_s) > settings.CLOCK_OFFSET_MAX_S:
        return {
            "ok": False,
            "why": "this clock and the database's differ; set them by NTP",
            **found,
        }
    return {"ok": True, **found}


def _market(now: datetime) -> Check:
    """Tell whether the market-data provider in use is left alone after faults."""
    del now
    name = settings.PROVIDER_PRIMARY
    state = next((each for each in markets.provider_states() if each.name == name), None)
    if state is None or state.phase is CircuitPhase.CLOSED:
        return {"ok": True}
    return {"ok": False, "why": f"{name} is left alone: {masked(state.reason) or 'it failed'}"}


def _models(now: datetime) -> Check:
    """Tell which models are switched off or left alone after faults."""
    out = [
        state.name
        for state in evaluation.list_model_states()
        if not state.is_enabled or (state.open_until is not None and state.open_until > now)
    ]
    return {"ok": False, "why": f"not asked: {', '.join(out)}"} if out else {"ok": True}


def _switches(now: datetime) -> Check:
    """Tell what operators have paused."""
    del now
    paused = [f"{each.name} ({each.reason})" for each in pipeline.list_paused()]
    return {"ok": False, "why": f"paused: {', '.join(paused)}"} if paused else {"ok": True}


def _audit(now: datetime) -> Check:
    """Tell what the last reading of the whole trail found, and whether there was one lately."""
    chain = pipeline.get_chain()
    if chain is None or chain.verified_at is None:
        return {"ok": True}
    found = {"verified_at": time_text(chain.verified_at), "findings": len(chain.findings)}
    if chain.findings:
        return {"ok": False, "why": "the trail is not whole; run ./lens audit verify", **found}
    if now - chain.verified_at > UNVERIFIED_MAX and settings.AUDIT_VERIFY_AT != "never":
        return {"ok": False, "why": "the trail was not verified for two days", **found}
    return {"ok": True, **found}


CHECKS: dict[str, Callable[[datetime], Check]] = {
    "process": _process,
    "database": _database,
    "migrations": _migrations,
    "redis": _redis,
    "workers": _workers,
    "conductor": _conductor,
    "backlog": _backlog,
    "disk": _disk,
    "clock": _clock,
    "market": _market,
    "models": _models,
    "switches": _switches,
    "audit": _audit,
}
FATAL = frozenset({"process", "database", "migrations", "workers", "conductor", "disk"})
"""Without these, signals cannot be stored or are not judged."""

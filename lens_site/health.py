"""Is the house alive, and can it do its work."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse

from decisions import queries as decisions
from pipeline import queries as pipeline
from pipeline import queue
from pipeline.models import Heartbeat
from pipeline.parsing import time_text
from signals import queries as signals

Check = dict[str, Any]


def health(request: HttpRequest) -> JsonResponse:
    """Answer as long as this process runs."""
    del request
    return JsonResponse(
        {"status": "ok", "version": settings.VERSION, "time": time_text(datetime.now(UTC))}
    )


def ready(request: HttpRequest) -> JsonResponse:
    """Answer 200 when signals can be accepted and judged, else 503; names each dependency."""
    del request
    now = datetime.now(UTC)
    checks = {
        "database": _checked(_database),
        "migrations": _checked(_migrations),
        "redis": _redis(),
        "workers": _checked(lambda: _programs("worker", now=now)),
        "conductor": _checked(lambda: _programs("conductor", now=now)),
    }
    ok = all(check["ok"] for name, check in checks.items() if name != "redis")
    body = {
        "status": "ready" if ok else "not ready",
        "time": time_text(now),
        "checks": checks,
        "work": _checked(lambda: _work(now=now)) if checks["database"]["ok"] else None,
        "models": list(settings.AI_MODELS),
        "market": settings.PROVIDER_PRIMARY,
    }
    return JsonResponse(body, status=200 if ok else 503)


def _checked(check: Callable[[], Check]) -> Check:
    started = time.perf_counter()
    try:
        found = check()
    except DatabaseError as error:
        found = {"ok": False, "why": type(error).__name__}
    return {**found, "took_ms": round((time.perf_counter() - started) * 1000, 1)}


def _database() -> Check:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return {"ok": True, "engine": connection.vendor}


def _migrations() -> Check:
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        return {"ok": False, "why": f"{len(missing)} migrations wait; run ./lens manage migrate"}
    return {"ok": True}


def _redis() -> Check:
    """Tell of Redis, which nothing that was accepted depends on: without it work is slower."""
    started = time.perf_counter()
    answered = queue.is_answering()
    took_ms = round((time.perf_counter() - started) * 1000, 1)
    if answered:
        return {"ok": True, "took_ms": took_ms}
    why = "no answer; signals are still accepted and judged, a second or so later"
    return {"ok": False, "why": why, "took_ms": took_ms}


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


def _work(*, now: datetime) -> Check:
    unfinished, age = signals.get_backlog(now=now)
    depths = pipeline.list_depths()
    return {
        "unfinished_signals": unfinished,
        "oldest_queued_s": round(age.total_seconds(), 1),
        "waiting": {depth.stage: depth.waiting for depth in depths},
        "dead_letters_open": pipeline.count_open_letters(),
        "head_seq": decisions.get_head(),
    }

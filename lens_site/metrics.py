"""``/metrics``: everything that is measured, in Prometheus' text form.

What has been counted comes from stored rows, what is the case now from short queries over partial
indexes; neither grows with the number of signals. ``CATALOGUE`` names every metric there is.
"""

from __future__ import annotations

import hmac
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from access import services as access
from access.auth import address_of, key_in
from access.types import Scope, TooManyWrongKeys, Unauthorized
from decisions import queries as decisions
from decisions.feed import SEATS
from evaluation import queries as evaluation
from evaluation.types import ALL_MODELS
from lens_site import metering
from lens_site.errors import not_found, plain_problem
from markets import queries as markets
from markets.types import CircuitPhase
from outcomes import queries as outcomes
from outcomes.types import ALERT_KINDS
from pipeline import metrics as meters
from pipeline import queries as pipeline
from pipeline import queue
from pipeline.models import Heartbeat
from signals import queries as signals

TEXT = "text/plain; version=0.0.4; charset=utf-8"
LOOPBACK = frozenset({"127.0.0.1", "::1"})

Samples = Iterable[tuple[Mapping[str, str], float]]


class Kind(StrEnum):
    """What Prometheus may do with the numbers of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Described:
    """One metric: its kind, its labels and what it tells."""

    kind: Kind
    labels: tuple[str, ...]
    text: str


def _counter(text: str, *labels: str) -> Described:
    return Described(Kind.COUNTER, labels, text)


def _gauge(text: str, *labels: str) -> Described:
    return Described(Kind.GAUGE, labels, text)


def _histogram(text: str, *labels: str) -> Described:
    return Described(Kind.HISTOGRAM, labels, text)


CATALOGUE: Mapping[str, Described] = {
    "lens_app_info": _gauge(
        "1; the labels tell what runs here.", "version", "feature_profile", "provider", "ai_models"
    ),
    "lens_signals_received_total": _counter("Signals stored.", "origin", "event_type"),
    "lens_signals_enqueued_total": _counter(
        "Signals whose first work was opened; one that is retried counts again.", "origin"
    ),
    "lens_signals_enriched_total": _counter("Signals with frozen facts.", "profile", "origin"),
    "lens_signals_rejected_total": _counter("Signals that a gate refused.", "origin", "reason"),
    "lens_signals_evaluated_total": _counter(
        "Answers and abstentions of models on signals.", "model", "outcome"
    ),
    "lens_signals_published_total": _counter(
        "Signals whose every decision has come out.", "origin"
    ),
    "lens_signals_finished_total": _counter("Signals that came to an end.", "origin", "status"),
    "lens_decisions_published_total": _counter("Decisions that were given a number."),
    "lens_dlq_entries_total": _counter("Dead letters filed.", "stage", "code"),
    "lens_enrichment_flags_total": _counter("Facts that were flagged, by the flag.", "kind"),
    "lens_enrichment_duration_seconds": _histogram("Time to gather the facts.", "profile"),
    "lens_model_evaluation_duration_seconds": _histogram(
        "Time that a model took over one signal, retries included.", "model"
    ),
    "lens_end_to_end_duration_seconds": _histogram(
        "Time from receiving a signal until its last decision was out; first runs, no replays."
    ),
    "lens_model_calls_total": _counter("Calls of models, by how they ended.", "model", "status"),
    "lens_model_call_duration_seconds": _histogram("Time that one call took.", "model"),
    "lens_model_errors_total": _counter(
        "Evaluations that ended without a verdict.", "model", "error_type"
    ),
    "lens_model_tokens_total": _counter("Tokens that calls used.", "model", "direction"),
    "lens_model_cost_usd_total": _counter("What calls cost, where it is known.", "model"),
    "lens_metrics_behind": _gauge(
        "Rows that wait to be counted; the counts above lag by them.", "table"
    ),
    "lens_queue_depth": _gauge("Work that is due.", "queue"),
    "lens_queue_oldest_seconds": _gauge("Age of the oldest work that is due.", "queue"),
    "lens_pending_enrichment": _gauge("Signals that wait for their facts."),
    "lens_pending_evaluation": _gauge("Evaluations that wait for a model."),
    "lens_signals_unfinished": _gauge("Signals that have not come to an end; no replays."),
    "lens_signals_oldest_seconds": _gauge("Age of the oldest signal without facts."),
    "lens_decisions_unpublished": _gauge("Decisions that wait for their number."),
    "lens_dlq_open": _gauge("Dead letters that wait for an operator.", "stage"),
    "lens_worker_heartbeat_timestamp": _gauge(
        "Last sign of life of the liveliest program of a kind, unix seconds.", "worker_type"
    ),
    "lens_programs_alive": _gauge("Programs that reported within 15 s.", "worker_type"),
    "lens_audit_verified_timestamp": _gauge(
        "When the whole trail was last read again, unix seconds; absent: never."
    ),
    "lens_audit_findings": _gauge(
        "Faults in the trail that were found then; at most 200 are told."
    ),
    "lens_switch_paused": _gauge("1 while an operator has paused it.", "switch"),
    "lens_model_enabled": _gauge("1 while the model may be asked.", "model"),
    "lens_model_breaker_open": _gauge("1 while the model is left alone after faults.", "model"),
    "lens_model_faults_in_row": _gauge("Faults since the model's last good answer.", "model"),
    "lens_model_spent_usd_today": _gauge(
        "Spent and reserved since midnight UTC; `*` is all models.", "model"
    ),
    "lens_model_budget_usd_per_day": _gauge("The day's limit for all models; absent: none."),
    "lens_model_alerts_open": _gauge(
        "Open alerts about models that nobody has acknowledged: drift, bias, a decided experiment.",
        "kind",
    ),
    "lens_provider_circuit_open": _gauge("1 while a provider is not asked.", "provider"),
    "lens_redis_up": _gauge("1 while Redis answers."),
    "lens_database_clock_offset_seconds": _gauge("This clock minus the database's."),
    "lens_disk_free_bytes": _gauge("Free space where Lens keeps its files."),
    "lens_active_websocket_connections": _gauge(
        "Sockets and event streams that this web process holds."
    ),
    "lens_websocket_fanout_duration_seconds": _histogram(
        "Time from numbering a decision until this web process handed it to its subscribers."
    ),
    "lens_http_request_duration_seconds": _histogram(
        "Time that a request took in this web process.", "method", "route", "status"
    ),
    "lens_wrong_keys_total": _counter(
        "Requests to this web process with a key that opens nothing, by whether they were put off.",
        "outcome",
    ),
}


def metrics(request: HttpRequest) -> HttpResponse:
    """Answer a scraper from this machine, with the token, or with a key of scope ``ops``."""
    refusal = _refusal(request)
    if refusal is not None:
        return refusal
    registry = CollectorRegistry()
    registry.register(House(now=datetime.now(UTC)))
    text = generate_latest(registry) + generate_latest(meters.LOCAL)
    return HttpResponse(text, content_type=TEXT)


def _refusal(request: HttpRequest) -> HttpResponse | None:
    if request.method not in ("GET", "HEAD"):
        return not_found(request)
    presented = key_in(request)
    if not presented:
        if _is_local(request):
            return None
        detail = "Send METRICS_TOKEN as Authorization: Bearer, or a key with the scope ops."
        return plain_problem(request, status=401, code="UNAUTHORIZED", detail=detail)
    token: str = settings.METRICS_TOKEN
    if token and hmac.compare_digest(presented.encode(), token.encode()):
        return None
    return _refused_key(request, presented)


def _is_local(request: HttpRequest) -> bool:
    """Say whether a program on this machine asks; what a proxy passes on never is."""
    if settings.METRICS_TOKEN or "X-Forwarded-For" in request.headers:
        return False
    return request.META.get("REMOTE_ADDR") in LOOPBACK


def _refused_key(request: HttpRequest, presented: str) -> HttpResponse | None:
    try:
        identity = access.authenticate(
            plain=presented, address=address_of(request), now=datetime.now(UTC)
        )
    except (Unauthorized, TooManyWrongKeys) as error:
        status, code = error.http_status, error.code
        return plain_problem(request, status=status, code=code, detail=error.detail)
    if identity.allows(Scope.OPS):
        return None
    detail = "The key lacks the scope ops."
    return plain_problem(request, status=403, code="FORBIDDEN", detail=detail)


class House(Collector):
    """Reads the whole house at one moment."""

    def __init__(self, *, now: datetime) -> None:
        self._now = now

    def collect(self) -> Iterator[Metric]:
        yield from self._counted()
        for read in READERS:
            try:
                found = list(read(self._now))
            except DatabaseError:
                continue
            for name, samples in found:
                yield _family(name, samples)

    def _counted(self) -> Iterator[Metric]:
        try:
            series = meters.list_series()
        except DatabaseError:
            return
        by_name: dict[str, list[meters.Series]] = {}
        for each in series:
            by_name.setdefault(each.name, []).append(each)
        for name, rows in by_name.items():
            yield (
                _histogram_family(name, rows)
                if rows[0].buckets
                else _family(name, [(row.labels, row.total) for row in rows])
            )


def _family(name: str, samples: Samples) -> Metric:
    described = CATALOGUE[name]
    family: CounterMetricFamily | GaugeMetricFamily
    if described.kind is Kind.COUNTER:
        family = CounterMetricFamily(name, described.text, labels=described.labels)
    else:
        family = GaugeMetricFamily(name, described.text, labels=described.labels)
    for labels, value in samples:
        family.add_metric([labels[label] for label in described.labels], value)
    return family


def _histogram_family(name: str, rows: Iterable[meters.Series]) -> Metric:
    described = CATALOGUE[name]
    family = HistogramMetricFamily(name, described.text, labels=described.labels)
    for row in rows:
        labels = [row.labels[label] for label in described.labels]
        family.add_metric(labels, list(row.buckets), row.total)
    return family


Found = Iterator[tuple[str, Samples]]


def _about(now: datetime) -> Found:
    del now
    labels = {
        "version": settings.VERSION,
        "feature_profile": settings.FEATURE_PROFILE,
        "provider": settings.PROVIDER_PRIMARY,
        "ai_models": ",".join(settings.AI_MODELS),
    }
    yield "lens_app_info", [(labels, 1)]
    yield "lens_disk_free_bytes", [({}, shutil.disk_usage(_existing_var()).free)]
    yield "lens_active_websocket_connections", [({}, SEATS.taken)]
    yield "lens_redis_up", [({}, float(queue.is_answering()))]


def _existing_var() -> str:
    return str(settings.VAR_DIR if settings.VAR_DIR.exists() else settings.BASE_DIR)


def _counting(now: datetime) -> Found:
    del now
    behind = metering.count_behind()
    yield "lens_metrics_behind", [({"table": name}, many) for name, many in behind.items()]
    yield "lens_decisions_published_total", [({}, decisions.get_head())]


def _queues(now: datetime) -> Found:
    depths = {depth.stage: depth for depth in pipeline.list_depths()}
    names = [path.rpartition(".")[2].lower() for path in settings.STAGES]
    waiting = {name: depths[name].waiting if name in depths else 0 for name in names}
    yield "lens_queue_depth", [({"queue": name}, many) for name, many in waiting.items()]
    yield (
        "lens_queue_oldest_seconds",
        [({"queue": name}, _age(depths[name].oldest_at, now)) for name in names if name in depths],
    )
    yield "lens_pending_enrichment", [({}, waiting.get("enrich", 0))]
    yield "lens_pending_evaluation", [({}, waiting.get("evaluate", 0))]
    unfinished, oldest = signals.get_backlog(now=now)
    yield "lens_signals_unfinished", [({}, unfinished)]
    yield "lens_signals_oldest_seconds", [({}, oldest.total_seconds())]
    yield "lens_decisions_unpublished", [({}, decisions.count_unpublished())]
    letters = pipeline.count_open_letters_by_stage()
    yield "lens_dlq_open", [({"stage": stage}, many) for stage, many in letters.items()]


def _age(at: datetime | None, now: datetime) -> float:
    return 0.0 if at is None else max(0.0, (now - at).total_seconds())


def _programs(now: datetime) -> Found:
    beats = pipeline.list_heartbeats()
    latest: dict[str, datetime] = {}
    alive = {"worker": 0, "conductor": 0}
    for beat in beats:
        latest[beat.kind] = max(beat.seen_at, latest.get(beat.kind, beat.seen_at))
        alive[beat.kind] = alive.get(beat.kind, 0) + (now - beat.seen_at < Heartbeat.STALE_AFTER)
    yield (
        "lens_worker_heartbeat_timestamp",
        [({"worker_type": kind}, at.timestamp()) for kind, at in latest.items()],
    )
    yield "lens_programs_alive", [({"worker_type": kind}, many) for kind, many in alive.items()]
    paused = {switch.name: float(switch.is_paused) for switch in pipeline.list_switches()}
    yield "lens_switch_paused", [({"switch": name}, on) for name, on in paused.items()]
    offset = datetime.now(UTC) - pipeline.database_now()
    yield "lens_database_clock_offset_seconds", [({}, offset / timedelta(seconds=1))]


def _trail(now: datetime) -> Found:
    del now
    chain = pipeline.get_chain()
    if chain is not None and chain.verified_at is not None:
        yield "lens_audit_verified_timestamp", [({}, chain.verified_at.timestamp())]
        yield "lens_audit_findings", [({}, len(chain.findings))]


def _models(now: datetime) -> Found:
    states = evaluation.list_model_states()
    yield "lens_model_enabled", [({"model": s.name}, float(s.is_enabled)) for s in states]
    yield (
        "lens_model_breaker_open",
        [({"model": s.name}, float(bool(s.open_until and s.open_until > now))) for s in states],
    )
    yield "lens_model_faults_in_row", [({"model": s.name}, s.faults_in_row) for s in states]
    spent = evaluation.spent_on(day=now.date())
    spent.setdefault(ALL_MODELS, 0.0)
    yield "lens_model_spent_usd_today", [({"model": name}, usd) for name, usd in spent.items()]
    limit = settings.LLM_BUDGET_USD_PER_DAY
    if limit is not None:
        yield "lens_model_budget_usd_per_day", [({}, float(limit))]


def _alerts(now: datetime) -> Found:
    del now
    counts = dict.fromkeys(ALERT_KINDS, 0) | outcomes.count_alerts()
    yield "lens_model_alerts_open", [({"kind": kind.lower()}, n) for kind, n in counts.items()]


def _market(now: datetime) -> Found:
    del now
    yield (
        "lens_provider_circuit_open",
        [
            ({"provider": state.name}, float(state.phase is not CircuitPhase.CLOSED))
            for state in markets.provider_states()
        ],
    )


READERS: tuple[Callable[[datetime], Found], ...] = (
    _about,
    _counting,
    _queues,
    _programs,
    _trail,
    _models,
    _alerts,
    _market,
)


def metric_rows() -> list[tuple[Any, ...]]:
    """Return the catalogue as rows of a table: name, kind, labels, what it tells."""
    return [
        (name, described.kind, ", ".join(described.labels), described.text)
        for name, described in CATALOGUE.items()
    ]

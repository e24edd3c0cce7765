"""What came of a replay: counts, agreement, delays, and one mark for all of its decisions."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import Any
from uuid import UUID

import numpy as np
from django.db.models import QuerySet
from rich.table import Table

from decisions.models import Decision
from decisions.types import JURY
from enrichment.models import Enrichment
from evaluation.models import Evaluation
from evaluation.types import EvaluationStatus
from lens_site.terminal import in_ms, table_of
from pipeline.models import StageRun
from pipeline.types import RunStatus
from signals.models import Replay, Signal

Counts = dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How long something took: the middle and the slow end, in milliseconds."""

    count: int
    p50_ms: float
    p95_ms: float

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "count": self.count,
            "p50_ms": round(self.p50_ms, 3),
            "p95_ms": round(self.p95_ms, 3),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How often two judges said the same about a signal that both decided on."""

    pair: tuple[str, str]
    same: int
    both: int

    @property
    def pct(self) -> float:
        """The share of equal answers, in percent."""
        return 100 * self.same / self.both

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "between": list(self.pair),
            "same": self.same,
            "both_decided": self.both,
            "pct": round(self.pct, 2),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What came of one replay so far.

    ``fingerprint`` is a hash over every decision, without ids and times of judging: the same
    candles, options and models give the same one.
    """

    replay_id: UUID
    signals: Counts
    decisions: Mapping[str, Counts]
    abstentions: Mapping[str, Counts]
    agreement: Sequence[Agreement]
    delays: Mapping[str, Spread]
    took_s: float
    fingerprint: str

    @property
    def finished(self) -> int:
        """How many signals have come to an end."""
        return self.delays["whole"].count if "whole" in self.delays else 0

    @property
    def signals_per_s(self) -> float:
        """The throughput between the first submission and the last end."""
        return self.finished / self.took_s if self.took_s else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "replay_id": str(self.replay_id),
            "signals": self.signals,
            "decisions": self.decisions,
            "abstentions": self.abstentions,
            "agreement": [pair.as_json() for pair in self.agreement],
            "delays": {name: spread.as_json() for name, spread in self.delays.items()},
            "took_s": round(self.took_s, 3),
            "signals_per_s": round(self.signals_per_s, 2),
            "fingerprint": self.fingerprint,
        }


def summarise(replay: Replay) -> Summary:
    """Return what has come of a replay by now."""
    signals = Signal.objects.filter(replay=replay)
    answers, judged = _answers(signals)
    first, last = _bounds(signals)
    return Summary(
        replay_id=replay.id,
        signals=_sorted(Counter(signals.values_list("status", flat=True))),
        decisions={model: _sorted(Counter(said.values())) for model, said in answers.items()},
        abstentions=_abstentions(signals),
        agreement=_agreement(answers),
        delays=_delays(signals),
        took_s=(last - first).total_seconds() if first and last else 0.0,
        fingerprint=judged,
    )


def _answers(signals: QuerySet[Signal]) -> tuple[dict[str, dict[UUID, str]], str]:
    """Return by model what it said of each signal in the end, and a hash over all of it."""
    said: dict[str, dict[UUID, str]] = defaultdict(dict)
    lines: dict[tuple[str, str], str] = {}
    rows = Decision.objects.filter(signal__in=signals).order_by("revision")
    for row in rows.values_list(
        "model", "event_id", "decision", "signal__ts_utc", "confidence", "size_pct", "reasons"
    ):
        model, event_id, action, ts_utc, *judged = row
        said[model][event_id] = action
        lines[ts_utc.isoformat(), model] = json.dumps([action, *judged])
    mark = hashlib.sha256(json.dumps(sorted(lines.items())).encode()).hexdigest()
    return dict(sorted(said.items(), key=lambda item: (item[0] == JURY, item[0]))), mark[:16]


def _abstentions(signals: QuerySet[Signal]) -> dict[str, Counts]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    rows = Evaluation.objects.filter(
        signal__in=signals, rerun=None, status=EvaluationStatus.ABSTAINED
    )
    for model, cause in rows.values_list("model", "outcome"):
        found[model][cause] += 1
    return {model: _sorted(found[model]) for model in sorted(found)}


def _agreement(answers: Mapping[str, Mapping[UUID, str]]) -> list[Agreement]:
    pairs = []
    for one, other in combinations(answers, 2):
        both = answers[one].keys() & answers[other].keys()
        same = sum(answers[one][event_id] == answers[other][event_id] for event_id in both)
        if both:
            pairs.append(Agreement(pair=(one, other), same=same, both=len(both)))
    return pairs


def _delays(signals: QuerySet[Signal]) -> dict[str, Spread]:
    """Return how long each part took, by name, in the order in which a signal meets them."""
    traces = signals.values("event_id")
    found: dict[str, list[float]] = defaultdict(list)
    for stage in ("enrich", "evaluate"):
        for run in StageRun.objects.filter(trace__in=traces, stage=stage, status=RunStatus.DONE):
            found[f"{stage}: waiting"].append(_ms_between(run.created_at, run.claimed_at))
            found[f"{stage}: working"].append(_ms_between(run.claimed_at, run.finished_at))
        if stage == "enrich":
            gathered = Enrichment.objects.filter(event_id__in=traces)
            found["enrich: gathering facts"] += gathered.values_list("duration_ms", flat=True)
    for judged in Evaluation.objects.filter(signal__in=signals, rerun=None).order_by("model"):
        if judged.latency_ms is not None:
            found[f"evaluate: {judged.model}"].append(judged.latency_ms)
    for signal in signals.exclude(terminal_at=None):
        found["whole"].append(_ms_between(signal.received_at, signal.terminal_at))
    return {name: _spread(values) for name, values in found.items() if values}


def _bounds(signals: QuerySet[Signal]) -> tuple[datetime | None, datetime | None]:
    ends = signals.exclude(terminal_at=None)
    first = signals.order_by("received_at").values_list("received_at", flat=True).first()
    return first, ends.order_by("-terminal_at").values_list("terminal_at", flat=True).first()


def _spread(values: Iterable[float]) -> Spread:
    numbers = np.array(list(values), dtype=np.float64)
    middle, slow = np.percentile(numbers, (50, 95)).tolist()
    return Spread(count=len(numbers), p50_ms=middle, p95_ms=slow)


def _ms_between(earlier: datetime | None, later: datetime | None) -> float:
    """Return the time between two moments; 0 where one of them is not known."""
    return (later - earlier).total_seconds() * 1000 if earlier and later else 0.0


def _sorted(counts: Mapping[str, int]) -> Counts:
    return {str(name): counts[name] for name in sorted(counts)}


def tables(summary: Summary) -> list[Table]:
    """Return the summary for people."""
    shown = [_decision_table(summary), _delay_table(summary)]
    if summary.abstentions:
        shown.insert(1, _abstention_table(summary))
    if summary.agreement:
        shown.insert(-1, _agreement_table(summary))
    return [_signal_table(summary), *shown]


def _signal_table(summary: Summary) -> Table:
    return table_of("Signals", ("ended as", "signals"), list(summary.signals.items()))


def _decision_table(summary: Summary) -> Table:
    actions = sorted({action for counts in summary.decisions.values() for action in counts})
    rows = [
        (model, *(counts.get(action, 0) for action in actions), sum(counts.values()))
        for model, counts in summary.decisions.items()
    ]
    return table_of("Decisions", ("model", *actions, "all"), rows)


def _abstention_table(summary: Summary) -> Table:
    rows = [
        (f"{model}: {cause}", count)
        for model, counts in summary.abstentions.items()
        for cause, count in counts.items()
    ]
    return table_of("Abstentions", ("model and cause", "signals"), rows)


def _agreement_table(summary: Summary) -> Table:
    rows = [
        (f"{each.pair[0]} and {each.pair[1]}", f"{each.pct:.1f} %", each.both)
        for each in summary.agreement
    ]
    return table_of("Agreement", ("between", "same", "of"), rows)


def _delay_table(summary: Summary) -> Table:
    rows = [
        (name, in_ms(spread.p50_ms), in_ms(spread.p95_ms), spread.count)
        for name, spread in summary.delays.items()
    ]
    return table_of("Delays", ("part", "p50", "p95", "of"), rows)

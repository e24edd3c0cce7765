"""How models and sources have done lately, over the newest live rows; demo and replays count not.

Each figure comes from a bounded number of rows, so a page costs the same on a desk of any size
and says over how many it speaks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import combinations
from typing import Any, NamedTuple

from django.db.models import Count, Max, QuerySet
from django.db.models.fields.json import KT

from decisions.models import Decision
from decisions.types import JURY
from evaluation.queries import Answered
from evaluation.types import Action, EvaluationStatus
from lens_site.pages.ranks import at_share
from signals.models import Signal
from signals.types import Origin, SignalStatus

ROWS_A_MODEL = 500
ROWS = 2_000
FEW = 30
"""Fewer than this are too few to rank by."""

FOLLOWS = frozenset({"FOLLOW_ENTER", "FOLLOW_EXIT"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What one model did with the newest signals it was asked about."""

    model: str
    asked: int = 0
    decided: int = 0
    followed: int = 0
    abstained: Mapping[str, int] = field(default_factory=dict)
    p50_ms: float | None = None
    p95_ms: float | None = None
    cost_usd: Decimal | None = None
    versions: Sequence[tuple[str, int]] = ()
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_few(self) -> bool:
        """Whether too little is known to rank it."""
        return self.decided < FEW

    @property
    def follow_frac(self) -> float | None:
        """The share of its decisions that follow."""
        return self.followed / self.decided if self.decided else None

    @property
    def abstained_frac(self) -> float | None:
        """The share of signals that it gave no verdict on."""
        return sum(self.abstained.values()) / self.asked if self.asked else None

    @property
    def cost_each_usd(self) -> Decimal | None:
        """What one signal cost on average."""
        return None if self.cost_usd is None else self.cost_usd / self.asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far two models agree beyond chance, on the signals that both decided on."""

    n: int
    kappa: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStanding:
    """What became of the newest signals of one source."""

    source: str
    sent: int
    last_at: datetime
    ended: Mapping[str, int]
    gates: Mapping[str, int]
    ruled: int
    followed: int

    @property
    def is_few(self) -> bool:
        """Whether too little is known to rank it."""
        return self.ruled < FEW

    @property
    def follow_frac(self) -> float | None:
        """The share of its ruled signals that the jury would follow."""
        return self.followed / self.ruled if self.ruled else None

    @property
    def rejected_frac(self) -> float:
        """The share of its signals that a gate refused."""
        return self.ended.get(SignalStatus.REJECTED, 0) / self.sent


def standing_of(*, model: str, rows: Sequence[Answered]) -> Standing:
    """Return how a model did with the live signals that ended so, newest first."""
    decided = [row for row in rows if row.status == EvaluationStatus.DECIDED]
    silent = Counter(row.outcome for row in rows if row.status == EvaluationStatus.ABSTAINED)
    times = [row.latency_ms for row in decided if row.latency_ms is not None]
    costs = [row.cost_usd for row in rows if row.cost_usd is not None]
    versions = Counter(row.model_version for row in decided if row.model_version)
    return Standing(
        model=model,
        asked=len(rows),
        decided=len(decided),
        followed=sum(row.action in FOLLOWS for row in decided),
        abstained=dict(silent.most_common()),
        p50_ms=at_share(times, 0.5),
        p95_ms=at_share(times, 0.95),
        cost_usd=sum(costs, Decimal(0)) if costs else None,
        versions=versions.most_common(),
        since=rows[-1].finished_at if rows else None,
        until=rows[0].finished_at if rows else None,
    )


def newest_words() -> dict[int, dict[str, str]]:
    """Return who said what on the newest live signals, by the signal's key, newest first."""
    rows = Decision.objects.filter(seq__isnull=False).order_by("-seq")
    said: dict[int, dict[str, str]] = {}
    newest = rows.values_list("origin", "signal_id", "model", "decision")[:ROWS]
    for origin, signal_id, model, decision in newest:
        if origin == Origin.LIVE:
            said.setdefault(signal_id, {}).setdefault(model, decision)
    return said


def agreements(
    *, models: Sequence[str], said: Mapping[int, Mapping[str, str]]
) -> dict[tuple[str, str], Agreement]:
    """Return how far each pair of models agrees beyond chance (Cohen's kappa)."""
    follows = [{model: word in FOLLOWS for model, word in words.items()} for words in said.values()]
    found = {}
    for one, other in combinations(models, 2):
        pairs = [(word[one], word[other]) for word in follows if one in word and other in word]
        found[one, other] = Agreement(n=len(pairs), kappa=kappa(pairs))
    return found


def kappa(pairs: Sequence[tuple[bool, bool]]) -> float | None:
    """Return Cohen's kappa of two judges who say yes or no.

    Edges: None of nothing, and where both always say the same word, for then chance explains all.
    Source: Cohen (1960), A coefficient of agreement for nominal scales.
    """
    if not pairs:
        return None
    n = len(pairs)
    observed = sum(one == other for one, other in pairs) / n
    yes_one, yes_other = sum(one for one, _ in pairs) / n, sum(other for _, other in pairs) / n
    expected = yes_one * yes_other + (1 - yes_one) * (1 - yes_other)
    return None if expected == 1 else (observed - expected) / (1 - expected)


def disagreements(
    *, models: Sequence[str], said: Mapping[int, Mapping[str, str]], limit: int
) -> list[tuple[Signal, dict[str, str]]]:
    """Return the newest signals on which the models said different things."""
    asked = set(models)
    words = {
        key: {name: all_[name] for name in all_ if name in asked} for key, all_ in said.items()
    }
    split = [key for key, each in words.items() if len(set(each.values())) > 1][:limit]
    signals = Signal.objects.in_bulk(split)
    return [(signals[key], words[key]) for key in split if key in signals]


def source_standings() -> tuple[list[SourceStanding], int]:
    """Return how each source did over the newest live signals, and how many those are."""
    newest = Signal.objects.order_by("-id").values_list("id", flat=True)
    last = newest.first()
    if last is None:
        return [], 0
    span = (newest[ROWS - 1 : ROWS].first() or 0, last)
    fates: dict[str, list[_Fate]] = {}
    for source, *fate, _ in _fates(span):
        fates.setdefault(source, []).append(_Fate(*fate))
    ruled = _rulings(span)
    found = [_source(source, each, ruled.get(source, ())) for source, each in fates.items()]
    looked_at = sum(each.sent for each in found)
    return sorted(found, key=lambda each: (-each.sent, each.source)), looked_at


class _Fate(NamedTuple):
    """How many signals of a source came to the same end, and when the last of them came in."""

    status: str
    gate: str | None
    n: int
    last_at: datetime


def _fates(span: tuple[int, int]) -> QuerySet[Signal, tuple[Any, ...]]:
    """Select what became of live signals by source, what befell the newest first."""
    rows = Signal.objects.filter(id__range=span, origin=Origin.LIVE)
    grouped = rows.values_list("source", "status", KT("reason__gate"))
    told = grouped.annotate(n=Count("id"), last_at=Max("received_at"), last=Max("id"))
    return told.order_by("-last")


def _rulings(span: tuple[int, int]) -> dict[str, list[str]]:
    """Return by source the jury's last word on each of the live signals.

    All words are named, so that their index leads to the span at once.
    """
    rows = Decision.objects.filter(model=JURY, decision__in=list(Action), origin=Origin.LIVE)
    rows = rows.filter(signal__id__range=span)
    said = rows.order_by("revision").values_list("signal_id", "source", "decision")
    last = {signal_id: (source, decision) for signal_id, source, decision in said}
    found: dict[str, list[str]] = {}
    for source, decision in last.values():
        found.setdefault(source, []).append(decision)
    return found


def _source(source: str, fates: Sequence[_Fate], ruled: Sequence[str]) -> SourceStanding:
    ended: Counter[str] = Counter()
    gates: Counter[str] = Counter()
    for fate in fates:
        ended[fate.status] += fate.n
        if fate.status == SignalStatus.REJECTED:
            gates[fate.gate or "?"] += fate.n
    return SourceStanding(
        source=source,
        sent=ended.total(),
        last_at=max(fate.last_at for fate in fates),
        ended=dict(ended.most_common()),
        gates=dict(gates.most_common()),
        ruled=len(ruled),
        followed=sum(word in FOLLOWS for word in ruled),
    )

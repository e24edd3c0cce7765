"""Counts that outlive the rows they were counted from, and the measures of one process.

Counts that all programs share are rows: a purge takes none of them back, and no program has to be
asked for its part. What only the web process can know is kept in its memory, in ``LOCAL``.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from django.db.models import F
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.utils import floatToGoString

from pipeline.models import Meter

BUCKETS: Mapping[str, tuple[float, ...]] = {
    "lens_enrichment_duration_seconds": (0.1, 0.25, 0.5, 1, 2, 5, 10),
    "lens_model_evaluation_duration_seconds": (0.005, 0.1, 0.5, 1, 2, 3, 5, 10, 30),
    "lens_model_call_duration_seconds": (0.1, 0.5, 1, 2, 3, 5, 10, 30),
    "lens_end_to_end_duration_seconds": (0.25, 0.5, 1, 2, 3, 5, 6, 10, 15, 60),
}
"""Upper bounds in seconds of each measure that is kept as a row; +Inf is added."""

disable_created_metrics()  # type: ignore[no-untyped-call]  # when a process began says nothing of the house
LOCAL = CollectorRegistry()
HTTP_DURATION = Histogram(
    "lens_http_request_duration_seconds",
    "Time that a request took in this web process.",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
    registry=LOCAL,
)
FANOUT_DURATION = Histogram(
    "lens_websocket_fanout_duration_seconds",
    "Time from numbering a decision until this web process handed it to its subscribers.",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5),
    registry=LOCAL,
)
WRONG_KEY_COUNT = Counter(
    "lens_wrong_keys",
    "Requests to this web process with a key that opens nothing, by whether they were put off.",
    ["outcome"],
    registry=LOCAL,
)

Key = tuple[str, str]


@dataclass(slots=True)
class Gain:
    """What one series has gained."""

    count: int = 0
    total: float = 0.0
    buckets: list[int] = field(default_factory=list)


class Gains:
    """What many series have gained since they were last written down."""

    def __init__(self) -> None:
        self._gains: dict[Key, Gain] = {}

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        """Add to a count."""
        gain = self._of(name, labels)
        gain.count += 1
        gain.total += by

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add one value to the measure ``name``, which ``BUCKETS`` knows."""
        bounds = BUCKETS[name]
        gain = self._of(name, labels)
        gain.count += 1
        gain.total += value
        gain.buckets = gain.buckets or [0] * (len(bounds) + 1)
        gain.buckets[bisect_left(bounds, value)] += 1

    def _of(self, name: str, labels: Mapping[str, str]) -> Gain:
        return self._gains.setdefault((name, _written(labels)), Gain())

    def write(self) -> None:
        """Add everything to the stored rows; whoever calls keeps others from doing the same."""
        names = {name for name, _ in self._gains}
        stored = {
            (row.name, row.labels): row
            for row in Meter.objects.select_for_update().filter(name__in=names)
        }
        rows = [
            _added(stored.get(key) or Meter(name=key[0], labels=key[1]), gain)
            for key, gain in self._gains.items()
        ]
        Meter.objects.bulk_create([row for row in rows if row._state.adding])
        Meter.objects.bulk_update(
            [row for row in rows if not row._state.adding], ["count", "total", "buckets"]
        )


def count_rare(items: Sequence[tuple[str, Mapping[str, str]]]) -> None:
    """Count what happens seldom, in the transaction in which it happens."""
    for name, labels in sorted((name, _written(labels)) for name, labels in items):
        Meter.objects.get_or_create(name=name, labels=labels)
        Meter.objects.filter(name=name, labels=labels).update(
            count=F("count") + 1, total=F("total") + 1
        )


@dataclass(frozen=True, slots=True)
class Series:
    """One stored series as it is shown; ``buckets`` are cumulative, as Prometheus wants them."""

    name: str
    labels: Mapping[str, str]
    count: int
    total: float
    buckets: tuple[tuple[str, int], ...] = ()


def list_series() -> list[Series]:
    """Return every stored series."""
    return [_series(row) for row in Meter.objects.order_by("name", "labels")]


def _series(row: Meter) -> Series:
    bounds = [*map(floatToGoString, BUCKETS.get(row.name, ())), "+Inf"]
    return Series(
        name=row.name,
        labels=json.loads(row.labels),
        count=row.count,
        total=row.total,
        buckets=tuple(zip(bounds, accumulate(row.buckets), strict=False)),
    )


def _added(row: Meter, gain: Gain) -> Meter:
    row.count += gain.count
    row.total += gain.total
    if gain.buckets:
        before = row.buckets or [0] * len(gain.buckets)
        row.buckets = [old + new for old, new in zip(before, gain.buckets, strict=True)]
    return row


def _written(labels: Mapping[str, str]) -> str:
    return json.dumps(dict(sorted(labels.items())), ensure_ascii=False, separators=(",", ":"))

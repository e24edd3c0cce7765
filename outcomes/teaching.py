"""Handing down what was learnt: maps and weights to those who decide, base rates to those who ask.

A replay is taught as it would have been while it happened: each day begins with what the outcomes
known by then had taught, and nothing later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta

from django.db import transaction

from decisions import services as decisions
from decisions.types import JURY, LIVE, Learnt
from evaluation import services as evaluation
from outcomes import queries
from outcomes.learning import (
    Experience,
    Key,
    Weights,
    fit_maps,
    fit_weights,
    map_for,
    pooled,
)
from outcomes.models import CalibrationMap, Score, WeightSet
from outcomes.tallying import BASE_RATE_DAYS, Forecast
from quant.calibration import Calibration

LESSONS_MAX = 20_000
"""The newest scored decisions that live maps and weights are learnt from."""


class Hindsight:
    """Scores a replay as it would have been published, had Lens been learning all along."""

    def __init__(self, *, scope: str, now: datetime) -> None:
        self._scope = scope
        self._now = now
        self._experience = Experience()
        self._experience.add(queries.list_scores(scope=scope))
        self._day: datetime | None = None
        self._maps: Mapping[Key, Calibration] = {}
        self._weights: Weights | None = None
        self._versions: dict[Key, int] = defaultdict(int)
        for row in CalibrationMap.objects.filter(scope=scope).order_by("version"):
            self._versions[row.model, row.prompt_version, row.source] = row.version

    def forecast(self, score: Score, members: Mapping[str, float]) -> Forecast:
        """Return what a probability would have counted as on the day it was stated."""
        self._turn_to(score.at)
        stated = 0.5 if score.p_raw is None else score.p_raw
        if score.model == JURY:
            weights = self._weights.values() if self._weights else {}
            return Forecast(pooled(members, weights) if members else stated, None)
        found = map_for(
            self._maps,
            model=score.model,
            prompt_version=score.prompt_version,
            source=score.source,
        )
        if found is None or found.is_identity:
            return Forecast(stated, None)
        key = (score.model, score.prompt_version, score.source)
        return Forecast(found.of(stated), self._versions[key] or None)

    def learn(self, scores: Sequence[Score]) -> None:
        """Remember one signal's scores for the days that follow."""
        self._experience.add(scores)

    def _turn_to(self, at: datetime) -> None:
        """Begin the day of a moment with what was known at its start; a day never comes twice."""
        day = datetime.combine(at.astimezone(UTC).date(), time(), UTC)
        if self._day is not None and day <= self._day:
            return
        self._day = day
        lessons = self._experience.before(day)
        self._maps = fit_maps(lessons)
        models = sorted({lesson.model for lesson in lessons} - {JURY})
        self._weights = fit_weights(lessons, models=models) if models else None
        self._store(day)

    def _store(self, day: datetime) -> None:
        _store_maps(
            self._maps, scope=self._scope, versions=self._versions, until=day, now=self._now
        )
        if self._weights is not None:
            _store_weights(self._weights, scope=self._scope, until=day, now=self._now)


def learn_anew(*, scope: str, now: datetime) -> bool:
    """Fit maps and weights on all that is known by now, hand them down, and say if any changed."""
    experience = Experience()
    experience.add(queries.list_scores(scope=scope, newest=LESSONS_MAX))
    lessons = experience.before(now)
    if not lessons:
        return False
    maps = fit_maps(lessons)
    models = sorted({lesson.model for lesson in lessons} - {JURY})
    found = fit_weights(lessons, models=models)
    with transaction.atomic():
        versions: dict[Key, int] = defaultdict(int)
        for row in CalibrationMap.objects.select_for_update().filter(scope=scope):
            key = (row.model, row.prompt_version, row.source)
            versions[key] = max(versions[key], row.version)
        _store_maps(maps, scope=scope, versions=versions, until=now, now=now)
        weights = _store_weights(found, scope=scope, until=now, now=now)
        decisions.install(
            scope=scope,
            maps=[_learnt(row) for row in queries.list_active_maps(scope=scope)],
            weights_version=weights.version,
            weights=weights.weights,
            effective_models=weights.effective_models,
            now=now,
        )
        if scope == LIVE:
            since = now - timedelta(days=BASE_RATE_DAYS)
            rates = queries.list_base_rates(scope=scope, since=since)
            evaluation.note_base_rates(rates=rates, now=now)
    return True


def _store_maps(
    maps: Mapping[Key, Calibration],
    *,
    scope: str,
    versions: dict[Key, int],
    until: datetime,
    now: datetime,
) -> None:
    """Write the maps that say something new as their next versions, and put them in force."""
    active = {
        (row.model, row.prompt_version, row.source): row
        for row in queries.list_active_maps(scope=scope)
    }
    rows = []
    for key, found in maps.items():
        knots = [list(knot) for knot in found.knots]
        before = active.get(key)
        if found.is_identity or (before is not None and before.knots == knots):
            continue
        versions[key] += 1
        model, prompt_version, source = key
        rows.append(
            CalibrationMap(
                scope=scope,
                model=model,
                prompt_version=prompt_version,
                source=source,
                version=versions[key],
                knots=knots,
                n=found.n,
                fitted_until=until,
                is_active=True,
                created_at=now,
            )
        )
    keys = [(row.model, row.prompt_version, row.source) for row in rows]
    replaced = [active[key].id for key in keys if key in active]
    CalibrationMap.objects.filter(id__in=replaced).update(is_active=False)
    CalibrationMap.objects.bulk_create(rows)


def _store_weights(weights: Weights, *, scope: str, until: datetime, now: datetime) -> WeightSet:
    last = queries.latest_weights(scope=scope)
    told = weights.as_json()
    if last is not None and last.weights == told:
        return last
    WeightSet.objects.filter(scope=scope, is_active=True).update(is_active=False)
    return WeightSet.objects.create(
        scope=scope,
        version=1 if last is None else last.version + 1,
        weights=told,
        correlations=dict(weights.correlations),
        effective_models=weights.effective_models,
        n=weights.n,
        fitted_until=until,
        is_active=True,
        created_at=now,
    )


def _learnt(row: CalibrationMap) -> Learnt:
    return Learnt(
        model=row.model,
        prompt_version=row.prompt_version,
        source=row.source,
        version=row.version,
        n=row.n,
        knots=tuple((float(stated), float(worth)) for stated, worth in row.knots),
    )

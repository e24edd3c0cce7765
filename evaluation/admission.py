"""Who may be asked now: switches, circuit breakers and safe mode of the language models.

A model that fails time and again is left alone for a while; then one signal tries it, and what
comes of that decides. The row ``*`` does the same for all language models together: that is safe
mode. Models that judge by numbers have no part in it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from evaluation.models import ModelState
from evaluation.types import ALL_MODELS, FAULTS, AttemptStatus
from pipeline.prepared import Prepared
from pipeline.services import record_act

logger = logging.getLogger(__name__)

AT_ONCE = frozenset({AttemptStatus.AUTH, AttemptStatus.QUOTA})
"""Faults that the next call cannot but meet again; they open the breaker by themselves."""

PROBE_PATIENCE = timedelta(seconds=30)
"""How long nobody else tries a model that somebody is trying; a worker may die over it."""

WHY_MAX_CHARS = 200
STATES: Prepared[ModelState] = Prepared(
    lambda given: ModelState.objects.filter(name__in=given.each(ModelState, "name", name="names"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a model is not asked now."""

    status: AttemptStatus
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What one evaluation showed of its model's health, in the order in which it was asked."""

    model: str
    status: AttemptStatus
    reason: str
    reported: str
    at: datetime


class Turnstile:
    """Lets evaluations through, model by model, as the rows stood when it was opened."""

    def __init__(self, *, models: Collection[str], now: datetime) -> None:
        self._states = {row.name: row for row in STATES.rows(names={ALL_MODELS, *models})}
        self._now = now

    def refusal(self, model: str) -> Refusal | None:
        """Return why this model is not asked, or None; who may try a model takes its turn."""
        switched_off = self._switched_off(ALL_MODELS) or self._switched_off(model)
        if switched_off is not None:
            return switched_off
        closed = self._closed(ALL_MODELS) or self._closed(model)
        if closed is not None:
            return closed
        for name in (ALL_MODELS, model):
            if not self._takes_turn(name):
                return Refusal(
                    status=AttemptStatus.OVERLOADED,
                    reason=f"circuit half open: {_named(name)} being tried by another signal",
                )
        return None

    def _switched_off(self, name: str) -> Refusal | None:
        state = self._states.get(name)
        if state is None or state.is_enabled:
            return None
        said = f": {state.why}" if state.why else ""
        who = f"switched off by {state.changed_by or 'nobody known'}{said}"
        return Refusal(status=AttemptStatus.DISABLED, reason=f"{_named(name)} {who}")

    def _closed(self, name: str) -> Refusal | None:
        state = self._states.get(name)
        if state is None or state.open_until is None or state.open_until <= self._now:
            return None
        until = state.open_until.strftime("%H:%M:%S UTC")
        kind = "safe mode" if name == ALL_MODELS else "circuit open"
        return Refusal(
            status=AttemptStatus.OVERLOADED,
            reason=f"{kind} until {until} after {state.last_fault}"[:WHY_MAX_CHARS],
        )

    def _takes_turn(self, name: str) -> bool:
        """Say whether this is the one signal that tries what was left alone until now."""
        state = self._states.get(name)
        if state is None or state.open_until is None:
            return True
        mine = self._now + PROBE_PATIENCE
        rows = ModelState.objects.filter(name=name, open_until=state.open_until)
        won = bool(rows.update(open_until=mine))
        state.open_until = mine
        return won


def _named(name: str) -> str:
    return "every language model is" if name == ALL_MODELS else f"{name} is"


def note(observed: Sequence[Health]) -> None:
    """Let what calls have shown decide on breakers and safe mode.

    Rows are taken in one order, and left alone where nothing changes: workers note at once.
    """
    by_name: dict[str, list[Health]] = {}
    for health in observed:
        if health.status is AttemptStatus.OK or health.status in FAULTS:
            by_name.setdefault(health.model, []).append(health)
            by_name.setdefault(ALL_MODELS, []).append(health)
    known = {row.name: row for row in STATES.rows(names=list(by_name))}
    missing = [ModelState(name=name) for name in sorted(set(by_name) - set(known))]
    if missing:
        ModelState.objects.bulk_create(missing, ignore_conflicts=True)
    for name in sorted(by_name):
        state = known.get(name)
        if state is None or not _is_news(state, by_name[name]):
            continue
        _note(ModelState.objects.select_for_update().get(name=name), by_name[name])
    for row in missing:
        _note(ModelState.objects.select_for_update().get(name=row.name), by_name[row.name])


def _is_news(state: ModelState, observed: Sequence[Health]) -> bool:
    """Say whether noting would change more than the time at which a healthy model answered."""
    latest = observed[-1]
    return (
        state.faults_in_row > 0
        or state.open_until is not None
        or any(health.status is not AttemptStatus.OK for health in observed)
        or state.last_ok_at is None
        or latest.at - state.last_ok_at > timedelta(minutes=1)
        or (
            state.name != ALL_MODELS
            and bool(latest.reported)
            and latest.reported != state.reported_model
        )
    )


def _note(state: ModelState, observed: Sequence[Health]) -> None:
    for health in observed:
        if health.status is AttemptStatus.OK:
            _note_answer(state, health)
        else:
            _note_fault(state, health)
    state.save(
        update_fields=["faults_in_row", "open_until", "last_fault", "last_ok_at", "reported_model"]
    )


def _note_answer(state: ModelState, health: Health) -> None:
    if state.open_until is not None:
        logger.warning("%s asked again: it has answered", _named(state.name))
    state.faults_in_row, state.open_until, state.last_ok_at = 0, None, health.at
    if state.name == ALL_MODELS or not health.reported:
        return
    if state.reported_model and state.reported_model != health.reported:
        logger.warning(
            "%s reports itself as %s, no longer as %s",
            state.name,
            health.reported,
            state.reported_model,
        )
    state.reported_model = health.reported


def _note_fault(state: ModelState, health: Health) -> None:
    state.faults_in_row += 1
    state.last_fault = f"{health.status}: {health.reason}"[:WHY_MAX_CHARS]
    together = state.name == ALL_MODELS
    most = settings.LLM_SAFE_MODE_FAULTS if together else settings.LLM_BREAKER_FAULTS
    at_once = health.status in AT_ONCE and not together
    tried_in_vain = state.open_until is not None
    if not (at_once or tried_in_vain or state.faults_in_row >= most):
        return
    open_s = settings.LLM_SAFE_MODE_OPEN_S if together else settings.LLM_BREAKER_OPEN_S
    state.open_until = health.at + timedelta(seconds=open_s)
    if not tried_in_vain:
        what = "safe mode" if together else f"circuit of {state.name} open"
        logger.error("%s for %d s after %s", what, open_s, state.last_fault)


def switch(*, name: str, is_enabled: bool, actor: str, why: str, now: datetime) -> ModelState:
    """Let one model (or all language models, ``*``) be asked, or not any more.

    Letting it be asked again also closes its breaker.
    """
    values: dict[str, object] = {
        "is_enabled": is_enabled,
        "changed_by": actor[:100],
        "why": why[:WHY_MAX_CHARS],
        "changed_at": now,
    }
    if is_enabled:
        values |= {"faults_in_row": 0, "open_until": None}
    with transaction.atomic():
        before = ModelState.objects.select_for_update().filter(name=name).first()
        state, _ = ModelState.objects.update_or_create(name=name, defaults=values)
        record_act(
            actor=actor,
            verb="MODEL_SWITCHED",
            object=f"model:{name}",
            before={"is_enabled": before is None or before.is_enabled},
            after={"is_enabled": is_enabled, "why": state.why},
            at=now,
        )
    logger.warning("%s switched %s by %s", _named(name), "on" if is_enabled else "off", actor)
    return state


def list_states() -> Mapping[str, ModelState]:
    """Return the switches and the health of all models by name."""
    return {row.name: row for row in ModelState.objects.all()}

"""Champion and challenger: judged in the shadow, compared in pairs, promoted only on evidence.

The evidence is a confidence sequence: it holds however often one looks, so an experiment may be
watched daily and ended at any moment. How many decisions it will take is said beforehand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction

from enrichment.models import Enrichment
from evaluation import services as evaluation
from outcomes import alerting, queries
from outcomes.models import Experiment
from outcomes.types import ExperimentKind, ExperimentStatus
from pipeline import services as pipeline
from pipeline.types import InvalidRequest
from quant.confidence_sequences import PairedEvidence, Standing, decisions_needed
from signals.models import Signal
from signals.types import Origin

READY = "EXPERIMENT"
EXPECTED_GAINS = (0.03, 0.015, 0.008)
"""Mean differences in Brier score for which is told beforehand how long they take to show."""

EXPECTED_APART = 0.2
"""How far two judges' probabilities usually lie apart, as a root mean square."""

SHARES = 100


class NotProven(InvalidRequest):
    """The evidence does not say that the challenger is better, so it is not promoted."""


def start_experiment(
    *,
    name: str,
    champion: str,
    challenger: str,
    prompt: tuple[str, int] | None,
    share_pct: int,
    actor: str,
    now: datetime,
) -> Experiment:
    """Let a challenger judge a sampled share of live signals in the champion's shadow.

    With a ``prompt`` (name and version) the challenger is the champion's own model under it.

    :raises InvalidRequest: if the share is not from 1 to 100, or the name is taken.
    """
    if not 1 <= share_pct <= SHARES:
        raise InvalidRequest(f"share_pct must be from 1 to 100, was {share_pct}")
    prompt_name, prompt_version = prompt or ("", None)
    with transaction.atomic():
        if queries.get_experiment(name=name) is not None:
            raise InvalidRequest(f"there is an experiment {name!r} already")
        rerun = evaluation.open_shadow(
            model=challenger,
            prompt_name=prompt_name,
            prompt_version=prompt_version,
            actor=actor,
            now=now,
        )
        row = Experiment.objects.create(
            name=name,
            kind=ExperimentKind.PROMPT if prompt else ExperimentKind.MODEL,
            champion=champion,
            challenger=challenger,
            prompt_name=prompt_name,
            prompt_version=prompt_version,
            rerun_id=rerun.id,
            share_pct=share_pct,
            expected=expectation(),
            created_at=now,
            created_by=actor,
        )
        _tell("EXPERIMENT_STARTED", row, actor=actor, now=now, share_pct=share_pct)
    return row


def expectation(*, apart: float = EXPECTED_APART) -> dict[str, int | None]:
    """Return after about how many decisions differences of some sizes will have shown."""
    return {f"{gain:g}": decisions_needed(gain=gain, apart=apart) for gain in EXPECTED_GAINS}


def shadow_signal(*, signal: Signal, enrichment: Enrichment, now: datetime) -> None:
    """Have the challengers of running experiments judge a live signal, if it is in their share."""
    if signal.origin != Origin.LIVE or enrichment.simulated:
        return
    for experiment in queries.list_running_experiments():
        if experiment.rerun_id and is_sampled(experiment, event_id=str(signal.event_id)):
            evaluation.judge_in_shadow(rerun_id=experiment.rerun_id, signal=signal, now=now)


def is_sampled(experiment: Experiment, *, event_id: str) -> bool:
    """Say whether a signal belongs to an experiment's share; the same answer every time."""
    digest = hashlib.sha256(f"{experiment.name}:{event_id}".encode()).digest()
    return int.from_bytes(digest[:8]) % SHARES < experiment.share_pct


def weigh_evidence(*, now: datetime) -> None:
    """Bring the evidence of every running experiment up to date, and say when one is decided."""
    for experiment in queries.list_running_experiments():
        evidence = evidence_of(experiment)
        experiment.evidence = evidence
        experiment.save(update_fields=["evidence"])
        if evidence["standing"] != Standing.OPEN:
            alerting.open_alert(
                kind=READY,
                subject=experiment.name,
                message=f"{experiment.challenger} is {evidence['standing']} than"
                f" {experiment.champion} after {evidence['n']} decisions",
                now=now,
            )


def evidence_of(experiment: Experiment) -> dict[str, Any]:
    """Return what the paired decisions have shown so far."""
    found = PairedEvidence()
    for champion, challenger, won in queries.list_pairs(experiment=experiment):
        found = found.add(champion=champion, challenger=challenger, won=won)
    low, high = found.interval(alpha=experiment.alpha)
    return {
        "n": found.n,
        "mean_gain": found.mean if found.n else None,
        "low": low,
        "high": high,
        "standing": str(found.standing(alpha=experiment.alpha)),
    }


def promote_challenger(*, name: str, actor: str, why: str, now: datetime) -> Experiment:
    """End an experiment with the challenger in force; a prompt at once, a model by its setting.

    :raises NotProven: unless the confidence sequence says that the challenger is better.
    """
    with transaction.atomic():
        row = _running(name)
        evidence = evidence_of(row)
        if evidence["standing"] != Standing.BETTER:
            between = f"{evidence['low']:+.4f} to {evidence['high']:+.4f}"
            raise NotProven(
                f"{row.challenger} is not proven better than {row.champion}: the gain lies from"
                f" {between} after {evidence['n']} decisions"
            )
        if row.kind == ExperimentKind.PROMPT and row.prompt_version is not None:
            evaluation.promote_prompt(
                name=row.prompt_name, version=row.prompt_version, actor=actor, now=now
            )
        _end(row, ExperimentStatus.PROMOTED, evidence, actor=actor, why=why, now=now)
        _tell("EXPERIMENT_PROMOTED", row, actor=actor, now=now, **evidence)
    return row


def stop_experiment(*, name: str, actor: str, why: str, now: datetime) -> Experiment:
    """End an experiment and leave the champion in force.

    :raises InvalidRequest: if none of that name is running.
    """
    with transaction.atomic():
        row = _running(name)
        evidence = evidence_of(row)
        _end(row, ExperimentStatus.STOPPED, evidence, actor=actor, why=why, now=now)
        _tell("EXPERIMENT_STOPPED", row, actor=actor, now=now, **evidence)
    return row


def _running(name: str) -> Experiment:
    rows = Experiment.objects.select_for_update()
    row = rows.filter(name=name, status=ExperimentStatus.RUNNING).first()
    if row is None:
        raise InvalidRequest(f"no experiment {name!r} is running")
    return row


def _end(
    row: Experiment,
    status: ExperimentStatus,
    evidence: Mapping[str, Any],
    *,
    actor: str,
    why: str,
    now: datetime,
) -> None:
    row.status, row.evidence, row.ended_at = status, dict(evidence), now
    row.ended_by, row.why = actor, why
    row.save()
    alerting.close_alerts(kind=READY, subject=row.name, actor=actor, now=now)


def _tell(verb: str, row: Experiment, *, actor: str, now: datetime, **details: Any) -> None:
    pipeline.record_act(
        actor=actor,
        verb=verb,
        object=f"experiment:{row.name}",
        at=now,
        champion=row.champion,
        challenger=row.challenger,
        prompt=f"{row.prompt_name}@{row.prompt_version}" if row.prompt_name else "",
        **details,
    )

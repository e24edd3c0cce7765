"""Champion and challenger: judged in the shadow, compared in pairs, promoted only on evidence.

The evidence is a confidence sequence: it holds however often one looks, so an experiment may be
watched daily and ended at any moment. How many decisions it will take is said beforehand.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from math import sqrt
from typing import Any

from django.db import transaction

from enrichment.queries import Enriched
from evaluation import queries as evaluations
from evaluation import services as evaluation
from outcomes import alerting, queries
from outcomes.models import Experiment
from outcomes.types import EXPERIMENT, ExperimentKind, ExperimentStatus
from pipeline import services as pipeline
from pipeline.types import FieldError, InvalidRequest
from quant.confidence_sequences import ALPHA, PairedEvidence, Standing, decisions_needed
from quant.scores import TOO_FEW
from signals.types import Origin

EXPECTED_GAINS = (0.03, 0.015, 0.008)
"""Mean differences in Brier score for which is told beforehand how long they take to show."""

EXPECTED_APART = 0.2
"""How far two judges' probabilities usually lie apart, as a root mean square."""

SHARES = 100
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


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

    :raises InvalidRequest: naming the field that cannot be: a model that nobody asks, a prompt that
        is not stored, a share that is not from 1 to 100, a name that is taken.
    """
    _check(name=name, champion=champion, challenger=challenger, prompt=prompt)
    if not 1 <= share_pct <= SHARES:
        raise _wrong("share_pct", f"must be from 1 to 100, was {share_pct}")
    prompt_name, prompt_version = prompt or ("", None)
    with transaction.atomic():
        if queries.get_experiment(name=name) is not None:
            raise _wrong("name", f"is taken: there is an experiment {name!r} already")
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
            evidence=_shown_by(PairedEvidence(), alpha=ALPHA),
            created_at=now,
            created_by=actor,
        )
        _tell("EXPERIMENT_STARTED", row, actor=actor, now=now, share_pct=share_pct)
    return row


def _check(*, name: str, champion: str, challenger: str, prompt: tuple[str, int] | None) -> None:
    known = evaluation.evaluators()
    if not NAME.fullmatch(name):
        raise _wrong("name", "must be 1 to 64 letters, digits, dots, dashes or underscores")
    for field, model in (("champion", champion), ("challenger", challenger)):
        if model not in known:
            names = ", ".join(known)
            raise _wrong(field, f"must be one of {names}: AI_MODELS and SHADOW_MODELS name them")
    if prompt is None and champion == challenger:
        raise _wrong("challenger", "must be another model, or have a prompt of its own")
    if prompt is not None and champion != challenger:
        raise _wrong("challenger", "must be the champion itself where a prompt is tried")
    if prompt is not None and evaluations.get_prompt(name=prompt[0], version=prompt[1]) is None:
        raise _wrong("prompt", f"must be a stored version; there is no {prompt[0]} v{prompt[1]}")


def _wrong(field: str, fault: str) -> InvalidRequest:
    return InvalidRequest(f"{field} {fault}", (FieldError(field, "invalid", fault),))


def expectation(*, apart: float = EXPECTED_APART) -> dict[str, int | None]:
    """Return after about how many decisions differences of some sizes will have shown."""
    return {f"{gain:g}": decisions_needed(gain=gain, apart=apart) for gain in EXPECTED_GAINS}


def shadow_signals(*, enriched: Sequence[Enriched], now: datetime) -> None:
    """Have the challengers of running experiments judge the live signals of their share."""
    live = [
        each.signal
        for each in enriched
        if each.signal.origin == Origin.LIVE and not each.enrichment.simulated
    ]
    for experiment in queries.list_running_experiments() if live else ():
        for signal in live:
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
                kind=EXPERIMENT,
                subject=experiment.name,
                message=f"{_tried(experiment)} is proven {evidence['standing'].lower()} than"
                f" {experiment.champion} after {evidence['n']} decisions",
                now=now,
            )


def _tried(row: Experiment) -> str:
    prompt = f" under {row.prompt_name} v{row.prompt_version}" if row.prompt_name else ""
    return f"{row.challenger}{prompt}"


def evidence_of(experiment: Experiment) -> dict[str, Any]:
    """Return what the paired decisions have shown so far."""
    found = PairedEvidence()
    for champion, challenger, won in queries.list_pairs(experiment=experiment):
        found = found.add(champion=champion, challenger=challenger, won=won)
    return _shown_by(found, alpha=experiment.alpha)


def _shown_by(found: PairedEvidence, *, alpha: float) -> dict[str, Any]:
    low, high = found.interval(alpha=alpha)
    return {
        "n": found.n,
        "mean_gain": found.mean if found.n else None,
        "low": low,
        "high": high,
        "standing": str(found.standing(alpha=alpha)),
        "still_needed": _still_needed(found, alpha=alpha),
    }


def _still_needed(found: PairedEvidence, *, alpha: float) -> int | None:
    """Return how many more decisions it will take if the judges go on as they have.

    None where it cannot be told: too few yet, no difference, or never in our lifetime.
    """
    if found.standing(alpha=alpha) != Standing.OPEN:
        return 0
    if found.n < TOO_FEW or not found.variance:
        return None
    apart = sqrt(found.variance / found.n)
    whole = decisions_needed(gain=found.mean, apart=apart, alpha=alpha)
    return None if whole is None else max(whole - found.n, 1)


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
                f"{_tried(row)} is not proven better than {row.champion}: the gain lies from"
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
    alerting.close_alerts(kind=EXPERIMENT, subject=row.name, actor=actor, now=now)


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

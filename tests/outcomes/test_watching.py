"""Challengers are promoted on evidence alone; models that change are noticed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from pytest_django import Settings

from decisions.models import Decision
from evaluation import services as evaluation
from evaluation.models import Evaluation
from outcomes import queries, services
from outcomes.experimenting import is_sampled
from outcomes.models import Alert, Canary, Experiment, Score
from pipeline.models import AuditEvent
from pipeline.types import InvalidRequest
from signals.models import Signal
from signals.types import Origin, SignalStatus
from tests.factories import NOON, make_enrichment, make_signal
from tests.running import run_everything

pytestmark = pytest.mark.django_db

SCRIPTED = "evaluation.evaluators.scripted.Scripted"


@pytest.fixture(autouse=True)
def _models(settings: Settings) -> Iterator[None]:
    settings.AI_MODELS = ("bold",)
    settings.EVALUATORS = {
        "bold": {"BACKEND": SCRIPTED, "OPTIONS": {}},
        "shy": {"BACKEND": SCRIPTED, "OPTIONS": {"follow": False}},
    }
    evaluation.evaluators.cache_clear()
    yield
    evaluation.evaluators.cache_clear()


def an_experiment(**changes: Any) -> Experiment:
    values: dict[str, Any] = {
        "name": "shyness",
        "champion": "bold",
        "challenger": "shy",
        "prompt": None,
        "share_pct": 100,
        "actor": "ada",
        "now": NOON,
    }
    return services.start_experiment(**(values | changes))


def a_signal(**changes: Any) -> Signal:
    signal = make_signal(status=SignalStatus.ENRICHED, **changes)
    make_enrichment(signal)
    return signal


def shadow(signal: Signal) -> None:
    facts = make_enrichment(make_signal())
    services.shadow_signal(signal=signal, enrichment=facts, now=NOON)


def scores(experiment: Experiment, *, gain: float, count: int) -> None:
    """Store pairs of scores in which the challenger is better by a known way."""
    rng = Random(3)
    common = {
        "scope": "live",
        "run": 1,
        "source": "s",
        "symbol": "BTC",
        "event_type": "OPEN_SIGNAL",
        "side": "long",
        "at": NOON,
        "day": NOON.date(),
        "base_rate": 0.5,
    }
    rows = []
    for place in range(count):
        won = rng.random() < 0.5
        event_id = make_id(place)
        better = 0.5 + gain if won else 0.5 - gain
        for model, variant, p in (("bold", "", 0.5), ("shy", experiment.name, better)):
            rows.append(
                Score(
                    **common,
                    event_id=event_id,
                    model=model,
                    variant=variant,
                    p=p,
                    p_raw=p,
                    won=won,
                    net_r=1.0,
                    known_at=NOON + timedelta(minutes=place),
                )
            )
    Score.objects.bulk_create(rows)


def make_id(place: int) -> str:
    return f"00000000-0000-0000-0000-{place:012d}"


def test_it_is_said_beforehand_how_long_a_difference_takes_to_show() -> None:
    expected = an_experiment().expected

    assert list(expected) == ["0.03", "0.015", "0.008"]
    found = [count for count in expected.values() if count]
    assert found == sorted(found)
    assert found[0] > 100


def test_a_challenger_judges_beside_and_decides_nothing() -> None:
    an_experiment()
    signal = a_signal()

    shadow(signal)
    run_everything()

    said = Evaluation.objects.get(signal=signal)
    assert (said.model, said.status) == ("shy", "DECIDED")
    assert not Decision.objects.exists()
    assert Signal.objects.get(id=signal.id).status == SignalStatus.ENRICHED


@pytest.mark.parametrize("origin", [Origin.DEMO, Origin.REPLAY])
def test_only_live_signals_are_experimented_with(origin: Origin) -> None:
    an_experiment()

    shadow(a_signal(origin=origin))

    assert not Evaluation.objects.exists()


def test_the_share_is_kept_and_sticks_to_the_signal() -> None:
    experiment = an_experiment(share_pct=25)

    drawn = [is_sampled(experiment, event_id=make_id(place)) for place in range(2_000)]

    assert drawn == [is_sampled(experiment, event_id=make_id(place)) for place in range(2_000)]
    assert 0.20 < sum(drawn) / len(drawn) < 0.30


def test_without_proof_nothing_is_promoted() -> None:
    scores(an_experiment(), gain=0.01, count=50)

    with pytest.raises(services.NotProven, match="not proven better than bold"):
        services.promote_challenger(name="shyness", actor="ada", why="hope", now=NOON)

    assert Experiment.objects.get().status == "RUNNING"


def test_proof_opens_an_alert_and_allows_an_audited_promotion() -> None:
    scores(an_experiment(), gain=0.3, count=600)

    services.weigh_evidence(now=NOON)
    promoted = services.promote_challenger(name="shyness", actor="ada", why="proof", now=NOON)

    assert promoted.status == "PROMOTED"
    assert promoted.evidence["standing"] == "BETTER"
    assert promoted.evidence["low"] > 0
    assert Alert.objects.get().closed_by == "ada"
    assert AuditEvent.objects.filter(verb="EXPERIMENT_PROMOTED", actor="ada").exists()


def test_a_name_is_taken_once() -> None:
    an_experiment()

    with pytest.raises(InvalidRequest):
        an_experiment()


def test_a_model_that_says_the_same_is_steady_and_one_that_changes_is_reported(
    settings: Settings,
) -> None:
    services.add_golden(event_id=a_signal().event_id, note="", actor="ada", now=NOON)

    for day, follow in ((0, True), (1, True), (2, False)):
        settings.EVALUATORS["bold"]["OPTIONS"]["follow"] = follow
        evaluation.evaluators.cache_clear()
        at = NOON + timedelta(days=day)
        services.send_canaries(now=at)
        assert services.send_canaries(now=at) == 0
        run_everything()
        services.judge_canaries(now=at)

    days = Canary.objects.filter(model="bold").order_by("day")
    assert [each.status for each in days] == ["STEADY", "STEADY", "DRIFTED"]
    assert [alert.subject for alert in queries.list_open_alerts()] == ["bold"]
    assert "turned round" in Alert.objects.get(closed_at=None).message
    assert not Decision.objects.exists()

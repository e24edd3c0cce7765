"""Challengers are promoted on evidence alone; models that change are noticed."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Any

import pytest
from django.conf import settings as django_settings
from pytest_django import Settings

from decisions.models import Decision
from enrichment.queries import Enriched
from evaluation import services as evaluation
from evaluation.models import Evaluation
from outcomes import alerting, queries, services
from outcomes.experimenting import is_sampled
from outcomes.models import Alert, Canary, Experiment, Score
from pipeline.models import AuditEvent
from pipeline.types import Batch, InvalidRequest, NotFound
from signals.models import Signal
from signals.types import Origin, SignalStatus
from tests.factories import NOON, make_enrichment, make_signal
from tests.running import run_everything

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("bold_and_shy")]

SCRIPTED = "evaluation.evaluators.scripted.Scripted"


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
    services.shadow_signals(enriched=[Enriched(signal=signal, enrichment=facts)], now=NOON)


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


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"champion": "nobody"}, "champion"),
        ({"challenger": "nobody"}, "challenger"),
        ({"challenger": "bold"}, "challenger"),
        ({"prompt": ("judge", 1)}, "challenger"),
        ({"challenger": "bold", "prompt": ("judge", 999)}, "prompt"),
        ({"share_pct": 0}, "share_pct"),
        ({"share_pct": 101}, "share_pct"),
        ({"name": "a b"}, "name"),
    ],
)
def test_an_experiment_that_could_show_nothing_is_refused_by_field(
    changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        an_experiment(**changes)

    assert [fault.field for fault in refused.value.errors] == [field]
    assert not Experiment.objects.exists()


def test_it_is_told_how_many_more_decisions_it_will_take() -> None:
    experiment = an_experiment()
    scores(experiment, gain=0.05, count=60)

    services.weigh_evidence(now=NOON)

    evidence = Experiment.objects.get().evidence
    assert evidence["standing"] == "OPEN"
    assert evidence["still_needed"] > 0


def test_a_purge_spares_golden_signals() -> None:
    golden, other = a_signal(), a_signal()
    services.add_golden(event_id=golden.event_id, note="", actor="ada", now=NOON)
    batch = Batch(signals=(golden.id, other.id), events=(golden.event_id, other.event_id))

    assert queries.list_in_hand(batch=batch) == {"golden signal": {golden.id}}
    assert "outcomes.queries.list_in_hand" in django_settings.PURGE_SPARES


def test_a_golden_signal_has_facts_to_judge_and_is_chosen_and_dropped_once() -> None:
    signal = a_signal()
    with pytest.raises(InvalidRequest, match="no frozen facts"):
        services.add_golden(event_id=make_signal().event_id, note="", actor="ada", now=NOON)

    for _ in range(2):
        services.add_golden(event_id=signal.event_id, note="calm", actor="ada", now=NOON)
    services.drop_golden(event_id=signal.event_id, actor="ada", now=NOON)

    with pytest.raises(NotFound):
        services.drop_golden(event_id=signal.event_id, actor="ada", now=NOON)
    told = AuditEvent.objects.filter(verb__startswith="GOLDEN").order_by("id")
    assert [event.verb for event in told] == ["GOLDEN_ADDED", "GOLDEN_DROPPED"]


def a_canary(day: int, p: float, status: str = "STEADY") -> Canary:
    return Canary.objects.create(
        day=(NOON + timedelta(days=day)).date(),
        model="bold",
        status=status,
        rerun_id=make_id(day),
        answers={"x": {"action": "IGNORE", "p": p}},
        created_at=NOON,
    )


def test_a_drift_that_is_accepted_is_what_later_days_are_held_to() -> None:
    a_canary(0, 0.2)
    drifted = a_canary(1, 0.4, "DRIFTED")
    services.accept_canary(model="bold", actor="ada", why="a better version", now=NOON)

    kept = queries.latest_custom(model="bold", before=(NOON + timedelta(days=2)).date())

    assert kept == drifted
    with pytest.raises(NotFound):
        services.accept_canary(model="bold", actor="ada", why="again", now=NOON)


def test_an_acknowledged_alert_calls_nobody_and_closes_with_its_matter() -> None:
    alerting.open_alert(kind="CANARY", subject="bold", message="moved", now=NOON)
    alert = Alert.objects.get()
    assert queries.count_alerts() == {"CANARY": 1}

    services.acknowledge_alert(alert_id=alert.id, actor="ada", why="looking", now=NOON)
    again = services.acknowledge_alert(alert_id=alert.id, actor="bob", why="me too", now=NOON)
    alerting.open_alert(kind="CANARY", subject="bold", message="moved on", now=NOON)

    assert (again.acknowledged_by, again.why) == ("ada", "looking")
    assert queries.count_alerts() == {}
    assert [row.message for row in queries.list_open_alerts()] == ["moved on"]
    assert AuditEvent.objects.filter(verb="ALERT_ACKNOWLEDGED").count() == 1
    alerting.close_alerts(kind="CANARY", subject="bold", actor="canary", now=NOON)
    with pytest.raises(NotFound):
        services.acknowledge_alert(alert_id=alert.id, actor="ada", why="late", now=NOON)


def test_nobody_acknowledges_without_a_word() -> None:
    alerting.open_alert(kind="BIAS", subject="bold", message="longs", now=NOON)

    with pytest.raises(InvalidRequest, match="reason"):
        services.acknowledge_alert(alert_id=Alert.objects.get().id, actor="a", why=" ", now=NOON)

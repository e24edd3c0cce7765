"""A judge without bias answers the mirrored case alike, and does not mind how it is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from pytest_django import Settings

from decisions.models import Decision
from evaluation import services as evaluation
from evaluation.types import Case
from evaluation.variations import varied
from outcomes import queries, services
from outcomes.models import BiasAudit
from pipeline.types import InvalidRequest
from signals.types import Direction, SignalStatus
from tests.factories import NOON, make_enrichment, make_signal
from tests.running import run_everything

PAYLOAD = {
    "market": {"mid": 200.0},
    "original": {"direction": "long", "entry_price": "100"},
    "ta": {"timeframes": {"1h": {"ema_9": 80.0, "rsi_14": 30.0, "macd_hist": -2.0, "atr_14": 3.0}}},
}


def make_case() -> Case:
    return Case(
        event_id=uuid4(),
        event_type="OPEN_SIGNAL",
        symbol="BTC",
        side="long",
        entry_price=100.0,
        payload=json.dumps(PAYLOAD),
        facts={"engine": {"1h": {"structure": "uptrend", "ema_slope": 0.5, "close": 125.0}}},
        constraints={},
        as_of=datetime(2026, 1, 15, 12, tzinfo=UTC),
    )


def test_a_mirrored_case_is_the_same_bet_on_the_other_side() -> None:
    mirrored = varied(make_case(), "mirror")

    told = json.loads(mirrored.payload)
    hour = told["ta"]["timeframes"]["1h"]
    assert (mirrored.side, told["original"]["direction"]) == ("short", "short")
    assert told["market"]["mid"] == 50.0
    assert hour == {"ema_9": 125.0, "rsi_14": 70.0, "macd_hist": 2.0, "atr_14": 3.0}
    assert mirrored.facts["engine"]["1h"] == {
        "structure": "downtrend",
        "ema_slope": -0.5,
        "close": 80.0,
    }


def test_the_mirror_of_a_mirror_is_the_case_itself() -> None:
    case = make_case()

    twice = varied(varied(case, "mirror"), "mirror")

    assert twice.facts == case.facts
    assert twice.side == case.side


def test_shuffled_and_paraphrased_cases_keep_every_fact() -> None:
    shuffled = json.loads(varied(make_case(), "shuffle").payload)
    reworded = json.loads(varied(make_case(), "paraphrase").payload)

    assert shuffled == PAYLOAD
    assert list(shuffled) == list(reversed(list(PAYLOAD)))
    hour = reworded["ta"]["timeframes"]["1h"]
    assert hour["exponential_moving_average_9"] == 80.0
    assert hour["average_true_range_14"] == 3.0


@pytest.fixture
def _models(settings: Settings) -> Iterator[None]:
    scripted = "evaluation.evaluators.scripted.Scripted"
    settings.AI_MODELS = ("bold",)
    settings.EVALUATORS = {"bold": {"BACKEND": scripted, "OPTIONS": {}}}
    evaluation.evaluators.cache_clear()
    yield
    evaluation.evaluators.cache_clear()


@pytest.mark.django_db
@pytest.mark.usefixtures("_models")
def test_an_audit_tells_what_changed_and_publishes_nothing() -> None:
    for direction in (Direction.LONG, Direction.SHORT):
        signal = make_signal(direction=direction, status=SignalStatus.PUBLISHED)
        make_enrichment(signal, facts={"mid": 42_000.0}, payload=json.dumps(PAYLOAD))

    audit = services.start_audit(model="bold", cases=5, actor="ada", now=NOON)
    run_everything()
    services.finish_audits(now=NOON)

    found = BiasAudit.objects.get(id=audit.id)
    assert (found.status, found.cases) == ("DONE", 2)
    assert [found.result[name]["n"] for name in ("mirror", "shuffle", "paraphrase")] == [2, 2, 2]
    assert found.result["mirror"]["flips"] == 0
    assert found.result["skew"] == {"long": 1.0, "short": 1.0}
    assert not Decision.objects.exists()
    assert not queries.list_open_alerts()


@pytest.mark.django_db
@pytest.mark.usefixtures("_models")
def test_without_a_model_or_a_case_there_is_no_audit() -> None:
    for model in ("nobody", "bold"):
        with pytest.raises(InvalidRequest):
            services.start_audit(model=model, cases=5, actor="ada", now=NOON)

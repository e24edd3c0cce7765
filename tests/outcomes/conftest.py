from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest

from outcomes import services
from outcomes.models import Outcome
from outcomes.types import OutcomeStatus
from tests.factories import NOON, make_decision, make_signal
from tests.outcomes.makers import make_question

DAYS = 8


@pytest.fixture
def told(db: None) -> None:
    """Signals of two sources over eight days, each judged by a model and ended, and scored."""
    del db
    rng = Random(3)
    for place in range(DAYS * 5):
        at = NOON + timedelta(days=place // 5, hours=place % 5)
        source = ("alpha", "beta")[place % 2]
        signal = make_signal(source=source, ts_utc=at, received_at=at)
        question = make_question(
            event_id=signal.event_id, source=source, asked_at=at, opens_at=at, regime="up"
        )
        won = rng.random() < 0.4
        Outcome.objects.create(
            question=question,
            scope=question.scope,
            market=question.market,
            symbol=question.symbol,
            opens_at=at,
            seen_until=at,
            status=OutcomeStatus.RESOLVED,
            resolution="TARGET" if won else "STOP",
            won=won,
            net_r=1.8 if won else -1.2,
            known_at=at + timedelta(hours=1),
        )
        follows, confidence = rng.random() < 0.6, round(rng.uniform(0.5, 0.95), 2)
        make_decision(
            signal,
            model="judge",
            decision="FOLLOW_ENTER" if follows else "IGNORE",
            confidence=confidence,
            confidence_raw=confidence,
        )
    while services.tally(scope="live", now=NOON + timedelta(days=DAYS), limit=7):
        pass

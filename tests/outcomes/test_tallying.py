"""What ended is scored once, by what was known then; judges are recognised for what they are."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from datetime import datetime, timedelta
from random import Random
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from django.db import models, transaction
from django.db.models.base import ModelState

from decisions.models import ConfidenceMap, Decision, VoiceWeights
from evaluation.models import SourceRating
from outcomes import queries, services, tallying
from outcomes.models import CalibrationMap, Outcome, Question, Score, ScoreDay
from outcomes.standing import Standing
from outcomes.types import ALL, WHOLE_DAY, OutcomeStatus
from signals.models import Signal
from tests.factories import NOON, make_decision, make_evaluation, make_signal
from tests.outcomes.makers import make_question

pytestmark = pytest.mark.django_db

Row = TypeVar("Row", bound=models.Model)
Say = Callable[[bool, Random], tuple[str, float]]
END = NOON + timedelta(days=40)


def ended(
    signal: Signal, *, won: bool, at: datetime, scope: str = "live", **changes: Any
) -> Outcome:
    """Return the ended, unscored outcome of a signal's own question."""
    question = make_question(
        event_id=signal.event_id, source=signal.source, scope=scope, opens_at=at, asked_at=at
    )
    outcome = answered(question, won=won, at=at, **changes)
    outcome.save()
    return outcome


def perfect(won: bool, rng: Random) -> tuple[str, float]:
    del rng
    return ("FOLLOW_ENTER" if won else "IGNORE"), 0.95


def inverted(won: bool, rng: Random) -> tuple[str, float]:
    del rng
    return ("IGNORE" if won else "FOLLOW_ENTER"), 0.8


def coin(won: bool, rng: Random) -> tuple[str, float]:
    del won
    return ("FOLLOW_ENTER" if rng.random() < 0.5 else "IGNORE"), 0.6


def overconfident(won: bool, rng: Random) -> tuple[str, float]:
    said = won if rng.random() < 0.65 else not won
    return ("FOLLOW_ENTER" if said else "IGNORE"), 0.95


JUDGES: dict[str, Say] = {
    "perfect": perfect,
    "inverted": inverted,
    "coin": coin,
    "overconfident": overconfident,
}


def judged(days: int, *, a_day: int = 12, scope: str = "live") -> None:
    """Store signals of many days with what four judges said of each."""
    rng = Random(5)
    first, said = make_signal(), make_decision(make_signal())
    question = make_question(scope=scope, source=first.source)
    signals, questions, outcomes, decisions = [], [], [], []
    for place in range(days * a_day):
        at = NOON + timedelta(days=place // a_day, minutes=30 * (place % a_day))
        won = rng.random() < 0.35
        signal = copied(first, event_id=uuid4(), ts_utc=at, received_at=at)
        asked = copied(question, id=uuid4(), event_id=signal.event_id, opens_at=at, asked_at=at)
        signals.append(signal)
        questions.append(asked)
        outcomes.append(answered(asked, won=won, at=at))
        for name, say in JUDGES.items():
            action, confidence = say(won, rng)
            decisions.append(
                copied(
                    said,
                    id=uuid4(),
                    signal=signal,
                    event_id=signal.event_id,
                    model=name,
                    decision=action,
                    confidence=confidence,
                    confidence_raw=confidence,
                )
            )
    said.delete()
    Signal.objects.bulk_create(signals)
    Question.objects.bulk_create(questions)
    Outcome.objects.bulk_create(outcomes)
    Decision.objects.bulk_create(decisions)


def copied(row: Row, **changes: Any) -> Row:
    """Return an unsaved copy of a row with some fields changed."""
    twin = copy(row)
    twin.pk, twin._state = None, ModelState()
    for name, value in changes.items():
        setattr(twin, name, value)
    return twin


def answered(question: Question, *, won: bool, at: datetime, **changes: Any) -> Outcome:
    values: dict[str, Any] = {
        "question": question,
        "scope": question.scope,
        "market": question.market,
        "symbol": question.symbol,
        "opens_at": at,
        "seen_until": at,
        "status": OutcomeStatus.RESOLVED,
        "resolution": "TARGET" if won else "STOP",
        "won": won,
        "net_r": 1.7 if won else -1.3,
        "known_at": at + timedelta(hours=1),
    }
    return Outcome(**(values | changes))


def tally_all(scope: str = "live", **changes: Any) -> None:
    while services.tally(scope=scope, now=END, limit=100, **changes):
        pass


def board(scope: str = "live") -> dict[str, Standing]:
    return {each.model: each for each in queries.get_scoreboard(scope=scope).standings}


def test_a_score_holds_what_was_said_and_what_came() -> None:
    signal = make_signal()
    ended(signal, won=True, at=NOON)
    make_decision(signal, model="a", decision="IGNORE", confidence=0.7, confidence_raw=0.7)
    make_evaluation(signal, model="b", status="ABSTAINED", outcome="timeout")

    tally_all()

    said, silent = Score.objects.get(model="a"), Score.objects.get(model="b")
    assert said.p == pytest.approx(0.3)
    assert (said.won, said.followed) == (True, False)
    assert (silent.p, silent.abstained) == (None, "timeout")
    sums = ScoreDay.objects.exclude(source=ALL).exclude(symbol=ALL).get(model="a")
    assert (sums.n, sums.wins, sums.asked) == (1, 1, 1)
    assert sums.brier == pytest.approx(0.49)
    assert sums.ignored_r == pytest.approx(1.7)
    assert ScoreDay.objects.exclude(source=ALL).exclude(symbol=ALL).get(model="b").asked == 1


def test_what_the_policy_made_of_advice_is_not_what_the_model_said() -> None:
    signal = make_signal()
    ended(signal, won=True, at=NOON)
    change = {"field": "decision", "rule": "max_trades_per_hour 4", "asked": "FOLLOW_ENTER"}
    make_decision(signal, model="a", decision="IGNORE", policy_adjustments=[change])

    tally_all()

    score = Score.objects.get(model="a")
    assert (score.p, score.followed) == (0.75, False)


def test_scoring_twice_counts_once() -> None:
    judged(1)
    tally_all()
    before = list(ScoreDay.objects.values())

    tally_all()

    assert list(ScoreDay.objects.values()) == before
    assert Score.objects.filter(model="perfect").count() == 12


def test_a_tally_that_dies_on_the_way_leaves_nothing_half_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged(1)

    class Died(Exception):
        pass

    def die(self: Any) -> None:
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(tallying._Sums, "store", die)
        with pytest.raises(Died), transaction.atomic():
            tally_all()
    assert not Score.objects.exists()

    tally_all()

    whole = ScoreDay.objects.filter(model="coin", **WHOLE_DAY)
    assert sum(whole.values_list("n", flat=True)) == 12


def test_the_base_rate_knows_nothing_that_ended_later() -> None:
    for hours, won in ((0, True), (2, True), (4, False)):
        at = NOON + timedelta(hours=hours)
        ended(make_signal(received_at=at), won=won, at=at)

    tally_all()

    rates = Score.objects.filter(model="").order_by("at").values_list("base_rate", flat=True)
    assert list(rates) == pytest.approx([1 / 2, 2 / 3, 3 / 4])


def test_demo_and_live_signals_share_no_sum() -> None:
    ended(make_signal(), won=True, at=NOON, scope="demo")
    ended(make_signal(), won=False, at=NOON)

    for scope in queries.list_unscored_scopes():
        tally_all(scope)

    whole = ScoreDay.objects.filter(model="", **WHOLE_DAY)
    assert whole.get(scope="demo").wins == 1
    assert whole.get(scope="live").wins == 0


def test_unanswered_and_unfilled_questions_score_nobody() -> None:
    signal = make_signal()
    ended(signal, won=False, at=NOON, resolution="NOT_FILLED", net_r=None)
    Outcome.objects.update(won=None)
    make_decision(signal, model="a")

    tally_all()

    assert not Score.objects.exists()
    assert Outcome.objects.get().scored_at == END


def test_each_judge_is_recognised_for_what_it_is() -> None:
    judged(20)
    hindsight = services.Hindsight(scope="live", now=END)

    tally_all(forecaster=hindsight)

    found = board()
    low, high = found["perfect"].skill.interval or (0, 0)
    assert low > 0.8
    low, high = found["inverted"].skill_raw.interval or (0, 0)
    assert high < 0
    low, high = found["coin"].skill.interval or (-1, -1)
    assert high < 0.05
    over = found["overconfident"]
    assert (over.brier.value or 1) < (over.brier_raw or 0)
    assert found["perfect"].auc == 1.0
    assert (found["inverted"].auc or 1) < 0.5


def test_an_over_confident_model_is_pulled_to_the_diagonal_out_of_sample() -> None:
    judged(20)

    tally_all(forecaster=services.Hindsight(scope="live", now=END))

    late = Score.objects.filter(model="overconfident", at__gte=NOON + timedelta(days=10))
    for stated in (0.95, 0.05):
        group = [each for each in late if each.p_raw == pytest.approx(stated)]
        came = sum(each.won for each in group) / len(group)
        worth = sum(each.p or 0 for each in group) / len(group)
        assert abs(worth - came) < 0.15 < abs(stated - came)


def test_a_replay_learns_nothing_from_its_own_future() -> None:
    """Cutting off the later signals changes no probability of the earlier ones."""
    judged(12, scope="live")
    tally_all(forecaster=services.Hindsight(scope="live", now=END))
    whole = dict(Score.objects.filter(model="overconfident").values_list("event_id", "p"))
    Score.objects.all().delete()
    ScoreDay.objects.all().delete()
    CalibrationMap.objects.all().delete()
    cut = NOON + timedelta(days=8)
    Outcome.objects.filter(opens_at__lt=cut).update(scored_at=None)

    tally_all(forecaster=services.Hindsight(scope="live", now=END))

    early = dict(Score.objects.filter(model="overconfident").values_list("event_id", "p"))
    assert len(early) == 96
    assert early == {event_id: whole[event_id] for event_id in early}


def test_what_is_learnt_is_handed_down() -> None:
    judged(12)
    tally_all()

    changed = services.learn_anew(scope="live", now=END)

    assert changed
    weights = VoiceWeights.objects.get(scope="live").weights
    assert weights["perfect"]["weight"] > 0.8
    assert weights["inverted"]["reason"] == "NO_SKILL"
    assert "no skill" in weights["inverted"]["why"]
    worth = ConfidenceMap.objects.get(scope="live", model="overconfident", source="")
    assert worth.n == 144
    assert SourceRating.objects.get().n == 144


def test_nothing_new_is_no_new_version() -> None:
    judged(8)
    tally_all()
    services.learn_anew(scope="live", now=END)
    services.learn_anew(scope="live", now=END)

    assert set(CalibrationMap.objects.values_list("version", flat=True)) == {1}
    assert not services.learn_anew(scope="simulated", now=END)


def test_below_thirty_is_too_few_and_baselines_stand_beside() -> None:
    judged(2)
    tally_all()

    shown = queries.get_scoreboard(scope="live")

    assert all(each.is_too_few for each in shown.standings)
    follow, ignore, toss = shown.baselines
    assert (follow.brier.value or 0) + (ignore.brier.value or 0) == pytest.approx(1.0)
    assert toss.brier.value == pytest.approx(0.25)
    assert follow.followed_r.value == pytest.approx(
        sum(Score.objects.filter(model="").values_list("net_r", flat=True)) / 24
    )

from __future__ import annotations

from typing import Any

import pytest

from decisions.jury import Vote, disagreement, follow_probability, rule
from decisions.types import Ruling, Voices
from evaluation.types import ACTIONS, Action


def vote(model: str, action: Action, confidence: float = 0.8, size_pct: float = 10.0) -> Vote:
    reasons = ("bullish_trend",) if action is Action.FOLLOW_ENTER else ("no_trend",)
    return Vote(
        model=model, action=action, confidence=confidence, size_pct=size_pct, reasons=reasons
    )


FOLLOW, IGNORE = Action.FOLLOW_ENTER, Action.IGNORE


def ruled(votes: list[Vote], *, asked: int = 3, **changes: Any) -> Ruling | None:
    values: dict[str, Any] = {
        "event_type": "OPEN_SIGNAL",
        "asked": [f"m{number}" for number in range(asked)],
        "quorum_pct": 50,
    }
    return rule(votes, **(values | changes))


def test_the_pool_of_the_members_probabilities_decides() -> None:
    ruling = ruled([vote("m0", FOLLOW, 0.9), vote("m1", FOLLOW, 0.7), vote("m2", IGNORE, 0.2)])

    assert ruling is not None
    assert ruling.action == FOLLOW
    odds = (0.9 / 0.1) * (0.7 / 0.3) * (0.8 / 0.2)  # of 0.9, 0.7 and 0.8 that following is right
    assert ruling.confidence == pytest.approx(1 / (1 + odds ** (-1 / 3)))
    assert ruling.tally["counts"] == {"FOLLOW_ENTER": 2, "IGNORE": 1}
    assert ruling.tally["agreement"] == pytest.approx(2 / 3, abs=1e-6)


def test_one_who_is_certain_outweighs_two_who_are_not() -> None:
    ruling = ruled([vote("m0", FOLLOW, 0.55), vote("m1", FOLLOW, 0.55), vote("m2", IGNORE, 0.95)])

    assert ruling is not None
    assert ruling.action == IGNORE
    assert ruling.confidence == pytest.approx(1 - ruling.p)


def test_proven_skill_weighs_and_says_why() -> None:
    voices = Voices(
        version=7,
        weights={
            "m0": {"weight": 0.9, "why": "it is good"},
            "m1": {"weight": 0.1, "why": "it is not"},
        },
        effective_models=1.2,
    )
    votes = [vote("m0", FOLLOW, 0.7), vote("m1", IGNORE, 0.9)]

    equal, weighed = ruled(votes), ruled(votes, voices=voices)

    assert equal is not None
    assert weighed is not None
    assert (equal.action, weighed.action) == (IGNORE, FOLLOW)
    assert weighed.tally["weights"] == {"m0": 0.9, "m1": 0.1}
    assert weighed.tally["weighing"]["m0"]["why"] == "it is good"
    assert (weighed.tally["weights_version"], weighed.tally["effective_models"]) == (7, 1.2)


def test_the_jury_enters_where_the_bet_pays_and_a_member_enters_too() -> None:
    unsure = [vote("m0", FOLLOW, 0.46), vote("m1", FOLLOW, 0.48)]
    nobody = [vote("m0", IGNORE, 0.52), vote("m1", IGNORE, 0.52)]

    entering, staying = ruled(unsure, threshold=0.45), ruled(unsure, threshold=0.5)
    alone = ruled(nobody, threshold=0.45)

    assert [each and each.action for each in (entering, staying, alone)] == [FOLLOW, IGNORE, IGNORE]


def test_the_smallest_size_of_the_majority_is_taken() -> None:
    ruling = ruled([vote("m0", FOLLOW, size_pct=25), vote("m1", FOLLOW, size_pct=5)])

    assert ruling is not None
    assert ruling.size_pct == 5


@pytest.mark.parametrize(
    ("event_type", "one", "other", "cautious"),
    [
        ("OPEN_SIGNAL", FOLLOW, IGNORE, IGNORE),
        ("CLOSE_SIGNAL", Action.FOLLOW_EXIT, Action.HOLD, Action.HOLD),
    ],
)
def test_a_tie_falls_to_doing_nothing(
    event_type: str, one: Action, other: Action, cautious: Action
) -> None:
    ruling = ruled([vote("m0", one), vote("m1", other)], event_type=event_type)

    assert ruling is not None
    assert ruling.action == cautious


def test_abstentions_are_no_votes_and_are_named() -> None:
    ruling = ruled([vote("m0", FOLLOW), vote("m2", FOLLOW)])

    assert ruling is not None
    assert ruling.tally["abstained"] == ["m1"]
    assert ruling.tally["weights"] == {"m0": 0.5, "m2": 0.5}


@pytest.mark.parametrize(("asked", "votes", "reached"), [(3, 1, False), (3, 2, True), (2, 1, True)])
def test_there_is_no_ruling_below_the_quorum(asked: int, votes: int, *, reached: bool) -> None:
    ruling = ruled([vote(f"m{n}", FOLLOW) for n in range(votes)], asked=asked)

    assert (ruling is not None) is reached


def test_nobody_voting_is_no_ruling_even_with_no_quorum_set() -> None:
    assert ruled([], quorum_pct=0) is None


def test_votes_that_agree_have_no_disagreement_and_certain_halves_the_most() -> None:
    assert disagreement([vote("m0", FOLLOW, 0.7), vote("m1", FOLLOW, 0.7)]) == 0.0
    assert disagreement([vote("m0", FOLLOW, 0.7), vote("m1", IGNORE, 0.3)]) == pytest.approx(0.0)
    assert disagreement([vote("m0", FOLLOW, 1.0), vote("m1", IGNORE, 1.0)]) == 0.5
    assert disagreement([vote("m0", FOLLOW, 0.9)]) == 0.0
    assert disagreement([]) == 0.0


def test_disagreement_is_the_standard_deviation_of_the_follow_probability() -> None:
    votes = [vote("m0", FOLLOW, 0.9), vote("m1", FOLLOW, 0.6), vote("m2", IGNORE, 0.7)]

    ruling = ruled(votes)

    assert ruling is not None
    assert ruling.tally["disagreement"] == pytest.approx(0.244949, abs=1e-6)  # of 0.9, 0.6, 0.3


@pytest.mark.parametrize("action", [each for actions in ACTIONS.values() for each in actions])
def test_every_action_has_a_follow_probability(action: Action) -> None:
    expected = {
        Action.FOLLOW_ENTER: 0.8,
        Action.FOLLOW_EXIT: 0.8,
        Action.IGNORE: 0.2,
        Action.HOLD: 0.2,
        Action.TIGHTEN_STOP: 0.5,
    }

    assert follow_probability(vote("m0", action, 0.8)) == pytest.approx(expected[action])


def test_an_abstention_moves_neither_agreement_nor_disagreement() -> None:
    votes = [vote("m0", FOLLOW, 0.9), vote("m1", IGNORE, 0.7)]

    few, many = ruled(votes, asked=2), ruled(votes, asked=4)

    assert few is not None
    assert many is not None
    for name in ("agreement", "disagreement", "weights", "counts"):
        assert few.tally[name] == many.tally[name]

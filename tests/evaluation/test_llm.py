from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.evaluators import llm
from evaluation.evaluators.base import CallFailed
from evaluation.evaluators.llm import LLM, STOP, Completion, Request, Step, next_step, sane_usage
from evaluation.evaluators.vendor_policy import VendorPolicy
from evaluation.evaluators.wire import PerLoop, Reply
from evaluation.types import AttemptStatus, Card, Opinion
from pipeline import leases
from pipeline.leases import Lease, LeaseOver
from tests.evaluation.answers import answer
from tests.evaluation.vendors import model, prompted

GOOD = Completion(text=answer(), tokens_in=900, tokens_out=120, model_reported="told-1")
SCHEMALESS = Card(provider="told", model_id="told", api="chat", structured="none")


class Told(LLM):
    """Answers as it is told, call by call."""

    provider: ClassVar[str] = "openai"
    default_url: ClassVar[str] = "http://127.0.0.1:9"

    def __init__(
        self, outcomes: Sequence[Completion | CallFailed | float] = (GOOD,), **settings: Any
    ) -> None:
        super().__init__(**({"name": "told", "model_id": "told-1", "api_key": "key-1"} | settings))
        self.outcomes = list(outcomes)
        self.asked: list[Request] = []

    async def complete(self, request: Request) -> Completion:
        self.asked.append(request)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, float):
            await asyncio.sleep(outcome)
            return GOOD
        if isinstance(outcome, CallFailed):
            raise outcome
        return outcome


def failed(status: AttemptStatus, retry_after_s: float | None = None) -> CallFailed:
    return CallFailed("it went wrong", status=status, retry_after_s=retry_after_s)


async def judged(*outcomes: Completion | CallFailed | float, **settings: Any) -> Opinion:
    return await Told(outcomes, **settings).evaluate(prompted())


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm, "PAUSE_S", 0.0)


def step(**changes: Any) -> Step:
    given: dict[str, Any] = {
        "status": AttemptStatus.OVERLOADED,
        "retry_after_s": None,
        "calls": 1,
        "may_repair": True,
        "left_s": 10.0,
    }
    return next_step(**(given | changes))


@pytest.mark.parametrize("status", sorted(set(AttemptStatus) - llm.MENDABLE))
def test_what_another_call_cannot_mend_ends_it(status: AttemptStatus) -> None:
    assert step(status=status) == STOP


@pytest.mark.parametrize("status", sorted(llm.MENDABLE - {AttemptStatus.INVALID}))
def test_what_may_be_mended_is_called_twice_and_no_more(status: AttemptStatus) -> None:
    assert step(status=status, calls=1).verb == "retry"
    assert step(status=status, calls=2) == STOP


def test_an_invalid_answer_is_complained_about_once_even_after_a_second_call() -> None:
    assert step(status=AttemptStatus.INVALID, calls=2) == Step("repair")
    assert step(status=AttemptStatus.INVALID, calls=1, may_repair=False) == STOP


def test_a_vendors_wait_is_kept_to_the_letter_or_ends_it() -> None:
    kept = step(status=AttemptStatus.RATE_LIMITED, retry_after_s=9.5, left_s=10.0, jitter=1.0)

    assert kept == Step("retry", 9.5)
    assert step(status=AttemptStatus.RATE_LIMITED, retry_after_s=9.9, left_s=10.0) == STOP


@given(
    status=st.sampled_from(AttemptStatus),
    retry_after_s=st.none() | st.floats(0, 1e6),
    calls=st.integers(1, 5),
    may_repair=st.booleans(),
    left_s=st.floats(-10, 60),
    jitter=st.floats(0, 1),
)
def test_no_step_ever_leads_past_the_deadline_or_the_count(**case: Any) -> None:
    found = next_step(**case)

    if found.verb != "stop":
        assert found.wait_s + llm.LEAST_CALL_S <= case["left_s"]
    if found.verb == "retry":
        assert case["calls"] < llm.CALLS_MAX
        assert case["status"] in llm.MENDABLE
        assert found.wait_s >= (case["retry_after_s"] or 0.0)
    if found.verb == "repair":
        assert case["may_repair"]


async def test_a_good_answer_is_one_attempt_with_everything_about_it() -> None:
    opinion = await judged(replace(GOOD, request_id="r-1", tokens_cached=600), seed=7, effort="low")

    [attempt] = opinion.attempts
    prompt = prompted().prompt
    assert prompt is not None
    assert opinion.verdict is not None
    assert (attempt.prompt_version, attempt.prompt_sha256) == ("judge v3", prompt.sha256)
    assert attempt.prompt == f"{prompt.system}\n\n{prompt.user}"
    assert (attempt.model_requested, attempt.model_reported) == ("told-1", "told-1")
    assert (attempt.request_id, attempt.answer, attempt.error) == ("r-1", GOOD.text, "")
    assert (attempt.tokens_in, attempt.tokens_cached, attempt.tokens_out) == (900, 600, 120)
    assert attempt.tokens_reasoning is None
    assert attempt.parameters == {
        "max_tokens": 1200,
        "effort": "low",
        "structured": "json_schema",
    }


async def test_two_failures_and_two_bad_answers_never_make_more_than_three_calls() -> None:
    bad = replace(GOOD, text="no")
    patterns: list[list[Completion | CallFailed]] = [
        [failed(AttemptStatus.OVERLOADED), bad, bad],
        [bad, failed(AttemptStatus.OVERLOADED), bad],
        [bad, failed(AttemptStatus.NETWORK), failed(AttemptStatus.NETWORK)],
        [replace(GOOD, status=AttemptStatus.TRUNCATED), bad, bad],
    ]

    for outcomes in patterns:
        told = Told([*outcomes, GOOD])
        opinion = await told.evaluate(prompted())

        assert opinion.verdict is None
        assert len(told.asked) == len(opinion.attempts) == 3


async def test_the_complaint_names_the_fault_and_shows_the_model_its_own_answer() -> None:
    told = Told([replace(GOOD, text=answer(decision="BUY")), GOOD])

    opinion = await told.evaluate(prompted())

    [(shown, complaint)] = told.asked[1].turns
    assert opinion.verdict is not None
    assert shown == answer(decision="BUY")
    assert "$.decision: must be one of FOLLOW_ENTER, IGNORE" in complaint
    assert [role for role, _ in told.asked[1].dialogue] == ["user", "assistant", "user"]
    assert told.asked[1].system == told.asked[0].system


async def test_a_blank_answer_is_asked_for_again_without_a_complaint() -> None:
    told = Told([replace(GOOD, text=" \n "), GOOD])

    opinion = await told.evaluate(prompted())

    assert opinion.attempts[0].status is AttemptStatus.INVALID
    assert opinion.verdict is not None
    assert told.asked[1] == told.asked[0]


async def test_a_truncated_answer_is_not_asked_for_again_if_it_cannot_be_longer() -> None:
    told = Told([replace(GOOD, status=AttemptStatus.TRUNCATED), GOOD])
    full = replace(SCHEMALESS, output_tokens=1200)

    opinion = await told.evaluate(prompted(card=full))

    assert opinion.status is AttemptStatus.TRUNCATED
    assert len(told.asked) == 1


async def test_a_text_that_is_refused_or_blocked_is_never_read_as_advice() -> None:
    for status in (AttemptStatus.REFUSED, AttemptStatus.BLOCKED, AttemptStatus.TRUNCATED):
        outcomes = [replace(GOOD, status=status)] * 2

        opinion = await judged(*outcomes)

        assert opinion.verdict is None
        assert opinion.status is status
        assert opinion.attempts[0].answer == GOOD.text


async def test_all_calls_share_one_deadline() -> None:
    started = time.monotonic()

    opinion = await judged(failed(AttemptStatus.OVERLOADED), 5.0, timeout_s=0.5)

    assert [attempt.status for attempt in opinion.attempts] == [
        AttemptStatus.OVERLOADED,
        AttemptStatus.TIMEOUT,
    ]
    assert time.monotonic() - started < 1.0


async def test_a_hundred_calls_wait_beside_one_another() -> None:
    told = Told([0.3] * 100)
    started = time.monotonic()

    opinions = await asyncio.gather(*(told.evaluate(prompted()) for _ in range(100)))

    assert all(opinion.verdict for opinion in opinions)
    assert time.monotonic() - started < 1.5


async def test_no_call_is_begun_once_the_lease_is_over() -> None:
    model = Told()

    with leases.holding(Lease(until_s=0.0)), pytest.raises(LeaseOver):
        await model.evaluate(prompted())

    assert not model.asked


async def test_a_call_is_not_made_again_once_the_lease_is_over_and_the_first_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lease = Lease(until_s=time.monotonic() + 60)

    async def freeze(_: float) -> None:
        lease.until_s = 0.0

    monkeypatch.setattr(asyncio, "sleep", freeze)
    model = Told([failed(AttemptStatus.OVERLOADED), GOOD])
    with leases.holding(lease):
        opinion = await model.evaluate(prompted())

    assert len(model.asked) == 1
    assert (opinion.status, len(opinion.attempts)) == (AttemptStatus.OVERLOADED, 1)


async def test_a_denied_vendor_is_never_called() -> None:
    told = Told(policy=VendorPolicy.from_setting("no_openai"))

    opinion = await told.evaluate(prompted())

    assert told.asked == []
    assert (opinion.verdict, opinion.attempts) == (None, ())
    assert opinion.status is AttemptStatus.DISABLED
    assert "LLM_POLICY" in opinion.reason


async def test_without_a_key_or_a_prompt_nothing_is_called() -> None:
    keyless, promptless = Told(api_key=""), Told()

    refused = await keyless.evaluate(prompted())
    stale = await promptless.evaluate(prompted(prompt=None))

    assert refused.status is AttemptStatus.AUTH
    assert stale.status is AttemptStatus.STALE_INPUT
    assert keyless.asked == promptless.asked == []


def test_a_server_without_an_address_is_refused_at_the_start() -> None:
    with pytest.raises(TypeError, match="base_url"):
        model("compatible")


class Box:
    """A cassette in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Completion | CallFailed] = {}

    async def play(self, key: str) -> Completion | CallFailed | None:
        return self.kept.get(key)

    async def record(self, key: str, outcome: Completion | CallFailed) -> None:
        self.kept[key] = outcome


async def test_a_recorded_call_is_played_without_a_key_and_failures_too() -> None:
    box = Box()
    live = Told([failed(AttemptStatus.AUTH), GOOD], cassette=box)
    first = await live.evaluate(prompted())

    again = Told([], cassette=box, api_key="")
    second = await again.evaluate(prompted())

    assert first.status is second.status is AttemptStatus.AUTH
    assert again.asked == []


async def test_the_key_of_a_call_hangs_on_everything_that_its_answer_hangs_on() -> None:
    box = Box()
    cases = [prompted(), prompted(entry_price=42_001.0), prompted(event_type="CLOSE_SIGNAL")]
    for settings in ({}, {"model_id": "told-2"}, {"max_tokens": 700}, {"effort": "high"}):
        await Told([GOOD], cassette=box, **settings).evaluate(cases[0])
    await Told([replace(GOOD, text="no"), GOOD], cassette=box, max_tokens=99).evaluate(cases[0])
    await Told([GOOD], cassette=box).evaluate(cases[1])  # the prompt is the same
    closing = replace(GOOD, text="{}")
    await Told([closing, closing], cassette=box).evaluate(cases[2])

    assert len(box.kept) == 4 + 2 + 2


@pytest.mark.parametrize(
    ("given", "known", "doubt"),
    [
        ({"tokens_in": 10, "tokens_out": 5}, (10, None, 5, None), ""),
        ({"tokens_in": -1, "tokens_out": 5}, (None, None, 5, None), "tokens_in of -1"),
        ({"tokens_in": 10, "tokens_out": 10**8}, (10, None, None, None), "tokens_out of 1"),
        ({"tokens_in": 10}, (10, None, None, None), "tokens_out is missing"),
        ({"tokens_in": 10, "tokens_cached": 11, "tokens_out": 1}, (10, None, 1, None), "more than"),
        (
            {"tokens_in": 9, "tokens_out": 5, "tokens_reasoning": 6},
            (9, None, 5, None),
            "more than",
        ),
        ({"tokens_in": 0, "tokens_out": 0}, (0, None, 0, None), ""),
    ],
)
def test_counts_that_cannot_be_true_are_not_known(
    given: dict[str, int], known: tuple[int | None, ...], doubt: str
) -> None:
    used, doubts = sane_usage(Completion(text="x", **given), card=SCHEMALESS)  # type: ignore[arg-type]

    names = ("tokens_in", "tokens_cached", "tokens_out", "tokens_reasoning")
    assert tuple(used[name] for name in names) == known
    assert doubt in "".join(doubts)
    assert bool(doubts) == bool(doubt)


def test_each_event_loop_has_its_own_connections() -> None:
    per_loop = PerLoop(object)

    async def both() -> tuple[object, object]:
        return per_loop.get(), per_loop.get()

    first, second = asyncio.run(both()), asyncio.run(both())

    assert first[0] is first[1]
    assert second[0] is second[1]
    assert first[0] is not second[0]


def test_a_model_can_be_asked_in_one_loop_after_another() -> None:
    body = {"choices": [{"message": {"content": answer()}, "finish_reason": "stop"}]}
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, json=body))
    asked = model("compatible", base_url="http://127.0.0.1:9/v1", transport=transport)

    for _ in range(3):
        assert asyncio.run(asked.evaluate(prompted())).status is AttemptStatus.OK


def test_a_reply_is_read_without_trust() -> None:
    reply = Reply.from_text(
        '{"a": [{"b": true}, 3], "n": 7, "t": "x"}', headers={"request-id": "r"}
    )

    assert reply.count("a", 0, "b") is None
    assert (reply.count("a", 1), reply.count("n"), reply.count("t")) == (3, 7, None)
    assert (reply.word("t"), reply.word("n"), reply.word("a", 9, "z")) == ("x", "", "")
    assert [dict(each) for each in reply.each("a")] == [{"b": True}]
    assert reply.request_id == "r"


@pytest.mark.parametrize(
    "text", ["", "<html>", "[]", "null", '{"a": NaN}', '{"a"', "[" * 100_000, "7"]
)
def test_what_is_no_json_object_is_a_bad_body(text: str) -> None:
    with pytest.raises(CallFailed) as failure:
        Reply.from_text(text, headers={})

    assert failure.value.status is AttemptStatus.BAD_BODY

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from evaluation.evaluators import llm
from evaluation.types import REASONS, Attempt, AttemptStatus, Card, Case, Opinion
from pipeline import egress
from tests.evaluation.answers import answer
from tests.evaluation.vendors import DECIDERS, KEY, KINDS, WRITERS, model, prompted
from tests.fake_vendors import Vendors, running

SHORT_S = 0.4
OK, INVALID = AttemptStatus.OK, AttemptStatus.INVALID
REFUSED, BLOCKED, TRUNCATED = (
    AttemptStatus.REFUSED,
    AttemptStatus.BLOCKED,
    AttemptStatus.TRUNCATED,
)

BELOW: dict[str, AttemptStatus] = {
    "400": AttemptStatus.BAD_REQUEST,
    "401": AttemptStatus.AUTH,
    "402": AttemptStatus.QUOTA,
    "403": AttemptStatus.AUTH,
    "404": AttemptStatus.BAD_REQUEST,
    "408": AttemptStatus.TIMEOUT,
    "413": AttemptStatus.BAD_REQUEST,
    "422": AttemptStatus.BAD_REQUEST,
    "429": AttemptStatus.RATE_LIMITED,
    "quota": AttemptStatus.QUOTA,
    "500": AttemptStatus.OVERLOADED,
    "503": AttemptStatus.OVERLOADED,
    "529": AttemptStatus.OVERLOADED,
    "redirect": AttemptStatus.BAD_REQUEST,
    "reset": AttemptStatus.NETWORK,
    "cut": AttemptStatus.NETWORK,
    "html": AttemptStatus.BAD_BODY,
    "half_json": AttemptStatus.BAD_BODY,
}
"""Faults of the connection or of the whole answer; they mean the same at every vendor."""

WRITTEN: dict[str, AttemptStatus] = {
    "empty": INVALID,
    "whitespace": INVALID,
    "refusal": REFUSED,
    "blocked": BLOCKED,
    "truncated": TRUNCATED,
    "half_answer": INVALID,
    "fenced": INVALID,
    "wrong_types": INVALID,
    "out_of_range": INVALID,
    "extra_fields": INVALID,
    "missing_field": INVALID,
    "unknown_word": INVALID,
    "wrong_side": INVALID,
}
"""Faults of what the model writes, as most vendors tell them."""

EXCEPTIONS: dict[tuple[str, str], AttemptStatus] = {
    ("gemini", "refusal"): BLOCKED,  # it ends for SAFETY and says nothing
    ("claude", "blocked"): REFUSED,  # it knows one word for both
    ("ollama", "refusal"): INVALID,  # it refuses in prose
    ("ollama", "blocked"): INVALID,  # it has no filter: an empty text
}


@pytest.fixture(scope="module")
def server() -> Iterator[Vendors]:
    with running() as vendors:
        yield vendors


@pytest.fixture
def vendors(server: Vendors, monkeypatch: pytest.MonkeyPatch) -> Vendors:
    monkeypatch.setattr(llm, "PAUSE_S", 0.01)
    server.reset()
    return server


async def judged(vendors: Vendors, name: str, case: Case | None = None, **changes: Any) -> Opinion:
    asked = model(name, base_url=vendors.url(KINDS[name].vendor), **changes)
    try:
        return await asked.evaluate(case or prompted())
    finally:
        await asked.close()


def tokens(attempt: Attempt) -> tuple[int, int, int, int]:
    counts = (
        attempt.tokens_in,
        attempt.tokens_cached,
        attempt.tokens_out,
        attempt.tokens_reasoning,
    )
    return tuple(count or 0 for count in counts)  # type: ignore[return-value]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("event_type", ["OPEN_SIGNAL", "CLOSE_SIGNAL"])
async def test_every_model_judges_and_its_tokens_are_those_on_the_vendors_ledger(
    vendors: Vendors, name: str, event_type: str
) -> None:
    opinion = await judged(vendors, name, prompted(event_type=event_type))

    [attempt] = opinion.attempts
    [call] = vendors.ledger()["calls"]
    assert (opinion.status, opinion.reason) == (OK, "")
    assert opinion.verdict is not None
    assert attempt.status is OK
    assert attempt.error == ""
    assert attempt.model_requested == attempt.model_reported == "model-1"
    assert attempt.request_id == call["request_id"]
    told = ("tokens_in", "tokens_cached", "tokens_out", "tokens_reasoning")
    assert tokens(attempt) == tuple(call[each] for each in told)
    assert call["vendor"] == KINDS[name].vendor


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("fault", BELOW)
async def test_a_fault_below_the_answer_has_the_same_name_at_every_vendor(
    vendors: Vendors, name: str, fault: str
) -> None:
    vendors.script(fault)

    opinion = await judged(vendors, name)

    retried = BELOW[fault] in llm.MENDABLE
    assert opinion.verdict is None
    assert [attempt.status for attempt in opinion.attempts] == [BELOW[fault]] * (1 + retried)
    assert opinion.status is BELOW[fault]
    assert opinion.reason
    assert KEY not in repr(opinion)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("fault", ["hang", "drip"])
async def test_the_deadline_holds_by_the_wall_clock(
    vendors: Vendors, name: str, fault: str
) -> None:
    await judged(vendors, name)  # the vendor's SDK is loaded now
    vendors.script({"kind": fault, "every_ms": 50})

    opinion = await judged(vendors, name, timeout_s=SHORT_S)

    assert opinion.status is AttemptStatus.TIMEOUT
    assert len(opinion.attempts) == 1
    assert SHORT_S * 1000 <= opinion.attempts[0].latency_ms < SHORT_S * 1000 + 500


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("fault", WRITTEN)
async def test_what_is_no_answer_is_an_abstention_that_says_how_it_failed(
    vendors: Vendors, name: str, fault: str
) -> None:
    vendors.script(fault)

    opinion = await judged(vendors, name)

    expected = EXCEPTIONS.get((name, fault), WRITTEN[fault])
    assert opinion.verdict is None
    assert opinion.status is expected
    assert {attempt.status for attempt in opinion.attempts} == {expected}
    assert all(attempt.tokens_in for attempt in opinion.attempts)


@pytest.mark.parametrize("name", DECIDERS)
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("wrong_types", INVALID),
        ("out_of_range", INVALID),
        ("injected", INVALID),
        ("missing_field", INVALID),
        ("blocked", {"openai decisions": REFUSED, "gemini decisions": BLOCKED}),
    ],
)
async def test_an_endpoint_that_answers_amiss_abstains(
    vendors: Vendors, name: str, fault: str, expected: Any
) -> None:
    vendors.script(fault)

    opinion = await judged(vendors, name)

    assert opinion.verdict is None
    assert opinion.status is (expected[name] if isinstance(expected, dict) else expected)


@pytest.mark.parametrize("name", KINDS)
async def test_a_wait_that_fits_is_kept_and_the_second_call_counts(
    vendors: Vendors, name: str
) -> None:
    vendors.script({"kind": "429", "retry_after": 0.3, "times": 1})

    opinion = await judged(vendors, name)

    first, second = opinion.attempts
    assert opinion.status is OK
    assert first.status is AttemptStatus.RATE_LIMITED
    assert (second.started_at - first.started_at).total_seconds() >= 0.3


@pytest.mark.parametrize("name", KINDS)
async def test_a_wait_that_does_not_fit_ends_it_at_once(vendors: Vendors, name: str) -> None:
    vendors.script({"kind": "429", "retry_after": 120})

    opinion = await judged(vendors, name)

    assert opinion.status is AttemptStatus.RATE_LIMITED
    assert opinion.retry_after_s == 120
    assert len(vendors.ledger()["calls"]) == 1


@pytest.mark.parametrize("name", WRITERS)
async def test_one_complaint_mends_an_answer(vendors: Vendors, name: str) -> None:
    vendors.script({"kind": "missing_field", "times": 1})

    opinion = await judged(vendors, name)

    first, second = opinion.attempts
    assert opinion.status is OK
    assert (first.status, second.status) == (INVALID, OK)
    assert "$.decision" in first.error
    assert first.error in second.parameters["complaint"]
    assert first.answer
    calls = vendors.ledger()["calls"]
    assert calls[1]["tokens_in"] > calls[0]["tokens_in"]


@pytest.mark.parametrize("name", WRITERS)
async def test_a_truncated_answer_may_be_longer_the_second_time(
    vendors: Vendors, name: str
) -> None:
    vendors.script({"kind": "truncated", "times": 1})

    opinion = await judged(vendors, name, max_tokens=700)

    assert [attempt.status for attempt in opinion.attempts] == [TRUNCATED, OK]
    caps = [attempt.parameters["max_tokens"] for attempt in opinion.attempts]
    assert caps == [700, 1400]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("fault", ["absurd_usage", "no_usage"])
async def test_usage_that_cannot_be_true_is_not_known_and_never_zero(
    vendors: Vendors, name: str, fault: str
) -> None:
    vendors.script(fault)

    opinion = await judged(vendors, name)

    [attempt] = opinion.attempts
    assert opinion.status is OK
    assert (attempt.tokens_in, attempt.tokens_out) == (None, None)
    assert "tokens_in" in attempt.error
    assert "tokens_out" in attempt.error


@pytest.mark.parametrize("name", KINDS)
async def test_a_first_call_reads_no_certificates_while_others_wait(
    vendors: Vendors, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    egress.tls()
    for reading in ("load_verify_locations", "load_default_certs"):
        monkeypatch.setattr(ssl.SSLContext, reading, lambda *_, **__: pytest.fail("read again"))

    opinion = await judged(vendors, name)

    assert opinion.status is OK


@pytest.mark.parametrize("name", WRITERS)
async def test_orders_in_the_answer_remain_text(vendors: Vendors, name: str) -> None:
    vendors.script("injected")

    opinion = await judged(vendors, name)

    assert opinion.verdict is not None
    assert opinion.verdict.size_pct <= 25
    assert "Ignore all previous instructions" in str(opinion.verdict.details["analysis"])


def seen(answers: list[httpx2.Request], status: int = 503) -> httpx2.MockTransport:
    def hear(request: httpx2.Request) -> httpx2.Response:
        answers.append(request)
        return httpx2.Response(status, json={"error": {"message": f"no, {KEY}"}})

    return httpx2.MockTransport(hear)


async def body_of(name: str, card: Card | None = None, **settings: Any) -> dict[str, Any]:
    """Return what a model's first call sends."""
    requests: list[httpx2.Request] = []
    settings = {"base_url": "http://127.0.0.1:9/v1", "transport": seen(requests, 400)} | settings
    asked = model(name, **settings)
    await asked.evaluate(prompted(card=card))
    await asked.close()
    sent: dict[str, Any] = json.loads(requests[0].content)
    return sent


def card(structured: str = "json_schema", **changes: Any) -> Card:
    given = {"provider": "x", "model_id": "model-1", "api": "chat", "structured": structured}
    return Card(**(given | changes))


async def test_openai_is_asked_not_to_store_and_holds_the_answer_to_the_schema() -> None:
    sent = await body_of("openai", card(effort="low", supports_seed=True), seed=7)

    assert sent["store"] is False
    assert sent["text"]["format"]["strict"] is True
    assert sent["text"]["format"]["schema"]["additionalProperties"] is False
    assert sent["reasoning"] == {"effort": "low"}
    assert sent["prompt_cache_key"].startswith("lens:")
    assert "seed" not in sent  # this interface knows none
    assert "temperature" not in sent


async def test_a_wish_is_sent_only_where_the_card_says_it_is_taken() -> None:
    plain = await body_of("compatible", card(), seed=7, temperature=0.2)
    able = card(supports_seed=True, supports_temperature=True)
    full = await body_of("compatible", able, seed=7, temperature=0.2)

    assert {"seed", "temperature"}.isdisjoint(plain)
    assert (full["seed"], full["temperature"]) == (7, 0.2)


@pytest.mark.parametrize(("structured", "form"), [("json_object", "json_object"), ("none", None)])
async def test_a_schema_that_cannot_be_enforced_is_told_in_words(
    structured: str, form: str | None
) -> None:
    sent = await body_of("compatible", card(structured))

    assert sent.get("response_format", {}).get("type") == form
    assert '"p_target_first"' in sent["messages"][0]["content"]
    assert "JSON" in sent["messages"][0]["content"]


async def test_deepseek_gets_no_schema_whatever_its_card_says_and_does_not_think() -> None:
    sent = await body_of("deepseek", card("json_schema", effort="minimal"))

    assert sent["response_format"] == {"type": "json_object"}
    assert "JSON schema" in sent["messages"][0]["content"]
    assert sent["thinking"] == {"type": "disabled"}
    assert "reasoning_effort" not in sent


async def test_openrouter_may_neither_keep_what_it_gets_nor_ask_another() -> None:
    sent = await body_of("openrouter", card(effort="low"))

    assert sent["provider"] == {
        "data_collection": "deny",
        "allow_fallbacks": False,
        "require_parameters": True,
    }
    assert sent["reasoning"] == {"effort": "low"}


async def test_gemini_gets_the_schema_as_json_and_its_effort_as_a_level() -> None:
    sent = await body_of("gemini", card(effort="LOW", supports_seed=True), seed=7)

    wish = sent["generationConfig"]
    assert wish["responseMimeType"] == "application/json"
    assert wish["responseJsonSchema"]["additionalProperties"] is False
    assert wish["thinkingConfig"] == {"thinking_level": "LOW"}
    assert wish["seed"] == 7


async def test_claude_is_told_which_part_of_the_prompt_repeats() -> None:
    sent = await body_of("claude", card(effort="low", supports_seed=True), seed=7)

    assert sent["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert sent["output_config"]["effort"] == "low"
    assert sent["output_config"]["format"]["type"] == "json_schema"
    assert {"temperature", "seed"}.isdisjoint(sent)


async def test_ollama_gets_room_for_the_prompt_or_is_not_asked() -> None:
    sent = await body_of("ollama", card(context_tokens=131_072))
    requests: list[httpx2.Request] = []
    narrow = model("ollama", transport=seen(requests))
    opinion = await narrow.evaluate(prompted(card=card(context_tokens=1_500)))

    assert sent["options"]["num_ctx"] == 16_384
    assert sent["stream"] is sent["think"] is False
    assert isinstance(sent["format"], dict)
    assert requests == []
    assert opinion.status is AttemptStatus.BAD_REQUEST
    assert "context of 1500" in opinion.reason


@pytest.mark.parametrize("name", KINDS)
async def test_a_key_that_a_vendor_repeats_is_kept_out_of_every_row(name: str) -> None:
    asked = model(name, base_url="http://127.0.0.1:9", transport=seen([], 401))

    opinion = await asked.evaluate(prompted())

    assert KEY not in repr(opinion)
    assert "[key]" in opinion.reason
    await asked.close()


@pytest.mark.parametrize("address", ["169.254.169.254", "10.0.0.7", "127.0.0.1", "::ffff:10.0.0.1"])
@pytest.mark.parametrize("name", KINDS)
async def test_a_vendor_whose_name_leads_into_our_own_network_is_not_asked(
    name: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for: list[str] = []

    async def resolve(self: object, host: str, port: int, **_: Any) -> list[Any]:
        asked_for.append(host)
        return [(2, 1, 6, "", (address, port))]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", resolve)
    asked = model(name, base_url="https://rebound.example", timeout_s=60.0)

    opinion = await asked.evaluate(prompted())

    assert (opinion.status, len(opinion.attempts)) == (AttemptStatus.BAD_REQUEST, 1)
    assert "rebound.example leads into a network" in opinion.reason
    assert asked_for == ["rebound.example"], "looked at once, and no connection was begun"
    await asked.close()


@pytest.mark.parametrize("name", KINDS)
async def test_an_answer_without_end_is_not_read_to_its_end(name: str) -> None:
    async def endless() -> Any:
        for _ in range(10_000):
            yield b" " * 10_000

    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, content=endless()))
    asked = model(name, base_url="http://127.0.0.1:9", transport=transport)

    opinion = await asked.evaluate(prompted())

    assert opinion.status is AttemptStatus.BAD_BODY
    assert "larger than 1000000 bytes" in opinion.reason
    await asked.close()


STRANGE: list[Any] = [
    {},
    {"error": None},
    {"choices": [], "output": [], "content": [], "candidates": []},
    {"choices": None, "output": None, "content": None, "message": None, "answers": None},
    {"choices": [None], "output": [None], "content": [None], "candidates": [None]},
    {"choices": {"a": 1}, "output": "x", "content": 7, "candidates": "x", "answers": 3},
    {"usage": [], "usageMetadata": 7, "status": 5, "model": 9, "id": {}, "done": "yes"},
    {"choices": [{"message": {"content": ["x"]}, "finish_reason": 4}], "stop_reason": []},
    {"answers": [{"type": 3}, 4, None], "output": [{"type": "message", "content": [3]}]},
]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("body", STRANGE, ids=range(len(STRANGE)))
async def test_json_of_a_strange_shape_is_an_abstention_never_an_error(
    name: str, body: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llm, "PAUSE_S", 0.0)
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, json=body))
    asked = model(name, base_url="http://127.0.0.1:9", transport=transport)

    opinion = await asked.evaluate(prompted())

    assert opinion.verdict is None
    assert opinion.status in {INVALID, BLOCKED, AttemptStatus.BAD_BODY}
    await asked.close()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": 429, "message": "slow down"}, AttemptStatus.RATE_LIMITED),
        ({"code": 402, "message": "no credits"}, AttemptStatus.QUOTA),
        ({"code": 503, "message": "no provider"}, AttemptStatus.OVERLOADED),
        ("something", AttemptStatus.OVERLOADED),
    ],
)
async def test_an_error_in_the_clothes_of_an_answer_keeps_its_name(
    error: Any, expected: AttemptStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llm, "PAUSE_S", 0.0)
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, json={"error": error}))
    asked = model("openrouter", base_url="http://127.0.0.1:9", transport=transport)

    opinion = await asked.evaluate(prompted())

    assert opinion.status is expected
    await asked.close()


@pytest.mark.parametrize(
    ("status", "body", "expected", "wait_s"),
    [
        (400, {"error": {"details": [{"reason": "API_KEY_INVALID"}]}}, AttemptStatus.AUTH, None),
        (
            429,
            {
                "error": {
                    "message": "check your plan and billing",
                    "details": [{"retryDelay": "3s"}],
                }
            },
            AttemptStatus.RATE_LIMITED,
            3.0,
        ),
        (
            429,
            {"error": {"details": [{"violations": [{"quotaId": "RequestsPerDayPerProject"}]}]}},
            AttemptStatus.QUOTA,
            None,
        ),
        (400, {"error": {"message": "Your credit balance is too low"}}, AttemptStatus.QUOTA, None),
        (400, {"error": {"code": "Arrearage"}}, AttemptStatus.QUOTA, None),
        (429, {"error": {"type": "exceeded_current_quota_error"}}, AttemptStatus.QUOTA, None),
        (429, {"error": {"message": "insufficient_quota, as they say"}}, None, None),
    ],
)
async def test_a_vendors_own_codes_say_more_than_the_http_status(
    status: int, body: Any, expected: AttemptStatus | None, wait_s: float | None
) -> None:
    transport = httpx2.MockTransport(lambda request: httpx2.Response(status, json=body))
    asked = model("gemini", transport=transport, timeout_s=2.0)

    opinion = await asked.evaluate(prompted())

    assert opinion.status is (expected or AttemptStatus.RATE_LIMITED)
    assert opinion.retry_after_s == wait_s
    await asked.close()


def test_two_adapters_of_a_kind_share_well_under_two_fifths_of_their_lines() -> None:
    import inspect
    from itertools import combinations

    from evaluation.evaluators import chat, claude, gemini, ollama, openai

    def lines(module: Any) -> set[str]:
        text = inspect.getsource(module).splitlines()
        return {line.strip() for line in text if len(line.strip()) > 3}

    for one, other in combinations((chat, claude, gemini, ollama, openai), 2):
        shared = lines(one) & lines(other)
        assert len(shared) < 0.4 * min(len(lines(one)), len(lines(other)))


def chat_body(finish: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": answer()}, "finish_reason": finish}]}


def gemini_body(finish: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"candidates": [{"finishReason": finish, "content": {"parts": list(parts)}}]}


def responses_body(**changes: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": answer()}
    output = [{"type": "reasoning", "summary": []}, {"type": "message", "content": [part]}]
    return {"status": "completed", "output": output} | changes


def claude_body(stop: str) -> dict[str, Any]:
    thought = {"type": "thinking", "thinking": "hm"}
    return {"content": [thought, {"type": "text", "text": answer()}], "stop_reason": stop}


THOUGHT, SAID = {"text": "hm", "thought": True}, {"text": answer()}


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        ("openai", responses_body(), OK),
        (
            "openai",
            responses_body(status="failed", error={"code": "server_error"}),
            AttemptStatus.OVERLOADED,
        ),
        (
            "openai",
            responses_body(status="failed", error={"code": "rate_limit_exceeded"}),
            AttemptStatus.RATE_LIMITED,
        ),
        (
            "openai",
            responses_body(status="failed", error={"code": "invalid_prompt"}),
            AttemptStatus.BAD_REQUEST,
        ),
        ("openai", responses_body(status="queued"), INVALID),
        (
            "openai",
            responses_body(status="incomplete", incomplete_details={"reason": "new"}),
            INVALID,
        ),
        ("compatible", chat_body("stop"), OK),
        ("compatible", chat_body(None), OK),
        ("compatible", chat_body("tool_calls"), INVALID),
        ("compatible", chat_body("error"), AttemptStatus.OVERLOADED),
        ("gemini", gemini_body("STOP", THOUGHT, SAID), OK),
        ("gemini", gemini_body("RECITATION", SAID), BLOCKED),
        ("gemini", gemini_body("SOMETHING_NEW", SAID), INVALID),
        ("gemini", {"promptFeedback": {"blockReason": "OTHER"}}, BLOCKED),
        ("claude", claude_body("end_turn"), OK),
        ("claude", claude_body("model_context_window_exceeded"), TRUNCATED),
        ("claude", claude_body("pause_turn"), INVALID),
        ("ollama", {"message": {"content": answer()}, "done": False}, INVALID),
    ],
)
async def test_only_an_answer_that_ended_as_it_should_is_read(
    name: str, body: Any, expected: AttemptStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llm, "PAUSE_S", 0.0)
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, json=body))
    asked = model(name, base_url="http://127.0.0.1:9", transport=transport)

    opinion = await asked.evaluate(prompted())
    await asked.close()

    assert opinion.status is expected
    assert (opinion.verdict is not None) == (expected is OK)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "-7"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        (
            {
                "retry-after": "Thu, 15 Jan 2026 12:00:09 GMT",
                "date": "Thu, 15 Jan 2026 12:00:00 GMT",
            },
            9.0,
        ),
    ],
)
async def test_the_wait_that_a_vendor_asks_for_is_read_in_all_its_forms(
    headers: dict[str, str], wait_s: float | None
) -> None:
    requests: list[httpx2.Request] = []

    def hear(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        return httpx2.Response(529, headers=headers, json={})

    asked = model("claude", transport=httpx2.MockTransport(hear), timeout_s=0.1)
    opinion = await asked.evaluate(prompted())
    await asked.close()

    assert opinion.retry_after_s == wait_s
    assert opinion.status is AttemptStatus.OVERLOADED


def gzipped(content: bytes) -> Callable[[httpx2.Request], httpx2.Response]:
    def answer_so(request: httpx2.Request) -> httpx2.Response:
        headers = {"content-encoding": "gzip"}
        return httpx2.Response(200, headers=headers, stream=httpx2.ByteStream(content))

    return answer_so


async def test_a_packed_answer_is_unpacked_within_the_limit_or_refused() -> None:
    packed = gzip.compress(json.dumps(claude_body("end_turn")).encode())
    bomb = gzip.compress(b" " * 20_000_000)
    found = []
    for content in (packed, bomb, b"no gzip"):
        asked = model("claude", transport=httpx2.MockTransport(gzipped(content)), timeout_s=5.0)
        found.append((await asked.evaluate(prompted())).attempts[0].status)
        await asked.close()

    assert found == [OK, AttemptStatus.BAD_BODY, AttemptStatus.BAD_BODY]


async def test_the_questions_of_a_decision_endpoint_name_every_choice() -> None:
    openai = await body_of("openai decisions")
    gemini = await body_of("gemini decisions", base_url="http://127.0.0.1:9")

    target, advice, reason = openai["questions"]
    assert target["type"] == "predicate"
    assert "target before its stop" in target["instructions"]
    assert [each["value"] for each in advice["choices"]] == ["FOLLOW_ENTER", "IGNORE"]
    assert {each["value"] for each in reason["choices"]} == set(REASONS)
    assert gemini["questions"]["target_first"]["type"] == "noul"
    assert set(gemini["questions"]["advice"]["criteria"]) == {"FOLLOW_ENTER", "IGNORE"}
    assert "42000" in openai["input"]


@pytest.mark.parametrize("name", DECIDERS)
async def test_the_confidence_of_an_endpoint_is_its_raw_probability(
    vendors: Vendors, name: str
) -> None:
    opinion = await judged(vendors, name)

    verdict = opinion.verdict
    assert verdict is not None
    chance = verdict.details["p_target_first"]
    follows = verdict.action == "FOLLOW_ENTER"
    assert verdict.confidence == pytest.approx(chance if follows else 1 - chance)
    assert str(chance) in opinion.attempts[0].answer
    assert verdict.size_pct == (pytest.approx(25 * chance, abs=0.01) if follows else 0.0)


async def test_what_claude_writes_to_its_cache_and_reads_from_it_is_told_apart() -> None:
    usage = {
        "input_tokens": 335,
        "cache_creation_input_tokens": 2048,
        "cache_read_input_tokens": 1024,
        "output_tokens": 131,
    }
    told = {"content": [], "stop_reason": "end_turn", "model": "model-1", "usage": usage}
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, json=told))
    asked = model("claude", transport=transport, timeout_s=0.2)

    opinion = await asked.evaluate(prompted())

    call = opinion.attempts[0]
    assert (call.tokens_in, call.tokens_cached, call.tokens_cache_write) == (3407, 1024, 2048)
    assert call.tokens_out == 131
    await asked.close()

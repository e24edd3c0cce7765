"""The page of one signal, and the list of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.test import Client

from evaluation.models import Attempt, Evaluation, PromptVersion
from lens_site.pages import anatomy, tiles, words
from lens_site.pages.prompt_diffs import diffs_of
from lens_site.pages.rows import rows_of
from markets.services import MarketDataUnavailable
from pipeline import services as pipeline
from signals.models import Replay, Signal
from tests.factories import (
    NOON,
    make_decision,
    make_enrichment,
    make_evaluation,
    make_letter,
    make_signal,
)

HOSTILE = "<script>alert(1)</script>\u202e[x](javascript:alert(1))"
LATER = NOON + timedelta(seconds=30)
Members = Callable[[str], Client]


def judged(**changes: object) -> Signal:
    """Return a signal on which two models differ and a third failed, and the jury ruled."""
    signal = make_signal(expires_at=NOON + timedelta(minutes=5), status="PUBLISHED", **changes)
    make_enrichment(
        signal,
        payload='{"market":{"price_drift_bps_from_entry":-6.25},"ta":{"timeframes":{"1h":{},"15m":{}}}}',
        gates=[
            {"gate": "signal_age", "value": 1.0, "limit": 300, "unit": "s", "passed": True},
            {"gate": "price_drift", "value": 6.25, "limit": 200, "unit": "bps", "passed": True},
        ],
        quality_flags={"stale_data": ["derivs: 71 s old"], "missing_data": []},
        provenance={"market": {}, "derivs": {}, "profile": ["trend_follow_v1 v1"]},
    )
    for model, action, size in (("alpha", "FOLLOW_ENTER", 15.0), ("beta", "IGNORE", 0.0)):
        row = made(signal, model=model, status="DECIDED", outcome="ok")
        Attempt.objects.create(
            evaluation=row,
            number=1,
            status="ok",
            started_at=NOON,
            latency_ms=900,
            prompt="the secret prompt",
            answer=HOSTILE,
        )
        make_decision(
            signal,
            model=model,
            decision=action,
            size_pct=size,
            seq=10 + len(model) + signal.id * 10,
            published_at=NOON + timedelta(seconds=3),
        )
    made(signal, model="gamma", status="ABSTAINED", outcome="timeout", reason=HOSTILE)
    make_decision(
        signal,
        model="jury",
        decision="IGNORE",
        confidence=0.61,
        seq=18 + signal.id * 10,
        published_at=NOON + timedelta(seconds=4),
        expires_at=signal.expires_at,
        jury={"counts": {"IGNORE": 1, "FOLLOW_ENTER": 1}, "agreement": 0.5, "weights": {}},
    )
    return signal


def made(signal: Signal, *, model: str, **changes: object) -> Evaluation:
    verdict = {"action": "IGNORE", "confidence": 0.5, "reasons": ["no_trend"], "size_pct": 0}
    return make_evaluation(
        signal, model=model, verdict=verdict, latency_ms=900, finished_at=LATER, **changes
    )


@pytest.mark.django_db
def test_a_row_says_in_words_how_each_model_stands() -> None:
    [row] = rows_of([judged()], now=LATER)

    assert [(square.letter, square.state) for square in row.squares] == [
        ("A", "follow"),
        ("B", "ignore"),
        ("G", "abstained"),
    ]
    assert row.squares[2].words == "gamma: abstained: timed out"
    assert (row.followed, row.asked, row.state) == (1, 3, "decided")
    assert row.drift_bps == -6.25
    assert row.latency_ms == 4_000


@pytest.mark.django_db
def test_advice_past_its_validity_is_stale() -> None:
    [row] = rows_of([judged()], now=NOON + timedelta(minutes=6))

    assert row.state == "stale"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("status", "reason", "state", "word"),
    [
        ("ENQUEUED", {}, "waiting", "waiting"),
        ("REJECTED", {"gate": "price_drift"}, "rejected", "price drifted"),
        ("EXPIRED", {}, "expired", "expired"),
        ("DEAD", {}, "dead", "dead letter"),
        ("CANCELLED", {}, "expired", "cancelled"),
    ],
)
def test_a_row_without_a_verdict_says_why(
    status: str, reason: dict[str, str], state: str, word: str
) -> None:
    [row] = rows_of([make_signal(status=status, reason=reason)], now=LATER)

    assert (row.state, str(row.word)) == (state, word)


@pytest.mark.django_db
def test_many_rows_cost_as_many_queries_as_one(
    django_assert_num_queries: Callable[[int], object],
) -> None:
    signals = [judged() for _ in range(4)]

    with django_assert_num_queries(3):  # type: ignore[attr-defined]
        rows_of(signals, now=LATER)


@pytest.mark.django_db
def test_models_that_share_a_letter_get_another() -> None:
    assert words.letters(["chatgpt", "claude", "cc", "cc2"]) == {
        "chatgpt": "C",
        "claude": "L",
        "cc": "0",
        "cc2": "2",
    }


def test_the_page_explains_a_signal(as_member: Members) -> None:
    signal = judged(notes=HOSTILE)
    pipeline.record(
        trace=signal.event_id,
        verb="MODEL_DONE",
        actor="worker-1",
        at=NOON + timedelta(seconds=2),
        model="gamma",
        status="timeout",
        latency_ms=1_900,
    )

    text = as_member("Operator").get(f"/signals/{signal.event_id}").content.decode()

    for told in ("iffer on what to do (follow against ignore)", "timed out", "price has not run"):
        assert told in text
    assert "funding and open interest: stale 71 s old" in text
    assert ">2\u202fs<" in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "U+202E" in text
    assert "\u202e" not in text


def test_prompts_and_answers_are_for_those_who_may_read_them(as_member: Members) -> None:
    signal = judged()
    page, told = f"/signals/{signal.event_id}", f"/signals/{signal.event_id}.json"

    viewer, operator = as_member("Viewer"), as_member("Operator")

    assert "the secret prompt" not in viewer.get(page).content.decode()
    assert "the secret prompt" in operator.get(page).content.decode()
    assert "the secret prompt" not in viewer.get(told).content.decode()
    assert operator.get(told).json()["evaluations"][0]["attempts"][0]["prompt"]


def test_a_refused_signal_shows_the_gate_that_refused(as_member: Members) -> None:
    reason = {"gate": "signal_age", "value": 900.0, "limit": 300, "unit": "s"}
    signal = make_signal(status="REJECTED", reason=reason)

    text = as_member("Viewer").get(f"/signals/{signal.event_id}").content.decode()

    assert "signal is fresh" in text
    assert "limit 5\u202fmin" in text
    assert "No model was asked." in text


def test_an_unknown_signal_is_not_found(as_member: Members) -> None:
    assert as_member("Viewer").get(f"/signals/{uuid4()}").status_code == 404


def test_candles_come_with_the_levels_of_the_plan(as_member: Members) -> None:
    signal = judged(origin="DEMO", stop_price=41_000, target_price=44_000)
    client = as_member("Viewer")

    told = client.get(f"/signals/{signal.event_id}/candles?timeframe=1h").json()
    unknown = client.get(f"/signals/{signal.event_id}/candles?timeframe=3m")

    levels = {level["key"]: level["price"] for level in told["levels"]}
    assert levels == {"entry": 42_000, "stop": 41_000, "target": 44_000, "liquidation": 38_000}
    assert told["signal_at"] == "2026-01-15T12:00:00Z"
    times = [bar[0] for bar in told["candles"]]
    assert len(times) == 180
    assert times == sorted(times)
    assert times[120] == NOON.timestamp()
    assert unknown.status_code == 404


def test_a_market_that_is_away_is_told_in_words(
    as_member: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise MarketDataUnavailable("hyperliquid is failing and left alone for 30 s")

    monkeypatch.setattr("lens_site.pages.candles.market_for", away)
    signal = judged()

    answer = as_member("Viewer").get(f"/signals/{signal.event_id}/candles?timeframe=1h")

    assert answer.status_code == 200
    assert "left alone for 30 s" in answer.json()["why"]


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        ({"stop_method": "atr", "atr_multiple": 2.0}, "2.00 ATR"),
        ({"stop_method": "fixed", "stop_level": 41_000}, "at 41,000"),
        ({"stop_method": "trailing", "trail_pct": 1.5}, "trailing 1.5\u202f%"),
        (None, ""),
    ],
)
def test_a_stop_reads_in_words(plan: dict[str, object] | None, text: str) -> None:
    assert anatomy.stop_text(plan) == text


def test_the_list_is_walked_page_by_page_without_gap_or_double(
    as_member: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lens_site.pages.signals.PAGE_ROWS", 2)
    ids = [str(make_signal().event_id) for _ in range(5)]
    client, address, seen = as_member("Viewer"), "", []

    while True:
        page = client.get(f"/signals{address}")
        seen += [str(row.signal.event_id) for row in page.context["rows"]]
        address = page.context["older"]
        if not address:
            break

    assert seen == ids[::-1]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("symbol=eth", 1),
        ("source=beta", 1),
        ("status=REJECTED", 1),
        ("origin=DEMO", 1),
        ("symbol=eth&source=nobody", 0),
        ("status=NONSENSE&before=x", 3),
    ],
)
def test_the_list_is_filtered_by_its_address(as_member: Members, query: str, found: int) -> None:
    make_signal(symbol="ETH", source="beta")
    make_signal(status="REJECTED")
    make_signal(origin="DEMO")

    page = as_member("Viewer").get(f"/signals?{query}")

    assert len(page.context["rows"]) == found


def test_the_search_box_knows_ids_symbols_statuses_and_sources(as_member: Members) -> None:
    signal = make_signal(symbol="ETH")
    client = as_member("Viewer")

    def leads_to(text: str) -> str:
        return str(client.get("/search", {"q": text})["Location"])

    assert leads_to(f"sig_{signal.event_id.hex[:12]}") == f"/signals/{signal.event_id}"
    assert leads_to(str(signal.event_id)) == f"/signals/{signal.event_id}"
    decision, letter = make_decision(signal), make_letter(signal)
    for text in (f"dec_{decision.id.hex[:10]}", str(decision.id)):
        assert leads_to(text) == f"/signals/{signal.event_id}"
    for text in (f"dlq_{letter.id.hex[:10]}", str(letter.id)):
        assert leads_to(text) == f"/dead-letters/{letter.id}"
    assert leads_to("key_0a1b2c3d") == "/keys#key-0a1b2c3d"
    assert leads_to(f"dec_{signal.event_id.hex}") == f"/signals?source=dec_{signal.event_id.hex}"
    assert leads_to("eth") == "/signals?symbol=ETH"
    assert leads_to("rejected") == "/signals?status=REJECTED"
    assert leads_to("my strategy") == "/signals?source=my+strategy"
    assert leads_to("") == "/signals"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", 2),
        ("?verdict=ignore", 1),
        ("?verdict=follow", 0),
        ("?model=alpha&verdict=follow", 1),
        ("?min_confidence=60", 1),
        ("?min_confidence=70", 0),
        ("?origin=live", 1),
        ("?origin=nonsense", 2),
    ],
)
def test_the_board_is_filtered_by_its_address(as_member: Members, query: str, found: int) -> None:
    judged()
    make_signal(origin="DEMO")
    make_signal(origin="REPLAY")

    page = as_member("Viewer").get(f"/board{query}")

    assert len(page.context["rows"]) == found


def test_the_board_answers_with_the_rows_that_its_view_shows(as_member: Members) -> None:
    shown, other = judged(), make_signal(symbol="ETH")
    client = as_member("Viewer")

    answer = client.get(
        "/board/rows", {"symbol": "BTC", "id": [str(shown.event_id), str(other.event_id), "x"]}
    )

    assert f"row-{shown.event_id}" in answer.content.decode()
    assert f"row-{other.event_id}" not in answer.content.decode()


def test_tiles_count_what_is_live_and_tell_what_is_over_target(as_member: Members) -> None:
    make_signal(origin="DEMO")

    tiles = {tile.key: tile for tile in as_member("Viewer").get("/board").context["tiles"]}

    assert tiles["signals"].value == 0
    assert tiles["follow"].value is None
    assert not any(tile.is_breach for tile in tiles.values())


def test_tiles_count_the_live_signals_of_the_day(as_member: Members) -> None:
    now = datetime.now(UTC)
    make_signal(received_at=now - timedelta(days=2))
    for origin in ("LIVE", "LIVE", "DEMO", "REPLAY"):
        make_signal(received_at=now, origin=origin)

    tiles = {tile.key: tile for tile in as_member("Viewer").get("/board/tiles").context["tiles"]}

    assert tiles["signals"].value == 2
    assert "1 demo" in str(tiles["signals"].under)


def test_tiles_tell_how_many_of_the_days_rulings_are_to_follow(as_member: Members) -> None:
    now = datetime.now(UTC)
    for seq, word in enumerate(("FOLLOW_ENTER", "IGNORE", "IGNORE", "IGNORE"), start=1):
        make_decision(decision=word, model="jury", seq=seq, published_at=now)
    client = as_member("Viewer")

    found = [client.get("/board/tiles").context["tiles"] for _ in range(2)]

    assert [{tile.key: tile.value for tile in tiles}["follow"] for tiles in found] == [0.25, 0.25]


def test_a_replay_without_its_recording_says_that_its_candles_cannot_be_had(
    as_member: Members, tmp_path: Path
) -> None:
    replay = Replay.objects.create(
        symbol="BTC", candles_path=str(tmp_path / "gone.csv"), every_s=60, created_at=NOON
    )
    signal = make_signal(origin="REPLAY", replay=replay)

    answer = as_member("Viewer").get(f"/signals/{signal.event_id}/candles")

    assert answer.status_code == 200
    assert "gone.csv" in answer.json()["why"]


@pytest.mark.django_db
def test_a_prompt_tells_how_it_differs_from_the_version_before() -> None:
    shipped = PromptVersion.objects.get(name="judge", version=1)
    PromptVersion.objects.create(
        name="judge",
        version=2,
        system=f"{shipped.system}\nBe brief.",
        user=shipped.user,
        sha256="0" * 64,
        created_at=NOON,
        created_by="tester",
    )

    found = diffs_of(["judge v2", "judge v1", "nonsense"])

    assert found.keys() == {"judge v1", "judge v2"}
    assert (found["judge v1"].before, found["judge v1"].lines) == ("", ())
    assert found["judge v2"].before == "judge v1"
    assert ("added", "+Be brief.") in found["judge v2"].lines


@pytest.mark.django_db
@pytest.mark.parametrize(("demos", "said"), [(0, "since 00:00 UTC"), (1, "and 1 demo"), (3, "2+")])
def test_demo_signals_of_the_day_are_told_and_not_all_counted(
    monkeypatch: pytest.MonkeyPatch, demos: int, said: str
) -> None:
    monkeypatch.setattr("lens_site.pages.tiles.DEMO_COUNTED", 2)
    for _ in range(demos):
        make_signal(origin="DEMO", received_at=NOON)

    shown = {tile.key: tile for tile in tiles.board_tiles(now=LATER)}

    assert said in str(shown["signals"].under)

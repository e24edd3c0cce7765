"""Outcomes and scores over HTTP."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from io import BytesIO, StringIO
from typing import Any

import pytest
from rest_framework.test import APIClient

from outcomes.models import Outcome, Score
from outcomes.types import SIGNAL
from tests.outcomes.conftest import DAYS

Api = Callable[..., APIClient]

READ = "decisions:read"


def test_a_scoreboard_names_figures_intervals_and_baselines(api: Api, told: None) -> None:
    answer = api(READ).get("/api/v1/scores")

    body = answer.json()
    assert answer.status_code == 200
    (line,) = body["standings"]
    assert line["group"] == {"model": "judge"}
    assert (line["n"], line["is_too_few"]) == (DAYS * 5, False)
    assert line["brier"]["low"] < line["brier"]["value"] < line["brier"]["high"]
    assert {each["group"]["model"] for each in body["baselines"]} == {
        "always follow",
        "always ignore",
        "coin",
    }


def test_a_scoreboard_can_be_divided_and_filtered(api: Api, told: None) -> None:
    client = api(READ)

    divided = client.get("/api/v1/scores", {"by": "source"}).json()
    filtered = client.get("/api/v1/scores", {"source": "alpha"}).json()
    elsewhere = client.get("/api/v1/scores", {"scope": "demo"}).json()

    lines = {each["group"]["source"]: each for each in divided["standings"]}
    assert lines["alpha"]["n"] == filtered["standings"][0]["n"] == DAYS * 5 // 2
    assert elsewhere["standings"] == []


@pytest.mark.parametrize("query", [{"by": "mood"}, {"since": "soon"}, {"sauce": "alpha"}])
def test_a_wrong_question_names_the_parameter(api: Api, query: dict[str, str]) -> None:
    answer = api(READ).get("/api/v1/scores", query)

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == next(iter(query))


def test_bins_hold_every_decision(api: Api, told: None) -> None:
    client = api(READ)

    whole = client.get("/api/v1/scores/reliability", {"model": "judge"}).json()
    part = client.get("/api/v1/scores/reliability", {"model": "judge", "source": "alpha"}).json()
    none = client.get("/api/v1/scores/reliability", {"model": "nobody"}).json()

    assert sum(each["n"] for each in whole["bins"]) == DAYS * 5
    assert sum(each["n"] for each in part["bins"]) == DAYS * 5 // 2
    assert all(each["low"] <= each["win_rate"] <= each["high"] for each in whole["bins"])
    assert none["bins"] == []
    assert client.get("/api/v1/scores/reliability").status_code == 400


def test_outcomes_come_newest_first_and_page_without_a_gap(api: Api, told: None) -> None:
    client, found = api(READ), []
    query: dict[str, str] = {"limit": "7"}
    for _ in range(DAYS):
        page = client.get("/api/v1/outcomes", query).json()
        found += page["items"]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]

    ids = [each["id"] for each in found]
    assert len(ids) == len(set(ids)) == DAYS * 5
    assert [each["asked_at"] for each in found] == sorted(
        (each["asked_at"] for each in found), reverse=True
    )
    assert found[0]["resolution"] in {"TARGET", "STOP"}
    assert found[0]["entry_price"] == "100"


def test_outcomes_are_filtered_by_signal_source_and_status(api: Api, told: None) -> None:
    client, row = api(READ), Outcome.objects.select_related("question").earliest("opens_at")

    one = client.get("/api/v1/outcomes", {"event_id": str(row.question.event_id)}).json()
    beta = client.get("/api/v1/outcomes", {"source": "beta", "limit": "100"}).json()
    still_open = client.get("/api/v1/outcomes", {"status": "OPEN"}).json()

    assert [each["id"] for each in one["items"]] == [str(row.pk)]
    assert {each["source"] for each in beta["items"]} == {"beta"}
    assert still_open["items"] == []


def test_a_strangers_cursor_is_refused(api: Api) -> None:
    answer = api(READ).get("/api/v1/outcomes", {"cursor": "bm9uc2Vuc2U"})

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "cursor"


def test_a_source_card_holds_hits_against_break_even_decay_and_chance(api: Api, told: None) -> None:
    Outcome.objects.filter(question__source="alpha").update(
        cost_r=0.2, decay_r={"1": 0.1, "15": -0.2}, control_r=[0.0, -1.0]
    )
    won = Outcome.objects.filter(question__source="alpha", won=True).count()

    cards = {
        card["source"]: card for card in api(READ).get("/api/v1/scores/sources").json()["items"]
    }

    alpha = cards["alpha"]
    assert (alpha["n"], alpha["is_too_few"]) == (20, True)
    assert alpha["hit_rate"]["value"] == pytest.approx(won / 20)
    assert alpha["break_even"] == pytest.approx(1.2 / 3)
    assert alpha["net_r"]["value"] == pytest.approx((won * 1.8 - (20 - won) * 1.2) / 20)
    assert alpha["decay_r"]["15"]["value"] == pytest.approx(-0.2)
    assert alpha["decay_r"]["60"]["value"] is None
    assert 0.0 < alpha["p_value"] <= 1.0
    assert (cards["beta"]["p_value"], cards["beta"]["break_even"]) == (None, None)


def exported(client: APIClient, **query: str) -> Any:
    return client.get("/api/v1/scores/export", query)


def test_csv_holds_every_scored_decision_and_no_formula(api: Api, told: None) -> None:
    Score.objects.filter(source="beta").update(source="=cmd()")

    answer = exported(api(READ))
    rows = list(csv.DictReader(StringIO(answer.getvalue().decode())))

    assert answer["Content-Type"].startswith("text/csv")
    assert len(rows) == Score.objects.exclude(model=SIGNAL).count() == DAYS * 5
    assert {row["source"] for row in rows} == {"alpha", "'=cmd()"}
    assert [row["known_at"] for row in rows] == sorted(row["known_at"] for row in rows)


def test_parquet_holds_the_same(api: Api, told: None) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")

    table = parquet.read_table(BytesIO(exported(api(READ), file="parquet").content))

    rows = Score.objects.exclude(model=SIGNAL).order_by("known_at", "id")
    assert table["p"].to_pylist() == list(rows.values_list("p", flat=True))
    assert str(table.schema.field("known_at").type) == "timestamp[us, tz=UTC]"
    assert table["won"].to_pylist().count(None) == 0


def test_nothing_to_export_is_an_empty_table(api: Api) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    client = api(READ)

    assert exported(client).getvalue().decode().count("\n") == 1
    empty = parquet.read_table(BytesIO(exported(client, file="parquet").content))
    assert empty.num_rows == 0


def test_without_pyarrow_parquet_says_what_it_needs(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    answer = exported(api(READ), file="parquet")

    assert answer.status_code == 501
    assert answer.json()["code"] == "PARQUET_UNAVAILABLE"
    assert "pip install pyarrow" in answer.json()["detail"]


@pytest.mark.parametrize(
    "path", ["outcomes", "scores", "scores/reliability", "scores/sources", "scores/export"]
)
def test_a_key_without_the_scope_reads_nothing(api: Api, path: str) -> None:
    assert api("signals:write").get(f"/api/v1/{path}").status_code == 403


def test_a_threshold_is_advised_only_on_what_was_earned(api: Api, told: None) -> None:
    client = api(READ)

    whole = client.get("/api/v1/scores/coverage", {"model": "judge"}).json()
    part = client.get("/api/v1/scores/coverage", {"model": "judge", "source": "alpha"}).json()
    none = client.get("/api/v1/scores/coverage").json()

    assert [point["threshold"] for point in whole["points"]] == sorted(
        {point["threshold"] for point in whole["points"]}
    )
    assert (whole["points"][0]["n"], whole["points"][0]["coverage"]) == (DAYS * 5, 1.0)
    assert (whole["advice"], whole["best"]) == ("NO_EDGE", None)
    assert part["points"][0]["n"] == DAYS * 5 // 2
    assert (none["model"], none["advice"], none["points"]) == ("jury", "NOT_ENOUGH", [])

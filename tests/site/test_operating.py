from __future__ import annotations

from collections.abc import Callable

import pytest
from rest_framework.test import APIClient

from pipeline.models import DeadLetter, Switch
from tests.factories import make_letter

Api = Callable[..., APIClient]


def test_a_switch_is_thrown_and_thrown_back_over_http(api: Api) -> None:
    client = api("ops")

    paused = client.post("/api/v1/switches/intake/pause", {"reason": "venue down"}, format="json")
    listed = client.get("/api/v1/switches").json()["items"]
    resumed = client.post("/api/v1/switches/intake/resume", {"reason": "up"}, format="json")

    assert paused.status_code == 200
    assert {row["name"]: row["paused"] for row in listed} == {"intake": True, "publishing": False}
    assert listed[0]["reason"] == "venue down"
    assert listed[0]["actor"].startswith("key:")
    assert resumed.json()["paused"] is False


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("intake/pause", {}, 400),
        ("intake/pause", {"reason": "  "}, 400),
        ("intake/pause", {"reason": "x", "more": 1}, 400),
        ("outtake/pause", {"reason": "x"}, 404),
    ],
)
def test_a_switch_is_not_thrown_by_half(
    api: Api, path: str, body: dict[str, object], status: int
) -> None:
    answer = api("ops").post(f"/api/v1/switches/{path}", body, format="json")

    assert answer.status_code == status
    assert not Switch.objects.filter(is_paused=True).exists()


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_only_operators_keys_throw_switches(api: Api, verb: str) -> None:
    client = api("signals:write", "signals:read", "decisions:read")

    answer = client.post(f"/api/v1/switches/intake/{verb}", {"reason": "x"}, format="json")

    assert answer.status_code == 403
    assert client.get("/api/v1/switches").status_code == 403


def test_a_group_of_dead_letters_is_priced_first_and_retried_then(api: Api) -> None:
    make_letter()
    make_letter()
    client = api("ops")
    [group] = client.get("/api/v1/dlq/groups").json()["items"]
    body = {"fingerprint": group["fingerprint"]}

    told = client.post("/api/v1/dlq/retry", body | {"preview": True}, format="json").json()
    done = client.post("/api/v1/dlq/retry", body, format="json").json()
    again = client.post("/api/v1/dlq/retry", body, format="json").json()

    assert (group["count"], group["still_happening"]) == (2, False)
    assert (told["letters"], told["expected_cost_usd"], told["retried"]) == (2, "0", 0)
    assert (done["retried"], again["retried"], again["not_open"]) == (2, 0, 2)


@pytest.mark.parametrize("body", [{}, {"preview": True}, {"ids": []}, {"fingerprint": "x"}])
def test_a_retry_of_everything_must_not_happen_by_accident(
    api: Api, body: dict[str, object]
) -> None:
    make_letter()

    answer = api("ops").post("/api/v1/dlq/retry", body, format="json")

    assert answer.status_code == 400
    assert DeadLetter.objects.get().status == "OPEN"

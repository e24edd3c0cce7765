from __future__ import annotations

from collections.abc import Callable

import pytest
from rest_framework.test import APIClient

from pipeline.models import Switch

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

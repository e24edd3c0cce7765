"""What a deployment is made of: settings that pass every check, and files that name what exists."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from typing import Any

import pytest
from django.conf import settings as configured
from django.core.checks import CheckMessage
from pytest_django import Settings

from lens_site import checks
from pipeline import queue

ROOT = configured.BASE_DIR
DEPLOYED = {
    "LENS_PUBLIC_URL": "https://lens.example.org",
    "TRUSTED_PROXY_COUNT": "1",
    "REQUIRE_2FA": "staff",
    "DATABASE_URL": "postgres://lens:a-long-password@postgres:5432/lens",
    "REDIS_URL": "redis://:a-long-password@127.0.0.1:1/0",
    "DJANGO_SETTINGS_MODULE": "lens_site.settings",
    "PATH": os.environ.get("PATH", ""),
}


def environment(**changes: str) -> dict[str, str]:
    made = ("SECRET_KEY", "LENS_KEY_PEPPER", "LENS_ENCRYPTION_KEYS", "API_KEY_ADMIN")
    return {**DEPLOYED, **{name: secrets.token_urlsafe(48) for name in made}, **changes}


def ids(found: list[CheckMessage]) -> list[str | None]:
    return [message.id for message in found]


def test_a_deployment_passes_every_check_without_a_warning() -> None:
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]

    ended = subprocess.run(
        command, env=environment(), cwd=ROOT, capture_output=True, text=True, timeout=120
    )

    assert ended.returncode == 0, ended.stderr


def test_behind_https_cookies_belong_to_the_host_alone() -> None:
    names = "SESSION_COOKIE_NAME CSRF_COOKIE_NAME SESSION_COOKIE_SECURE SECURE_HSTS_SECONDS"
    names += " SECURE_SSL_REDIRECT CSRF_TRUSTED_ORIGINS SECURE_PROXY_SSL_HEADER"
    code = (
        f"from django.conf import settings as s; print(*(getattr(s, n) for n in {names.split()}))"
    )

    said = subprocess.run(
        [sys.executable, "-c", code], env=environment(), cwd=ROOT, capture_output=True, text=True
    ).stdout.split()

    assert said[:5] == ["__Host-sessionid", "__Host-csrftoken", "True", "31536000", "True"]
    assert "['https://lens.example.org']" in said


@pytest.mark.parametrize(
    ("check", "changes", "wanted"),
    [
        (checks.check_people, {"REQUIRE_2FA": "maybe"}, "lens.E005"),
        (checks.check_addresses, {"PUBLIC_URL": "lens.example.org"}, "lens.E006"),
        (checks.check_addresses, {"HYPERLIQUID_BASE_URL": "https://10.0.0.1"}, "lens.E007"),
        (checks.check_queues, {"RQ_QUEUES": {"work": {"URL": "redis://"}}}, "lens.E008"),
        (checks.check_keys_apart, {"LENS_KEY_PEPPER": "x", "SECRET_KEY": "x"}, "lens.E009"),
        (checks.check_hosts, {"ALLOWED_HOSTS": ["*"]}, "lens.E010"),
        (checks.check_redis, {"REDIS_URL": "redis://redis:6379/0"}, "lens.W011"),
    ],
)
def test_a_wrong_setting_is_explained_in_one_sentence(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    check: Any,
    changes: dict[str, Any],
    wanted: str,
) -> None:
    monkeypatch.setattr(queue, "eviction_policy", lambda: None)
    settings.LENS_ENCRYPTION_KEYS = "of its own"
    assert wanted not in ids(check())

    for name, value in changes.items():
        setattr(settings, name, value)

    (found,) = [message for message in check() if message.id == wanted]
    assert found.msg.rstrip().endswith(".")
    assert "\n" not in found.msg


def test_a_redis_that_forgets_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "eviction_policy", lambda: "allkeys-lru")

    assert ids(checks.check_redis()) == ["lens.W012"]


def test_the_eviction_policy_is_read_from_the_server(redis_url: str) -> None:
    assert queue.eviction_policy() == "noeviction"

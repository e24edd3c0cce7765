from __future__ import annotations

import pytest
from django.core.checks import run_checks
from pytest_django import Settings

from access import checks

GOOD = "Zq8xW3vK1pLr7TnB5yGdM2cJh9sFa4eU"


def ids(settings: Settings, **changes: object) -> list[str | None]:
    for name, value in ({"API_KEY_ADMIN": "", "LENS_KEY_PEPPER": GOOD} | changes).items():
        setattr(settings, name, value)
    return [message.id for check in checks.ALL for message in check()]


@pytest.mark.parametrize("changes", [{}, {"API_KEY_ADMIN": GOOD}, {"LENS_KEY_PEPPER": f",{GOOD}"}])
def test_good_settings_pass(settings: Settings, changes: dict[str, str]) -> None:
    assert ids(settings, **changes) == []


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("API_KEY_ADMIN", "changeme", "lens.E101"),
        ("API_KEY_ADMIN", "your-admin-token-here-that-is-very-long", "lens.E101"),
        ("API_KEY_ADMIN", GOOD[:31], "lens.W101"),
        ("LENS_KEY_PEPPER", "", "lens.E102"),
        ("LENS_KEY_PEPPER", f"{GOOD},", "lens.E102"),
        ("LENS_KEY_PEPPER", f"{GOOD},short", "lens.W102"),
        ("LENS_ENV", "live_2", "lens.E103"),
        ("LENS_ENV", "", "lens.E103"),
        ("RATE_LIMIT_PER_MIN", 0, "lens.E104"),
        ("RATE_LIMIT_READS_BURST", -1, "lens.E104"),
    ],
)
def test_each_bad_setting_is_told(
    settings: Settings, name: str, value: object, expected: str
) -> None:
    assert ids(settings, **{name: value}) == [expected]


def test_no_message_repeats_a_secret(settings: Settings) -> None:
    settings.API_KEY_ADMIN = settings.LENS_KEY_PEPPER = "s3cret"

    told = [str(message) for check in checks.ALL for message in check()]

    assert told
    assert "s3cret" not in " ".join(told)


def test_the_checks_are_wired(settings: Settings) -> None:
    settings.API_KEY_ADMIN = "changeme"

    assert "lens.E101" in {message.id for message in run_checks(tags=None)}

from __future__ import annotations

import pytest
from pytest_django import Settings

from lens_site import checks


def test_a_misspelt_name_is_reported_with_what_was_meant(settings: Settings) -> None:
    settings.UNKNOWN_SETTINGS = ["LENS_VAR_DRI", "LENS_CHAOS_N"]

    [warning] = checks.check_names()

    assert warning.msg == "LENS_VAR_DRI is set, but nothing reads it."
    assert warning.hint == "Did you mean LENS_VAR_DIR?"


def test_an_unknown_provider_is_refused_with_the_known_ones(settings: Settings) -> None:
    settings.PROVIDER_PRIMARY = "bloomberg"

    [error] = checks.check_provider()

    assert "hyperliquid, recorded, simulated" in error.msg


@pytest.mark.parametrize(("path", "faults"), [("", 1), ("/somewhere.csv", 0)])
def test_recorded_prices_need_a_recording(settings: Settings, path: str, faults: int) -> None:
    settings.PROVIDER_PRIMARY, settings.RECORDED_CANDLES = "recorded", path

    assert len(checks.check_provider()) == faults


def test_the_key_from_the_source_is_not_deployed(settings: Settings) -> None:
    settings.SECRET_KEY = "unsafe-until-lens-up-has-written-var-secret-env"
    assert [error.id for error in checks.check_secrets()] == ["lens.E003"]

    settings.SECRET_KEY = "k" * 50
    assert checks.check_secrets() == []


@pytest.mark.django_db
def test_a_durable_database_passes() -> None:
    assert checks.check_durability(databases=["default"]) == []

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings


def asked(*arguments: str) -> str:
    out = StringIO()
    call_command("quote", *arguments, stdout=out)
    return out.getvalue()


def test_a_price_is_shown_with_its_source() -> None:
    assert asked("btc", "--provider", "simulated").startswith("BTC ")
    assert "SIMULATED" in asked("btc", "--provider", "simulated")


def test_a_program_reads_the_price_as_json() -> None:
    told = json.loads(asked("ETH", "--provider", "simulated", "--json"))

    assert told["symbol"] == "ETH"
    assert told["mid"] > 0


def test_a_market_that_gives_no_price_is_one_sentence(settings: Settings) -> None:
    options = {"base_url": "http://127.0.0.1:1", "timeout_ms": 200}
    backend = "markets.providers.hyperliquid.Hyperliquid"
    settings.PROVIDERS = {"away": {"BACKEND": backend, "OPTIONS": options}}

    with pytest.raises(CommandError, match=r"^away: "):
        asked("BTC", "--provider", "away")

from __future__ import annotations

import json
import logging

import pytest

from pipeline.logs import JsonLines, MaskSecrets, masked

KEY = "lens_live_AbCd1234_" + "s3cr3t" * 8


@pytest.mark.parametrize(
    "text",
    [
        f"key {KEY}",
        f"GET /ws/decisions?api_key={KEY}&x=1",
        "GET /ws/decisions?ticket=s3cr3ts3cr3t",
        "Authorization: Bearer s3cr3ts3cr3t",
        "{'X-API-Key': 's3cr3ts3cr3t'}",
        "postgres://lens:s3cr3ts3cr3t@db/lens",
        "sk-s3cr3ts3cr3ts3cr3t",
        "Not Found: /hooks/s3cr3t-s3cr3t_s3cr3t",
        "GET /welcome?t=s3cr3t-s3cr3t",
        '{"passphrase": "s3cr3t", "ticker": "BTC"}',
    ],
)
def test_secrets_are_struck_out(text: str) -> None:
    assert "s3cr3t" not in masked(text)
    assert "***" in masked(text)


def test_the_filter_strikes_secrets_out_of_arguments_too() -> None:
    record = logging.LogRecord("x", logging.INFO, "f", 1, "refused %s", (KEY,), None)

    MaskSecrets().filter(record)

    assert record.getMessage() == "refused lens_live_AbCd1234_***"


def test_json_lines_carry_level_message_and_signal() -> None:
    record = logging.LogRecord("room", logging.WARNING, "f", 1, "late by %d s", (3,), None)
    record.event_id = "e1"

    line = json.loads(JsonLines().format(record))

    assert (line["level"], line["logger"], line["message"], line["event_id"]) == (
        "WARNING",
        "room",
        "late by 3 s",
        "e1",
    )

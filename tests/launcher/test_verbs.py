from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from launcher import market
from launcher.children import ending, last_words
from launcher.greeting import first_signal
from launcher.terminal import seconds
from tests.launcher.conftest import Desk, all_gone, wait_until


def test_demo_starts_a_desk_of_its_own_and_stops_it(desk: Desk) -> None:
    process = desk.start("demo")
    desk.wait_ready()
    children = desk.children()
    desk.read_until(process, "demo runs")

    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=30)

    assert "stopping the background desk" in said
    assert all_gone(children)
    assert not (desk.where.run / "up.json").exists()


def test_a_killed_demo_takes_its_desk_along(desk: Desk) -> None:
    process = desk.start("demo")
    desk.read_until(process, "demo runs")
    children = desk.children()

    process.kill()

    wait_until(lambda: all_gone(children))


def test_replay_uses_the_desk_that_runs(desk: Desk) -> None:
    desk.call("up", "--detach", "--workers", "1")
    before = desk.note()

    answer = desk.call("replay", "--symbol", "BTC")
    after = desk.note()
    desk.call("down")

    assert answer.stdout == "judged 0 signals\n"
    assert "starting one" not in answer.stderr
    assert before["pid"] == after["pid"]


def test_commands_run_where_the_person_stands(desk: Desk, tmp_path: Path) -> None:
    answer = desk.call("manage", "where", cwd=tmp_path)

    assert answer.stdout == f"{tmp_path}\n"


def test_fake_vendors_need_no_desk(desk: Desk) -> None:
    (desk.where.root / "manage.py").write_text("import sys; print(*sys.argv[1:])\n")

    answer = desk.call("fake-llm", "--port", "8123", "--help")

    assert answer.stdout == "fake_llm --port 8123 --help\n"
    assert not (desk.where.run / "up.json").exists()


def test_trials_run_from_the_checkout_wherever_the_person_stands(
    desk: Desk, tmp_path: Path
) -> None:
    told = "print(*sys.argv[1:], [name for name in os.environ if name.startswith('LENS_')])"
    (desk.where.root / "chaos.py").write_text(f"import os, sys; {told}; sys.exit(1)\n")

    answer = desk.call("chaos", "--n", "5", cwd=tmp_path)

    assert (answer.stdout, answer.returncode) == ("--n 5 []\n", 1)
    assert not (desk.where.run / "up.json").exists()


def test_keys_need_a_database_first(desk: Desk) -> None:
    answer = desk.call("apikey", "list")

    assert answer.returncode == 1
    assert "✗ there is no database yet" in answer.stderr
    assert "./lens up makes it" in answer.stderr


def test_a_traceback_is_left_to_the_log() -> None:
    said = ["Traceback (most recent call last):", '  File "x.py"', "    boom()", "Boom: no table"]

    assert last_words(said) == "Boom: no table"
    assert last_words([]) == "it said nothing"


def test_doctor_finds_nothing_in_the_way(desk: Desk) -> None:
    (desk.where.root / "manage.py").write_text("print('System check identified no issues')\n")

    answer = desk.call("doctor", "--json")

    facts = json.loads(answer.stdout)
    found = {finding["name"]: finding["level"] for finding in facts["findings"]}
    assert answer.returncode == 0, answer.stdout
    assert found["python"] == found["redis"] == found["settings"] == "ok"
    assert found["market"] == "warn"


def test_doctor_names_what_stands_in_the_way(desk: Desk) -> None:
    (desk.where.root / "manage.py").write_text("import sys; sys.exit('RETRY_MAX is no number')\n")

    answer = desk.call("doctor", REDIS_URL="redis://127.0.0.1:1/0")

    assert answer.returncode == 1
    assert "✗ redis" in answer.stdout
    assert "✗ settings" in answer.stdout
    assert "  RETRY_MAX is no number" in answer.stdout
    assert "2 in the way" in answer.stdout


def test_a_state_directory_that_cannot_be_written_is_refused(desk: Desk) -> None:
    answer = desk.call("up", LENS_VAR_DIR="/proc/lens")

    assert answer.returncode == 1
    assert "cannot be written" in answer.stderr


def test_the_example_signal_is_valid_json_around_a_fresh_time() -> None:
    text = first_signal("http://127.0.0.1:8000", "lens_live_key", 64321.5)
    body = text.partition("-d '")[2].removesuffix("'")

    said = json.loads(body.replace("""'"$(date -u +%Y-%m-%dT%H:%M:%SZ)"'""", "now"))

    assert said["entry_price"] == 64321.5
    assert said["liquidation_price"] < said["entry_price"]
    assert said["ts_utc"] == "now"


def test_a_provider_without_a_network_is_named_and_not_asked() -> None:
    assert market.ask("simulated") == {"complaint": "prices come from the 'simulated' provider"}


def test_the_house_tells_the_price_of_its_own_provider() -> None:
    prices = market.told_by_house("simulated", ['{"mid": 65000.5}'])

    assert prices.btc == 65000.5
    assert prices.complaint == "prices come from 'simulated'"


def test_a_house_that_gives_no_price_says_why() -> None:
    prices = market.told_by_house("recorded", ["recorded: no such file"])

    assert prices.btc == market.EXAMPLE_PRICE
    assert "recorded: no such file" in prices.complaint


def test_a_silent_market_is_a_complaint_and_no_error() -> None:
    answer = market.ask("http://127.0.0.1:1")

    assert "does not answer from here" in answer["complaint"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.42, "0.4 s"), (39.4, "39 s"), (125.0, "2 min 5 s"), (9.99, "10.0 s")]
)
def test_durations_are_said_as_a_person_says_them(value: float, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("code", "text"),
    [(0, "left with code 0"), (-9, "was ended by SIGKILL"), (-99, "was ended by signal 99")],
)
def test_endings_are_said_in_words(code: int, text: str) -> None:
    assert ending(code) == text

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from launcher import redis_server
from tests.launcher.conftest import Desk, all_gone, wait_until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not os.access("/tmp", os.W_OK), reason="written for Linux"
)


def test_up_reports_each_step_and_a_signal_to_paste(desk: Desk) -> None:
    process = desk.start("up", "--workers", "1")
    said = desk.read_until(process, "Ctrl-C stops everything")
    note = desk.note()

    process.send_signal(signal.SIGINT)
    said += process.communicate(timeout=30)[0]

    assert process.returncode == 0
    assert re.search(r"✓ redis +\S+ \d", said)
    assert "✓ database      var/lens.sqlite3, 1 migration" in said
    assert f"Lens is ready in {note['ready_after_s']:.1f} s   {note['url']}" in said
    assert "shown only now:  lens_test_key" in said
    assert f"curl -s {note['url']}/api/v1/signals -H 'X-API-Key: lens_test_key'" in said
    assert "$(date -u +%Y-%m-%dT%H:%M:%SZ)" in said
    assert "stopped, nothing left running" in said


def test_the_key_is_in_no_log(desk: Desk) -> None:
    assert desk.call("up", "--detach", "--workers", "1").returncode == 0
    desk.call("down")

    logs = list(desk.where.log.glob("*.log"))
    assert logs
    assert not [path.name for path in logs if "lens_test_key" in path.read_text()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_polite_signal_stops_in_order_and_leaves_nothing(desk: Desk, number: int) -> None:
    process = desk.start("up", "--workers", "2")
    desk.wait_ready()
    children = desk.children()

    process.send_signal(number)
    process.communicate(timeout=30)

    assert process.returncode in (0, 128 + number)
    assert all_gone(children)
    assert not (desk.where.run / "up.json").exists()
    assert (desk.where.var / "goodbye").read_text().split() == [
        "run_conductor",
        "run_worker",
        "run_worker",
    ]


def test_a_killed_supervisor_takes_its_children_along_and_can_start_again(desk: Desk) -> None:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        port = str(line.getsockname()[1])
    process = desk.start("up", "--workers", "1", "--port", port)
    desk.wait_ready()
    children = desk.children()

    process.send_signal(signal.SIGKILL)
    process.wait(timeout=10)
    wait_until(lambda: all_gone(children))
    again = desk.call("up", "--detach", "--port", port, "--workers", "1")
    desk.call("down")

    assert set(children) == {"forks", "redis", "web", "conductor", "worker-1"}
    assert again.returncode == 0, again.stderr


def test_second_up_finds_the_first(desk: Desk) -> None:
    first = desk.call("up", "--detach", "--workers", "1")
    note = desk.note()
    second = desk.call("up")
    third = desk.call("up", "--json")
    desk.call("down")

    assert first.returncode == second.returncode == 0
    assert f"already running: pid {note['pid']}  {note['url']}" in second.stdout
    assert json.loads(third.stdout)["url"] == note["url"]


def test_two_started_at_once_share_one_desk(desk: Desk) -> None:
    pair = [desk.start("up", "--detach", "--workers", "1") for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in pair]
    desk.call("down")

    assert [process.returncode for process in pair] == [0, 0]
    assert sum("already running" in text for text in said) == 1


def test_status_down_and_the_exit_codes(desk: Desk) -> None:
    before = desk.call("status")
    desk.call("up", "--detach", "--workers", "1")
    during = desk.call("status", "--json")
    children = desk.children()
    stopped = desk.call("down")
    after = desk.call("down")

    facts = json.loads(during.stdout)
    assert (before.returncode, during.returncode) == (1, 0)
    assert (facts["status"], facts["ready"]) == ("ready", True)
    assert set(facts["children"]) == {"forks", "redis", "web", "conductor", "worker-1"}
    assert facts["dependencies"] == {"checks": {"workers": {"ok": True}}}
    assert stopped.stdout.startswith("stopped in")
    assert all_gone(children)
    assert (after.returncode, after.stdout) == (0, "nothing is running\n")


def test_status_says_what_is_missing(desk: Desk) -> None:
    desk.call("up", "--detach", "--workers", "1")
    (desk.where.var / "unready").touch()

    answer = desk.call("status")

    assert answer.returncode == 1
    assert "/ready says 503\n  workers: nobody works" in answer.stdout


def test_a_dead_worker_and_a_dead_redis_come_back(desk: Desk) -> None:
    desk.call("up", "--detach", "--workers", "1")
    before = desk.children()
    for name in ("worker-1", "redis"):
        os.kill(before[name][0], signal.SIGKILL)

    wait_until(
        lambda: all(
            name in desk.children() and desk.children()[name] != before[name]
            for name in ("worker-1", "redis")
        )
    )
    socket_at = Path(unquote(urlsplit(desk.note()["redis_url"]).path))
    wait_until(lambda: redis_server.ping(socket_at).startswith(b"+PONG"))
    log = (desk.where.log / "lens.log").read_text()
    desk.call("down")

    assert "worker-1 was ended by SIGKILL" in log


def test_a_child_that_cannot_run_stops_the_desk_and_says_why(desk: Desk) -> None:
    desk.where.var.mkdir()
    (desk.where.var / "broken-run_worker").touch()
    (desk.where.var / "unready").touch()

    answer = desk.call("up", "--workers", "1")

    assert answer.returncode == 1
    assert "✗ worker-1 died 5 times in a row" in answer.stderr
    assert "this one is broken" in answer.stderr
    assert "worker-1 died 5 times" in desk.call("status").stdout
    assert "Traceback" not in answer.stderr
    assert not (desk.where.run / "up.json").exists()


def test_a_named_port_in_use_is_refused(desk: Desk) -> None:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        line.listen()
        port = line.getsockname()[1]

        answer = desk.call("up", "--port", str(port))

    assert answer.returncode == 1
    assert f"✗ port {port} is in use by pid {os.getpid()}" in answer.stderr


def test_other_machines_are_not_let_in_by_accident(desk: Desk) -> None:
    answer = desk.call("up", "--host", "0.0.0.0")

    assert answer.returncode == 1
    assert "--allow-remote" in answer.stderr


def test_the_state_may_lie_elsewhere_in_a_long_odd_path(desk: Desk) -> None:
    var = desk.where.root / ("a state % " + "x" * 100)

    up = desk.call("up", "--detach", "--workers", "1", LENS_VAR_DIR=str(var))
    note = json.loads((var / "run" / "up.json").read_text())
    status = desk.call("status", LENS_VAR_DIR=str(var))
    desk.call("down", LENS_VAR_DIR=str(var))

    assert up.returncode == status.returncode == 0
    short = Path(unquote(urlsplit(note["redis_url"]).path)).parent
    assert note["redis_url"].startswith(f"unix:///tmp/lens-{os.geteuid()}-")
    assert not short.exists()
    assert not desk.where.var.exists()


def test_commands_get_the_environment_of_the_desk(desk: Desk) -> None:
    (desk.where.root / ".env").write_text("LOG_LEVEL=DEBUG\n")

    answer = desk.call("manage", "tell", "LENS_VAR_DIR", "REDIS_URL", "LOG_LEVEL", "SECRET_KEY")

    told = json.loads(answer.stdout)
    assert told["LENS_VAR_DIR"] == str(desk.where.var)
    assert told["REDIS_URL"].startswith("unix://")
    assert told["LOG_LEVEL"] == "DEBUG"
    assert len(told["SECRET_KEY"]) > 40


def test_the_code_of_a_command_is_passed_on(desk: Desk) -> None:
    assert desk.call("manage", "fail").returncode == 3


def test_logs_show_the_last_lines_by_name(desk: Desk) -> None:
    desk.call("up", "--detach", "--workers", "1")
    desk.call("down")

    shown = desk.call("logs", "worker-1", "-n", "5")
    unknown = desk.call("logs", "nobody")

    assert shown.stdout == "worker-1  │ run_worker runs\n"
    assert unknown.returncode == 1
    assert "there are: " in unknown.stderr


def test_wrong_usage_has_its_own_code(desk: Desk) -> None:
    assert desk.call("up", "--port", "99999").returncode == 2
    assert desk.call("nonsense").returncode == 2
    assert desk.call("apikey").returncode == 2
    assert desk.call("up", "--help").returncode == 0


def test_a_bad_env_file_is_refused_by_line(desk: Desk) -> None:
    (desk.where.root / ".env").write_text("oops\n")

    answer = desk.call("up")

    assert answer.returncode == 1
    assert ".env:1 is not an assignment" in answer.stderr


def test_up_prints_a_link_that_signs_in_and_login_prints_another(desk: Desk) -> None:
    said = desk.call("up", "--detach", "--workers", "1").stdout
    note = desk.note()

    again = desk.call("login")
    told = desk.call("login", "--json")
    desk.call("down")

    link = f"{note['url']}/welcome?t=lens_test_token"
    assert f"{link}  (signs you in once)" in said
    assert link in again.stdout
    assert "signs admin in once, within 15 minutes" in again.stdout
    assert json.loads(told.stdout)["sign_in"] == link
    assert not [
        path for path in desk.where.log.glob("*.log") if "lens_test_token" in path.read_text()
    ]


def test_there_is_nowhere_to_sign_in_without_a_desk(desk: Desk) -> None:
    answer = desk.call("login")

    assert answer.returncode == 1
    assert "no desk is running" in answer.stderr


def test_other_machines_are_let_in_only_where_somebody_has_a_password(desk: Desk) -> None:
    wide = ("up", "--detach", "--host", "0.0.0.0", "--allow-remote", "--workers", "1")

    refused = desk.call(*wide)
    (desk.where.var / "password").touch()
    said = desk.call(*wide)
    desk.call("down")

    assert refused.returncode == 1
    assert "./lens manage changepassword admin" in refused.stderr
    assert said.returncode == 0
    assert "/welcome" not in said.stdout


@pytest.mark.parametrize(("option", "is_wanted"), [((), True), (("--no-demo",), False)])
def test_the_demo_is_started_unless_it_is_not_wanted(
    desk: Desk, option: tuple[str, ...], is_wanted: bool
) -> None:
    desk.call("up", "--detach", "--workers", "1", *option)
    desk.call("down")

    assert (desk.where.var / "demo").exists() is is_wanted

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from launcher import programs
from launcher.children import LOG_LIMIT, ChildPlan, open_log
from launcher.places import ROOT
from launcher.supervisor import GaveUp, Interrupted, Supervisor
from launcher.terminal import Screen
from tests.launcher.conftest import wait_until

OBEDIENT = """
import signal, sys, time
def leave(*_):
    open(sys.argv[1], "a").write(sys.argv[2] + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("runs", flush=True)
time.sleep(60)
"""
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('runs', flush=True); time.sleep(60)"
)


class Stage:
    """A supervisor with its screen, over tiny Python programs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.output = io.StringIO()
        self.supervisor = Supervisor(
            screen=Screen(stream=self.output), logs=directory, first_pause_s=0.01
        )

    def plan(self, name: str, program: str, *arguments: str, **choices: float) -> ChildPlan:
        return ChildPlan(
            name=name,
            command=(sys.executable, "-c", program, *arguments),
            environment=dict(os.environ),
            cwd=self.directory,
            stop_order=int(choices.get("stop_order", 0)),
            stop_within_s=choices.get("stop_within_s", 5.0),
        )

    def start(self, plan: ChildPlan) -> int:
        self.supervisor.start(plan)
        child = self.supervisor.children[plan.name]
        assert self.supervisor.wait_until(lambda: "runs" in child.last_lines, within_s=20)
        return child.process.pid


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_output_is_prefixed_on_the_screen_and_whole_in_the_log(stage: Stage) -> None:
    program = "print('first'); print('x' * 100_000); import sys; sys.stderr.write('last')"

    code, last = stage.supervisor.run_to_end(stage.plan("talker", program))

    assert code == 0
    assert last[-1] == "last"
    assert (stage.directory / "talker.log").read_text().splitlines()[0] == "first"


def test_a_command_that_takes_too_long_is_killed(stage: Stage) -> None:
    plan = stage.plan("sleeper", "import time; time.sleep(60)")

    code, _ = stage.supervisor.run_to_end(plan, within_s=0.1)

    assert code == -signal.SIGKILL


def test_children_speak_behind_their_names(stage: Stage) -> None:
    stage.start(stage.plan("talker", STUBBORN, stop_within_s=0.1))

    stage.supervisor.stop()

    assert "talker    │ runs" in stage.output.getvalue()


def test_a_dead_child_comes_back(stage: Stage) -> None:
    first = stage.start(stage.plan("worker", OBEDIENT, "out", "worker"))

    os.kill(first, signal.SIGKILL)
    back = stage.supervisor.wait_until(
        lambda: (
            "worker" in stage.supervisor.children
            and stage.supervisor.children["worker"].process.pid != first
        ),
        within_s=20,
    )
    stage.supervisor.stop()

    assert back
    assert "was ended by SIGKILL" in stage.output.getvalue()


def test_a_child_that_keeps_dying_is_given_up_with_its_last_words(stage: Stage) -> None:
    stage.supervisor.start(stage.plan("worker", "import sys; sys.exit('no such table')"))

    with pytest.raises(GaveUp) as refused:
        stage.supervisor.wait_until(lambda: False, within_s=20)

    assert "worker died 5 times in a row, it left with code 1" in refused.value.what
    assert "no such table" in refused.value.why
    assert "worker.log" in refused.value.todo


def test_pauses_before_a_restart_grow(stage: Stage) -> None:
    stage.supervisor.start(stage.plan("worker", "pass"))

    with pytest.raises(GaveUp):
        stage.supervisor.wait_until(lambda: False, within_s=20)

    pauses = [line.rpartition("in ")[2] for line in stage.output.getvalue().splitlines()]
    assert pauses == ["0.0 s", "0.0 s", "0.0 s", "0.1 s"]


def test_children_stop_in_order(stage: Stage) -> None:
    for name, order in (("redis", 9), ("worker", 2), ("web", 0), ("conductor", 1)):
        stage.start(stage.plan(name, OBEDIENT, "order", name, stop_order=order))

    stage.supervisor.stop()

    stopped = (stage.directory / "order").read_text().split()
    assert stopped == ["web", "conductor", "worker", "redis"]
    assert not stage.supervisor.children


def test_a_child_that_ignores_the_polite_signal_is_killed(stage: Stage) -> None:
    pid = stage.start(stage.plan("worker", STUBBORN, stop_within_s=0.2))
    born = programs.birth_of(pid)

    stage.supervisor.stop()

    assert not programs.is_alive(pid, born)
    assert "did not stop in time" in stage.output.getvalue()


def test_what_a_child_started_itself_goes_with_it(stage: Stage) -> None:
    program = (
        "import subprocess, sys, time;"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print(p.pid, flush=True); print('runs', flush=True); time.sleep(60)"
    )
    stage.start(stage.plan("worker", program))
    grandchild = int(stage.supervisor.children["worker"].last_lines[0])
    born = programs.birth_of(grandchild)

    stage.supervisor.stop()

    wait_until(lambda: not programs.is_alive(grandchild, born))


def test_a_signal_interrupts_and_a_second_one_kills(stage: Stage) -> None:
    before = signal.getsignal(signal.SIGTERM)
    stage.supervisor.listen_to_signals()
    stage.start(stage.plan("worker", STUBBORN, stop_within_s=30))
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted) as interrupted:
            stage.supervisor.tick()
        began_s = time.monotonic()
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        stage.supervisor.stop()
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    assert interrupted.value.signal_number == signal.SIGTERM
    assert time.monotonic() - began_s < 10
    assert not stage.supervisor.children


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's tie is Linux's own")
def test_no_child_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from launcher import programs;"
        "c = [sys.executable, '-c', 'import time; time.sleep(60)'];"
        "p = programs.start(c); print(p.pid, flush=True);"
        "import time; time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(ROOT)], stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        born = programs.birth_of(child)
        assert programs.is_alive(child, born)

        parent.kill()

        wait_until(lambda: not programs.is_alive(child, born))


def test_an_over_long_log_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    with path.open("wb") as file:
        file.truncate(LOG_LIMIT + 1)

    with open_log(path) as log:
        log.write(b"new\n")

    assert path.read_bytes() == b"new\n"
    assert (tmp_path / "web.log.1").stat().st_size == LOG_LIMIT + 1

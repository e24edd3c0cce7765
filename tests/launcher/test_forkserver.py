"""Programs forked from one that has imported everything, watched like programs of one's own."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import forkserver, programs
from launcher.children import Child, ChildPlan
from launcher.forkserver import ForkServer
from launcher.places import ROOT
from launcher.supervisor import Supervisor
from launcher.terminal import Screen

pytestmark = pytest.mark.skipif(not forkserver.is_possible(), reason="only Linux hands orphans on")

PRELOADED = "import os\nIMPORTED_BY = os.getpid()\n"
PROGRAM = """
import os, sys, time
import preloaded
print("forked" if preloaded.IMPORTED_BY != os.getpid() else "alone", *sys.argv[1:], flush=True)
if "stay" in sys.argv:
    time.sleep(60)
if "late" in sys.argv:
    import atexit
    atexit.register(print, "what was left for the end")
if "give" in sys.argv:
    os.write(int(sys.argv[2]), b"given")
sys.exit("no more" if "fail" in sys.argv else 0)
"""


class House:
    """A directory with a program and a module that it imports, and a supervisor over both."""

    def __init__(self, directory: Path) -> None:
        (directory / "preloaded.py").write_text(PRELOADED)
        (directory / "program.py").write_text(PROGRAM)
        (directory / "launcher").symlink_to(ROOT / "launcher")
        self.directory = directory
        self.environment = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"}
        self.supervisor = Supervisor(
            screen=Screen(stream=io.StringIO()), logs=directory, first_pause_s=0.01
        )
        self.forks = ForkServer(
            python=Path(sys.executable), preload=["preloaded"], environment=self.environment
        )

    def plan(self, name: str, *arguments: str, keep_open: tuple[int, ...] = ()) -> ChildPlan:
        return ChildPlan(
            name=name,
            command=(sys.executable, *arguments),
            environment=self.environment,
            cwd=self.directory,
            keep_open=keep_open,
        )

    def open(self) -> None:
        descriptor = self.forks.descriptor
        plan = self.plan("forks", *self.forks.command[1:], keep_open=(descriptor,))
        self.supervisor.fork_from(self.forks, plan)
        assert self.supervisor.wait_until(self.forks.is_ready, within_s=20)

    def start(self, name: str, *arguments: str) -> Child:
        self.supervisor.start(self.plan(name, *arguments))
        child = self.supervisor.children[name]
        assert self.supervisor.wait_until(lambda: bool(child.last_lines), within_s=20)
        return child


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    house.open()
    yield house
    house.supervisor.stop()
    house.forks.close()


def test_a_script_is_forked_with_its_arguments_and_its_output_is_heard(house: House) -> None:
    code, said = house.supervisor.run_to_end(house.plan("one", "program.py", "a", "b c"))

    assert (code, list(said)) == (0, ["forked a b c"])
    assert (house.directory / "one.log").read_text() == "forked a b c\n"


def test_a_module_is_forked_as_well(house: House) -> None:
    code, said = house.supervisor.run_to_end(house.plan("one", "-m", "program", "x"))

    assert (code, list(said)) == (0, ["forked x"])


def test_how_a_forked_program_ended_is_known(house: House) -> None:
    code, said = house.supervisor.run_to_end(house.plan("one", "program.py", "fail"))

    assert (code, list(said)) == (1, ["forked fail", "no more"])


def test_a_forked_program_does_what_it_left_for_its_end(house: House) -> None:
    code, said = house.supervisor.run_to_end(house.plan("one", "program.py", "late", "fail"))

    assert (code, list(said)[1:]) == (1, ["no more", "what was left for the end"])


def test_a_kept_descriptor_has_its_number_in_the_fork(house: House) -> None:
    ours, theirs = os.pipe()
    plan = house.plan("one", "program.py", "give", str(theirs), keep_open=(theirs,))

    house.supervisor.run_to_end(plan)

    assert os.read(ours, 10) == b"given"
    os.close(ours)
    os.close(theirs)


def test_another_environment_is_started_anew(house: House) -> None:
    house.environment["OTHER"] = "1"

    _, said = house.supervisor.run_to_end(house.plan("one", "program.py"))

    assert list(said) == ["alone"]


def test_a_killed_program_is_forked_again(house: House) -> None:
    first = house.start("stayer", "program.py", "stay").process.pid

    os.kill(first, signal.SIGKILL)
    back = house.supervisor.wait_until(
        lambda: (
            "stayer" in house.supervisor.children
            and house.supervisor.children["stayer"].process.pid != first
        ),
        within_s=20,
    )

    assert back
    assert not programs.birth_of(first)


def test_without_its_server_a_program_starts_anew_and_the_server_comes_back(house: House) -> None:
    server = house.supervisor.children["forks"]
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait(5)
    house.supervisor.tick()

    _, alone = house.supervisor.run_to_end(house.plan("one", "program.py"))
    house.supervisor.wait_until(house.forks.is_ready, within_s=20)
    _, forked = house.supervisor.run_to_end(house.plan("two", "program.py"))

    assert (list(alone), list(forked)) == (["alone"], ["forked"])


def test_a_server_that_cannot_import_is_given_up_and_programs_say_what_is_wrong(
    tmp_path: Path,
) -> None:
    house = House(tmp_path)
    (tmp_path / "preloaded.py").write_text("raise SystemExit('a setting is wrong')")
    descriptor = house.forks.descriptor
    plan = house.plan("forks", *house.forks.command[1:], keep_open=(descriptor,))

    house.supervisor.fork_from(house.forks, plan)
    gone = house.supervisor.wait_until(lambda: not house.supervisor.has_fork_server, within_s=20)
    code, said = house.supervisor.run_to_end(house.plan("one", "program.py"))
    house.forks.close()

    assert gone
    assert not house.supervisor.children
    assert (code, list(said)) == (1, ["a setting is wrong"])


def test_what_is_imported_later_is_imported_beside_the_first_program(tmp_path: Path) -> None:
    house = House(tmp_path)
    (tmp_path / "later.py").write_text(PRELOADED)
    (tmp_path / "program.py").write_text(
        "import os, sys, later; print('later' if later.IMPORTED_BY != os.getpid() else 'first')"
    )
    house.forks.close()
    house.forks = ForkServer(
        python=Path(sys.executable), preload=["preloaded", "later"], environment=house.environment
    )
    house.open()

    said = [
        house.supervisor.run_to_end(house.plan(name, "program.py"))[1] for name in ("one", "two")
    ]
    house.supervisor.stop()
    house.forks.close()

    assert [list(lines) for lines in said] == [["first"], ["later"]]


def test_a_fork_shows_its_own_name_to_the_system(house: House) -> None:
    child = house.start("stayer", "program.py", "stay")

    name = Path(f"/proc/{child.process.pid}/comm").read_text().strip()

    assert name == "lens stayer"

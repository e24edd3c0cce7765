"""A fork server: it imports the application once and becomes each of its programs by a fork.

Importing everything takes seconds; a fork takes milliseconds and shares the memory of what was
imported. Our side is :class:`ForkServer`; ``python -m launcher.forkserver`` is the server.

A program is forked twice: the go-between ends at once, so the kernel hands the program to the
nearest process that declared itself a reaper, which is the supervisor. It waits for, signals and
outlives a forked program exactly as one it has started itself.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from launcher import programs

PR_SET_NAME: Final = 15  # linux/prctl.h
PR_SET_CHILD_SUBREAPER: Final = 36  # linux/prctl.h
READY: Final = b"ready"
REQUEST_LIMIT: Final = 64 * 1024  # bytes
FDS_LIMIT: Final = 8
OUT_OF_THE_WAY: Final = 100  # descriptors below it may be asked for by number
ANSWERS_WITHIN_S: Final = 20.0  # it may be importing the rest meanwhile
FIRST_ORDER_WITHIN_S: Final = 0.1
HANDED_OVER_WITHIN_S: Final = 5.0
POLL_S: Final = 0.02


def is_possible() -> bool:
    """Return whether this system can hand a forked program to its supervisor."""
    return sys.platform.startswith("linux")


class Forked:
    """A forked program, as far as a supervisor uses :class:`subprocess.Popen`."""

    def __init__(self, *, pid: int, stdout: IO[bytes] | None = None) -> None:
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | Any = None  # as Popen has it

    def poll(self) -> int | None:
        """Return how it ended, as Popen does; None while it runs."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                self.returncode = 1
                return 1
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        code: int | None = self.returncode
        return code

    def wait(self, timeout: float | None = None) -> int:
        """Return how it ended, once it has.

        :raises subprocess.TimeoutExpired: when it has not in time.
        """
        deadline_s = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline_s is not None and time.monotonic() > deadline_s:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(POLL_S)
        return code

    def terminate(self) -> None:
        """Ask it to stop."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


class ForkServer:
    """The supervisor's side: what to start the server with, and what to ask of it."""

    def __init__(
        self, *, python: Path, preload: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        become_reaper()
        self._python = str(python)
        self._preload = tuple(preload)
        self._environment = dict(environment)
        self._line, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line.settimeout(ANSWERS_WITHIN_S)
        self._is_ready = False

    @property
    def descriptor(self) -> int:
        """Return the descriptor that the server is to keep open."""
        return self._theirs.fileno()

    @property
    def command(self) -> tuple[str, ...]:
        """Return what starts the server."""
        return (self._python, "-m", "launcher.forkserver", str(self.descriptor), *self._preload)

    def lost(self) -> None:
        """Know that the server has ended; the next one says when it is ready."""
        self._is_ready = False
        while self._has_word():
            self._line.recv(32)

    def close(self) -> None:
        """Hang up; a server that still runs ends."""
        self._is_ready = False
        self._line.close()
        self._theirs.close()

    def is_ready(self) -> bool:
        """Return whether the server takes orders, having imported the first of its modules."""
        if not self._is_ready and self._has_word():
            self._is_ready = self._line.recv(32) == READY
        return self._is_ready

    def _has_word(self) -> bool:
        return self._line.fileno() >= 0 and bool(select.select([self._line], [], [], 0)[0])

    def can_start(self, command: Sequence[str], environment: Mapping[str, str]) -> bool:
        """Return whether a program can be had from the server, now and with this environment."""
        return (
            self.is_ready()
            and dict(environment) == self._environment
            and command[0] == self._python
        )

    def start(
        self,
        command: Sequence[str],
        *,
        name: str,
        cwd: Path,
        output: int | None = None,
        death_signal: int = signal.SIGKILL,
        keep_open: Sequence[int] = (),
    ) -> Forked:
        """Start ``python script …`` or ``python -m module …`` by a fork, in its own session.

        :raises OSError: when the server is gone; start the program anew instead.
        """
        order = Order(
            name=name,
            arguments=list(command[1:]),
            cwd=str(cwd),
            supervisor=os.getpid(),
            death_signal=int(death_signal),
            descriptors=list(keep_open),
        )
        if output is not None:
            return Forked(pid=self._ask(order, [output, *keep_open]))
        ours, theirs = os.pipe()
        with os.fdopen(ours, "rb", buffering=0) as pipe:
            try:
                pid = self._ask(order, [theirs, *keep_open])
            finally:
                os.close(theirs)
            return Forked(pid=pid, stdout=os.fdopen(os.dup(pipe.fileno()), "rb", buffering=0))

    def _ask(self, order: Order, descriptors: Sequence[int]) -> int:
        try:
            socket.send_fds(self._line, [order.packed()], descriptors)
            return int(self._line.recv(32))
        except OSError:
            self.close()  # a late answer would be taken for the next one's
            raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a fork is to become."""

    name: str
    arguments: list[str]
    cwd: str
    supervisor: int
    death_signal: int
    descriptors: list[int] = field(default_factory=list)

    def packed(self) -> bytes:
        """Return the order as it goes over the line."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}).encode()

    def carry_out(self, given: Sequence[int]) -> None:
        """Become the program; returns or raises as the program itself does."""
        os.setsid()
        _name_process(f"lens {self.name}")
        self._wait_for_supervisor()
        moved = [fcntl.fcntl(number, fcntl.F_DUPFD, OUT_OF_THE_WAY) for number in given]
        for number in given:
            os.close(number)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(moved[0], 1)
        os.dup2(moved[0], 2)
        for source, wanted in zip(moved[1:], self.descriptors, strict=True):
            os.dup2(source, wanted)
        for number in {nothing, *moved} - {0, 1, 2, *self.descriptors}:
            os.close(number)
        os.chdir(self.cwd)
        first, *rest = self.arguments
        if first == "-m":
            sys.argv = rest
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        else:
            sys.argv = self.arguments
            runpy.run_path(first, run_name="__main__")

    def _wait_for_supervisor(self) -> None:
        """Return once the supervisor is our parent, and tied to it."""
        deadline_s = time.monotonic() + HANDED_OVER_WITHIN_S
        while os.getppid() != self.supervisor and time.monotonic() < deadline_s:
            time.sleep(0.001)
        _prctl(programs.PR_SET_PDEATHSIG, self.death_signal)
        if os.getppid() != self.supervisor:
            os._exit(1)


def become_reaper() -> None:
    """Let orphaned descendants become children of this process."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def _name_process(name: str) -> None:
    """Show a name in ``ps`` and ``top``, where every fork would look like its server."""
    _prctl(PR_SET_NAME, name.encode())


def _prctl(option: int, value: int | bytes) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def serve(line: socket.socket, *, later: Sequence[str] = ()) -> tuple[Order, list[int]]:
    """Fork at every order, and return the order in each fork.

    What is to be imported ``later`` is imported after the first order, or when none comes at once:
    a program that needs only the first module runs meanwhile.

    :raises EOFError: in the server, when the supervisor has hung up.
    """
    asked = None
    if later:
        if select.select([line], [], [], FIRST_ORDER_WITHIN_S)[0]:
            asked = _fork(line)
        if asked is None:
            import_all(later)
    while asked is None:
        asked = _fork(line)
    return asked


def _fork(line: socket.socket) -> tuple[Order, list[int]] | None:
    """Take one order; return it in the fork, and None in the server."""
    content, given, _, _ = socket.recv_fds(line, REQUEST_LIMIT, FDS_LIMIT)
    if not content:
        raise EOFError
    told, telling = os.pipe()
    between = os.fork()
    if not between:
        program = os.fork()
        if not program:
            for number in (told, telling):
                os.close(number)
            line.close()
            return Order(**json.loads(content)), given
        os.write(telling, str(program).encode())
        os._exit(0)
    os.waitpid(between, 0)  # from here on the program is the supervisor's child
    line.send(os.read(told, 32))
    for number in (told, telling, *given):
        os.close(number)
    return None


def import_all(modules: Sequence[str]) -> None:
    """Import modules for every fork to share: no fork's collector will touch what they made."""
    gc.disable()  # a collection would leave holes that forks then fill, each in its own copy
    for module in modules:
        importlib.import_module(module)
    gc.freeze()


class Ending:
    """Ends a program as Python does, but for taking apart what was imported.

    The system takes it back at once. Python goes through all of it, and so would copy it.
    """

    def __init__(self) -> None:
        self._code = 0

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: Any
    ) -> None:
        if isinstance(error, SystemExit):
            self._code = error.code if isinstance(error.code, int) else int(error.code is not None)
        elif error is not None:
            self._code = 1

    def __call__(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(self._code)


def main(arguments: Sequence[str]) -> None:
    """Import what is named, say so, and fork at every order until the supervisor hangs up."""
    ending = Ending()
    atexit.register(ending)  # before all others, so it is called after them
    number, first, *later = arguments
    line = socket.socket(fileno=int(number))
    sys.path.insert(0, str(Path.cwd()))
    import_all([first])
    line.send(READY)
    try:
        order, given = serve(line, later=later)
    except EOFError:
        return
    gc.enable()
    with ending:
        order.carry_out(given)


if __name__ == "__main__":
    main(sys.argv[1:])

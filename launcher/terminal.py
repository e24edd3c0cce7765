"""What a person sees: steps, child lines, refusals. One writer, so that lines never mix."""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import Final, TextIO

GREEN: Final = "32"
YELLOW: Final = "33"
RED: Final = "31"
DIM: Final = "2"
BOLD: Final = "1"
CHILD_COLOURS: Final = ("36", "35", "34", "33", "32", "96", "95", "94")
OWN_NAME: Final = "lens"  # the supervisor's own lines among those of its children
STEP_WIDTH: Final = 14  # columns of a step's name, as in the sketch of the first run


class Stop(Exception):
    """Lens cannot go on: what happened, why, and what to do about it."""

    def __init__(self, what: str, *, why: str = "", todo: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.todo = todo


class Screen:
    """Writes plain lines anywhere, colour and progress only on a terminal."""

    def __init__(
        self,
        *,
        stream: TextIO | None = None,
        live: bool | None = None,
        quiet: bool = False,
        machine: bool = False,
    ) -> None:
        self._stream = stream or sys.stdout
        self._live = _is_live(self._stream) if live is None else live
        self._quiet = quiet or machine
        self._machine = machine
        self._unfinished = False
        self._children_muted = False
        self._child_names: list[str] = []
        reconfigure = getattr(self._stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace", line_buffering=True)

    @property
    def live(self) -> bool:
        """Return whether this is a terminal that takes colour."""
        return self._live

    @property
    def machine(self) -> bool:
        """Return whether a program reads along and wants JSON alone."""
        return self._machine

    def paint(self, text: str, code: str) -> str:
        """Return the text in a colour, or as it is where colour is not wanted."""
        return f"\x1b[{code}m{text}\x1b[0m" if self._live else text

    def line(self, text: str = "") -> None:
        """Write one line unless told to be quiet."""
        if not self._quiet:
            self._write(text)

    def always(self, text: str = "") -> None:
        """Write one line even when told to be quiet, for what was asked for."""
        self._write(text)

    def done(self, name: str, text: str) -> None:
        """Write a step that went well."""
        self.line(f"{self.paint('✓', GREEN)} {name:<{STEP_WIDTH}}{text}")

    def warn(self, name: str, text: str) -> None:
        """Write a step that a person should look at."""
        self.line(f"{self.paint('!', YELLOW)} {name:<{STEP_WIDTH}}{text}")

    def fail(self, name: str, text: str) -> None:
        """Write a step that went wrong."""
        self.line(f"{self.paint('✗', RED)} {name:<{STEP_WIDTH}}{text}")

    def progress(self, name: str, text: str) -> None:
        """Show work under way on a terminal; say nothing elsewhere."""
        if not self._live or self._quiet:
            return
        width = shutil.get_terminal_size().columns - 1
        plain = f"… {name:<{STEP_WIDTH}}{text}"[:width]
        self._send(f"\r\x1b[K{self.paint(plain, DIM)}")
        self._unfinished = True

    def mute_children(self, muted: bool) -> None:
        """Leave the lines of children to their logs, or show them again."""
        self._children_muted = muted

    def child(self, name: str, text: str) -> None:
        """Write one line of a child process behind its name."""
        if self._quiet or (self._children_muted and name != OWN_NAME):
            return
        if name not in self._child_names:
            self._child_names.append(name)
        colour = CHILD_COLOURS[self._child_names.index(name) % len(CHILD_COLOURS)]
        self._write(f"{self.paint(f'{name:<10}│', colour)} {text}")

    def refuse(self, stop: Stop) -> None:
        """Write a refusal to the error stream: what, why, what to do."""
        self._finish_progress()
        error_live = _is_live(sys.stderr)
        mark = f"\x1b[{RED}m✗\x1b[0m" if error_live else "✗"
        lines = [f"{mark} {stop.what}"]
        lines += [f"  {part}" for block in (stop.why, stop.todo) for part in block.splitlines()]
        _send_to(sys.stderr, "\n".join(lines) + "\n")

    def note(self, text: str) -> None:
        """Write a remark to the error stream, so that it never mixes with results."""
        if not self._quiet or self._machine:
            _send_to(sys.stderr, text + "\n")

    def report(self, content: object) -> None:
        """Write one JSON line for a program."""
        self._write(json.dumps(content, separators=(",", ":"), default=str))

    def _write(self, text: str) -> None:
        self._finish_progress()
        self._send(text + "\n")

    def _finish_progress(self) -> None:
        if self._unfinished:
            self._unfinished = False
            self._send("\r\x1b[K")

    def _send(self, text: str) -> None:
        _send_to(self._stream, text)


def _send_to(stream: TextIO, text: str) -> None:
    # A closed terminal or pipe must not keep the children from being stopped in order.
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        return


def _is_live(stream: TextIO) -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    try:
        return stream.isatty()
    except ValueError:
        return False


def seconds(value: float) -> str:
    """Return a duration as a person says it: 0.4 s, 39 s, 2 min 5 s."""
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    return f"{value // 60:.0f} min {value % 60:.0f} s"

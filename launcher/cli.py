"""The verbs of `./lens`: read the command line, call one thing, turn refusals into exit codes."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Final

from launcher import detach, doctor, down, forward, greeting, stack, suite, trials
from launcher.environment import shell_environment
from launcher.places import ROOT, Places, places
from launcher.terminal import Screen, Stop

FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
STORED: Final = (
    "audit",
    "purge",
    "backup",
    "outcomes",
    "report",
    "experiments",
    "golden",
    "alerts",
)  # verbs about what the database holds
FORWARDED: Final = (
    *("manage", "demo", "replay", "reevaluate", "bias-audit", "models", "fake-llm", "apikey"),
    *STORED,
    "restore",
    *trials.MODULES,
)
EPILOG: Final = "exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C"

Verb = Callable[[argparse.Namespace, Places, Screen], int]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs."""
    parser = argparse.ArgumentParser(
        prog="lens", description="Measured judgement of trading signals.", epilog=EPILOG
    )
    verbs = parser.add_subparsers(dest="verb", metavar="verb", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--debug", action="store_true", help="show the traceback of an error")
    shared.add_argument("--quiet", action="store_true", help="print only what was asked for")
    shared.add_argument("--json", action="store_true", help="one JSON line instead of text")
    _add_running(verbs, shared)
    _add_checking(verbs, shared)
    _add_forwarded(verbs)
    return parser


def _add_running(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser
) -> None:
    up = verbs.add_parser(
        "up", parents=[shared], epilog=EPILOG, help="set everything up and run the desk"
    )
    up.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    up.add_argument("--port", type=_port, help="port to listen on (8000, else the next free one)")
    up.add_argument("--workers", type=_workers, default=2, help="worker processes (2)")
    up.add_argument("--detach", action="store_true", help="return as soon as the desk is ready")
    up.add_argument("--allow-remote", action="store_true", help="let --host leave this machine")
    up.add_argument("--no-demo", action="store_true", help="no demo signals on a fresh desk")
    up.add_argument("--as-child", choices=("live", "plain"), help=argparse.SUPPRESS)
    up.set_defaults(run=_up)
    login = verbs.add_parser(
        "login", parents=[shared], epilog=EPILOG, help="print a link that signs you in once"
    )
    login.set_defaults(run=_login)
    stop = verbs.add_parser("down", parents=[shared], epilog=EPILOG, help="stop the desk")
    stop.add_argument("--now", action="store_true", help="kill instead of finishing running work")
    stop.set_defaults(run=_down)
    status = verbs.add_parser("status", parents=[shared], epilog=EPILOG, help="say what runs")
    status.set_defaults(run=_status)
    logs = verbs.add_parser("logs", parents=[shared], epilog=EPILOG, help="print the full logs")
    logs.add_argument("name", nargs="*", help="web, conductor, worker-1, redis, ... (all)")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as lines come")
    logs.add_argument("-n", "--lines", type=_workers, default=20, help="last lines of each (20)")
    logs.set_defaults(run=_logs)


def _add_checking(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser
) -> None:
    examine = verbs.add_parser(
        "doctor", parents=[shared], epilog=EPILOG, help="look for what stands in the way"
    )
    examine.set_defaults(run=_doctor)
    test = verbs.add_parser(
        "test",
        parents=[shared],
        epilog=f"arguments after -- go to pytest; {EPILOG}",
        help="run every check and the whole test suite",
    )
    test.add_argument("--fast", action="store_true", help="leave out the run on PostgreSQL")
    test.add_argument(
        "--only", action="append", default=[], metavar="STEP", help=", ".join(suite.STEP_NAMES)
    )
    test.set_defaults(run=_test)
    lock = verbs.add_parser(
        "lock", parents=[shared], epilog=EPILOG, help="resolve the requirements files anew"
    )
    lock.add_argument("--upgrade", action="store_true", help="take the newest allowed versions")
    lock.set_defaults(run=_lock)


def _add_forwarded(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    helps = {
        "demo": "a simulated market and its decisions, in this terminal",
        "replay": "judge signals made from recorded candles",
        "reevaluate": "judge stored signals again with another model or prompt",
        "bias-audit": "stored cases mirrored, shuffled and paraphrased: what changes",
        "models": "language models: list, probe, enable, disable",
        "fake-llm": "scripted vendors of language models, for trials without keys",
        "audit": "the audit trail: verify, export",
        "outcomes": "follow and score a replay, show how models stand",
        "experiments": "challengers in the shadow: list, start, promote, stop",
        "golden": "signals that every model judges daily: list, add, drop, accept",
        "alerts": "what about the models needs a look: list, acknowledge",
        "report": "how models and sources stand: a table, and one HTML page",
        "purge": "remove what is past its time",
        "backup": "write everything that is stored into one file",
        "restore": "put a backup back in place of what is stored",
        "apikey": "API keys: " + ", ".join(name.split()[1] for name in forward.COMMANDS),
        "chaos": "break a private desk in every way, and count what was lost",
        "bench": "measure a private desk against baselines, side by side",
        "manage": "any command of the application (manage.py)",
    }
    for name, text in helps.items():
        verbs.add_parser(name, help=text, add_help=False)


def _port(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError("a port is 1 to 65535")
    return number


def _workers(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 1000:
        raise argparse.ArgumentTypeError("must be 1 to 1000")
    return number


def _up(options: argparse.Namespace, where: Places, screen: Screen) -> int:
    if options.detach:
        return detach.bring_up_apart(where, _handed_on(options), live=screen.live)
    chosen = stack.UpOptions(
        host=options.host,
        port=options.port,
        workers=options.workers,
        allow_remote=options.allow_remote,
        demo=not options.no_demo,
        detached=options.as_child is not None,
        show_children=not (options.as_child or options.quiet or options.json),
    )

    def let_go() -> None:
        if options.as_child:
            detach.leave_terminal(where)

    return stack.bring_up(where, screen, chosen, when_ready=let_go)


def _handed_on(options: argparse.Namespace) -> list[str]:
    arguments = ["--host", options.host, "--workers", str(options.workers)]
    if options.port is not None:
        arguments += ["--port", str(options.port)]
    for name in ("allow_remote", "no_demo", "debug", "quiet", "json"):
        arguments += [f"--{name.replace('_', '-')}"] if getattr(options, name) else []
    return arguments


def _login(options: argparse.Namespace, where: Places, screen: Screen) -> int:
    return greeting.show_link(where, screen)


def _down(options: argparse.Namespace, where: Places, screen: Screen) -> int:
    return down.bring_down(where, screen, now=options.now)


def _status(options: argparse.Namespace, where: Places, screen: Screen) -> int:
    return down.show_status(where, screen)


def _logs(options: argparse.Namespace, where: Places, screen: Screen) -> int:
    return down.show_logs(
        where, screen, names=options.name, count=options.lines, follow=options.follow
    )


def _doctor(options: argparse.Namespace, where: Places, screen: Screen) -> int:
    return doctor.show_findings(where, screen)


def _test(options: argparse.Namespace, where: Places, screen: Screen) -> int:
    chosen = suite.SuiteOptions(
        fast=options.fast, only=options.only, pytest_arguments=options.pytest_arguments
    )
    return suite.Suite(where=where, screen=screen, options=chosen).run()


def _lock(options: argparse.Namespace, where: Places, screen: Screen) -> int:
    return suite.relock(where, screen, upgrade=options.upgrade)


def _forward(verb: str, arguments: Sequence[str], where: Places, screen: Screen) -> int:
    simple: dict[str, Callable[[], int]] = {
        "manage": lambda: forward.manage(where, screen, arguments or ["help"]),
        "apikey": lambda: _apikey(arguments, where, screen),
        "models": lambda: forward.keys(where, screen, ["models", *(arguments or ["--help"])]),
        "fake-llm": lambda: forward.manage(where, screen, ["fake_llm", *arguments]),
        "restore": lambda: forward.without_desk(where, screen, [verb, *arguments]),
        **{name: lambda: forward.keys(where, screen, [verb, *arguments]) for name in STORED},
        **{name: lambda: trials.run(verb, where, screen, arguments) for name in trials.MODULES},
    }
    if verb in simple:
        return simple[verb]()
    command = verb.replace("-", "_")
    if {"-h", "--help"} & set(arguments):
        return forward.manage(where, screen, [command, *arguments])
    return forward.with_desk(where, screen, [command, *arguments])


def _apikey(arguments: Sequence[str], where: Places, screen: Screen) -> int:
    action = arguments[0] if arguments else ""
    command = forward.COMMANDS.get(f"apikey {action}")
    if command is None:
        known = ", ".join(name.split()[1] for name in forward.COMMANDS)
        _say_usage(f"lens apikey {{{known}}} ...", f"an action is needed, one of: {known}")
        return 0 if action in {"-h", "--help"} else USAGE
    return forward.keys(where, screen, [command, *arguments[1:]])


def _say_usage(usage: str, complaint: str) -> None:
    sys.stderr.write(f"usage: {usage}\n{complaint}\n")


def main(arguments: Sequence[str]) -> int:
    """Run one verb and return its exit code."""
    own, pytest_arguments = _split(arguments)
    forwarded = own[0] if own and own[0] in FORWARDED else ""
    options = argparse.Namespace(debug="--debug" in own, json=False, quiet=False, as_child=None)
    if not forwarded:
        options = build_parser().parse_args(own)
        options.pytest_arguments = pytest_arguments
    as_child = getattr(options, "as_child", None)
    live = None if as_child is None else as_child == "live"
    screen = Screen(live=live, quiet=options.quiet, machine=options.json)
    try:
        where = places(shell_environment(ROOT))
        if forwarded:
            return _forward(forwarded, list(arguments)[1:], where, screen)
        return int(options.run(options, where, screen))
    except Stop as stop:
        if options.debug:
            traceback.print_exc()
        screen.refuse(stop)
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
        return INTERRUPTED
    except OSError as error:
        if options.debug:
            raise
        screen.refuse(_unforeseen(error))
        return FAILED


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    own = list(arguments)
    if "--" not in own or own[0] in FORWARDED:
        return own, []
    at = own.index("--")
    return own[:at], own[at + 1 :]


def _unforeseen(error: OSError) -> Stop:
    return Stop(
        f"the system refused: {error.strerror or error}",
        why=f"at {error.filename}" if error.filename else "",
        todo="./lens doctor checks this machine; --debug shows where it happened",
    )

"""The law of the house that the import contracts cannot say."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = (
    "quant",
    "pipeline",
    "access",
    "markets",
    "signals",
    "enrichment",
    "evaluation",
    "decisions",
    "outcomes",
    "notifications",
    "lens_site",
)
TESTS_OF = {"lens_site": "site"}
FACE = frozenset({"types", "models", "services", "queries"})
WIDER_FACES = {
    "pipeline": {
        "stage",
        "queue",
        "plugins",
        "retry",
        "egress",
        "spans",
        "leases",
        "shelf",
        "logs",
        "metrics",
        "parsing",
        "exporting",
        "browsing",
        "sealing",
        "statements",
        "prepared",
        "tracing",
        "chain",
        "anchors",
    },
    "access": {"auth", "factors", "people", "websocket"},
}
COMPOSED = {  # what the composing room sees beyond the faces: doors, wording, long-running loops
    "access": {"budget", "serializers"},
    "pipeline": {"worker", "reconcile", "triggers"}
    | {"chaining", "verifying", "exporting", "retention"},
    "signals": {"api", "mapping", "parsing", "serializers", "webhooks"},
    "evaluation": {"admission", "probing", "rerunning", "serializers"},
    "decisions": {"deliberation", "feed", "push", "routing", "serializers"},
    "notifications": {"courier"},
    "outcomes": {"exporting", "sourcing", "standing", "tracker"},
}
BANNED = frozenset(
    {"utils", "util", "helpers", "helper", "common", "misc", "core", "manager", "managers"}
    | {"handler", "handlers", "data", "info", "process", "do"}
)
PROMPT = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*_v[1-9][0-9]*\.md")
ORDERS = re.compile(
    r"(^|_)((place|submit|create|send|cancel|modify|amend|market|limit)_?(order|orders)"
    r"|(market|limit)_(open|close|buy|sell)|bulk_orders|update_leverage|withdraw\w*)$",
    re.IGNORECASE,
)
ORDER_PATHS = re.compile(r"/exchange\b|/orders?\b|/api/v\d/order|/trade\b", re.IGNORECASE)


@dataclass(frozen=True)
class Met:
    """One import of another room: ``name`` stands for ``full`` in the importing module."""

    path: Path
    room: str
    module: str
    name: str
    full: str


def sources(room: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / room).rglob("*.py")):
        if "migrations" not in path.parts:
            yield path, ast.parse(path.read_text("utf-8"))


def meetings(room: str, path: Path, tree: ast.Module) -> Iterator[Met]:
    for node in ast.walk(tree):
        base = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                full = base + alias.name
                other, _, rest = full.partition(".")
                if other in ROOMS and other != room:
                    module = rest.partition(".")[0]
                    yield Met(path, other, module, alias.asname or alias.name, full)


def allowed(met: Met, *, by: str) -> bool:
    if met.room == "quant":
        return True
    wider = WIDER_FACES.get(met.room, set())
    composed = COMPOSED.get(met.room, set()) if by == "lens_site" else set()
    return met.module in FACE | wider | composed


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_meet_only_at_their_faces(room: str) -> None:
    met = [each for path, tree in sources(room) for each in meetings(room, path, tree)]

    beyond = [each for each in met if not allowed(each, by=room)]

    assert not beyond


def test_an_import_past_a_face_would_be_found() -> None:
    tree = ast.parse("from decisions.jury import rule\nfrom decisions import clamp\n")

    met = list(meetings("evaluation", Path("x.py"), tree))

    assert [each.module for each in met] == ["jury", "clamp"]
    assert not any(allowed(each, by="evaluation") for each in met)


def test_no_exception_of_the_composing_room_is_left_over() -> None:
    met = {
        (each.room, each.module)
        for path, tree in sources("lens_site")
        for each in meetings("lens_site", path, tree)
    }
    migrations = "".join(path.read_text("utf-8") for path in ROOT.glob("*/migrations/*.py"))

    for room, modules in COMPOSED.items():
        for module in modules:
            assert (
                (room, module) in met
                or f"{room}.{module}" in migrations
                or (f"from {room} import {module}" in migrations)
            ), f"{room}.{module} is no longer used by lens_site"


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_tests(room: str) -> None:
    folder = ROOT / "tests" / TESTS_OF.get(room, room)

    assert list(folder.glob("test_*.py"))


@pytest.mark.parametrize("room", [*ROOMS, "launcher"])
def test_no_file_is_named_after_nothing(room: str) -> None:
    names = {path.stem for path in (ROOT / room).rglob("*.py")}

    assert not names & BANNED


def test_prompts_carry_their_version_in_their_name() -> None:
    assert PROMPT.fullmatch("judge_open_v3.md")
    assert not PROMPT.fullmatch("judge_open.md")

    nameless = [path for path in (ROOT / "prompts").glob("*.md") if not PROMPT.fullmatch(path.name)]

    assert not nameless


def blind(tree: ast.Module) -> int:
    caught = [node.type for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
    return sum(_is_blind(kind) for kind in caught)


def _is_blind(kind: ast.expr | None) -> bool:
    parts = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(
        part is None or (isinstance(part, ast.Name) and part.id in {"Exception", "BaseException"})
        for part in parts
    )


def test_one_module_catches_what_nobody_foresaw() -> None:
    assert blind(ast.parse("try: pass\nexcept (ValueError, Exception): pass"))
    assert blind(ast.parse("try: pass\nexcept: pass"))

    catching = {
        str(path.relative_to(ROOT))
        for room in (*ROOMS, "launcher")
        for path, tree in sources(room)
        if blind(tree)
    }

    assert catching == {"pipeline/stage.py"}


def order_words(tree: ast.Module) -> list[str]:
    """Return what smells of placing an order: names of functions and calls, paths in texts."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += [node.value] if ORDER_PATHS.search(node.value) else []
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found += [node.name] if ORDERS.search(node.name) else []
        elif isinstance(node, ast.Attribute):
            found += [node.attr] if ORDERS.search(node.attr) else []
        elif isinstance(node, ast.Name):
            found += [node.id] if ORDERS.search(node.id) else []
    return found


def test_nothing_in_the_house_could_place_a_trade() -> None:
    assert order_words(ast.parse("client.post('https://api.example.com/exchange')"))
    assert order_words(ast.parse("venue.place_order(size=1)"))
    assert order_words(ast.parse("exchange.market_open('BTC')"))

    suspects = {
        str(path.relative_to(ROOT)): words
        for room in (*ROOMS, "launcher")
        for path, tree in sources(room)
        if (words := order_words(tree))
    }

    assert not suspects


def signatures(room: str) -> dict[str, ast.arguments]:
    found = {}
    for floor in ("services", "queries"):
        path = ROOT / room / f"{floor}.py"
        if path.exists():
            for node in ast.parse(path.read_text("utf-8")).body:
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    found[f"{room}.{floor}.{node.name}"] = node.args
    return found


def called_from_elsewhere(known: set[str]) -> set[str]:
    used = set()
    for room in ROOMS:
        for path, tree in sources(room):
            names = {met.name: met.full for met in meetings(room, path, tree)}
            for node in ast.walk(tree):
                if isinstance(node, ast.Name):
                    used.add(names.get(node.id, ""))
                elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    used.add(f"{names.get(node.value.id, '')}.{node.attr}")
    return used & known


def test_what_other_rooms_call_is_called_by_name() -> None:
    known = {name: each for room in ROOMS for name, each in signatures(room).items()}

    called = called_from_elsewhere(set(known))
    positional = {
        name: [each.arg for each in (*known[name].posonlyargs, *known[name].args)]
        for name in called
    }

    assert {"pipeline.services.record", "signals.services.advance"} <= called
    assert not {name: each for name, each in positional.items() if len(each) > 1}

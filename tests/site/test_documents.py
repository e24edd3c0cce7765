from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from lens_site import documents
from lens_site.errors import TITLES

ROOT = Path(settings.BASE_DIR)
ROOMS = (
    "quant",
    "pipeline",
    "access",
    "markets",
    "signals",
    "enrichment",
    "evaluation",
    "decisions",
    "lens_site",
)
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]*)(?:#([^)\s]+))?\)")
TEST_NAME = re.compile(r"`(tests/[\w/]+\.py)(?:::(test_\w+))?`")
UNITS = re.compile(r"(?<!_PER)_(MS|S)$")


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"(?m)^#+ (.+)$", page.read_text("utf-8"))
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def failure_codes() -> set[str]:
    """Return the codes that work can fail with, as the product writes them."""
    found = set()
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call):
                    found |= set(_code_of(node))
    return found


def _code_of(call: ast.Call) -> Iterator[str]:
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    for keyword in call.keywords:
        given = keyword.value
        fails = name in {"RetryIn", "GiveUp"} and keyword.arg == "code"
        if fails and isinstance(given, ast.Constant):
            yield str(given.value)


def test_every_setting_is_described_and_every_described_one_exists() -> None:
    assert set(documents.described_settings()) == set(settings.SETTING_NAMES)


def test_a_description_is_one_sentence_that_names_the_unit() -> None:
    words = {"MS": "milliseconds", "S": "seconds"}

    for name, entry in documents.described_settings().items():
        unit = UNITS.search(name)
        assert entry.text.endswith("."), name
        assert unit is None or words[unit[1]] in entry.text.lower(), name


def test_no_default_that_is_printed_is_a_secret_or_a_place_of_this_machine() -> None:
    secrets = {settings.SECRET_KEY, settings.LENS_KEY_PEPPER}

    printed = {documents.default_of(name) for name in documents.described_settings()}

    assert not printed & secrets
    assert not [text for text in printed if str(ROOT) in text or str(settings.VAR_DIR) in text]


def test_the_tables_of_the_documents_are_what_the_code_says() -> None:
    stale = documents.stale_documents(root=ROOT)

    assert not stale, "run ./lens manage render_docs"


def test_every_table_stands_in_a_document() -> None:
    text = "".join((ROOT / name).read_text("utf-8") for name in documents.DOCUMENTS)

    assert set(re.findall(r"begin: (\w+)", text)) == set(documents.TABLES)


def test_rendering_replaces_what_stands_between_the_markers_alone() -> None:
    before = "above\n<!-- begin: errors -->\nold\n<!-- end: errors -->\nbelow\n"

    after = documents.render(before)

    assert after.startswith("above\n<!-- begin: errors -->\n")
    assert after.endswith("<!-- end: errors -->\nbelow\n")
    assert "old" not in after
    assert "`NOT_FOUND`" in after
    assert documents.render(after) == after


def test_a_table_that_nobody_makes_is_refused_by_name() -> None:
    with pytest.raises(documents.UnknownRegion, match="weather"):
        documents.render("<!-- begin: weather -->\n<!-- end: weather -->\n")


def test_the_table_of_paths_knows_the_scope_of_each() -> None:
    rows = documents.paths_table().splitlines()

    assert any("`POST /api/v1/signals` | `signals:write` |" in row for row in rows)
    assert any("`GET /api/v1/signals` | `signals:read` |" in row for row in rows)
    stream = next(row for row in rows if "`GET /api/v1/decisions/stream`" in row)
    assert "`stream` or `decisions:read`" in stream


def test_the_command_finds_nothing_to_write(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("render_docs", "--check")

    assert "every table is what the code says" in capsys.readouterr().out


def test_the_command_names_a_stale_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- begin: errors -->\nold\n<!-- end: errors -->\n", "utf-8")
    monkeypatch.setattr(documents, "DOCUMENTS", ("page.md",))
    monkeypatch.setattr(settings, "BASE_DIR", tmp_path)

    with pytest.raises(CommandError, match=r"page\.md: stale"):
        call_command("render_docs", "--check")
    call_command("render_docs")
    call_command("render_docs", "--check")

    assert "written: page.md" in capsys.readouterr().out


def test_every_problem_code_has_its_section_under_its_anchor() -> None:
    heads = re.findall(r"(?m)^## (.+)$", (ROOT / "docs/errors.md").read_text("utf-8"))

    assert {head for head in heads if head.islower() and " " not in head} == {
        code.lower() for code in TITLES
    }


def test_every_code_of_failed_work_is_explained_to_operators() -> None:
    told = set(re.findall(r"(?m)^\| `([A-Z_]+)` \|", (ROOT / "docs/operations.md").read_text()))

    assert failure_codes() - {""} <= told
    assert told <= failure_codes() | {"UNAVAILABLE", "FAILED"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text("utf-8")):
        if target.startswith(("http://", "https://", "/")):
            continue
        there = (page.parent / target) if target else page
        assert there.exists(), f"{target} does not exist"
        assert not anchor or anchor in anchors(there), f"{target}#{anchor} is no heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_test_that_a_document_names_exists(page: Path) -> None:
    for path, name in TEST_NAME.findall(page.read_text("utf-8")):
        text = (ROOT / path).read_text("utf-8")
        assert not name or f"def {name}(" in text, f"{path} has no {name}"


def test_each_decision_record_has_a_number_of_its_own() -> None:
    names = sorted(path.name for path in (ROOT / "docs/adr").glob("[0-9]*.md"))

    numbers = [int(name[:4]) for name in names]
    assert len(set(numbers)) == len(numbers)
    for name in names:
        text = (ROOT / "docs/adr" / name).read_text("utf-8")
        heads = re.findall(r"(?m)^## (.+)$", text)
        assert heads == ["Context", "Decision", "Consequence", "What would change our mind"], name

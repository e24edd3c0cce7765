"""Scores on pages, in the terminal, and as one page to keep."""

from __future__ import annotations

import json
from datetime import timedelta
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import Client

from access.models import User
from lens_site.pages.reliability import plot_of
from outcomes import services
from outcomes.models import Score
from quant.scores import Bin
from tests.factories import NOON
from tests.outcomes.conftest import DAYS


class Parts(HTMLParser):
    """What a page asks for elsewhere, and which tags it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [value or "" for name, value in attrs if name in {"src", "href"}]


def test_a_report_is_a_table_here_and_a_page_that_needs_nothing_else(
    told: None, tmp_path: Path
) -> None:
    out, page = StringIO(), tmp_path / "report.html"

    call_command("report", to=page, stdout=out)

    text = page.read_text(encoding="utf-8")
    parts = Parts(text)
    assert "judge" in out.getvalue()
    assert str(page) in out.getvalue()
    assert parts.outside == []
    assert "script" not in parts.tags
    assert parts.tags.count("svg") == 1
    assert all(word in text for word in ("judge", "alpha", "beta", "always follow", "coin"))


def test_a_report_for_programs_holds_the_same_and_writes_no_page(
    told: None, tmp_path: Path
) -> None:
    out, page = StringIO(), tmp_path / "report.html"

    call_command("report", to=page, json=True, stdout=out)

    found = json.loads(out.getvalue())
    assert found["standings"][0]["n"] == DAYS * 5
    assert {card["source"] for card in found["sources"]} == {"alpha", "beta"}
    assert not page.exists()


def test_a_report_of_nothing_says_so(db: None, tmp_path: Path) -> None:
    page = tmp_path / "report.html"

    call_command("report", to=page, stdout=StringIO())

    assert "No outcome is known yet" in page.read_text(encoding="utf-8")


def test_a_page_that_cannot_be_written_is_a_sentence(db: None, tmp_path: Path) -> None:
    said = StringIO()

    with pytest.raises(SystemExit):
        call_command("report", to=tmp_path / "no" / "report.html", stdout=StringIO(), stderr=said)

    assert "could not be written" in said.getvalue()
    assert "--to" in said.getvalue()


@pytest.fixture
def admin(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("boss", password="correct horse battery"))
    return client


def test_the_page_of_models_shows_the_scoreboard(admin: Client, told: None) -> None:
    text = admin.get("/models").content.decode()

    assert 'data-testid="score-judge"' in text
    assert "always ignore" in text
    assert " style=" not in text


def test_the_scoreboard_is_divided_and_cut_as_asked(admin: Client, told: None) -> None:
    divided = admin.get("/models", {"by": "source"}).content.decode()
    recent = admin.get("/models", {"days": "7"}).content.decode()
    odd = admin.get("/models", {"by": "mood", "days": "soon"}).content.decode()

    parts = divided.partition("scoreboard")[2].partition("</table>")[0]
    assert "alpha" in parts and "beta" in parts
    assert 'data-testid="no-scores"' in recent
    assert 'data-testid="score-judge"' in odd


def test_every_weight_is_explained_and_every_decision_can_be_taken_away(
    admin: Client, told: None
) -> None:
    services.learn_anew(scope="live", now=NOON + timedelta(days=DAYS))

    text = admin.get("/models").content.decode()
    table = b"".join(admin.get("/scores/export?file=csv").streaming_content)  # type: ignore[attr-defined]

    assert "Brier against the base rate over" in text
    assert "independent ones" in text
    assert 'href="/scores/export?file=csv"' in text
    assert len(table.splitlines()) == 1 + DAYS * 5


def test_the_pages_advise_no_threshold_without_an_edge(admin: Client, told: None) -> None:
    name = settings.AI_MODELS[0]
    Score.objects.filter(model="judge").update(model=name)

    text = admin.get(f"/models/{name}").content.decode()

    assert f"No threshold on {name} earned anything that luck could not have" in text
    assert 'data-testid="coverage"' in text


def test_the_page_of_sources_shows_what_their_signals_were_worth(admin: Client, told: None) -> None:
    text = admin.get("/sources").content.decode()

    assert 'data-testid="source-cards"' in text
    assert "Break-even" in text
    assert " style=" not in text


def test_a_perfect_bin_lies_on_the_diagonal_and_its_interval_around_it() -> None:
    whole = Bin(lowest=0.0, highest=0.0, n=9, mean_p=0.0, win_rate=0.0, interval=(0.0, 0.3))
    other = Bin(lowest=1.0, highest=1.0, n=1, mean_p=1.0, win_rate=1.0, interval=(0.2, 1.0))

    plot = plot_of("judge", [whole, other])

    first, last = plot.dots
    assert (first.x, first.y) == (plot.start, plot.bottom)
    assert last.x - first.x == pytest.approx(first.y - last.y)
    assert first.high_y < first.y == first.low_y
    assert last.low_y > last.y == last.high_y
    assert first.radius > last.radius

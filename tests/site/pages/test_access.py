"""Who gets to see pages."""

from __future__ import annotations

import gzip

import pytest
from django.test import Client

from access.models import User

PAGE = "/board"


@pytest.fixture
def visitor(db: None) -> Client:
    return Client()


@pytest.fixture
def trader(visitor: Client) -> Client:
    visitor.force_login(User.objects.create_user("trader", password="a-long-password"))
    return visitor


def test_a_stranger_is_sent_to_the_login_page_and_comes_back(visitor: Client) -> None:
    answer = visitor.get(f"{PAGE}?symbol=BTC")

    assert answer.status_code == 302
    assert answer["Location"] == "/login?next=/board%3Fsymbol%3DBTC"


def test_the_root_leads_to_the_board_or_the_login_page(visitor: Client) -> None:
    before = visitor.get("/")
    visitor.force_login(User.objects.create_user("trader"))
    after = visitor.get("/")

    assert before["Location"] == "/login"
    assert after["Location"] == "/board"


def test_signing_in_leads_to_where_one_wanted_to_go(visitor: Client) -> None:
    User.objects.create_user("trader", password="a-long-password")

    answer = visitor.post(
        "/login",
        {"username": "trader", "password": "a-long-password", "next": "/board?symbol=BTC"},
    )

    assert answer["Location"] == "/board?symbol=BTC"
    assert visitor.get(PAGE).status_code == 200


def test_signing_in_never_leads_to_another_site(visitor: Client) -> None:
    User.objects.create_user("trader", password="a-long-password")

    answer = visitor.post(
        "/login",
        {"username": "trader", "password": "a-long-password", "next": "//evil.example/"},
    )

    assert answer["Location"] == "/board"


def test_signing_out_takes_a_post(trader: Client) -> None:
    by_link = trader.get("/logout")
    still_in = trader.get(PAGE)
    by_form = trader.post("/logout")
    out = trader.get(PAGE)

    assert by_link.status_code == 405
    assert still_in.status_code == 200
    assert by_form["Location"] == "/login"
    assert out.status_code == 302


def test_a_script_that_asks_is_answered_in_its_own_words(visitor: Client) -> None:
    answer = visitor.get(PAGE, headers={"accept": "application/json"})

    assert answer.status_code == 401
    assert answer.json()["code"] == "UNAUTHORIZED"


def test_htmx_is_told_where_to_go(visitor: Client) -> None:
    answer = visitor.get(PAGE, headers={"hx-request": "true"})

    assert answer["HX-Redirect"] == "/login?next=/board"


def test_no_cache_keeps_a_page(trader: Client) -> None:
    answer = trader.get(PAGE)

    assert "no-store" in answer["Cache-Control"]


def test_pages_are_packed_for_browsers(trader: Client) -> None:
    answer = trader.get(PAGE, headers={"accept-encoding": "gzip"})

    assert answer["Content-Encoding"] == "gzip"
    assert b"<!doctype html>" in gzip.decompress(answer.content)


def test_pages_hold_no_inline_script_or_style(trader: Client) -> None:
    text = trader.get(PAGE).content.decode()

    assert "<style" not in text
    assert " style=" not in text
    assert "onclick" not in text
    assert text.count("<script") == text.count("<script src=") + text.count("<script type=")
    assert 'src="http' not in text


def test_an_unknown_page_is_told_in_our_look(trader: Client) -> None:
    answer = trader.get("/no-such-page")

    assert answer.status_code == 404
    assert "There is nothing here" in answer.content.decode()

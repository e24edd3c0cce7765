"""The board lives: rows come, fill in, age, wait while paused, and come back after a break."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.desk import Desk
from tests.browser.watching import Visit

LIVE = re.compile(r"live \d+ ms")


def opened(visit: Visit, path: str = "/board") -> Page:
    page = visit.open(path)
    expect(page.get_by_test_id("pill")).to_have_text(LIVE)
    return page


def test_a_row_waits_and_fills_in_without_a_reload(desk: Desk, visit: Visit) -> None:
    page = opened(visit)

    event_id = desk.do("send", symbol="AVAX", direction="long")
    line = page.locator(f"#row-{event_id}")
    expect(line.get_by_test_id("verdict")).to_have_text("waiting")
    expect(line.locator(".sq.pending")).to_have_count(2)
    desk.do("judge")

    expect(line.get_by_test_id("verdict")).to_have_text(re.compile(r"(FOLLOW|IGNORE) \d/2"))
    expect(line.locator(".sq.pending")).to_have_count(0)
    expect(line.locator(".sq").first).to_have_attribute(
        "aria-label", re.compile(r"ensemble: (follow|ignore), \d+")
    )
    expect(line.locator(".c-latency data")).to_be_visible()
    expect(line.locator(".c-drift data")).to_be_visible()


def test_a_pause_holds_the_list_and_counts_what_waits(desk: Desk, visit: Visit) -> None:
    page = opened(visit)

    page.keyboard.press("p")
    event_id = desk.do("send", symbol="LINK", direction="short")
    desk.do("judge")
    expect(page.get_by_test_id("pause")).to_have_text("Paused, 1 new")
    held_back = page.locator(f"#row-{event_id}").count()
    page.keyboard.press("p")

    assert held_back == 0
    expect(page.locator(f"#row-{event_id}")).to_be_visible()


def test_filters_stand_in_the_address_and_hold_for_what_comes(desk: Desk, visit: Visit) -> None:
    page = opened(visit)

    page.get_by_label("Symbol", exact=True).fill("eth")
    page.get_by_label("Symbol", exact=True).press("Enter")
    page.wait_for_url("**/board?symbol=eth")
    expect(page.get_by_test_id("pill")).to_have_text(LIVE)
    other = desk.do("send", symbol="BTC")
    wanted = desk.do("send", symbol="ETH")

    expect(page.locator(f"#row-{wanted}")).to_be_visible()
    assert page.locator(f"#row-{other}").count() == 0
    assert {each.get_attribute("data-symbol") for each in page.get_by_test_id("row").all()} == {
        "ETH"
    }


def test_advice_that_loses_its_worth_is_struck_but_stays(desk: Desk, visit: Visit) -> None:
    event_id = desk.do("send", symbol="ADA")
    desk.do("expire_soon", event_id=event_id, seconds=5)
    desk.do("judge")

    page = opened(visit)
    line = page.locator(f"#row-{event_id}")

    expect(line).to_have_attribute("data-state", "stale", timeout=15_000)
    expect(line.locator("s")).to_be_visible()
    expect(line.locator(".stale-age")).to_contain_text("stale")


def test_keys_walk_the_rows_and_open_one(visit: Visit) -> None:
    page = opened(visit)

    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    chosen = page.locator('tr[aria-selected="true"]')
    first = page.get_by_test_id("row").first
    assert chosen.get_attribute("data-id") == first.get_attribute("data-id")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    page.keyboard.press("/")

    expect(page.get_by_test_id("search")).to_be_focused()


def test_choices_of_display_are_kept_by_the_browser(visit: Visit) -> None:
    page = opened(visit)

    page.get_by_test_id("display").locator("summary").click()
    page.get_by_label("dark").check(force=True)
    page.get_by_label("blue, orange").check(force=True)
    page.reload()

    root = page.locator("html")
    expect(root).to_have_attribute("data-theme", "dark")
    expect(root).to_have_attribute("data-palette", "blue")


def test_what_came_while_the_server_was_gone_is_caught_up(desk: Desk, visit: Visit) -> None:
    page = opened(visit)

    desk.stop_web()
    expect(page.get_by_test_id("pill")).to_have_text(re.compile("reconnecting|offline"))
    event_id = desk.do("send", symbol="LTC")
    desk.do("judge")
    desk.start_web()
    line = page.locator(f"#row-{event_id}")

    expect(line).to_be_visible(timeout=30_000)
    expect(line).to_have_class(re.compile("away"))
    expect(page.locator("#gap")).to_contain_text("while you were away")
    expect(page.get_by_test_id("pill")).to_have_text(LIVE, timeout=15_000)
    visit.complaints.clear()  # the browser tells of every request that met no server


def test_a_paused_intake_is_told_on_every_page(desk: Desk, visit: Visit) -> None:
    desk.do("pause", name="intake", reason="<i>maintenance</i>")
    try:
        page = visit.open("/board")

        banner = page.get_by_test_id("banner-intake")
        expect(banner).to_contain_text("<i>maintenance</i>")
        expect(banner).to_contain_text("operator")
    finally:
        desk.do("resume", name="intake")


def test_twenty_decisions_a_second_keep_the_board_steady(desk: Desk, visit: Visit) -> None:
    page = opened(visit)
    visit.fetched.clear()

    last = desk.do("flood", count=60, per_s=20)

    newest = page.locator(f'tr[data-seq="{last}"]')
    expect(newest).to_be_visible()
    expect(newest.get_by_test_id("verdict")).to_have_text("FOLLOW 2/2")
    asked = [each.url for each in visit.fetched if "/board/rows" in each.url]
    assert len(asked) < 60, "rows are asked for together, not one by one"
    assert page.get_by_test_id("row").count() <= 500

"""The page of a signal explains, draws, and shows hostile texts as texts."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.desk import Desk
from tests.browser.watching import Visit

DRAWN = "() => [...document.querySelectorAll('#chart canvas')].map((c) => c.toDataURL()).join()"
"""What stands on the canvases; a picture of the page would be waited for many seconds."""


def test_the_page_explains_and_draws(desk: Desk, visit: Visit) -> None:
    page = visit.open(f"/signals/{desk.ids['rich']}")

    expect(page.get_by_test_id("chart").locator("canvas").first).to_be_visible()
    expect(page.locator("#chart-told")).to_contain_text("closed candles of 15m")
    expect(page.get_by_test_id("plan")).to_contain_text(re.compile(r"stop.*%, \d+\.\d+ ATR"))
    expect(page.get_by_test_id("differences")).to_contain_text("size (12")
    expect(page.get_by_test_id("model-gemini")).to_contain_text("timed out")
    page.get_by_role("button", name="1h").click()
    expect(page.locator("#chart-told")).to_contain_text("closed candles of 1h")
    page.get_by_test_id("model-chatgpt").get_by_text("prompt and raw answer").click()
    expect(page.get_by_test_id("texts-chatgpt").get_by_text("Raw answer")).to_be_visible()
    expect(page.get_by_test_id("texts-gemini").locator("mark")).to_have_text("250")
    page.get_by_role("link", name="Older").click()

    expect(page).not_to_have_url(re.compile(desk.ids["rich"]))


def test_the_chart_follows_the_theme(desk: Desk, visit: Visit) -> None:
    page = visit.open(f"/signals/{desk.ids['rich']}")
    expect(page.locator("#chart-told")).to_contain_text("closed candles")
    picture = page.evaluate(DRAWN)

    page.get_by_test_id("display").locator("summary").click()
    page.get_by_label("dark").check(force=True)

    assert len(picture) > 10_000
    assert page.evaluate(DRAWN) != picture


def test_hostile_text_is_shown_as_text(desk: Desk, visit: Visit) -> None:
    page = visit.open(f"/signals/{desk.ids['hostile']}")

    expect(page.get_by_test_id("notes")).to_contain_text("<script>document.title='broken'</script>")
    expect(page.get_by_test_id("notes")).to_contain_text("U+202E")
    assert "broken" not in page.title()
    assert page.locator("main img, main script").count() == 0
    assert visit.overflow() <= 0

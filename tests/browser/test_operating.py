"""What people do on the pages of operators: keys, first steps, dead letters, switches."""

from __future__ import annotations

import json
import re
from urllib.request import ProxyHandler, Request, build_opener

from playwright.sync_api import Browser, Page, expect

from tests.browser.desk import Desk
from tests.browser.watching import Visit

SECRET = re.compile(r"lens_[a-z]+_[0-9a-z]{8}_[0-9A-Za-z]{49}")


def as_admin(desk: Desk, browser: Browser) -> Visit:
    visit = Visit(desk=desk, browser=browser)
    cookie = desk.do("sign_in", name="chief", group="Admin")
    visit.context.clear_cookies()
    visit.context.add_cookies([{"name": "sessionid", "value": cookie, "url": desk.address}])
    return visit


def posted(desk: Desk, path: str, body: str, **headers: str) -> int:
    request = Request(desk.address + path, data=body.encode(), headers=headers, method="POST")
    with build_opener(ProxyHandler({})).open(request, timeout=10) as answer:
        return int(answer.status)


def snippet(page: Page, name: str) -> str:
    return page.locator(f"#code-{name}").inner_text()


def body_in(text: str) -> str:
    """Return the JSON that a curl snippet sends, at the time of now."""
    from datetime import UTC, datetime

    found = re.search(r"-d '(.*)'$", text, re.DOTALL)
    assert found is not None
    now = datetime.now(UTC).isoformat()
    return re.sub(r"""'"\$\(date[^)]*\)"'""", now, found[1])


def test_a_key_is_shown_once_and_not_on_reload(desk: Desk, browser: Browser) -> None:
    visit = as_admin(desk, browser)
    page = visit.open("/keys")

    page.get_by_label("Name: which program").fill("robot")
    page.get_by_role("button", name="Issue the key").click()
    secret = page.get_by_test_id("secret").inner_text()
    page.reload()
    after_reload = page.content()
    listed = page.url
    page.go_back()
    after_back = page.content()

    assert SECRET.fullmatch(secret)
    assert listed == f"{desk.address}/keys"
    assert secret not in after_reload
    assert secret not in after_back
    visit.close()


def test_revoking_wants_the_prefix(desk: Desk, browser: Browser) -> None:
    visit = as_admin(desk, browser)
    page = visit.open("/keys")
    page.get_by_label("Name: which program").fill("short-lived")
    page.get_by_role("button", name="Issue the key").click()
    found = SECRET.search(page.get_by_test_id("secret").inner_text())
    assert found is not None
    prefix = found[0].split("_")[2]
    page.get_by_test_id("stored").click()

    row = page.get_by_test_id(f"key-{prefix}")
    row.get_by_role("button", name="Revoke").click()
    page.locator(f"#prefix-{prefix}").fill(prefix)
    page.locator(f"#revoke-{prefix}").get_by_role("button", name="Revoke").click()

    expect(page.get_by_test_id("said")).to_contain_text(prefix)
    expect(page.get_by_test_id(f"key-{prefix}")).to_contain_text("revoked")
    visit.close()


def test_connect_follows_a_first_signal_to_its_decision(desk: Desk, browser: Browser) -> None:
    visit = as_admin(desk, browser)
    page = visit.open("/connect")
    expect(page.get_by_test_id("first")).to_contain_text("Waiting for your first signal")

    page.get_by_test_id("make-key-curl").click()
    expect(page.locator("[data-market-good]")).to_be_visible(timeout=20_000)
    text = snippet(page, "curl")
    key = SECRET.search(text)
    assert key is not None
    headers = {"X-API-Key": key[0], "Content-Type": "application/json"}
    status = posted(desk, "/api/v1/signals", body_in(text), **headers)
    expect(page.get_by_test_id("first-signal")).to_be_visible(timeout=10_000)
    desk.do("judge")

    expect(page.get_by_test_id("first-status")).to_have_text("PUBLISHED", timeout=10_000)
    expect(page.get_by_test_id("first-decision").last).to_contain_text("jury")
    assert status == 201
    visit.close()


def test_the_tester_listens_with_the_new_key(desk: Desk, browser: Browser) -> None:
    visit = as_admin(desk, browser)
    page = visit.open("/connect")
    page.get_by_test_id("make-key-curl").click()

    page.get_by_test_id("tester-open").click()

    log = page.get_by_test_id("tester-log")
    expect(log).to_contain_text('"type":"subscribed"')
    assert not SECRET.search(log.inner_text())
    visit.close()


def test_a_webhook_is_made_tried_and_tells_its_complaint(desk: Desk, browser: Browser) -> None:
    visit = as_admin(desk, browser)
    page = visit.open("/connect")
    page.get_by_test_id("tab-tradingview").click()
    page.get_by_test_id("make-tradingview").click()
    path = page.get_by_test_id("hook-url").inner_text().removeprefix(desk.address)

    try:
        posted(desk, path, '{"ticker": "BTCUSDT"}', **{"Content-Type": "text/plain"})
        refused = ""
    except OSError as error:
        refused = str(error)
    expect(page.get_by_test_id("first-complaint")).to_contain_text("entry_price", timeout=10_000)
    page.get_by_test_id("hooks").get_by_role("link").first.click()
    page.get_by_test_id("preview").click()

    expect(page.get_by_test_id("preview-result")).to_contain_text("This becomes the signal")
    expect(page.get_by_test_id("refusals")).to_contain_text("BTCUSDT")
    assert "400" in refused
    visit.close()


def test_a_dead_letter_is_requeued_from_its_page(desk: Desk, browser: Browser) -> None:
    desk.do("bury", code="TIMEOUT", reason="an attempt took longer than 5 s", count=2)
    visit = Visit(desk=desk, browser=browser)
    page = visit.open("/dead-letters")
    group = page.get_by_test_id("group").filter(has_text="TIMEOUT")

    group.get_by_test_id("requeue").click()
    expect(page.get_by_test_id("preview")).to_contain_text("2 signals are taken up again")
    page.get_by_test_id("confirm").click()

    expect(page.get_by_test_id("said")).to_contain_text("2 letters were requeued")
    expect(page.get_by_test_id("group").filter(has_text="TIMEOUT")).to_have_count(0)
    visit.close()


def test_a_pause_stays_on_every_page_until_it_is_resumed(desk: Desk, browser: Browser) -> None:
    visit = Visit(desk=desk, browser=browser)
    page = visit.open("/status")
    row = page.get_by_test_id("switch-publishing")

    row.get_by_label("Why").fill("the venue is down")
    row.get_by_role("button", name="Pause").click()
    visit.open("/models")
    expect(page.get_by_test_id("banner-publishing")).to_contain_text("the venue is down")
    visit.open("/status")
    row.get_by_label("Why").fill("it is back")
    row.get_by_role("button", name="Resume").click()

    expect(page.get_by_test_id("banner-publishing")).to_have_count(0)
    visit.close()


def test_the_printed_link_signs_in_once(desk: Desk, browser: Browser) -> None:
    path = json.loads(desk.do("welcome"))["path"]
    visit = Visit(desk=desk, browser=browser)
    visit.context.clear_cookies()

    page = visit.page
    page.goto(desk.address + path)
    landed = page.url
    visit.context.clear_cookies()
    answer = page.goto(desk.address + path)
    visit.complaints.clear()  # the browser tells of the 403 by itself

    assert landed == f"{desk.address}/board"
    assert answer is not None
    assert answer.status == 403
    expect(page.get_by_test_id("welcome-refused")).to_contain_text("./lens login")
    visit.close()


def test_the_first_steps_tick_themselves_and_go_with_the_demo(desk: Desk, browser: Browser) -> None:
    desk.do("demonstrate")
    visit = as_admin(desk, browser)
    page = visit.open("/board")

    expect(page.get_by_test_id("step-send")).to_have_class("done")
    page.get_by_test_id("clear-demo").click()

    expect(page.get_by_test_id("first-steps")).to_have_count(0)
    visit.close()

"""Every page, at both widths, in both themes. A new page is one line of ``PAGES``."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.browser.desk import Desk
from tests.browser.watching import NARROW, WIDE, Visit

PAGES = (
    "/board",
    "/board?symbol=BTC&verdict=follow",
    "/board?symbol=NOTHING",
    "/signals",
    "/signals?source=nobody",
    "/signals/{rich}",
    "/signals/{hostile}",
    "/signals/{drifted}",
    "/signals/{waiting}",
    "/signals/{rich}/again",
    "/signals/{rich}/again?model=rules",
    "/reruns/{rerun}",
    "/connect",
    "/connect?way=tradingview",
    "/webhooks/{hook}",
    "/deliveries",
    "/deliveries/{endpoint}",
    "/deliveries/sent/{delivery}",
    "/keys",
    "/models",
    "/models/rules",
    "/experiments",
    "/models/ensemble",
    "/sources",
    "/dead-letters",
    "/dead-letters?status=resolved",
    "/dead-letters/group/{group}",
    "/dead-letters/{letter}",
    "/status",
    "/settings",
    "/docs",
    "/docs/quickstart",
    "/docs/first-run",
    "/docs/settings",
    "/account/second-factor",
)
"""Paths; ``{rich}`` and the like stand for the ids that ``furniture.furnish_desk`` returns."""

FIRST_VIEW_MAX_BYTES = 150_000


@pytest.mark.parametrize(("width", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_every_page_fits_and_has_no_fault(
    desk: Desk, browser: Browser, width: int, theme: str
) -> None:
    """Each width and each theme is put to axe once; then the page changes its theme where it is."""
    visit = Visit(desk=desk, browser=browser, width=width, theme=theme)
    faults: dict[str, object] = {}

    for path in PAGES:
        visit.open(path.format(**desk.ids))
        found = [*visit.barriers(), *visit.too_wide()]
        visit.wear("light" if theme == "dark" else "dark")
        found += [*visit.too_wide(), *visit.complaints]
        visit.wear(theme)
        if found:
            faults[path] = found
        visit.complaints.clear()

    visit.close()
    assert not faults


def test_the_first_view_is_small(desk: Desk, visit: Visit) -> None:
    """Everything that a first visit fetches, as it travels, for the largest two pages."""
    for path in ("/board", "/signals/{rich}"):
        visit.fetched.clear()
        visit.open(path.format(**desk.ids))
        visit.page.wait_for_load_state("networkidle")

        travelled = sum(visit.travelled().values())

        assert 10_000 < travelled < FIRST_VIEW_MAX_BYTES, visit.travelled()


def test_a_stranger_can_sign_in(desk: Desk, browser: Browser) -> None:
    desk.do("sign_in", name="viewer", group="Viewer", staff=False)
    visit = Visit(desk=desk, browser=browser)
    visit.context.clear_cookies()

    page = visit.open("/board?symbol=BTC")
    barriers = visit.barriers()
    page.get_by_label("Username").fill("viewer")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    alert = page.get_by_role("alert").text_content()

    assert not barriers
    assert "Please enter a correct" in str(alert)
    visit.close()

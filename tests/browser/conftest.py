"""One desk, one browser and one signed-in context for all browser tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from django.conf import settings
from playwright.sync_api import Browser, sync_playwright

from tests.browser.desk import Desk
from tests.browser.watching import Visit

CHROMIUM = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (found := shutil.which(name))
    ),
    None,
)
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("NO CHROMIUM ON THIS MACHINE: no page was looked at (apt install chromium)")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[*ARGUMENTS, f"--crash-dumps-dir={tmp_path_factory.mktemp('crashes')}"],
        )
        yield found
        found.close()


@pytest.fixture(scope="session")
def desk(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    if "REDIS_URL" not in os.environ:
        pytest.skip("no REDIS_URL: run ./lens test, which starts a private Redis")
    assert settings.REDIS_URL
    desk = Desk(directory=tmp_path_factory.mktemp("browsed-desk"))
    try:
        desk.start()
        yield desk
    finally:
        desk.stop()


@pytest.fixture
def visit(desk: Desk, browser: Browser) -> Iterator[Visit]:
    """Return a signed-in visit at a desk's width, which fails the test if a page complains."""
    visit = Visit(desk=desk, browser=browser)
    yield visit
    visit.close()

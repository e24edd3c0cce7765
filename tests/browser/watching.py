"""A signed-in page that is watched: what its console says, what it fetches, how it fits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Request

from tests.browser.desk import Desk

WIDE, NARROW = 1280, 390
SERIOUS = frozenset({"serious", "critical"})
RULES = {
    "resultTypes": ["violations"],
    "runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"],
    "preload": False,
    "iframes": False,
}
LIKE_OTHERS = {"exclude": [["tbody tr:nth-child(n + 5)"]]}
"""Rows beyond the fourth of a table are made as those before, and take most of axe's time."""

OVERFLOW = "() => document.scrollingElement.scrollWidth - document.documentElement.clientWidth"


@dataclass
class Visit:
    """One browser context with one page."""

    desk: Desk
    browser: Browser
    width: int = WIDE
    theme: str = "light"
    complaints: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    fetched: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context: BrowserContext = self.browser.new_context(
            viewport={"width": self.width, "height": 900},
            color_scheme="dark" if self.theme == "dark" else "light",
            locale="en-US",
            reduced_motion="reduce",
        )
        self.context.add_cookies(
            [{"name": "sessionid", "value": self.desk.cookie, "url": self.desk.address}]
        )
        self.page: Page = self.context.new_page()
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("request", self._see)
        self.page.on("requestfinished", lambda request: self.fetched.append(request))

    def open(self, path: str) -> Page:
        """Open a page of the desk and wait until it has drawn itself."""
        answer = self.page.goto(self.desk.address + path, wait_until="load")
        assert answer is not None
        assert answer.status == 200, f"{path} answered {answer.status}"
        return self.page

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        return int(self.page.evaluate(OVERFLOW))

    def too_wide(self) -> list[str]:
        """Complain if the page does not fit into the window."""
        over = self.overflow()
        return [f"wider than the window by {over} px in its present theme"] if over > 0 else []

    def wear(self, theme: str) -> None:
        """Change the browser's theme under the page, as evening does."""
        self.page.emulate_media(color_scheme="dark" if theme == "dark" else "light")

    def barriers(self) -> list[str]:
        """Return what axe finds serious, each with the element that has it."""
        found = Axe().run(self.page, context=LIKE_OTHERS, options=RULES).response["violations"]
        return [_barrier(each) for each in found if each["impact"] in SERIOUS]

    def travelled(self) -> dict[str, int]:
        """Return how many bytes each answer took on its way, by address."""
        return {
            request.url.removeprefix(self.desk.address): request.sizes()["responseBodySize"]
            for request in self.fetched
        }

    def close(self) -> None:
        self.context.close()
        assert not self.complaints
        assert not self.strangers

    def _hear(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.type}: {message.text}")

    def _see(self, request: Any) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.desk.address).netloc and not (
            request.url.startswith(("data:", "blob:"))
        ):
            self.strangers.append(request.url)


def _barrier(violation: dict[str, Any]) -> str:
    nodes = [" ".join(map(str, node["target"])) for node in violation["nodes"][:4]]
    more = violation["nodes"][0].get("any", [{}])
    why = more[0].get("message", "") if more else ""
    return f"{violation['id']}: {'; '.join(nodes)} {why}"

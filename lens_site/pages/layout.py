"""What every page has around it: where one can go, and what is switched off just now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from lens_site.pages.first_steps import first_steps
from pipeline import queries as pipeline
from pipeline.models import Switch

Words = str | Promise


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One entry of the navigation; with a ``permission`` it shows only to who has it."""

    key: str
    words: Words
    href: str
    icon: str = ""
    is_thumbed: bool = False
    permission: str = ""


PLACES = (
    Place(key="board", words=_("Board"), href="/board", icon="board", is_thumbed=True),
    Place(key="signals", words=_("Signals"), href="/signals", icon="signals", is_thumbed=True),
    Place(key="models", words=_("Models"), href="/models", icon="models", is_thumbed=True),
    Place(key="sources", words=_("Sources"), href="/sources", icon="sources"),
    Place(key="letters", words=_("Dead letters"), href="/dead-letters", icon="letters"),
    Place(key="health", words=_("Health"), href="/status", icon="health", is_thumbed=True),
)
MORE = (
    Place(
        key="experiments",
        words=_("Experiments"),
        href="/experiments",
        icon="replay",
        permission="outcomes.view_experiment",
    ),
    Place(key="connect", words=_("Connect"), href="/connect", icon="connect"),
    Place(
        key="deliveries",
        words=_("Deliveries"),
        href="/deliveries",
        icon="share",
        permission="notifications.view_endpoint",
    ),
    Place(key="keys", words=_("Keys"), href="/keys", icon="keys"),
    Place(key="settings", words=_("Settings"), href="/settings", icon="settings"),
    Place(key="docs", words=_("Documents"), href="/docs", icon="document"),
    Place(key="api", words=_("API reference"), href="/api/docs", icon="document"),
)


def chrome(request: HttpRequest) -> Mapping[str, Any]:
    """Give templates what surrounds a page; what costs a query is asked only where it is shown."""
    return {
        "places": lambda: _open_to(request, PLACES),
        "more_places": lambda: _open_to(request, MORE),
        "here": lambda: _here(request.path),
        "first_steps": lambda: first_steps(request),
        "switches": lambda: _paused(request),
        "version": settings.VERSION,
    }


def _paused(request: HttpRequest) -> list[Switch]:
    return pipeline.list_paused() if request.user.is_authenticated else []


def _open_to(request: HttpRequest, places: tuple[Place, ...]) -> list[Place]:
    allowed: Callable[[str], bool] = request.user.has_perm
    return [each for each in places if not each.permission or allowed(each.permission)]


def _here(path: str) -> str:
    inside = [each for each in (*PLACES, *MORE) if f"{path}/".startswith(f"{each.href}/")]
    return inside[0].key if inside else ""

"""The second proof of a person: the page that asks for it, and the page that sets it up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import segno
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme

from access import factors
from access.models import User
from lens_site.pages.access import person

CODE_MAX_CHARS = 40
SCALE = 5


@person()
def code(request: HttpRequest) -> HttpResponseBase:
    """Ask for the code and lead on to where the person wanted to go."""
    user, wrong = cast("User", request.user), ""
    if request.method == "POST":
        try:
            factor = factors.verify(user=user, code=_code(request), now=datetime.now(UTC))
        except factors.WrongCode as error:
            wrong = error.detail
        else:
            _mark(request, factor.mark)
            return HttpResponseRedirect(_next(request))
    shown = {"wrong": wrong, "next": _next(request)}
    return render(request, "code.html", shown, status=403 if wrong else 200)


@person()
def account(request: HttpRequest) -> HttpResponseBase:
    """Set a second proof up, renew its recovery codes or take it off."""
    user, now = cast("User", request.user), datetime.now(UTC)
    wrong, codes = "", []
    act = _ACTS.get(request.POST.get("act", "")) if request.method == "POST" else None
    if act is not None:
        try:
            codes = act(request, user=user, now=now)
        except factors.WrongCode as error:
            wrong = error.detail
    shown: dict[str, Any] = {"wrong": wrong, "codes": codes, "next": _next(request)}
    if not factors.has_factor(user=user):
        waiting = factors.begin(user=user, now=now)
        picture = segno.make(factors.address_for_apps(waiting), error="m")
        shown |= {
            "picture": picture.svg_data_uri(scale=SCALE, light="white"),
            "secret": waiting.base32,
        }
    return _unkept(render(request, "second_factor.html", shown, status=403 if wrong else 200))


def _confirm(request: HttpRequest, *, user: User, now: datetime) -> list[str]:
    factor, codes = factors.confirm(user=user, code=_code(request), now=now)
    _mark(request, factor.mark)
    return codes


def _renew(request: HttpRequest, *, user: User, now: datetime) -> list[str]:
    return factors.renew_codes(user=user, code=_code(request), now=now)


def _remove(request: HttpRequest, *, user: User, now: datetime) -> list[str]:
    factors.remove(user=user, code=_code(request), now=now)
    return []


_ACTS: dict[str, Callable[..., list[str]]] = {
    "confirm": _confirm,
    "renew": _renew,
    "remove": _remove,
}


def _code(request: HttpRequest) -> str:
    return request.POST.get("code", "")[:CODE_MAX_CHARS]


def _mark(request: HttpRequest, mark: str) -> None:
    """Note in the session that the proof was shown, under a new session key."""
    request.session.cycle_key()
    request.session[factors.SESSION_MARK] = mark


def _next(request: HttpRequest) -> str:
    place = request.POST.get("next") or request.GET.get("next") or ""
    is_ours = url_has_allowed_host_and_scheme(
        place, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return place if is_ours else settings.LOGIN_REDIRECT_URL


def _unkept(answer: HttpResponse) -> HttpResponse:
    answer["Cache-Control"] = "no-store"
    return answer

"""The link that ``./lens up`` prints: it signs the administrator of this machine in, once."""

from __future__ import annotations

from datetime import UTC, datetime

from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from access import services
from access.auth import address_of
from access.types import Unauthorized

BACKEND = "django.contrib.auth.backends.ModelBackend"


@require_GET
@never_cache
def welcome(request: HttpRequest) -> HttpResponse:
    """Sign in whom the link was made for, and lead to the board; without the link in any history.

    Whoever is signed in already is led there with any link.
    """
    if request.user.is_authenticated:
        return HttpResponseRedirect("/board")
    try:
        user = services.redeem_sign_in_link(
            token=request.GET.get("t", ""), address=address_of(request), now=datetime.now(UTC)
        )
    except Unauthorized as refused:
        return render(request, "welcome.html", {"why": refused.detail}, status=403)
    login(request, user, backend=BACKEND)
    return HttpResponseRedirect("/board")

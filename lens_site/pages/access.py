"""The guard of the pages: who is signed in, and may they see this one."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar
from urllib.parse import quote

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.utils.cache import add_never_cache_headers
from django.views.decorators.gzip import gzip_page

from access.models import User
from lens_site.errors import PROBLEM_TYPE, problem

Page = TypeVar("Page", bound=Callable[..., HttpResponseBase])


def person(permission: str | None = None) -> Callable[[Page], Page]:
    """Let only people in who are signed in, and may do what ``permission`` names.

    Others are sent to the login page and come back from there; a script that asks is answered
    with a problem document, and htmx with where to go. What is shown is never kept by a cache.
    """

    def guarded(page: Page) -> Page:
        packed = gzip_page(page)

        @wraps(page)
        def guard(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            user = request.user
            if not user.is_authenticated:
                answer = _ask_to_sign_in(request)
            elif permission is not None and not user.has_perm(permission):
                answer = _refuse(request, permission)
            else:
                answer = packed(request, *args, **kwargs)
            add_never_cache_headers(answer)
            return answer

        return guard  # type: ignore[return-value]  # the same signature, as wraps says

    return guarded


def may_read_texts(user: User | AnonymousUser) -> bool:
    """Say whether prompts and raw answers are shown, which the scope ``ops`` opens for keys."""
    return user.has_perm("evaluation.view_attempt")


def _ask_to_sign_in(request: HttpRequest) -> HttpResponseBase:
    place = request.get_full_path()
    if request.headers.get("HX-Request"):
        answer = HttpResponse(status=204)
        answer["HX-Redirect"] = f"{settings.LOGIN_URL}?next={quote(place)}"
        return answer
    if _wants_json(request):
        return _problem(request, status=401, code="UNAUTHORIZED", detail="Sign in first.")
    return redirect_to_login(place)


def _refuse(request: HttpRequest, permission: str) -> HttpResponseBase:
    detail = f"Your account lacks the permission {permission}."
    if _wants_json(request):
        return _problem(request, status=403, code="FORBIDDEN", detail=detail)
    return render(request, "error.html", {"status": 403, "detail": detail}, status=403)


def _wants_json(request: HttpRequest) -> bool:
    return not request.accepts("text/html") and request.accepts("application/json")


def _problem(request: HttpRequest, *, status: int, code: str, detail: str) -> HttpResponse:
    body = problem(request, status=status, code=code, detail=detail)
    return JsonResponse(body, status=status, content_type=PROBLEM_TYPE)

"""Signing in and out, and the way from the root to where one works."""

from __future__ import annotations

from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponseRedirect


def root(request: HttpRequest) -> HttpResponseRedirect:
    """Send people who are signed in to the board, everybody else to the login page."""
    return HttpResponseRedirect("/board" if request.user.is_authenticated else "/login")


class SignIn(LoginView):
    """The login page."""

    template_name = "login.html"
    redirect_authenticated_user = True


class SignOut(LogoutView):
    """Ends a session; only by POST, so that no link of another page can."""

    http_method_names = ["post", "options"]

"""The URL table of the pages."""

from __future__ import annotations

from django.urls import path

from lens_site.pages import board, documents, reruns, session, welcome

urlpatterns = [
    path("", session.root),
    path("login", session.SignIn.as_view(), name="login"),
    path("logout", session.SignOut.as_view(), name="logout"),
    path("welcome", welcome.welcome, name="welcome"),
    path("board", board.board, name="board"),
    path("docs", documents.document),
    path("docs/<slug:name>", documents.document),
    path("reruns/<uuid:rerun_id>", reruns.rerun),
]

"""The URL table of the pages."""

from __future__ import annotations

from django.urls import include, path

from lens_site.pages import (
    board,
    documents,
    reruns,
    second_factor,
    session,
    signal,
    signals,
    welcome,
)

urlpatterns = [
    path("", session.root),
    path("login", session.SignIn.as_view(), name="login"),
    path("login/code", second_factor.code, name="code"),
    path("account/second-factor", second_factor.account, name="second-factor"),
    path("logout", session.SignOut.as_view(), name="logout"),
    path("welcome", welcome.welcome, name="welcome"),
    path("board", board.board, name="board"),
    path("", include("lens_site.pages.connect")),
    path("", include("lens_site.pages.webhooks")),
    path("", include("lens_site.pages.keys")),
    path("", include("lens_site.pages.deliveries")),
    path("", include("lens_site.pages.dead_letters")),
    path("", include("lens_site.pages.health")),
    path("", include("lens_site.pages.models")),
    path("", include("lens_site.pages.ping")),
    path("", include("lens_site.pages.sources")),
    path("", include("lens_site.pages.experiments")),
    path("", include("lens_site.pages.settings")),
    path("", include("lens_site.pages.first_steps")),
    path("", include("lens_site.pages.again")),
    path("", include("lens_site.pages.notes")),
    path("docs", documents.document),
    path("board/rows", board.rows),
    path("board/tiles", board.tiles),
    path("signals", signals.signal_list, name="signals"),
    path("signals/<uuid:event_id>", signal.signal_page, name="signal"),
    path("signals/<uuid:event_id>.json", signal.signal_json),
    path("signals/<uuid:event_id>/candles", signal.signal_candles),
    path("search", signals.search, name="search"),
    path("docs/<slug:name>", documents.document),
    path("docs/screenshots/<slug:name>.png", documents.picture),
    path("reruns/<uuid:rerun_id>", reruns.rerun),
]

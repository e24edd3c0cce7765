"""The URL table."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.urls import include, path, re_path
from drf_spectacular.views import (
    SpectacularAPIView,
    SpectacularRedocView,
    SpectacularSwaggerSplitView,
)

from lens_site import asyncapi, errors, health, metrics
from signals.webhooks import HookView

PUBLIC: dict[str, list[Any]] = {
    "authentication_classes": [],
    "permission_classes": [],
    "throttle_classes": [],
}

api_v1 = [
    path("", include("access.urls")),
    path("", include("signals.urls")),
    path("", include("enrichment.urls")),
    path("", include("decisions.urls")),
    path("", include("evaluation.urls")),
    path("", include("outcomes.urls")),
    path("", include("lens_site.api")),
    path("", include("lens_site.operating")),
    path("", include("lens_site.experiments")),
]

urlpatterns = [
    path("", include("lens_site.pages.urls")),
    path("api/v1/", include(api_v1)),
    path("api/v1/health", health.health),
    path("api/v1/ready", health.ready),
    path("api/v1/metrics", metrics.metrics),
    path("hooks/<str:slug>", HookView.as_view()),
    path("health", health.health),
    path("ready", health.ready),
    path("metrics", metrics.metrics),
    path("api/schema", SpectacularAPIView.as_view(**PUBLIC), name="schema"),
    path(
        "api/docs", SpectacularSwaggerSplitView.as_view(url_name="schema", **PUBLIC), name="swagger"
    ),
    path("api/redoc", SpectacularRedocView.as_view(url_name="schema", **PUBLIC), name="redoc"),
    path("api/asyncapi", asyncapi.document),
    path("admin/", admin.site.urls),
    re_path(r"^api(/.*)?$", errors.not_found),
]

handler400 = "lens_site.errors.bad_request"
handler404 = "lens_site.errors.not_found"
handler500 = "lens_site.errors.server_error"

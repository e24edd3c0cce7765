"""The paths of this room."""

from __future__ import annotations

from django.urls import path

from enrichment.api import EnrichmentView

urlpatterns = [path("signals/<uuid:event_id>/enrichment", EnrichmentView.as_view())]

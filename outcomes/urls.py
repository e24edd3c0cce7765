"""Paths of the outcomes room, below ``/api/v1/``."""

from __future__ import annotations

from django.urls import path

from outcomes import api

urlpatterns = [
    path("outcomes", api.OutcomesView.as_view()),
    path("scores", api.ScoresView.as_view()),
    path("scores/reliability", api.ReliabilityView.as_view()),
    path("scores/coverage", api.CoverageView.as_view()),
    path("scores/sources", api.SourcesView.as_view()),
    path("scores/export", api.ExportView.as_view()),
]

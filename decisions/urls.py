"""Paths of the decisions room, below ``/api/v1/``."""

from __future__ import annotations

from django.urls import path

from decisions import api

urlpatterns = [
    path("decisions", api.DecisionsView.as_view()),
    path("decisions/stream", api.StreamView.as_view()),
    path("decisions/<uuid:decision_id>", api.DecisionView.as_view()),
]

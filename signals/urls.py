"""Paths of the signals room, below ``/api/v1/``."""

from __future__ import annotations

from django.urls import path

from signals import api

urlpatterns = [
    path("signals", api.SignalsView.as_view()),
    path("signals/batch", api.BatchView.as_view()),
    path("signals/validate", api.ValidateView.as_view()),
    path("signals/<uuid:event_id>/cancel", api.CancelView.as_view()),
    path("signals/<uuid:event_id>/status", api.SignalStatusView.as_view()),
]

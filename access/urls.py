"""Paths of the access room."""

from __future__ import annotations

from django.urls import path

from access import api

urlpatterns = [
    path("keys", api.KeysView.as_view()),
    path("keys/<str:key_id>", api.KeyDetailView.as_view()),
    path("keys/<str:key_id>/rotate", api.KeyRotationView.as_view()),
    path("ws-tickets", api.TicketsView.as_view()),
]

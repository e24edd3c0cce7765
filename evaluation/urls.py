"""Paths of the evaluation room, below ``/api/v1/``."""

from __future__ import annotations

from django.urls import path

from evaluation import api

urlpatterns = [path("evaluations/<uuid:evaluation_id>", api.EvaluationView.as_view())]

"""Django's entry of the pipeline room."""

from __future__ import annotations

from django.apps import AppConfig


class PipelineConfig(AppConfig):
    """The pipeline room."""

    name = "pipeline"
    verbose_name = "Conveyor"

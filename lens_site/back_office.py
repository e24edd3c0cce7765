"""The back office: Django's admin, its index grouped by what people come to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from pipeline import queries as pipeline

TASKS: Mapping[str, Sequence[str]] = {
    "Trading": (
        "signals.Signal",
        "enrichment.Enrichment",
        "decisions.Decision",
        "outcomes.Outcome",
        "outcomes.Question",
        "enrichment.FeatureProfile",
        "enrichment.Policy",
        "signals.Replay",
    ),
    "Evaluation": (
        "evaluation.Evaluation",
        "evaluation.Attempt",
        "evaluation.Rerun",
        "evaluation.PromptVersion",
        "outcomes.Experiment",
        "outcomes.Alert",
        "outcomes.GoldenSignal",
        "outcomes.Canary",
        "outcomes.BiasAudit",
        "evaluation.ModelState",
        "evaluation.ModelCard",
        "evaluation.Price",
        "evaluation.Spend",
    ),
    "Access": (
        "access.ApiKey",
        "access.User",
        "auth.Group",
        "signals.Hook",
        "signals.HookRefusal",
    ),
    "Operations": (
        "pipeline.DeadLetter",
        "pipeline.Switch",
        "pipeline.StageRun",
        "pipeline.Heartbeat",
        "pipeline.Purge",
    ),
    "Audit": ("pipeline.AuditEvent", "signals.Hold", "admin.LogEntry"),
}
ELSEWHERE: Mapping[str, str] = {
    "outcomes": "Evaluation",
    "access": "Access",
    "auth": "Access",
    "axes": "Access",
    "otp_totp": "Access",
    "otp_static": "Access",
    "pipeline": "Operations",
}
"""The task under which rows of an app stand that :data:`TASKS` does not name."""


class BackOffice(admin.AdminSite):
    """Where operators work. Who may do what is a matter of permissions, not of being staff."""

    site_header = "Lens back office"
    site_title = "Lens back office"
    index_title = "Back office"
    site_url = "/board"
    enable_nav_sidebar = True
    empty_value_display = "–"

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Return what every page shows: also what is paused, by whom and why."""
        context = super().each_context(request)
        return context | {"paused": pipeline.list_paused() if context["has_permission"] else []}

    def get_app_list(
        self, request: HttpRequest, app_label: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the tables by task; those of one app, if one is named."""
        if app_label is not None:
            found: list[Any] = list(super().get_app_list(request, app_label))
            return found
        tables: dict[str, list[Any]] = {task: [] for task in (*TASKS, "Other")}
        for app in self._build_app_dict(request).values():
            for table in app["models"]:
                tables[_task_of(table["model"]._meta)].append(table)
        return [_group(task, found) for task, found in tables.items() if found]


def _task_of(meta: Any) -> str:
    for task, labels in TASKS.items():
        if meta.label in labels:
            return task
    return ELSEWHERE.get(meta.app_label, "Other")


def _group(task: str, tables: list[Any]) -> dict[str, Any]:
    order = list(TASKS.get(task, ()))

    def place(table: Any) -> tuple[int, str]:
        label = table["model"]._meta.label
        return (order.index(label) if label in order else len(order), str(table["name"]))

    return {
        "name": task,
        "app_label": task.lower(),
        "app_url": f"/admin/#{task.lower()}",
        "has_module_perms": True,
        "models": sorted(tables, key=place),
    }

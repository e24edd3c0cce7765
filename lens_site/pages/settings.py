"""Settings: what this desk runs with, without secrets; where each is set, and what is in force."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_safe

from access.models import User
from enrichment import queries as enrichment
from lens_site.documents import SETTINGS, default_of
from lens_site.pages.access import person
from lens_site.pages.notes import mutes_of
from pipeline.logs import masked

PERMISSION = "pipeline.view_auditevent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One setting: what it is now, what it is by itself, and what it means."""

    name: str
    value: str
    default: str
    text: str

    @property
    def is_changed(self) -> bool:
        """Whether somebody has set it to something else."""
        return self.value != self.default


@require_safe
@person()
def show(request: HttpRequest) -> HttpResponse:
    """Show who is signed in, what is in force, and to operators every setting."""
    user = request.user
    shown = {
        "mutes": mutes_of(request, now=datetime.now(UTC)),
        "groups": [group.name for group in user.groups.order_by("name")],
        "has_password": isinstance(user, User) and user.has_usable_password(),
        "profiles": enrichment.list_active_profiles(),
        "policy": enrichment.get_active_policy(),
        "wanted_profile": settings.FEATURE_PROFILE,
        "models": settings.AI_MODELS,
        "provider": settings.PROVIDER_PRIMARY,
        "tables": _tables() if user.has_perm(PERMISSION) else None,
    }
    return render(request, "settings.html", shown)


def _tables() -> list[tuple[str, list[Entry]]]:
    values = settings.SETTING_VALUES
    return [
        (
            group,
            [
                Entry(
                    name=name,
                    value=masked(values.get(name, default_of(name))),
                    default=default_of(name),
                    text=entry.text.replace("`", ""),
                )
                for name, entry in entries.items()
                if "<NAME>" not in name
            ],
        )
        for group, entries in SETTINGS.items()
    ]


urlpatterns = [path("settings", show, name="settings")]

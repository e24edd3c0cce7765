"""The back office of the decisions room: what was decided and published, only to be read."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from decisions.models import Decision
from pipeline.browsing import Between, Browsed, IndexedValues, badge, short_id

UNPUBLISHED = "WAITING"


@admin.register(Decision)
class DecisionAdmin(Browsed):
    """Decisions of every model and of the jury, the newest signal's first."""

    list_display = (
        "shown_id",
        "seq",
        "state",
        "symbol",
        "model",
        "revision",
        "decision",
        "confidence",
        "size_pct",
        "source",
        "published_at",
    )
    list_display_links = ("shown_id",)
    list_filter = (
        ("symbol", IndexedValues),
        ("signal__received_at", Between),
    )
    list_select_related = ("signal",)
    ordering = ("-signal",)
    search_ids = {"dec": "id", "sig": "event_id"}
    search_words = ("symbol",)
    search_help_text = "The beginning of an id (dec_1a2b, sig_1a2b or 1a2b), or a symbol"

    @admin.display(description="decision id", ordering="signal")
    def shown_id(self, row: Decision) -> str:
        return short_id("dec", row.id)

    @admin.display(description="published")
    def state(self, row: Decision) -> SafeString:
        if row.withheld:
            return badge(row.withheld)
        return badge("PUBLISHED" if row.published_at else UNPUBLISHED)

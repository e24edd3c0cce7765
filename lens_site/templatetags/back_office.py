"""The strip that leads from any row of a signal to all the others."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.safestring import SafeString

from lens_site import trail_links
from pipeline import browsing

register = template.Library()


@register.inclusion_tag("admin/trail.html", takes_context=True)
def trail_of(context: dict[str, Any], row: Any) -> dict[str, Any]:
    """Show the places where the signal of ``row`` left a mark; nothing for other rows."""
    request = context["request"]
    event_id = trail_links.event_of(row)
    links = [] if event_id is None else trail_links.list_links(event_id, user=request.user)
    return {"links": links, "here": request.path, "event_id": event_id}


@register.filter
def badge(word: str) -> SafeString:
    """Show a state as a word that is also coloured."""
    return browsing.badge(word)

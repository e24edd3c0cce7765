"""The page of a rerun: stored cases judged again, old and new word side by side."""

from __future__ import annotations

from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from evaluation import queries as evaluation
from lens_site import rerun_diff
from lens_site.errors import bad_request
from lens_site.pages.access import person
from pipeline.types import InvalidRequest

PAGE_ROWS = 100


@require_safe
@person("evaluation.view_rerun")
def rerun(request: HttpRequest, rerun_id: UUID) -> HttpResponse:
    """Show what came of a rerun: totals, and old and new word of each signal."""
    found = evaluation.get_rerun(rerun_id=rerun_id)
    if found is None:
        raise Http404
    cursor = request.GET.get("cursor")
    try:
        page = rerun_diff.page_of(found, cursor=cursor, limit=PAGE_ROWS)
    except InvalidRequest as error:
        return bad_request(request, error)
    shown = {
        "rerun": found,
        "totals": rerun_diff.total(rerun=found),
        "page": page,
        "is_first": not cursor,
    }
    return render(request, "rerun.html", shown)

"""The board: live decisions, as they come."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from lens_site.pages.access import person


@require_safe
@person()
def board(request: HttpRequest) -> HttpResponse:
    """Show the board."""
    return render(request, "board.html")

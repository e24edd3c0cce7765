"""The documents of ``docs/``, as error answers point to them."""

from __future__ import annotations

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse

DOCUMENTS = ("api", "errors", "operations", "settings")


def document(request: HttpRequest, name: str) -> HttpResponse:
    """Show one of the documents of ``docs/`` as it was written."""
    del request
    if name not in DOCUMENTS:
        raise Http404
    text = (settings.BASE_DIR / "docs" / f"{name}.md").read_text(encoding="utf-8")
    return HttpResponse(text, content_type="text/plain; charset=utf-8")

"""The documents of ``docs/``: a page for people, plain text for programs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from django.conf import settings
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.functional import Promise
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe
from markdown_it import MarkdownIt
from markdown_it.token import Token

# In reading order. A document that is not listed is not shown; a test compares.
DOCUMENTS: Mapping[str, str | Promise] = {
    "quickstart": _("Quickstart"),
    "first-run": _("The first run, in pictures"),
    "concepts": _("Concepts"),
    "integrations": _("Integrations"),
    "api": _("The API"),
    "errors": _("Errors"),
    "models": _("Language models"),
    "operations": _("Operations"),
    "deployment": _("Deployment"),
    "monitoring": _("Monitoring"),
    "reliability": _("When things break"),
    "benchmarks": _("Measurements"),
    "scaling": _("Scaling"),
    "threat-model": _("Threat model"),
    "settings": _("Settings"),
}
SIBLING = re.compile(r"(?:docs/)?(?P<name>[a-z-]+)\.md(?P<anchor>#.*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Heading:
    """One heading within a document, to jump to."""

    anchor: str
    words: str


@dataclass(frozen=True, slots=True)
class Document:
    """One document, ready to be shown."""

    html: str
    headings: Sequence[Heading]


@require_safe
def document(request: HttpRequest, name: str = "quickstart") -> HttpResponse:
    """Show one document, to whoever asks: it holds nothing of this desk."""
    if name not in DOCUMENTS:
        raise Http404
    text = _read(name)
    if "text/html" not in request.headers.get("Accept", ""):
        return HttpResponse(text, content_type="text/plain; charset=utf-8")
    shown = {
        "title": DOCUMENTS[name],
        "name": name,
        "document": _rendered(text),
        "documents": DOCUMENTS.items(),
    }
    return render(request, "document.html", shown)


@require_safe
def picture(request: HttpRequest, name: str) -> FileResponse:
    """Show one of the pictures that documents hold."""
    del request
    path = settings.BASE_DIR / "docs" / "screenshots" / f"{name}.png"
    if not path.is_file():
        raise Http404
    return FileResponse(path.open("rb"), content_type="image/png")


def _read(name: str) -> str:
    return (settings.BASE_DIR / "docs" / f"{name}.md").read_text(encoding="utf-8")


@cache
def _rendered(text: str) -> Document:
    """Return the document as HTML, without its own markup and with links between the pages."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = [token for token in parser.parse(_without_marks(text)) if token.type != "html_block"]
    headings = [heading for pair in _pairs(tokens) for heading in _mark(*pair)]
    for token in tokens:
        if token.type == "table_open":
            token.attrSet("tabindex", "0")  # wide ones scroll, and keys must reach that too
        for child in token.children or ():
            _lead_to_page(child)
    html = parser.renderer.render(tokens, parser.options, {})
    return Document(mark_safe(html), headings)  # noqa: S308 - made from our own files, markup off


def _without_marks(text: str) -> str:
    """Drop the comments that say where tables are printed."""
    return re.sub(r"^<!--.*?-->\n", "", text, flags=re.MULTILINE)


def _pairs(tokens: Sequence[Token]) -> list[tuple[Token, Token]]:
    return [
        (token, tokens[index + 1])
        for index, token in enumerate(tokens)
        if token.type == "heading_open"
    ]


def _mark(opening: Token, inline: Token) -> list[Heading]:
    """Give a heading the anchor that links use; return it if it is of the second rank."""
    anchor = re.sub(r"[^\w -]", "", inline.content.lower()).replace(" ", "-")
    opening.attrSet("id", anchor)
    words = inline.content.replace("`", "")
    return [Heading(anchor, words)] if opening.tag == "h2" else []


def _lead_to_page(child: Token) -> None:
    if child.type != "link_open":
        return
    found = SIBLING.fullmatch(str(child.attrGet("href")))
    if found and found["name"] in DOCUMENTS:
        child.attrSet("href", f"/docs/{found['name']}{found['anchor'] or ''}")

from __future__ import annotations

import re

import pytest
from django.conf import settings
from django.test import Client

from lens_site.pages.documents import DOCUMENTS

PAGE = "text/html"


def test_every_document_is_on_the_shelf() -> None:
    written = {path.stem for path in (settings.BASE_DIR / "docs").glob("*.md")}

    assert written == set(DOCUMENTS)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_between_documents_lead_somewhere(client: Client, db: None, name: str) -> None:
    page = client.get(f"/docs/{name}", HTTP_ACCEPT=PAGE).content.decode()
    targets = re.findall(r'href="/docs/([a-z-]+)(?:#([^"]+))?"', page)

    assert f'href="/docs/{name}" aria-current="page"' in page
    for target, anchor in targets:
        found = client.get(f"/docs/{target}", HTTP_ACCEPT=PAGE)
        assert found.status_code == 200, target
        assert not anchor or f'id="{anchor}"' in found.content.decode(), f"{target}#{anchor}"


def test_anchors_that_errors_point_to_exist(client: Client, db: None) -> None:
    page = client.get("/docs/errors", HTTP_ACCEPT=PAGE).content.decode()

    assert 'id="validation_error"' in page


def test_programs_get_the_text_as_it_was_written(client: Client) -> None:
    answer = client.get("/docs/errors", HTTP_ACCEPT="*/*")

    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.content.startswith(b"# ")


def test_a_document_that_is_not_there_is_a_404(client: Client, db: None) -> None:
    assert client.get("/docs/secrets").status_code == 404


def test_markup_in_a_document_is_shown_and_not_obeyed() -> None:
    from lens_site.pages.documents import _rendered

    shown = _rendered("a <script>alert(1)</script>\n\n<b>bold</b>\n").html

    assert "<script>" not in shown
    assert "<b>" not in shown


def test_pictures_of_documents_are_shown(client: Client, db: None) -> None:
    answer = client.get("/docs/screenshots/1-board.png")

    assert answer["Content-Type"] == "image/png"
    assert b"".join(answer.streaming_content).startswith(b"\x89PNG")  # type: ignore[attr-defined]
    assert client.get("/docs/screenshots/nothing.png").status_code == 404

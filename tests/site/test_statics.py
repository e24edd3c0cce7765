"""Static files: unchanged code of others, packed on the way out."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any, cast

from django.test import Client

from lens_site.settings import BASE_DIR

LENS = BASE_DIR / "lens_site" / "static" / "lens"
VENDOR = LENS / "vendor"
OWN_TEXTS = {"README.md", "SHA256SUMS"}


def sums() -> dict[str, str]:
    lines = (VENDOR / "SHA256SUMS").read_text("utf-8").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def test_code_of_others_is_as_it_was_published() -> None:
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.iterdir()
        if path.name not in OWN_TEXTS
    }

    assert found == sums()


def test_code_of_others_comes_with_its_licence() -> None:
    libraries = {name.split("-")[0] for name in sums() if not name.endswith(".LICENSE")}
    licences = {name.split(".")[0].split("-")[0] for name in sums() if name.endswith(".LICENSE")}

    assert libraries == licences == {"htmx", "lightweight", "uplot"}


def test_texts_are_packed_for_who_unpacks_them(db: None) -> None:
    client = Client()

    packed = client.get("/static/lens/lens.css", headers={"accept-encoding": "gzip, br"})
    whole = client.get("/static/lens/lens.css")

    assert packed["Content-Encoding"] == "gzip"
    assert packed["Vary"] == whole["Vary"] == "Accept-Encoding"
    assert int(packed["Content-Length"]) == len(packed.content)
    assert gzip.decompress(packed.content) == (LENS / "lens.css").read_bytes()
    assert "Content-Encoding" not in whole
    assert b"".join(cast("Any", whole).streaming_content) == (LENS / "lens.css").read_bytes()


def test_an_unchanged_file_is_not_sent_again(db: None) -> None:
    client = Client()
    first = client.get("/static/lens/lens.css", headers={"accept-encoding": "gzip"})

    again = client.get(
        "/static/lens/lens.css",
        headers={"accept-encoding": "gzip", "if-modified-since": first["Last-Modified"]},
    )

    assert again.status_code == 304


def test_nothing_of_ours_is_fetched_from_elsewhere() -> None:
    texts = [*LENS.glob("*.js"), *LENS.glob("*.css")]

    reaching = [path.name for path in texts if "https://" in path.read_text("utf-8")]

    assert texts
    assert not reaching


def test_styles_use_tokens_so_that_both_themes_hold() -> None:
    sheet = Path(LENS / "lens.css").read_text("utf-8").split("/* --- ground")[1]

    assert "#" not in "".join(line for line in sheet.splitlines() if "color:" in line)

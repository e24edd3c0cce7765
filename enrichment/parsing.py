"""Reading other people's text; pure."""

from __future__ import annotations

import unicodedata


def plain_text(text: str, *, most: int) -> str:
    """Return the text on one line, without control or invisible characters, cut to ``most``."""
    visible = "".join(" " if unicodedata.category(each)[0] == "C" else each for each in text)
    line = " ".join(visible.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"

"""The same nothing as a job of RQ; no part of Lens is loaded with it."""

from __future__ import annotations


def do_nothing(subject: str) -> str:
    """Return what was given."""
    return subject

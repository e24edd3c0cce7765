"""Secrets at rest: sealed before they reach the database, under keys that stand elsewhere.

``LENS_ENCRYPTION_KEYS`` may list several, divided by commas, oldest first: the last one seals, all
of them open. After adding one, ``./lens manage rotate_secrets`` seals everything anew and the old
key can go.
"""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db import models

PURPOSE = b"sigmapilot-lens secrets at rest"


class Unreadable(Exception):
    """A sealed text that none of the present keys opens."""


def sealed(text: str) -> str:
    """Return ``text`` as it may stand in a database."""
    return _box(settings.LENS_ENCRYPTION_KEYS).encrypt(text.encode()).decode()


def opened(token: str) -> str:
    """Return the text in a sealed one.

    :raises Unreadable: if none of the keys made it, or somebody changed it.
    """
    try:
        return _box(settings.LENS_ENCRYPTION_KEYS).decrypt(token.encode()).decode()
    except InvalidToken:
        raise Unreadable("no key of LENS_ENCRYPTION_KEYS opens it") from None


@lru_cache(maxsize=4)
def _box(listed: str) -> MultiFernet:
    keys = [key for key in listed.split(",") if key]
    return MultiFernet([Fernet(_derived(key)) for key in reversed(keys)])


def _derived(key: str) -> bytes:
    """Return a Fernet key: any long random text is good enough to be one of ours."""
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(key.encode())
    return base64.urlsafe_b64encode(derived)


class SealedTextField(models.TextField):  # type: ignore[type-arg]
    """A text that is sealed in the database and plain in the program; it cannot be searched."""

    def get_prep_value(self, value: Any) -> Any:
        return None if value is None else sealed(str(value))

    def from_db_value(self, value: Any, *_: Any) -> Any:
        return None if value is None else opened(value)

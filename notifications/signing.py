"""Signatures of deliveries, as Standard Webhooks 1.0.0 writes them; pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime

PREFIX = "whsec_"
SECRET_BYTES = 32


def secret_of(random: bytes) -> str:
    """Return a secret as receivers are given it."""
    return PREFIX + base64.b64encode(random).decode()


def signature(*, secret: str, message_id: str, at: datetime, body: str) -> str:
    """Return what proves that a body was sent by who knows the secret, at that moment.

    Source: Standard Webhooks 1.0.0, HMAC-SHA256 over ``id.timestamp.body``.
    """
    signed = f"{message_id}.{int(at.timestamp())}.{body}".encode()
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def headers(
    *, secrets: Sequence[str], message_id: str, at: datetime, body: str, version: str
) -> Mapping[str, str]:
    """Return the headers of one attempt; each secret in force signs, the newest first."""
    signed = (signature(secret=each, message_id=message_id, at=at, body=body) for each in secrets)
    return {
        "content-type": "application/json",
        "user-agent": f"SigmaPilot-Lens/{version}",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signed),
    }

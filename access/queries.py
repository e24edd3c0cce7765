"""Every read of keys and people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from ipaddress import ip_network

from access.budget import BUDGET
from access.models import ApiKey, User
from access.parsing import KEY_ID
from access.types import Identity, KeyStatus, Scope, StoredKey
from pipeline.types import NotFound


def get_key(*, key_id: str) -> ApiKey:
    """Return one key.

    :raises NotFound: if no key has that id.
    """
    known = KEY_ID.fullmatch(key_id) is not None
    key = ApiKey.objects.filter(pk=key_id).first() if known else None
    if key is None:
        raise NotFound(f"There is no API key {key_id!r}.")
    return key


def list_keys() -> list[ApiKey]:
    """Return every key, newest first."""
    return list(ApiKey.objects.order_by("-created_at", "id"))


def has_keys() -> bool:
    """Say whether any key was ever issued."""
    return ApiKey.objects.exists()


def get_stored_key(key_id: str) -> StoredKey | None:
    """Return what checking the key ``key_id`` needs, or None if there is no such key."""
    key = ApiKey.objects.filter(pk=key_id).first()
    return None if key is None else _stored(key)


def key_status(*, key: ApiKey, now: datetime) -> KeyStatus:
    """Return whether ``key`` opens the door at ``now``."""
    if key.revoked_at is not None:
        return KeyStatus.REVOKED
    if key.expires_at is not None and key.expires_at <= now:
        return KeyStatus.EXPIRED
    return KeyStatus.ACTIVE


def _stored(key: ApiKey) -> StoredKey:
    identity = Identity(
        key_id=key.id,
        owner=key.owner,
        name=key.name,
        scopes=frozenset(scope for scope in Scope if scope in key.scopes),
        rate_per_min=key.rate_per_min,
        burst=key.burst,
    )
    return StoredKey(
        identity=identity,
        secret_hmac=key.secret_hmac,
        pepper_version=key.pepper_version,
        networks=tuple(ip_network(block) for block in key.address_list),
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
    )


def has_listeners() -> bool:
    """Say whether any program with a key has ever listened to decisions."""
    return ApiKey.objects.filter(last_listened_at__isnull=False).exists()


def has_password_holder() -> bool:
    """Say whether an administrator could sign in with a password."""
    people = User.objects.filter(is_superuser=True, is_active=True)
    return any(person.has_usable_password() for person in people)


def count_calls(*, owners: Sequence[str], now: datetime) -> dict[str, int]:
    """Return how often each owner called within the last 24 hours; empty when nobody counts."""
    return BUDGET.count_calls(owners=owners, now_s=now.timestamp())

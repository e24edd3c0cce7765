"""Every write about keys, and the check of a key: issue, rotate, revoke, authenticate, tickets."""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from django.conf import settings
from django.core import signing
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, transaction
from django.db.models import Q

from access import queries
from access.budget import BUDGET, Limit
from access.cache import ShortMemory
from access.models import ApiKey, SignInLink, User
from access.parsing import (
    KEY_ID,
    KeyParts,
    MalformedKey,
    address_group,
    is_loopback,
    looks_like_an_example,
    new_key_parts,
    read_key,
    written_key,
)
from access.parsing import address as parsed_address
from access.types import (
    Identity,
    IdentityKind,
    KeyDraft,
    KeyStatus,
    Scope,
    ServiceUnavailable,
    StoredKey,
    TooManyCalls,
    TooManyWrongKeys,
    Unauthorized,
)
from pipeline.metrics import WRONG_KEY_COUNT
from pipeline.parsing import time_text
from pipeline.queue import RedisError, redis_client
from pipeline.services import record_act
from pipeline.types import InvalidRequest

logger = logging.getLogger(__name__)

ROTATION_OVERLAP = timedelta(hours=24)
KEYS_REMEMBERED_FOR = timedelta(seconds=5)
KEYS_REMEMBERED_MAX = 10_000
LAST_USE_WRITTEN_EVERY = timedelta(minutes=1)
LOCAL_ADMIN = "admin"
SIGN_IN_TOKEN_BYTES = 24
SIGN_IN_LINKS_KEPT = timedelta(days=1)
TICKET_LIFE = timedelta(seconds=30)
TICKET_PREFIX = "lens:ticket:"
TICKET_SALT = "access.ticket"
WRONG_KEYS = Limit(name="wrong-keys", per_min=10, burst=10)
WRONG_KEYS_OF_ONE = Limit(name="wrong-keys-of-one", per_min=100, burst=100)
WRONG_KEY = "The API key is not valid."
WRONG_TICKET = "The ticket is not valid: it is unknown, used, too old or of another address."

ENVIRONMENT_ADMIN = Identity(
    key_id="env",
    owner="env",
    name="API_KEY_ADMIN",
    scopes=frozenset({Scope.ADMIN}),
    kind=IdentityKind.ENVIRONMENT,
)
NOBODY = StoredKey(
    identity=Identity(key_id="", owner="", name="", scopes=frozenset()),
    secret_hmac="",
    pepper_version=0,
    networks=(),
    expires_at=None,
    revoked_at=None,
)

_stored_keys: ShortMemory[StoredKey | None] = ShortMemory(
    keeps=KEYS_REMEMBERED_FOR, entries_max=KEYS_REMEMBERED_MAX
)
_proofs: dict[str, tuple[str, StoredKey]] = {}
_uses_to_write: dict[str, tuple[datetime, str]] = {}
_uses_written: dict[str, datetime] = {}
_listening_written: dict[str, datetime] = {}


class KeyNotRotatable(InvalidRequest):
    """Only a live key that has no successor yet can be rotated."""


def issue_key(*, draft: KeyDraft, actor: str, now: datetime) -> tuple[ApiKey, str]:
    """Return a new key and its plain text, which nobody can ever read again."""
    parts = new_key_parts()
    with transaction.atomic():
        key = _write_key(parts, draft, owner=parts.id, now=now)
        _record("KEY_ISSUED", key, before=None, after=_told(key), actor=actor, now=now)
    return key, written_key(parts, environment=settings.LENS_ENV)


def rotate_key(
    *, key: ApiKey, actor: str, now: datetime, overlap: timedelta = ROTATION_OVERLAP
) -> tuple[ApiKey, str]:
    """Return the successor of ``key`` and its plain text; both open the door for ``overlap``.

    The successor keeps owner, scopes, addresses and limits, and lives as long as the old one was
    meant to from its creation on.

    :raises KeyNotRotatable: if the key is revoked or expired, or has a successor already.
    """
    parts = new_key_parts()
    with transaction.atomic():
        old = ApiKey.objects.select_for_update().get(pk=key.pk)
        _check_rotatable(old, now=now)
        life = old.expires_at - old.created_at if old.expires_at else None
        draft = KeyDraft(
            name=old.name,
            scopes=frozenset(Scope(scope) for scope in old.scopes),
            expires_at=now + life if life else None,
            addresses=tuple(old.address_list),
            rate_per_min=old.rate_per_min,
            burst=old.burst,
        )
        successor = _write_key(parts, draft, owner=old.owner, now=now, rotated_from=old)
        ends_at = min(old.expires_at or now + overlap, now + overlap)
        ApiKey.objects.filter(pk=old.pk).update(expires_at=ends_at)
        before = {"key": old.pk, "expires_at": time_text(old.expires_at)}
        after = {**_told(successor), "old_expires_at": time_text(ends_at)}
        _record("KEY_ROTATED", successor, before=before, after=after, actor=actor, now=now)
    _stored_keys.forget(old.pk)
    return successor, written_key(parts, environment=settings.LENS_ENV)


def revoke_key(*, key: ApiKey, actor: str, now: datetime) -> ApiKey:
    """Return the key as revoked; revoking it again changes nothing."""
    with transaction.atomic():
        if ApiKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=now):
            after = {"revoked_at": time_text(now)}
            _record(
                "KEY_REVOKED", key, before={"revoked_at": None}, after=after, actor=actor, now=now
            )
    _stored_keys.forget(key.pk)
    key.refresh_from_db()
    return key


def authenticate(*, plain: str, address: str, now: datetime) -> Identity:
    """Return who holds the key ``plain``.

    A right key passes whatever else its address did, so nobody is locked out by a neighbour. A key
    read within the last 5 s is checked without the database; revoking works within that time.

    :raises Unauthorized: if the key is wrong, revoked, expired or used from a foreign address.
    :raises TooManyWrongKeys: instead, once its address has presented more than 10 in a minute, or
        all addresses together more than 100 under the id that it names.
    """
    with _wrong_keys_counted(address=address, now=now, plain=plain):
        identity = _proven(plain, address=address, now=now)
    _note_use(identity, address=address, now=now)
    return identity


def recall(*, plain: str, address: str, now: datetime) -> Identity | None:
    """Return who holds the key ``plain`` if this process has just read it and it is good.

    Asks no database for it and counts nothing: whoever gets None goes to :func:`authenticate`.
    """
    try:
        stored = _recall_proven(plain, now=now)
        identity = None if stored is None else _check_standing(stored, address=address, now=now)
    except (MalformedKey, Unauthorized):
        return None
    if identity is None:
        return None
    _note_use(identity, address=address, now=now)
    return identity


def _recall_proven(plain: str, *, now: datetime) -> StoredKey | None:
    """Return the row of a key, as it was read lately, that this key was proven against.

    A key need not be proven again as long as the row that proved it is remembered.
    """
    key_id, proof = _proofs.get(plain, ("", None))
    stored = _stored_keys.recall(key_id or read_key(plain).id, now=now)
    if stored is None or stored is proof:
        return stored
    if not _is_secret_right(stored, read_key(plain).secret):
        return None
    if len(_proofs) >= KEYS_REMEMBERED_MAX:
        _proofs.clear()
    _proofs[plain] = (stored.identity.key_id, stored)
    return stored


def is_still_good(*, identity: Identity, now: datetime) -> bool:
    """Say whether the key behind ``identity`` still opens the door, by its row as it is now."""
    if identity.kind is IdentityKind.ENVIRONMENT:
        return _environment_key() is not None
    stored = queries.get_stored_key(identity.key_id)
    _stored_keys.put(identity.key_id, stored, now=now)
    return stored is not None and _why_dead(stored, now=now) is None


def note_listening(*, identity: Identity, now: datetime) -> None:
    """Write down that the holder of a key listens to decisions, at most once a minute."""
    written = _listening_written.get(identity.key_id)
    if identity.kind is not IdentityKind.KEY or _is_recent(written, now=now):
        return
    _listening_written[identity.key_id] = now
    stale = Q(last_listened_at__isnull=True) | Q(last_listened_at__lte=now - LAST_USE_WRITTEN_EVERY)
    ApiKey.objects.filter(stale, pk=identity.key_id).update(last_listened_at=now)


def note_tried_out(*, owners: Sequence[str], now: datetime) -> None:
    """Write down that keys were tried out in a browser, whose socket a session opens."""
    ApiKey.objects.filter(owner__in=owners, revoked_at=None).update(last_listened_at=now)


def ensure_local_admin(*, now: datetime) -> User:
    """Return who runs this desk: the first administrator, made without a password if need be."""
    known = User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
    if known is not None:
        return known
    with transaction.atomic():
        taken = User.objects.filter(username=LOCAL_ADMIN).exists()
        name = f"local-{LOCAL_ADMIN}" if taken else LOCAL_ADMIN
        user: User = User.objects.create_superuser(name, password=None)
        record_act(actor="lens", verb="USER_MADE", object=f"user:{user.pk}", at=now, name=name)
    return user


def issue_sign_in_link(*, user: User, now: datetime) -> str:
    """Return the token of a link that signs ``user`` in once, within ``SIGN_IN_LINK_S``.

    Links that were not used are void from their end on, and forgotten a day later.
    """
    token = secrets.token_urlsafe(SIGN_IN_TOKEN_BYTES)
    SignInLink.objects.filter(expires_at__lt=now - SIGN_IN_LINKS_KEPT).delete()
    SignInLink.objects.create(
        token_sha256=_digest(token).hex(),
        user=user,
        created_at=now,
        expires_at=now + timedelta(seconds=settings.SIGN_IN_LINK_S),
    )
    return token


def redeem_sign_in_link(*, token: str, address: str, now: datetime) -> User:
    """Return whom the link signs in; it is void afterwards, whoever asks at the same time.

    :raises Unauthorized: if the link is unknown, used, too old, or used from another machine.
    """
    if not is_loopback(address):
        raise Unauthorized("A sign-in link works only on the machine that Lens runs on.")
    rows = SignInLink.objects.filter(
        token_sha256=_digest(token).hex(), used_at=None, expires_at__gt=now, user__is_active=True
    )
    with transaction.atomic():
        if not rows.update(used_at=now):
            raise Unauthorized("This sign-in link was used before, or is too old.")
        link = SignInLink.objects.select_related("user").get(token_sha256=_digest(token).hex())
        record_act(
            actor=f"user:{link.user_id}", verb="LINK_USED", object=f"user:{link.user_id}", at=now
        )
    return link.user


def spend_call(*, owner: str, now: datetime) -> None:
    """Take one write from the share of an owner who proves themselves in another way than a key.

    :raises TooManyCalls: when nothing is left of it.
    """
    limit = Limit(
        name="writes", per_min=settings.RATE_LIMIT_PER_MIN, burst=settings.RATE_LIMIT_BURST
    )
    verdict = BUDGET.take(whose=owner, limit=limit, now_s=now.timestamp())
    if not verdict.allowed:
        raise TooManyCalls(wait_s=verdict.wait_s)


def count_wrong_guess(*, address: str, now: datetime) -> None:
    """Count somebody who guessed at a secret address.

    :raises TooManyWrongKeys: once they have guessed more than 10 times in a minute.
    """
    with suppress(Unauthorized), _wrong_keys_counted(address=address, now=now):
        raise Unauthorized(WRONG_KEY)


def issue_ticket(*, identity: Identity, address: str, now: datetime) -> str:
    """Return a ticket that opens one socket for ``identity`` from ``address`` within 30 s.

    :raises ServiceUnavailable: if Redis, which keeps the tickets, is away.
    """
    ticket = secrets.token_urlsafe(32)
    note = {
        "ticket": _ticket_name(ticket),
        "key": identity.key_id,
        "kind": identity.kind.value,
        "address": address,
        "until": (now + TICKET_LIFE).timestamp(),
    }
    signed = signing.Signer(salt=TICKET_SALT).sign_object(note)
    life_ms = int(TICKET_LIFE / timedelta(milliseconds=1))
    with _redis_needed():
        redis_client().set(_ticket_name(ticket), signed, px=life_ms)
    return ticket


def redeem_ticket(*, ticket: str, address: str, now: datetime) -> Identity:
    """Return who the ticket was given to; it is void afterwards.

    What Redis holds is believed only under our own signature, so whoever can write there still
    cannot make tickets.

    :raises Unauthorized: if the ticket is unknown, used, too old or of another address.
    :raises ServiceUnavailable: if Redis is away.
    """
    with _wrong_keys_counted(address=address, now=now):
        return _ticket_holder(_take_ticket(ticket), ticket=ticket, address=address, now=now)


def touch_last_used() -> None:
    """Write down when keys were used, each at most once a minute; never raises.

    Called when the answer is out, so that no client waits for it.
    """
    while True:
        try:
            key_id, (at, address) = _uses_to_write.popitem()
        except KeyError:
            return
        _uses_written[key_id] = at
        stale = Q(last_used_at__isnull=True) | Q(last_used_at__lte=at - LAST_USE_WRITTEN_EVERY)
        try:
            ApiKey.objects.filter(stale, pk=key_id).update(
                last_used_at=at, last_used_address=address or None
            )
        except DatabaseError as error:
            logger.warning("last use of key %s not written: %s", key_id, error)


def forget_everything() -> None:
    """Drop what this process remembers of keys, uses and limits; for tests and for forks."""
    _stored_keys.clear()
    _proofs.clear()
    _uses_to_write.clear()
    _uses_written.clear()
    _listening_written.clear()
    BUDGET.clear()


def _write_key(
    parts: KeyParts,
    draft: KeyDraft,
    *,
    owner: str,
    now: datetime,
    rotated_from: ApiKey | None = None,
) -> ApiKey:
    version = _current_pepper_version()
    return ApiKey.objects.create(
        id=parts.id,
        name=draft.name,
        owner=owner,
        secret_hmac=_sealed(parts.secret, pepper_version=version),
        pepper_version=version,
        scopes=sorted(draft.scopes),
        address_list=list(draft.addresses),
        rate_per_min=draft.rate_per_min,
        burst=draft.burst,
        created_at=now,
        expires_at=draft.expires_at,
        rotated_from=rotated_from,
    )


def _check_rotatable(key: ApiKey, *, now: datetime) -> None:
    status = queries.key_status(key=key, now=now)
    if status is not KeyStatus.ACTIVE:
        raise KeyNotRotatable(f"The key is {status.value.lower()}; issue a new one instead.")
    if ApiKey.objects.filter(rotated_from=key).exists():
        raise KeyNotRotatable("The key was rotated already; rotate its successor.")


def _record(
    verb: str,
    key: ApiKey,
    *,
    before: Mapping[str, object] | None,
    after: Mapping[str, object],
    actor: str,
    now: datetime,
) -> None:
    record_act(
        actor=actor,
        verb=verb,
        object=f"key:{key.pk}",
        before=before,
        after=after,
        at=now,
        key=key.pk,
        name=key.name,
    )


def _told(key: ApiKey) -> dict[str, object]:
    """Return what the trail tells of a key; nothing of its secret."""
    return {
        "key": key.pk,
        "owner": key.owner,
        "name": key.name,
        "scopes": key.scopes,
        "addresses": key.address_list,
        "rate_per_min": key.rate_per_min,
        "burst": key.burst,
        "expires_at": time_text(key.expires_at),
        "rotated_from": key.rotated_from_id,
    }


@contextmanager
def _wrong_keys_counted(*, address: str, now: datetime, plain: str = "") -> Iterator[None]:
    try:
        yield
    except Unauthorized:
        counted = [(address_group(address), WRONG_KEYS)]
        if named := _named_key(plain):
            counted.append((named, WRONG_KEYS_OF_ONE))
        verdicts = [
            BUDGET.take(whose=whose, limit=limit, now_s=now.timestamp()) for whose, limit in counted
        ]
        wait_s = max(0.0 if verdict.allowed else verdict.wait_s for verdict in verdicts)
        WRONG_KEY_COUNT.labels("put off" if wait_s else "refused").inc()
        if wait_s:
            raise TooManyWrongKeys(wait_s=wait_s) from None
        raise


def _named_key(plain: str) -> str:
    """Return the id that a wrong key names, or "" if it names none."""
    parts = plain.split("_")
    return parts[2] if len(parts) == 4 and KEY_ID.fullmatch(parts[2]) else ""


def _proven(plain: str, *, address: str, now: datetime) -> Identity:
    expected = _environment_key()
    if expected is not None and hmac.compare_digest(_digest(plain), _digest(expected)):
        return ENVIRONMENT_ADMIN
    try:
        parts = read_key(plain)
    except MalformedKey:
        raise Unauthorized(WRONG_KEY) from None
    stored = _stored_keys.get(parts.id, now=now, read=queries.get_stored_key)
    if not _is_secret_right(stored or NOBODY, parts.secret):
        raise Unauthorized(WRONG_KEY)
    return _check_standing(stored, address=address, now=now)


def _is_secret_right(stored: StoredKey, secret: str) -> bool:
    """Compare at the same price whether the id is known or not."""
    version = stored.pepper_version or len(_peppers())
    return hmac.compare_digest(_sealed(secret, pepper_version=version), stored.secret_hmac)


def _check_standing(stored: StoredKey | None, *, address: str, now: datetime) -> Identity:
    if stored is None:
        raise Unauthorized(WRONG_KEY)
    dead = _why_dead(stored, now=now)
    if dead is not None:
        raise Unauthorized(dead)
    found = parsed_address(address) if stored.networks else None
    if stored.networks and not any(found in block for block in stored.networks if found):
        raise Unauthorized("The API key may not be used from this address.")
    return stored.identity


def _why_dead(stored: StoredKey, *, now: datetime) -> str | None:
    if stored.revoked_at is not None:
        return "The API key has been revoked."
    if stored.expires_at is not None and stored.expires_at <= now:
        return "The API key has expired."
    return None


def _environment_key() -> str | None:
    plain: str = settings.API_KEY_ADMIN
    return None if not plain or looks_like_an_example(plain) else plain


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _peppers() -> list[str]:
    """Return the peppers, oldest first: a key's ``pepper_version`` counts them from 1.

    ``LENS_KEY_PEPPER`` may list several, divided by commas; a new one is added at the end and
    seals every key from then on. An empty place is a pepper that was given up, with its keys.
    """
    listed: str = settings.LENS_KEY_PEPPER
    return listed.split(",")


def _current_pepper_version() -> int:
    peppers = _peppers()
    if not peppers[-1]:
        raise ImproperlyConfigured("LENS_KEY_PEPPER ends in an empty place: no key can be sealed.")
    return len(peppers)


def _sealed(secret: str, *, pepper_version: int) -> str:
    peppers = _peppers()
    known = 1 <= pepper_version <= len(peppers)
    pepper = peppers[pepper_version - 1] if known else ""
    sealed = hmac.new(pepper.encode(), secret.encode(), hashlib.sha256).hexdigest()
    return sealed if pepper else f"given up: {sealed}"


def _note_use(identity: Identity, *, address: str, now: datetime) -> None:
    if identity.kind is not IdentityKind.KEY:
        return
    if not _is_recent(_uses_written.get(identity.key_id), now=now):
        _uses_to_write[identity.key_id] = (now, address)


def _is_recent(written: datetime | None, *, now: datetime) -> bool:
    return written is not None and now - written < LAST_USE_WRITTEN_EVERY


@contextmanager
def _redis_needed() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        logger.warning("tickets cannot be kept: %s", error)
        raise ServiceUnavailable("Tickets are not available for the moment.") from error


def _ticket_name(ticket: str) -> str:
    return TICKET_PREFIX + _digest(ticket).hex()


def _take_ticket(ticket: str) -> str:
    """Return the note of a ticket and strike it, in one step (GETDEL, for servers before 6.2)."""
    with _redis_needed():
        step = redis_client().pipeline(transaction=True)
        step.get(_ticket_name(ticket))
        step.delete(_ticket_name(ticket))
        note, _ = step.execute()
    return "" if note is None else note.decode("utf-8", errors="replace")


def _ticket_holder(note: str, *, ticket: str, address: str, now: datetime) -> Identity:
    try:
        kept = signing.Signer(salt=TICKET_SALT).unsign_object(note)
    except signing.BadSignature:
        raise Unauthorized(WRONG_TICKET) from None
    meant = kept["ticket"] == _ticket_name(ticket) and kept["address"] == address
    if not meant or kept["until"] <= now.timestamp():
        raise Unauthorized(WRONG_TICKET)
    if kept["kind"] == IdentityKind.ENVIRONMENT and _environment_key() is not None:
        return ENVIRONMENT_ADMIN
    stored = _stored_keys.get(kept["key"], now=now, read=queries.get_stored_key)
    return _check_standing(stored, address=address, now=now)


def revoke_again(*, key_ids: Sequence[str], actor: str, now: datetime) -> int:
    """Revoke keys that a restored backup has brought back to life; return how many."""
    alive = ApiKey.objects.filter(pk__in=key_ids, revoked_at__isnull=True)
    return len([revoke_key(key=key, actor=actor, now=now) for key in alive])

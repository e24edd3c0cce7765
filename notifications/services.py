"""Every write of the notifications room: endpoints, and deliveries from due to done.

A delivery is a row before anything is sent, written in the transaction that moves its endpoint's
place in the row of decisions: whatever dies, nothing is passed over, and what may have been sent
already is sent again under the same id.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils.module_loading import import_string

from decisions.models import Decision
from decisions.queries import get_head, list_published
from decisions.types import JURY
from notifications import signing
from notifications.models import Delivery, DeliveryAttempt, Endpoint
from notifications.notifiers.base import Answer
from notifications.types import DECISION, TEST, DeliveryStatus, EndpointDraft
from pipeline.egress import wrong_with
from pipeline.parsing import time_text
from pipeline.services import record_act
from pipeline.types import FieldError, InvalidRequest
from signals.queries import list_mutes
from signals.types import MuteKind, Origin

READ_AT_ONCE = 200
LEASE_SPARE_S = 30
FORMER_SECRET_FOR = timedelta(hours=24)
FOLLOWS = frozenset({"FOLLOW_ENTER", "FOLLOW_EXIT"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One attempt about to be made."""

    delivery: Delivery
    message_id: str
    headers: Mapping[str, str]


def create_endpoint(*, draft: EndpointDraft, actor: str, now: datetime) -> tuple[Endpoint, str]:
    """Make an endpoint for what is published from now on; return it and its secret, this once.

    :raises InvalidRequest: if the address is none that Lens may send to.
    """
    _refuse_unusable(draft)
    secret = signing.secret_of(secrets.token_bytes(signing.SECRET_BYTES))
    with transaction.atomic():
        endpoint = Endpoint.objects.create(
            name=draft.name,
            url=draft.url,
            judges=list(draft.judges),
            only_follow=draft.only_follow,
            secret=secret,
            after_seq=get_head(),
            created_at=now,
            created_by=actor,
        )
        _record(endpoint, verb="ENDPOINT_MADE", actor=actor, now=now, after=_told(endpoint))
    return endpoint, secret


def change_endpoint(
    *, endpoint: Endpoint, draft: EndpointDraft, actor: str, now: datetime
) -> Endpoint:
    """Send something else, or elsewhere, from now on.

    :raises InvalidRequest: if the address is none that Lens may send to.
    """
    _refuse_unusable(draft)
    before = _told(endpoint)
    endpoint.name, endpoint.url = draft.name, draft.url
    endpoint.judges, endpoint.only_follow = list(draft.judges), draft.only_follow
    with transaction.atomic():
        endpoint.save(update_fields=["name", "url", "judges", "only_follow"])
        _record(
            endpoint,
            verb="ENDPOINT_CHANGED",
            actor=actor,
            now=now,
            before=before,
            after=_told(endpoint),
        )
    return endpoint


def rotate_secret(*, endpoint: Endpoint, actor: str, now: datetime) -> str:
    """Give an endpoint another secret and return it, this once; the old one signs on for a day."""
    secret = signing.secret_of(secrets.token_bytes(signing.SECRET_BYTES))
    endpoint.former_secret, endpoint.former_until = endpoint.secret, now + FORMER_SECRET_FOR
    endpoint.secret = secret
    with transaction.atomic():
        endpoint.save(update_fields=["secret", "former_secret", "former_until"])
        _record(endpoint, verb="ENDPOINT_ROTATED", actor=actor, now=now)
    return secret


def switch_endpoint(*, endpoint: Endpoint, is_active: bool, actor: str, now: datetime) -> None:
    """Switch an endpoint on or off; what was published while it was off is not sent later."""
    values: dict[str, Any] = {"is_active": is_active, "off_reason": "", "given_up_in_row": 0}
    if is_active:
        values["after_seq"] = get_head()
    with transaction.atomic():
        rows = Endpoint.objects.filter(id=endpoint.id).exclude(is_active=is_active)
        if rows.update(**values):
            verb = "ENDPOINT_ON" if is_active else "ENDPOINT_OFF"
            _record(endpoint, verb=verb, actor=actor, now=now)


def send_test(*, endpoint: Endpoint, actor: str, now: datetime) -> Delivery:
    """Have something harmless sent, so that a receiver can be tried out."""
    body = {"type": TEST, "timestamp": time_text(now), "data": {"message": "Lens can reach you."}}
    with transaction.atomic():
        delivery = Delivery.objects.create(
            endpoint=endpoint, kind=TEST, body=_packed(body), next_at=now, created_at=now
        )
        _record(endpoint, verb="ENDPOINT_TESTED", actor=actor, now=now)
    return delivery


def resend(*, delivery: Delivery, actor: str, now: datetime) -> bool:
    """Have a delivery that is over sent again, under its own id; return whether this call did."""
    with transaction.atomic():
        over = Delivery.objects.filter(id=delivery.id).exclude(status=DeliveryStatus.PENDING)
        done = over.update(
            status=DeliveryStatus.PENDING,
            attempts=0,
            next_at=now,
            lease_until=None,
            finished_at=None,
        )
        if done:
            record_act(
                actor=actor,
                verb="RESENT",
                object=f"delivery:{delivery.id}",
                at=now,
                before={"status": delivery.status},
                after={"status": DeliveryStatus.PENDING},
            )
    return bool(done)


def gather(*, now: datetime) -> int:
    """Write down what the endpoints are to be sent of the newly published; return how many."""
    ids = Endpoint.objects.filter(is_active=True).values_list("id", flat=True)
    return sum(_gather_for(endpoint_id, now=now) for endpoint_id in list(ids))


def _gather_for(endpoint_id: UUID, *, now: datetime) -> int:
    with transaction.atomic():
        endpoint = (
            Endpoint.objects.select_for_update()
            .filter(id=endpoint_id, is_active=True, after_seq__lt=get_head())
            .first()
        )
        if endpoint is None:
            return 0
        rows = list_published(after_seq=endpoint.after_seq, limit=READ_AT_ONCE)
        if not rows:
            return 0
        muted = _muted(now=now)
        wanted = [row for row in rows if _is_wanted(row, endpoint=endpoint, muted=muted)]
        Delivery.objects.bulk_create(
            [
                Delivery(
                    endpoint=endpoint,
                    decision=row,
                    kind=DECISION,
                    body=_body_of(row),
                    next_at=now,
                    created_at=now,
                )
                for row in wanted
            ],
            ignore_conflicts=True,
        )
        Endpoint.objects.filter(id=endpoint_id).update(after_seq=rows[-1].seq)
    return len(wanted)


def _is_wanted(row: Decision, *, endpoint: Endpoint, muted: Collection[tuple[str, str]]) -> bool:
    """Say whether a decision is sent: made in earnest, asked for, and muted by nobody."""
    return (
        row.origin == Origin.LIVE
        and row.model in (endpoint.judges or [JURY])
        and (not endpoint.only_follow or row.decision in FOLLOWS)
        and (MuteKind.SYMBOL, row.symbol) not in muted
        and (MuteKind.SOURCE, row.source) not in muted
    )


def _muted(*, now: datetime) -> set[tuple[str, str]]:
    """Return what the whole desk wants no notice of."""
    return {(row.kind, row.value) for row in list_mutes(person="", now=now)}


def _body_of(row: Decision) -> str:
    told = _shape()(row)
    return _packed({"type": DECISION, "timestamp": told["published_at"], "data": told})


@cache
def _shape() -> Any:
    return import_string(settings.DELIVERY_SHAPE)


def _packed(body: Mapping[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def claim(*, limit: int, now: datetime, busy: Mapping[UUID, int] | None = None) -> list[Parcel]:
    """Take up deliveries that are due, each as one attempt that nobody else makes meanwhile.

    No endpoint has more than ``DELIVERY_PER_ENDPOINT`` under way, ``busy`` ones included, so that
    one that does not answer keeps nobody else waiting. What a program that died had taken up is
    due again when its lease is over.
    """
    is_free = Q(lease_until=None) | Q(lease_until__lt=now)
    due = Delivery.objects.filter(
        is_free,
        Q(endpoint__is_active=True) | Q(kind=TEST),
        status=DeliveryStatus.PENDING,
        next_at__lte=now,
    )
    waiting = list(due.order_by("endpoint_id").values_list("endpoint_id", flat=True).distinct())
    if not waiting:  # nothing to lock
        return []
    held = due.select_for_update(skip_locked=True, of=("self",)).order_by("next_at")
    lease = now + timedelta(seconds=settings.DELIVERY_TIMEOUT_S + LEASE_SPARE_S)
    ids: list[UUID] = []
    with transaction.atomic():
        for endpoint_id in waiting:
            own = settings.DELIVERY_PER_ENDPOINT - (busy or {}).get(endpoint_id, 0)
            room = max(0, min(own, limit - len(ids)))
            ids += [row.id for row in held.filter(endpoint_id=endpoint_id)[:room]]
        Delivery.objects.filter(id__in=ids).update(lease_until=lease, attempts=F("attempts") + 1)
    taken = Delivery.objects.select_related("endpoint").filter(id__in=ids).order_by("next_at")
    return [_parcel(row, now=now) for row in taken]


def _parcel(row: Delivery, *, now: datetime) -> Parcel:
    endpoint = row.endpoint
    both = [endpoint.secret]
    if endpoint.former_secret and endpoint.former_until and endpoint.former_until > now:
        both.append(endpoint.former_secret)
    message_id = f"msg_{row.id.hex}"
    return Parcel(
        delivery=row,
        message_id=message_id,
        headers=signing.headers(
            secrets=both,
            message_id=message_id,
            at=now,
            body=row.body,
            version=settings.VERSION,
        ),
    )


def settle(*, parcel: Parcel, answer: Answer, now: datetime) -> None:
    """Write down what an attempt came to, and what follows from it."""
    row = parcel.delivery
    waits: Sequence[int] = settings.DELIVERY_RETRY_S
    is_over = answer.is_taken or answer.is_gone or row.attempts > len(waits)
    with transaction.atomic():
        DeliveryAttempt.objects.create(
            delivery=row,
            number=row.attempts,
            at=now,
            duration_ms=answer.duration_ms,
            headers=dict(parcel.headers),
            status=answer.status,
            answer=answer.text,
            error=answer.error,
        )
        if is_over:
            _finish(row, answer=answer, now=now)
        else:
            wait = timedelta(seconds=waits[row.attempts - 1])
            Delivery.objects.filter(id=row.id).update(lease_until=None, next_at=now + wait)


def _finish(row: Delivery, *, answer: Answer, now: datetime) -> None:
    status = DeliveryStatus.DELIVERED if answer.is_taken else DeliveryStatus.FAILED
    Delivery.objects.filter(id=row.id).update(status=status, lease_until=None, finished_at=now)
    endpoints = Endpoint.objects.filter(id=row.endpoint_id)
    if answer.is_taken:
        endpoints.exclude(given_up_in_row=0).update(given_up_in_row=0)
        return
    endpoints.update(given_up_in_row=F("given_up_in_row") + 1)
    most = settings.DELIVERY_OFF_AFTER
    why = "it answered 410: nothing more is wanted there" if answer.is_gone else ""
    if not why and endpoints.filter(given_up_in_row__gte=most).exists():
        last = answer.error or f"it answered {answer.status}"
        why = f"{most} deliveries in a row could not be made; the last one because {last}"
    if why and endpoints.filter(is_active=True).update(is_active=False, off_reason=why[:300]):
        _record(row.endpoint, verb="ENDPOINT_OFF", actor="lens", now=now, after={"why": why})


def _refuse_unusable(draft: EndpointDraft) -> None:
    faults = []
    if not draft.name.strip() or len(draft.name) > 100:
        faults.append(FieldError("name", "length", "must have 1 to 100 characters"))
    wrong = wrong_with(draft.url, allowed=settings.LOCAL_MODEL_HOSTS)
    if len(draft.url) > 500:
        wrong = "must have at most 500 characters"
    if wrong:
        faults.append(FieldError("url", "invalid", wrong))
    if faults:
        raise InvalidRequest("the endpoint cannot be used", tuple(faults))


def _told(endpoint: Endpoint) -> dict[str, Any]:
    """Return an endpoint as the trail may show it: the path of an address may be a secret."""
    host = endpoint.url.split("/", 3)[:3]
    return {
        "name": endpoint.name,
        "host": "/".join(host),
        "judges": endpoint.judges,
        "only_follow": endpoint.only_follow,
    }


def _record(endpoint: Endpoint, *, verb: str, actor: str, now: datetime, **details: Any) -> None:
    record_act(actor=actor, verb=verb, object=f"endpoint:{endpoint.id}", at=now, **details)

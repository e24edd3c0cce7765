"""Which request and which signal the present work is for, known to everything below the door."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

_REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")


@contextmanager
def request(request_id: str) -> Iterator[None]:
    """Let everything within know the id of the request that it serves."""
    token = _REQUEST_ID.set(request_id)
    try:
        yield
    finally:
        _REQUEST_ID.reset(token)


def current_request_id() -> str:
    """Return the id of the request that is being served; empty where there is none."""
    return _REQUEST_ID.get()


_REQUEST_IDS: ContextVar[Mapping[UUID, str] | None] = ContextVar("request_ids", default=None)


@contextmanager
def requests(by_event: Mapping[UUID, str]) -> Iterator[None]:
    """Let everything within know which request brought which signal, where several came at once."""
    token = _REQUEST_IDS.set(by_event)
    try:
        yield
    finally:
        _REQUEST_IDS.reset(token)


def request_id_of(event_id: UUID | None) -> str:
    """Return the id of the request that brought a signal, else of the one being served."""
    several = _REQUEST_IDS.get()
    brought = several.get(event_id) if several and event_id else None
    return brought or current_request_id()


@contextmanager
def work(*, event_id: UUID, request_id: str) -> Iterator[None]:
    """Let everything within know for which signal it is, and which request brought it."""
    with request(request_id), event(event_id):
        yield


_EVENT_ID: ContextVar[str] = ContextVar("event_id", default="")


@contextmanager
def event(event_id: object) -> Iterator[None]:
    """Let everything within know which signal the work is for."""
    token = _EVENT_ID.set(str(event_id))
    try:
        yield
    finally:
        _EVENT_ID.reset(token)


def current_event_id() -> str:
    """Return the id of the signal that is being worked on; empty where there is none."""
    return _EVENT_ID.get()

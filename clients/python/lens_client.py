"""A client of SigmaPilot Lens: post signals, read what became of them, hear decisions for ever.

Lens gives recommendations only; neither it nor this client places trades.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import httpx2
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

__all__ = [
    "Abstention",
    "Decision",
    "FieldFault",
    "Gap",
    "KeyRefused",
    "Lens",
    "LensError",
    "Message",
    "Receipt",
    "Refused",
    "Signal",
    "SignalEnd",
    "Unreachable",
]

PASSING: Final = frozenset({429, 502, 503, 504})  # answers that a later try may better
KEY_CLOSINGS: Final = frozenset({4401, 4403})
BATCH_MAX: Final = 500
WAIT_FIRST_S: Final = 0.5
WAIT_MAX_S: Final = 30.0
LOOK_EVERY_S: Final = 0.2
ENDED: Final = frozenset({"PUBLISHED", "REJECTED", "EXPIRED", "CANCELLED", "DEAD"})

Number = str | int | float
Words = str | Sequence[str]
Kind = Literal["decision", "abstention", "signal_status"]


@dataclass(frozen=True, slots=True)
class FieldFault:
    """What is wrong with one field of a request."""

    field: str
    code: str
    message: str


class LensError(Exception):
    """Anything that this client raises."""


class Unreachable(LensError):
    """No answer came, however often it was tried."""


@dataclass(eq=False)
class Refused(LensError):
    """The desk refused a request for good; ``errors`` names the fields that were wrong."""

    status: int
    code: str
    detail: str
    errors: tuple[FieldFault, ...] = ()
    request_id: str = ""

    def __str__(self) -> str:
        faults = "; ".join(f"{fault.field}: {fault.message}" for fault in self.errors)
        return f"{self.status} {self.code}: {self.detail}" + (f" ({faults})" if faults else "")


class KeyRefused(LensError):
    """The key is missing, wrong, revoked, expired, or lacks the scope."""


def _now_text() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A signal as ``POST /signals`` takes it; None fields are left out. Prices may be texts."""

    event_type: Literal["OPEN_SIGNAL", "CLOSE_SIGNAL"]
    symbol: str
    signal_direction: Literal["long", "short", "close_long", "close_short"]
    entry_price: Number
    size: Number
    source: str
    liquidation_price: Number | None = None
    ts_utc: str = field(default_factory=_now_text)
    valid_for_s: int | None = None
    target_price: Number | None = None
    stop_price: Number | None = None
    timeframe: str | None = None
    feature_profile: str | None = None
    notes: str | None = None
    context: dict[str, Any] | None = None

    def body(self) -> dict[str, Any]:
        """Return the JSON body; ``liquidation_price`` is sent even when it is null."""
        return {
            name: value
            for name, value in asdict(self).items()
            if value is not None or name == "liquidation_price"
        }


@dataclass(frozen=True, slots=True)
class Receipt:
    """The desk's word that a signal is stored for good."""

    event_id: str
    received_at: str
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """One published decision; ``raw`` is all of it, as the desk sent it."""

    seq: int | None
    event_id: str
    symbol: str
    event_type: str
    model: str
    decision: str
    confidence: float
    raw: dict[str, Any]

    @classmethod
    def read(cls, raw: dict[str, Any]) -> Self:
        """Return the decision that a JSON object holds."""
        names = ("seq", "event_id", "symbol", "event_type", "model", "decision", "confidence")
        return cls(**{name: raw[name] for name in names}, raw=raw)


@dataclass(frozen=True, slots=True)
class Abstention:
    """One model gave no verdict on a signal, and why; never an IGNORE."""

    event_id: str
    symbol: str
    model: str
    raw: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SignalEnd:
    """A signal has ended: PUBLISHED, REJECTED, EXPIRED, CANCELLED or DEAD."""

    event_id: str
    symbol: str
    status: str
    raw: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Gap:
    """Decisions ``first`` to ``last`` do not come over the socket; read them over REST."""

    first: int
    last: int
    reason: str


Message = Decision | Abstention | SignalEnd | Gap


class Lens:
    """One desk and the key to it. Use it as a context manager, from one thread at a time."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str,
        timeout_s: float = 10.0,
        attempts: int = 5,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._socket_url = _socket_url(url)
        self._headers = {"X-API-Key": api_key}
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._sleep = sleep
        self._http = httpx2.Client(
            base_url=url.rstrip("/") + "/api/v1",
            headers=self._headers,
            timeout=timeout_s,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    def submit(self, signal: Signal, *, idempotency_key: str = "") -> Receipt:
        """Post one signal and return the receipt; safe to repeat under the same key.

        :raises Refused: when the signal breaks a rule; ``errors`` names the fields.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid4().hex}
        answer = self._call("POST", "/signals", json=signal.body(), headers=headers)
        replayed = answer.headers.get("Idempotency-Replayed") == "true"
        told = answer.json()
        return Receipt(told["event_id"], told["received_at"], replayed)

    def submit_many(
        self, signals: Iterable[Signal], *, idempotency_key: str = ""
    ) -> list[Receipt | Refused]:
        """Post up to 500 signals at once and return a receipt or a refusal for each, in order."""
        bodies = [signal.body() for signal in signals]
        headers = {"Idempotency-Key": idempotency_key or uuid4().hex}
        answer = self._call("POST", "/signals/batch", json={"signals": bodies}, headers=headers)
        return [_item(result) for result in answer.json()["results"]]

    def validate(self, signal: Signal) -> dict[str, Any]:
        """Check a signal without storing it and return it as the desk reads it.

        :raises Refused: when it breaks a rule.
        """
        told: dict[str, Any] = self._call("POST", "/signals/validate", json=signal.body()).json()
        return dict(told["signal"])

    def signal(self, event_id: str) -> dict[str, Any]:
        """Return one signal with its timeline, facts, evaluations and decisions."""
        told: dict[str, Any] = self._call("GET", f"/signals/{event_id}").json()
        return told

    def status(self, event_id: str) -> dict[str, Any]:
        """Return where one signal stands."""
        told: dict[str, Any] = self._call("GET", f"/signals/{event_id}/status").json()
        return told

    def wait(self, event_id: str, *, within_s: float = 10.0) -> dict[str, Any]:
        """Wait until a signal has ended and return it in full.

        :raises TimeoutError: when it has not ended in time; it goes on all the same.
        """
        deadline_s = time.monotonic() + within_s
        while (standing := self.status(event_id))["status"] not in ENDED:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{event_id} is {standing['status']} after {within_s:g} s")
            self._sleep(LOOK_EVERY_S)
        return self.signal(event_id)

    def decisions(self, *, limit: int = 100, **filters: Any) -> Iterator[Decision]:
        """Walk through stored decisions, newest first, or onwards with ``after_seq``.

        ``filters`` are those of ``GET /decisions``; a list means any of its words.
        """
        wanted = {name: _joined(value) for name, value in filters.items() if value is not None}
        cursor: str | None = None
        while True:
            page = {"limit": limit} | ({"cursor": cursor} if cursor else {})
            told = self._call("GET", "/decisions", params=wanted | page).json()
            yield from map(Decision.read, told["items"])
            cursor = told["next_cursor"]
            if not cursor:
                return

    def listen(
        self,
        *,
        after_seq: int | None = None,
        types: Sequence[Kind] = ("decision",),
        **filters: Words | float,
    ) -> Iterator[Message]:
        """Hear what is published, for ever; after any break resume behind the last decision.

        ``filters`` are model, symbol, event_type, decision, source, origin (a text or a list) and
        min_confidence. Abstentions and ends of signals are heard while connected only.

        :raises KeyRefused: when the key is not, or no longer, good for the stream.
        :raises Refused: when a filter is wrong.
        """
        subscription: dict[str, Any] = {"action": "subscribe", "filters": filters, "types": types}
        place = after_seq
        failures = 0
        while True:
            try:
                for message in self._hear(subscription | _place(place)):
                    failures = 0
                    if isinstance(message, dict):  # told where we stand
                        place = place if place is not None else message["last_seq"]
                        continue
                    place = _onwards(place, message)
                    yield message
            except (OSError, InvalidHandshake, ConnectionClosed) as error:
                _refuse_bad_key(error)
            failures += 1
            self._sleep(_wait_s(failures))

    def _hear(self, subscription: dict[str, Any]) -> Iterator[Message | dict[str, Any]]:
        """Yield the desk's word that the subscription stands, then what comes, until a break."""
        with connect(
            self._socket_url,
            additional_headers=self._headers,
            open_timeout=self._timeout_s,
            max_size=None,
        ) as socket:
            socket.send(json.dumps(subscription))
            for text in socket:
                told = json.loads(text)
                match told["type"]:
                    case "subscribed":
                        yield told
                    case "error":
                        faults = tuple(FieldFault(**fault) for fault in told.get("errors") or ())
                        raise Refused(400, told["code"], told["message"], faults)
                    case "goodbye":
                        return
                    case _ if (message := _message(told)) is not None:
                        yield message

    def _call(self, method: str, path: str, **request: Any) -> httpx2.Response:
        """Call, again for passing reasons, and return a good answer."""
        attempt = 1
        while True:
            last = attempt >= self._attempts
            try:
                answer = self._http.request(method, path, **request)
            except httpx2.TransportError as error:
                if last:
                    why = str(error) or type(error).__name__
                    raise Unreachable(f"{method} {path}: {why}") from error
                self._sleep(_wait_s(attempt))
            else:
                if answer.is_success:
                    return answer
                if last or answer.status_code not in PASSING:
                    raise _refusal(answer)
                self._sleep(_told_wait_s(answer) or _wait_s(attempt))
            attempt += 1


def _socket_url(url: str) -> str:
    parts = urlsplit(url.rstrip("/"))
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme)
    if scheme is None:
        raise ValueError(f"the desk's URL must begin with http:// or https://, not {url!r}")
    return urlunsplit((scheme, parts.netloc, f"{parts.path}/ws/decisions", "", ""))


def _message(told: dict[str, Any]) -> Message | None:
    match told["type"]:
        case "decision":
            return Decision.read(told["decision"])
        case "abstention":
            return Abstention(told["event_id"], told["symbol"], told["model"], told)
        case "signal_status":
            return SignalEnd(told["event_id"], told["symbol"], told["status"], told)
        case "gap":
            return Gap(told["from"], told["to"], told["reason"])
    return None


def _place(seq: int | None) -> dict[str, int]:
    return {} if seq is None else {"after_seq": seq}


def _onwards(place: int | None, message: Message) -> int | None:
    match message:
        case Decision(seq=int(seq)):
            return seq
        case Gap(last=last):
            return last
    return place


def _refuse_bad_key(error: Exception) -> None:
    if isinstance(error, ConnectionClosed) and error.rcvd and error.rcvd.code in KEY_CLOSINGS:
        raise KeyRefused(error.rcvd.reason or f"closed with {error.rcvd.code}") from None


def _item(result: dict[str, Any]) -> Receipt | Refused:
    if result["status"] == 201:
        return Receipt(result["event_id"], result["received_at"], result["replayed"])
    faults = tuple(FieldFault(**fault) for fault in result["errors"])
    return Refused(result["status"], result["code"], result["detail"], faults)


def _refusal(answer: httpx2.Response) -> LensError:
    try:
        told = answer.json()
    except ValueError:
        told = {}
    detail = told.get("detail") or answer.text[:200] or answer.reason_phrase
    if answer.status_code in (401, 403):
        return KeyRefused(detail)
    faults = tuple(FieldFault(**fault) for fault in told.get("errors", ()))
    code = told.get("code", "UNKNOWN")
    return Refused(answer.status_code, code, detail, faults, told.get("request_id", ""))


def _joined(value: Any) -> Any:
    return ",".join(value) if isinstance(value, list | tuple | set | frozenset) else value


def _told_wait_s(answer: httpx2.Response) -> float | None:
    try:
        return min(float(answer.headers.get("Retry-After", "")), WAIT_MAX_S)
    except ValueError:
        return None


def _wait_s(failures: int) -> float:
    """Return a doubling wait, spread so that many clients do not come back at once."""
    longest_s: float = min(WAIT_FIRST_S * 2 ** (failures - 1), WAIT_MAX_S)
    return longest_s * (0.5 + random.random() / 2)  # noqa: S311 - a spread, no secret
